//! The kept answers' SQL.

use schemas::{id::TenantId, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{Answer, KEPT, Key, Known};

/// Looks a key up, inside the transaction that will do what was asked.
pub async fn look(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    route: &str,
    key: &Key,
    now: Instant,
) -> Result<Known, sqlx::Error> {
    let select = "select request_sha256, status, answer from idempotency \
                  where tenant = ? and route = ? and key = ? and created > ?";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(route).bind(&key.key);
    let Some(row) = query.bind(now.minus(KEPT).micros()).fetch_optional(tx).await? else {
        return Ok(Known::Fresh);
    };
    if row.try_get::<Vec<u8>, _>("request_sha256")? != key.request_sha256 {
        return Ok(Known::OtherBody);
    }
    Ok(Known::Answered(Answer { status: row.try_get("status")?, body: row.try_get("answer")? }))
}

/// Keeps an answer, inside the transaction that did what was asked.
pub async fn keep(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    route: &str,
    key: &Key,
    answer: &Answer,
    now: Instant,
) -> Result<(), sqlx::Error> {
    let insert = "insert or replace into idempotency (tenant, route, key, request_sha256, status, answer, created) \
                  values (?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(tenant.as_str())
        .bind(route)
        .bind(&key.key)
        .bind(key.request_sha256.as_slice())
        .bind(answer.status)
        .bind(&answer.body)
        .bind(now.micros())
        .execute(tx)
        .await
        .map(|_| ())
}

/// Deletes what is too old.
pub(crate) async fn prune(pool: &SqlitePool, now: Instant) -> Result<u64, sqlx::Error> {
    let delete = "delete from idempotency where created <= ?";
    sqlx::query(delete).bind(now.minus(KEPT).micros()).execute(pool).await.map(|done| done.rows_affected())
}
