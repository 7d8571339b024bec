//! The outcomes' SQL.

use schemas::{id::TenantId, outcome::Outcome, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::store::{decode, write};

/// Puts an outcome in line, inside the transaction of what it tells. False where its id is known.
pub(crate) async fn enqueue(tx: &mut SqliteConnection, outcome: &Outcome, now: Instant) -> Result<bool, sqlx::Error> {
    let insert = "insert into outcome (tenant, outcome_id, body, created) values (?, ?, ?, ?) \
                  on conflict (tenant, outcome_id) do nothing";
    let body = serde_json::to_string(outcome).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(insert).bind(outcome.tenant.as_str()).bind(&outcome.outcome_id).bind(body);
    Ok(query.bind(now.micros()).execute(tx).await?.rows_affected() > 0)
}

/// What became of an outcome that was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// New.
    Taken,
    /// Told before.
    Known(Box<Outcome>),
    /// The tenant has no ticket of that id.
    NoTicket,
}

/// Takes an outcome told over HTTP.
pub async fn tell(pool: &SqlitePool, outcome: &Outcome, now: Instant) -> Result<Told, sqlx::Error> {
    let mut tx = write(pool).await?;
    if let Some(ticket_id) = &outcome.ticket_id {
        let select = "select exists (select 1 from ticket where tenant = ? and ticket_id = ?)";
        let query = sqlx::query_scalar(select).bind(outcome.tenant.as_str()).bind(ticket_id);
        let there: bool = query.fetch_one(&mut *tx).await?;
        if !there {
            return Ok(Told::NoTicket);
        }
    }
    if enqueue(&mut tx, outcome, now).await? {
        tx.commit().await?;
        return Ok(Told::Taken);
    }
    let known = get(&mut tx, &outcome.tenant, &outcome.outcome_id).await?;
    Ok(known.map_or(Told::Taken, |known| Told::Known(Box::new(known))))
}

/// An outcome by id.
pub async fn get(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    outcome_id: &str,
) -> Result<Option<Outcome>, sqlx::Error> {
    let select = "select body from outcome where tenant = ? and outcome_id = ?";
    let query = sqlx::query_scalar(select).bind(tenant.as_str()).bind(outcome_id);
    let body: Option<String> = query.fetch_optional(conn).await?;
    body.map(|body| serde_json::from_str(&body)).transpose().map_err(decode("body"))
}

/// The next outcomes in line, with their numbers.
pub(crate) async fn waiting(pool: &SqlitePool, limit: u32) -> Result<Vec<(i64, Outcome)>, sqlx::Error> {
    let select = "select number, body from outcome where delivered is null order by number limit ?";
    let rows = sqlx::query(select).bind(limit).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body")?;
            Ok((row.try_get("number")?, serde_json::from_str(&body).map_err(decode("body"))?))
        })
        .collect()
}

/// Notes that outcomes are durable in the lake.
pub(crate) async fn delivered(pool: &SqlitePool, numbers: &[i64], now: Instant) -> Result<(), sqlx::Error> {
    let mut tx = write(pool).await?;
    for number in numbers {
        let update = "update outcome set delivered = ? where number = ?";
        sqlx::query(update).bind(now.micros()).bind(number).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// How many are in line.
pub async fn in_line(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from outcome where delivered is null").fetch_one(pool).await
}
