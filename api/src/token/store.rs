//! The tokens' SQL.

use std::collections::BTreeSet;

use schemas::{id::TenantId, time::Instant};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use crate::{auth::Role, body::instant, store::decode};

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The public half.
    pub token_id: String,
    /// Whose rows it shows.
    pub tenant: TenantId,
    /// Who holds it; the actor in histories.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: Instant,
    /// Since when it is out of force.
    pub revoked: Option<Instant>,
    /// Its last use, to the minute.
    pub last_used: Option<Instant>,
}

fn read(row: &SqliteRow) -> Result<Token, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    let at = |name| row.try_get::<Option<i64>, _>(name).map(|micros| micros.map(instant));
    Ok(Token {
        token_id: text("token_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        name: text("name")?,
        role: text("role")?.parse().map_err(decode("role"))?,
        created: instant(row.try_get("created")?),
        revoked: at("revoked")?,
        last_used: at("last_used")?,
    })
}

pub(super) async fn insert(pool: &SqlitePool, token: &Token, secret_sha256: &[u8]) -> Result<(), sqlx::Error> {
    let insert = "insert into token (token_id, tenant, name, role, secret_sha256, created) values (?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(&token.token_id)
        .bind(token.tenant.as_str())
        .bind(&token.name)
        .bind(token.role.as_str())
        .bind(secret_sha256)
        .bind(token.created.micros())
        .execute(pool)
        .await
        .map(|_| ())
}

pub(super) async fn get(pool: &SqlitePool, token_id: &str) -> Result<Option<(Token, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query("select * from token where token_id = ?").bind(token_id).fetch_optional(pool).await?;
    row.map(|row| Ok((read(&row)?, row.try_get("secret_sha256")?))).transpose()
}

pub(super) async fn used(pool: &SqlitePool, token_id: &str, at: Instant) -> Result<(), sqlx::Error> {
    let update = "update token set last_used = ? where token_id = ?";
    sqlx::query(update).bind(at.micros()).bind(token_id).execute(pool).await.map(|_| ())
}

/// A tenant's tokens, oldest first, revoked ones too.
pub async fn list(pool: &SqlitePool, tenant: &TenantId) -> Result<Vec<Token>, sqlx::Error> {
    let select = "select * from token where tenant = ? order by created, token_id limit 1000";
    sqlx::query(select).bind(tenant.as_str()).fetch_all(pool).await?.iter().map(read).collect()
}

/// Everybody who has a token in force.
pub async fn tenants(pool: &SqlitePool) -> Result<BTreeSet<TenantId>, sqlx::Error> {
    let rows = sqlx::query("select distinct tenant from token where revoked is null").fetch_all(pool).await?;
    rows.iter().map(|row| row.try_get::<String, _>("tenant")?.parse().map_err(decode("tenant"))).collect()
}

/// Puts a token out of force; false where the tenant has no such token in force.
pub async fn revoke(pool: &SqlitePool, tenant: &TenantId, token_id: &str, at: Instant) -> Result<bool, sqlx::Error> {
    let update = "update token set revoked = ? where tenant = ? and token_id = ? and revoked is null";
    let done = sqlx::query(update).bind(at.micros()).bind(tenant.as_str()).bind(token_id).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}
