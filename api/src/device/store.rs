//! The devices' SQL.

use std::collections::HashMap;

use schemas::{
    door::DeviceSeen,
    id::{DeviceId, ProfileName, TenantId},
    time::Instant,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{Device, Nameplate};
use crate::{
    id,
    store::{decode, write},
    token::sha256,
};

/// Notes devices that were heard of; later news wins, whatever the order.
pub async fn seen(pool: &SqlitePool, seen: &[DeviceSeen]) -> Result<(), sqlx::Error> {
    let upsert = "insert into device (tenant, device_id, profile, firmware, first_seen, last_seen) \
                  values (?1, ?2, ?3, ?4, ?5, ?5) on conflict (tenant, device_id) do update set \
                  profile = iif(excluded.last_seen >= last_seen, excluded.profile, profile), \
                  firmware = iif(excluded.last_seen >= last_seen, coalesce(excluded.firmware, firmware), \
                                 coalesce(firmware, excluded.firmware)), \
                  first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen)";
    let mut tx = write(pool).await?;
    for device in seen {
        sqlx::query(upsert)
            .bind(device.tenant.as_str())
            .bind(device.device_id.as_str())
            .bind(device.profile.as_str())
            .bind(&device.firmware)
            .bind(device.last_seen.micros())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

fn read(row: &SqliteRow) -> Result<Device, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    Ok(Device {
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
        profile: text("profile")?.parse().map_err(decode("profile"))?,
        firmware: row.try_get("firmware")?,
        first_seen: Instant::from_micros(row.try_get("first_seen")?),
        last_seen: Instant::from_micros(row.try_get("last_seen")?),
        nameplate: Nameplate {
            model: row.try_get("model")?,
            batch: row.try_get("batch")?,
            region: row.try_get("region")?,
            installed_at: row.try_get::<Option<i64>, _>("installed_at")?.map(Instant::from_micros),
        },
    })
}

/// A page of a tenant's devices by id.
pub async fn list(
    pool: &SqlitePool,
    tenant: &TenantId,
    profile: Option<&ProfileName>,
    after: &str,
    limit: u32,
) -> Result<Vec<Device>, sqlx::Error> {
    let rows = match profile {
        Some(profile) => {
            let select =
                "select * from device where tenant = ? and profile = ? and device_id > ? order by device_id limit ?";
            sqlx::query(select)
                .bind(tenant.as_str())
                .bind(profile.as_str())
                .bind(after)
                .bind(limit)
                .fetch_all(pool)
                .await?
        }
        None => {
            let select = "select * from device where tenant = ? and device_id > ? order by device_id limit ?";
            sqlx::query(select).bind(tenant.as_str()).bind(after).bind(limit).fetch_all(pool).await?
        }
    };
    rows.iter().map(read).collect()
}

/// A device of the tenant.
pub async fn get(
    conn: impl sqlx::SqliteExecutor<'_>,
    tenant: &TenantId,
    device_id: &DeviceId,
) -> Result<Option<Device>, sqlx::Error> {
    let select = "select * from device where tenant = ? and device_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(device_id.as_str()).fetch_optional(conn).await?;
    row.as_ref().map(read).transpose()
}

/// Replaces what was told of a device; false where it was never heard of.
pub async fn set_nameplate(
    pool: &SqlitePool,
    tenant: &TenantId,
    device_id: &DeviceId,
    nameplate: &Nameplate,
) -> Result<bool, sqlx::Error> {
    let update = "update device set model = ?, batch = ?, region = ?, installed_at = ? \
                  where tenant = ? and device_id = ?";
    let mut tx = write(pool).await?;
    let done = sqlx::query(update)
        .bind(&nameplate.model)
        .bind(&nameplate.batch)
        .bind(&nameplate.region)
        .bind(nameplate.installed_at.map(Instant::micros))
        .bind(tenant.as_str())
        .bind(device_id.as_str())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// The ids of a device's open tickets, oldest first.
pub async fn open_tickets(
    pool: &SqlitePool,
    tenant: &TenantId,
    device_id: &DeviceId,
) -> Result<Vec<String>, sqlx::Error> {
    let select = "select ticket_id from ticket where tenant = ? and device_id = ? \
                  and status in ('acknowledged', 'pending', 'held', 'inProgress', 'resolved') order by number limit 1000";
    sqlx::query_scalar(select).bind(tenant.as_str()).bind(device_id.as_str()).fetch_all(pool).await
}

async fn changed(tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let update = "update revision set number = number + 1 where name = 'device_credential'";
    sqlx::query(update).execute(tx).await.map(|_| ())
}

/// Makes or replaces a device's credential; returns the password, its only copy in clear. None where the device id
/// belongs to another tenant.
pub async fn make_credential(
    pool: &SqlitePool,
    tenant: &TenantId,
    device_id: &DeviceId,
    now: Instant,
) -> Result<Option<String>, sqlx::Error> {
    let mut secret = [0; 32];
    id::fill(&mut secret);
    let secret = id::hex(&secret);
    let mut tx = write(pool).await?;
    let select = "select exists (select 1 from device_credential where device_id = ? and tenant <> ?)";
    let query = sqlx::query_scalar(select).bind(device_id.as_str()).bind(tenant.as_str());
    if query.fetch_one(&mut *tx).await? {
        return Ok(None);
    }
    let insert =
        "insert or replace into device_credential (tenant, device_id, secret_sha256, created) values (?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(tenant.as_str())
        .bind(device_id.as_str())
        .bind(sha256(&secret).as_slice())
        .bind(now.micros())
        .execute(&mut *tx)
        .await?;
    changed(&mut tx).await?;
    tx.commit().await?;
    Ok(Some(secret))
}

/// Takes a device's credential away; false where it has none.
pub async fn drop_credential(pool: &SqlitePool, tenant: &TenantId, device_id: &DeviceId) -> Result<bool, sqlx::Error> {
    let mut tx = write(pool).await?;
    let delete = "delete from device_credential where tenant = ? and device_id = ?";
    let done = sqlx::query(delete).bind(tenant.as_str()).bind(device_id.as_str()).execute(&mut *tx).await?;
    changed(&mut tx).await?;
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn credential_revision(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select number from revision where name = 'device_credential'").fetch_one(pool).await
}

pub(super) async fn credentials(pool: &SqlitePool) -> Result<HashMap<DeviceId, (TenantId, [u8; 32])>, sqlx::Error> {
    let rows = sqlx::query("select tenant, device_id, secret_sha256 from device_credential").fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let text = |name| row.try_get::<String, _>(name);
            let secret: Vec<u8> = row.try_get("secret_sha256")?;
            let secret = secret.try_into().map_err(|_| decode("secret_sha256")("not 32 bytes"))?;
            let tenant = text("tenant")?.parse().map_err(decode("tenant"))?;
            Ok((text("device_id")?.parse().map_err(decode("device_id"))?, (tenant, secret)))
        })
        .collect()
}
