//! Sites' SQL.

use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{Place, Site};
use crate::store::decode;

/// Keeps where a device stands; told again, the later word holds. Appointments that stand are not moved.
pub async fn put(db: &SqlitePool, tenant: &TenantId, site: &Site) -> Result<(), sqlx::Error> {
    let upsert = "insert into device_site (tenant, device_id, lat, lon, address, time_zone, changed_at) \
                  values (?, ?, ?, ?, ?, ?, ?) on conflict (tenant, device_id) do update set lat = excluded.lat, \
                  lon = excluded.lon, address = excluded.address, time_zone = excluded.time_zone, \
                  changed_at = excluded.changed_at";
    sqlx::query(upsert)
        .bind(tenant.as_str())
        .bind(site.device_id.as_str())
        .bind(site.place.lat())
        .bind(site.place.lon())
        .bind(&site.address)
        .bind(site.time_zone.name())
        .bind(site.changed_at.micros())
        .execute(db)
        .await
        .map(|_| ())
}

/// Where a device stands, if anybody told.
pub async fn get(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    device_id: &str,
) -> Result<Option<Site>, sqlx::Error> {
    let select = "select * from device_site where tenant = ? and device_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(device_id).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(Some(Site {
        device_id: DeviceId::parse(&text("device_id")?).map_err(decode("device_id"))?,
        place: Place::new(row.try_get("lat")?, row.try_get("lon")?).map_err(decode("lat"))?,
        address: row.try_get("address")?,
        time_zone: text("time_zone")?.parse().map_err(decode("time_zone"))?,
        changed_at: Instant::from_micros(row.try_get("changed_at")?),
    }))
}
