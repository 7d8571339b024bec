//! The wanted self-tests' SQL.

use schemas::time::Instant;
use serde_json::json;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::Wanted;
use crate::{
    event,
    store::decode,
    ticket::{self, EntryKind, NewEntry, State, TRIAGE, Ticket},
};

/// Wants the self-test that the ticket's advisories name, if the ticket is open, needs no agent's yes any more and has
/// wanted none before. Noted as the ticket's first step. Inside the transaction of what it follows from.
pub(crate) async fn want(tx: &mut SqliteConnection, ticket: &Ticket, at: Instant) -> Result<(), sqlx::Error> {
    if !matches!(ticket.state, State::Acknowledged { .. } | State::InProgress { .. }) {
        return Ok(());
    }
    let insert = "insert into self_test_wanted (tenant, command_id, device_id, name, ticket_id, wanted) \
                  select ?1, ?2 || '.' || test, ?3, test, ?2, ?4 from \
                  (select body ->> 'self_test' as test from advisory where ticket_id = ?2 order by number limit 1) \
                  where test is not null on conflict do nothing returning command_id, name";
    let wanted: Option<(String, String)> = sqlx::query_as(insert)
        .bind(ticket.tenant.as_str())
        .bind(&ticket.ticket_id)
        .bind(ticket.subject.device_id.as_str())
        .bind(at.micros())
        .fetch_optional(&mut *tx)
        .await?;
    let Some((command_id, name)) = wanted else {
        return Ok(());
    };
    let text = format!("first step: {name}, by which the device tests the component itself, is asked for");
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Note, change: None, text: &text };
    ticket::store::note(tx, &ticket.ticket_id, &entry).await?;
    let data = json!({
        "command_id": command_id,
        "device_id": ticket.subject.device_id,
        "name": name,
        "ticket_id": ticket.ticket_id,
    });
    let new = event::New { tenant: &ticket.tenant, kind: event::Kind::SelfTestWanted, subject: &command_id, at, data };
    event::store::append(tx, &new).await.map(|_| ())
}

/// The next ones to deliver, of all tenants, in order.
pub async fn waiting(pool: &SqlitePool, limit: u32) -> Result<Vec<Wanted>, sqlx::Error> {
    let select = "select * from self_test_wanted where taken is null order by number limit ?";
    sqlx::query(select).bind(limit).fetch_all(pool).await?.iter().map(read).collect()
}

/// Notes that one was handed to whoever delivers it.
pub async fn taken(pool: &SqlitePool, number: i64, at: Instant) -> Result<(), sqlx::Error> {
    let update = "update self_test_wanted set taken = ? where number = ? and taken is null";
    sqlx::query(update).bind(at.micros()).bind(number).execute(pool).await.map(|_| ())
}

fn read(row: &SqliteRow) -> Result<Wanted, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    Ok(Wanted {
        number: row.try_get("number")?,
        command_id: text("command_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
        name: text("name")?,
        ticket_id: text("ticket_id")?,
        wanted: Instant::from_micros(row.try_get("wanted")?),
    })
}
