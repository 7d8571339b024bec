//! The outbox's SQL.

use schemas::{id::TenantId, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{Event, KEPT, New};

/// Writes an event into the transaction of what it tells; returns its place. Call [`super::Hub::wake`] after the commit.
pub async fn append(tx: &mut SqliteConnection, event: &New<'_>) -> Result<i64, sqlx::Error> {
    let insert = "insert into event (tenant, type, subject, at, data) values (?, ?, ?, ?, ?) returning event_id";
    sqlx::query_scalar(insert)
        .bind(event.tenant.as_str())
        .bind(event.kind.as_str())
        .bind(event.subject)
        .bind(event.at.micros())
        .bind(event.data.to_string())
        .fetch_one(tx)
        .await
}

/// The next events of a tenant after a place, in order.
pub async fn after(pool: &SqlitePool, tenant: &TenantId, place: i64, limit: u32) -> Result<Vec<Event>, sqlx::Error> {
    let select = "select event_id, type, subject, at, data from event \
                  where tenant = ? and event_id > ? order by event_id limit ?";
    let rows = sqlx::query(select).bind(tenant.as_str()).bind(place).bind(limit).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let data: String = row.try_get("data")?;
            Ok(Event {
                event_id: row.try_get("event_id")?,
                kind: row.try_get("type")?,
                subject: row.try_get("subject")?,
                at: Instant::from_micros(row.try_get("at")?),
                data: serde_json::from_str(&data).map_err(crate::store::decode("data"))?,
            })
        })
        .collect()
}

/// The first place that is kept, and the last place ever given.
pub async fn bounds(pool: &SqlitePool) -> Result<(i64, i64), sqlx::Error> {
    let select = "select coalesce((select min(event_id) from event), 0) as low, \
                  coalesce((select seq from sqlite_sequence where name = 'event'), 0) as high";
    let row = sqlx::query(select).fetch_one(pool).await?;
    Ok((row.try_get("low")?, row.try_get("high")?))
}

/// Deletes what lies more than [`KEPT`] places back; returns how many.
pub(crate) async fn prune(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    let delete = "delete from event where event_id <= (select max(event_id) from event) - ?";
    sqlx::query(delete).bind(KEPT).execute(pool).await.map(|done| done.rows_affected())
}
