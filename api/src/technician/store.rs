//! Technicians' SQL.

use schemas::{id::TenantId, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{Draft, Illegal, Place, Technician, rules};
use crate::store::{decode, write};

/// Why a technician was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A field is not legal.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The database fails.
    #[error("keep a technician")]
    Database(#[from] sqlx::Error),
}

/// Checks and keeps a new technician.
pub async fn create(db: &SqlitePool, tenant: &TenantId, draft: Draft, now: Instant) -> Result<Technician, KeepError> {
    let draft = rules::checked(draft)?;
    let technician_id = crate::id::new(now);
    let technician = Technician { technician_id, tenant: tenant.clone(), draft, created_at: now, changed_at: now };
    let insert = "insert into technician (tenant, technician_id, name, skills, home_lat, home_lon, time_zone, shifts, \
                  active, created_at, changed_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let draft = &technician.draft;
    sqlx::query(insert)
        .bind(tenant.as_str())
        .bind(&technician.technician_id)
        .bind(&draft.name)
        .bind(json(&draft.skills)?)
        .bind(draft.home.lat())
        .bind(draft.home.lon())
        .bind(draft.time_zone.name())
        .bind(json(&draft.shifts)?)
        .bind(draft.active)
        .bind(now.micros())
        .bind(now.micros())
        .execute(db)
        .await?;
    Ok(technician)
}

/// Changes a technician in one transaction; none if there is no such technician. What is booked stays booked.
pub async fn change(
    db: &SqlitePool,
    tenant: &TenantId,
    technician_id: &str,
    now: Instant,
    change: impl FnOnce(&mut Draft),
) -> Result<Option<Technician>, KeepError> {
    let mut tx = write(db).await?;
    let Some(mut technician) = get(&mut tx, tenant, technician_id).await? else { return Ok(None) };
    change(&mut technician.draft);
    technician.draft = rules::checked(technician.draft)?;
    technician.changed_at = now;
    let update = "update technician set name = ?, skills = ?, home_lat = ?, home_lon = ?, time_zone = ?, shifts = ?, \
                  active = ?, changed_at = ? where tenant = ? and technician_id = ?";
    let draft = &technician.draft;
    sqlx::query(update)
        .bind(&draft.name)
        .bind(json(&draft.skills)?)
        .bind(draft.home.lat())
        .bind(draft.home.lon())
        .bind(draft.time_zone.name())
        .bind(json(&draft.shifts)?)
        .bind(draft.active)
        .bind(now.micros())
        .bind(tenant.as_str())
        .bind(technician_id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Some(technician))
}

/// One technician.
pub async fn get(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    technician_id: &str,
) -> Result<Option<Technician>, sqlx::Error> {
    let select = "select * from technician where tenant = ? and technician_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(technician_id).fetch_optional(connection).await?;
    row.map(|row| technician(tenant, &row)).transpose()
}

/// A page of technicians, oldest first, after the one named.
pub async fn list(db: &SqlitePool, tenant: &TenantId, after: &str, limit: u32) -> Result<Vec<Technician>, sqlx::Error> {
    let select = "select * from technician where tenant = ? and technician_id > ? order by technician_id limit ?";
    let rows = sqlx::query(select).bind(tenant.as_str()).bind(after).bind(limit).fetch_all(db).await?;
    rows.iter().map(|row| technician(tenant, row)).collect()
}

/// Those who get new visits.
pub(crate) async fn active(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Vec<Technician>, sqlx::Error> {
    let select = "select * from technician where tenant = ? and active = 1 order by technician_id";
    let rows = sqlx::query(select).bind(tenant.as_str()).fetch_all(connection).await?;
    rows.iter().map(|row| technician(tenant, row)).collect()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn technician(tenant: &TenantId, row: &SqliteRow) -> Result<Technician, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let draft = Draft {
        name: text("name")?,
        skills: serde_json::from_str(&text("skills")?).map_err(decode("skills"))?,
        home: Place::new(row.try_get("home_lat")?, row.try_get("home_lon")?).map_err(decode("home_lat"))?,
        time_zone: text("time_zone")?.parse().map_err(decode("time_zone"))?,
        shifts: serde_json::from_str(&text("shifts")?).map_err(decode("shifts"))?,
        active: row.try_get("active")?,
    };
    Ok(Technician {
        technician_id: text("technician_id")?,
        tenant: tenant.clone(),
        draft,
        created_at: Instant::from_micros(row.try_get("created_at")?),
        changed_at: Instant::from_micros(row.try_get("changed_at")?),
    })
}
