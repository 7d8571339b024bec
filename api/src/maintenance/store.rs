//! Maintenance windows' SQL.

use schemas::{alarm::Alarm, id::TenantId, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{Object, Window};
use crate::{
    id,
    store::{decode, write},
};

/// Keeps a new window.
pub async fn create(
    pool: &SqlitePool,
    tenant: &TenantId,
    object: Object,
    (starts_at, ends_at): (Instant, Instant),
    reason: String,
    created_by: &str,
    now: Instant,
) -> Result<Window, sqlx::Error> {
    let mut window = Window {
        number: 0,
        maintenance_window_id: id::new(now),
        tenant: tenant.clone(),
        object,
        starts_at,
        ends_at,
        reason,
        created_by: created_by.to_owned(),
        created_at: now,
        changed_at: now,
    };
    let (device_id, profile) = match &window.object {
        Object::Device(device_id) => (Some(device_id.as_str()), None),
        Object::Profile(profile) => (None, Some(profile.as_str())),
    };
    let insert = "insert into maintenance_window (maintenance_window_id, tenant, device_id, profile, starts_at, ends_at, \
                  reason, created_by, created_at, changed_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning number";
    window.number = sqlx::query_scalar(insert)
        .bind(&window.maintenance_window_id)
        .bind(tenant.as_str())
        .bind(device_id)
        .bind(profile)
        .bind(starts_at.micros())
        .bind(ends_at.micros())
        .bind(&window.reason)
        .bind(created_by)
        .bind(now.micros())
        .bind(now.micros())
        .fetch_one(pool)
        .await?;
    Ok(window)
}

/// Ends a window now, or calls it off before it has begun; none if there is no such window.
pub async fn end(
    pool: &SqlitePool,
    tenant: &TenantId,
    maintenance_window_id: &str,
    now: Instant,
) -> Result<Option<Window>, sqlx::Error> {
    let mut tx = write(pool).await?;
    let update = "update maintenance_window set ends_at = max(starts_at, min(ends_at, ?1)), changed_at = ?1 \
                  where tenant = ?2 and maintenance_window_id = ?3 returning *";
    let row = sqlx::query(update)
        .bind(now.micros())
        .bind(tenant.as_str())
        .bind(maintenance_window_id)
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    row.as_ref().map(read).transpose()
}

/// Whether an alarm was raised in a planned outage of its device or its model.
pub(crate) async fn planned(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<bool, sqlx::Error> {
    let select = "select exists (select 1 from maintenance_window where tenant = ?1 and device_id = ?2 \
                  and starts_at <= ?4 and ?4 < ends_at) or exists (select 1 from maintenance_window where tenant = ?1 \
                  and profile = ?3 and starts_at <= ?4 and ?4 < ends_at)";
    sqlx::query_scalar(select)
        .bind(alarm.tenant.as_str())
        .bind(alarm.device_id.as_str())
        .bind(alarm.profile.as_str())
        .bind(alarm.alarm_raised_time.micros())
        .fetch_one(tx)
        .await
}

/// A window of the tenant.
pub async fn get(
    pool: &SqlitePool,
    tenant: &TenantId,
    maintenance_window_id: &str,
) -> Result<Option<Window>, sqlx::Error> {
    let select = "select * from maintenance_window where tenant = ? and maintenance_window_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(maintenance_window_id).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// A tenant's windows, newest first: told before the one of number `after`.
pub async fn list(
    pool: &SqlitePool,
    tenant: &TenantId,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<Window>, sqlx::Error> {
    let select = "select * from maintenance_window where tenant = ? and number < ? order by number desc limit ?";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(after.unwrap_or(i64::MAX)).bind(limit);
    query.fetch_all(pool).await?.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<Window, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    let at = |name| row.try_get::<i64, _>(name).map(Instant::from_micros);
    let device_id: Option<String> = row.try_get("device_id")?;
    let object = match device_id {
        Some(device_id) => Object::Device(device_id.parse().map_err(decode("device_id"))?),
        None => Object::Profile(text("profile")?.parse().map_err(decode("profile"))?),
    };
    Ok(Window {
        number: row.try_get("number")?,
        maintenance_window_id: text("maintenance_window_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        object,
        starts_at: at("starts_at")?,
        ends_at: at("ends_at")?,
        reason: text("reason")?,
        created_by: text("created_by")?,
        created_at: at("created_at")?,
        changed_at: at("changed_at")?,
    })
}
