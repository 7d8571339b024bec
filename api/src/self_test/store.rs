//! The wanted self-tests' SQL.

use schemas::{door::Principal, time::Instant};
use serde_json::json;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    SelfTest, Wanted,
    order::{passed, shortened},
};
use crate::{
    command::{
        rules::{Order, QUEUE},
        store::{self as command, Once, Reply},
    },
    event,
    store::{decode, write},
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

/// Orders one in one transaction with the note that it was. Where that cannot be, the ticket says why.
pub(crate) async fn order(
    pool: &SqlitePool,
    wanted: &Wanted,
    order: Result<Order, String>,
    now: Instant,
) -> Result<Option<Once>, sqlx::Error> {
    let mut tx = write(pool).await?;
    let to = Principal { tenant: wanted.tenant.clone(), device_id: wanted.device_id.clone() };
    let (once, problem) = match order {
        Ok(order) => match command::order_once(&mut tx, &to, &wanted.command_id, &order, TRIAGE, now).await? {
            Once::Full => (Some(Once::Full), Some(format!("{QUEUE} commands wait for the device, and no more may"))),
            once => (Some(once), None),
        },
        Err(problem) => (None, Some(problem)),
    };
    if let Some(problem) = problem {
        let text = format!("{} was not ordered: {problem}", wanted.name);
        note(&mut tx, &wanted.ticket_id, now, &text).await?;
    }
    let update = "update self_test_wanted set taken = ? where number = ? and taken is null";
    sqlx::query(update).bind(now.micros()).bind(wanted.number).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(once)
}

/// Notes what a device found, if its reply is that of a self-test. Inside the transaction of the reply.
pub(crate) async fn replied(tx: &mut SqliteConnection, reply: &Reply) -> Result<(), sqlx::Error> {
    let passed = passed(reply.ok, reply.result.as_deref());
    let update = "update self_test_wanted set replied = ?, passed = ?, result = ? \
                  where tenant = ? and command_id = ? and device_id = ? returning ticket_id, name";
    let test: Option<(String, String)> = sqlx::query_as(update)
        .bind(reply.at.micros())
        .bind(passed)
        .bind(&reply.result)
        .bind(reply.from.tenant.as_str())
        .bind(&reply.command_id)
        .bind(reply.from.device_id.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let Some((ticket_id, name)) = test else { return Ok(()) };
    let found = reply.result.as_deref().map_or(String::new(), |result| format!(": {}", shortened(result)));
    let text = format!("{name} {}{found}", if passed { "passed" } else { "failed" });
    note(tx, &ticket_id, reply.at, &text).await
}

async fn note(tx: &mut SqliteConnection, ticket_id: &str, at: Instant, text: &str) -> Result<(), sqlx::Error> {
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Note, change: None, text };
    ticket::store::note(tx, ticket_id, &entry).await.map(|_| ())
}

/// The self-tests of a ticket, oldest first.
pub(crate) async fn of_ticket(tx: &mut SqliteConnection, ticket: &Ticket) -> Result<Vec<SelfTest>, sqlx::Error> {
    let select = "select wanted.*, command.state as state from self_test_wanted wanted left join command \
                  on command.tenant = wanted.tenant and command.command_id = wanted.command_id \
                  where wanted.ticket_id = ? order by wanted.number";
    let rows = sqlx::query(select).bind(&ticket.ticket_id).fetch_all(tx).await?;
    let at = |row: &SqliteRow, name| row.try_get::<Option<i64>, _>(name).map(|it| it.map(Instant::from_micros));
    let one = |row: &SqliteRow| {
        let replied = at(row, "replied")?;
        // The command may be forgotten; what is kept here tells the most of it.
        let state = match (row.try_get::<Option<String>, _>("state")?, replied, at(row, "taken")?) {
            (Some(state), ..) => state,
            (None, Some(_), _) => "answered".to_owned(),
            (None, None, Some(_)) => "not_ordered".to_owned(),
            (None, None, None) => "wanted".to_owned(),
        };
        let result: Option<String> = row.try_get("result")?;
        Ok(SelfTest {
            command_id: row.try_get("command_id")?,
            name: row.try_get("name")?,
            wanted: Instant::from_micros(row.try_get("wanted")?),
            state,
            replied,
            passed: row.try_get("passed")?,
            result: result.and_then(|text| serde_json::from_str(&text).ok()),
        })
    };
    rows.iter().map(one).collect()
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
