//! The wanted self-tests' SQL.

use schemas::{
    alarm::Alarm,
    door::Principal,
    id::{DeviceId, FaultKey, TenantId},
    time::Instant,
};
use serde_json::json;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    SelfTest, Wanted,
    rules::{self, Found, passed, shortened},
};
use crate::{
    command::{
        rules::{Order, QUEUE},
        store::{self as command, Once, Reply},
    },
    event, id,
    store::{decode, write},
    ticket::{self, EntryKind, NewEntry, State, TRIAGE, Ticket},
};

/// Wants the self-test that the ticket's advisories name, if the ticket is open, needs no agent's yes any more and has
/// had none. Noted as the ticket's first step. Inside the transaction of what it follows from.
pub(crate) async fn want(tx: &mut SqliteConnection, ticket: &Ticket, at: Instant) -> Result<(), sqlx::Error> {
    if !matches!(ticket.state, State::Acknowledged { .. } | State::InProgress { .. }) {
        return Ok(());
    }
    let insert = "insert into self_test_wanted (tenant, command_id, device_id, fault_key, name, ticket_id, wanted, due) \
                  select ?1, ?2 || '.' || test, ?3, ?4, test, ?2, ?5, ?5 from \
                  (select body ->> 'self_test' as test from advisory where ticket_id = ?2 order by number limit 1) \
                  where test is not null and not exists (select 1 from self_test_wanted where ticket_id = ?2) \
                  returning command_id, name";
    let wanted: Option<(String, String)> = sqlx::query_as(insert)
        .bind(ticket.tenant.as_str())
        .bind(&ticket.ticket_id)
        .bind(ticket.subject.device_id.as_str())
        .bind(ticket.subject.fault_key.as_str())
        .bind(at.micros())
        .fetch_optional(&mut *tx)
        .await?;
    let Some((command_id, name)) = wanted else {
        return Ok(());
    };
    let text = format!("first step: {name}, by which the device tests the component itself, is asked for");
    note(tx, &ticket.ticket_id, at, &text).await?;
    let of = Fault { tenant: &ticket.tenant, device_id: &ticket.subject.device_id, key: &ticket.subject.fault_key };
    tell(tx, &of, &command_id, &name, Some(&ticket.ticket_id), at, at).await
}

/// Whose fault on which device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) device_id: &'a DeviceId,
    pub(crate) key: &'a FaultKey,
}

impl<'a> Fault<'a> {
    /// What an alarm speaks of.
    pub(crate) fn of(alarm: &'a Alarm) -> Self {
        Self { tenant: &alarm.tenant, device_id: &alarm.device_id, key: &alarm.fault_key }
    }
}

impl Wanted {
    /// What it tests.
    pub(crate) fn fault(&self) -> Fault<'_> {
        Fault { tenant: &self.tenant, device_id: &self.device_id, key: &self.fault_key }
    }
}

/// Wants a self-test before there is a ticket, or brings forward the one that is wanted already. Inside the transaction of
/// the alarm.
pub(crate) async fn want_first(
    tx: &mut SqliteConnection,
    of: &Fault<'_>,
    name: &str,
    at: Instant,
) -> Result<(), sqlx::Error> {
    let update = "update self_test_wanted set due = iif(taken is null, min(due, ?), due) \
                  where tenant = ? and device_id = ? and fault_key = ? and ticket_id is null and decided is null";
    let query = sqlx::query(update).bind(at.micros()).bind(of.tenant.as_str());
    let query = query.bind(of.device_id.as_str()).bind(of.key.as_str());
    if query.execute(&mut *tx).await?.rows_affected() == 0 {
        insert_first(tx, of, name, at, at, rules::until(at)).await?;
    }
    Ok(())
}

async fn insert_first(
    tx: &mut SqliteConnection,
    of: &Fault<'_>,
    name: &str,
    at: Instant,
    due: Instant,
    until: Instant,
) -> Result<(), sqlx::Error> {
    let command_id = id::new(at);
    let insert = "insert into self_test_wanted (tenant, command_id, device_id, fault_key, name, wanted, due, until) \
                  values (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(of.tenant.as_str())
        .bind(&command_id)
        .bind(of.device_id.as_str())
        .bind(of.key.as_str())
        .bind(name)
        .bind(at.micros())
        .bind(due.micros())
        .bind(until.micros())
        .execute(&mut *tx)
        .await?;
    tell(tx, of, &command_id, name, None, due, at).await
}

/// Nothing waits any more for a self-test before a ticket: one that was not ordered yet is not wanted.
pub(crate) async fn give_up(tx: &mut SqliteConnection, of: &Fault<'_>, at: Instant) -> Result<(), sqlx::Error> {
    let update = "update self_test_wanted set decided = ? where tenant = ? and device_id = ? and fault_key = ? \
                  and ticket_id is null and decided is null and taken is null";
    let query = sqlx::query(update).bind(at.micros()).bind(of.tenant.as_str());
    query.bind(of.device_id.as_str()).bind(of.key.as_str()).execute(tx).await.map(|_| ())
}

async fn tell(
    tx: &mut SqliteConnection,
    of: &Fault<'_>,
    command_id: &str,
    name: &str,
    ticket_id: Option<&str>,
    due: Instant,
    at: Instant,
) -> Result<(), sqlx::Error> {
    let data = json!({
        "command_id": command_id,
        "device_id": of.device_id,
        "fault_key": of.key,
        "name": name,
        "due": due,
        "ticket_id": ticket_id,
    });
    let new = event::New { tenant: of.tenant, kind: event::Kind::SelfTestWanted, subject: command_id, at, data };
    event::store::append(tx, &new).await.map(|_| ())
}

/// Gives the self-tests that came before a ticket to it: the one that is under way, and, where alarms still wait for it, those
/// of the days before it. Inside the transaction that opened it.
pub(crate) async fn adopt(
    tx: &mut SqliteConnection,
    ticket: &Ticket,
    waited_for: bool,
    at: Instant,
) -> Result<(), sqlx::Error> {
    let update = "update self_test_wanted set ticket_id = ?1, due = iif(taken is null, min(due, ?2), due) \
                  where tenant = ?3 and device_id = ?4 and fault_key = ?5 and ticket_id is null \
                  and (decided is null or (?6 and until >= ?2 and taken is not null))";
    let query = sqlx::query(update).bind(&ticket.ticket_id).bind(at.micros()).bind(ticket.tenant.as_str());
    let query = query.bind(ticket.subject.device_id.as_str()).bind(ticket.subject.fault_key.as_str());
    query.bind(waited_for).execute(tx).await.map(|_| ())
}

/// A self-test that came before a ticket, and is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) test: Wanted,
    pub(crate) found: Found,
    /// When the device replied.
    pub(crate) replied: Option<Instant>,
    /// What it replied, or why it could not be asked.
    pub(crate) result: Option<String>,
    pub(crate) until: Instant,
}

/// Those that are over, in order: answered, refused, expired, or ordered before `given_up` and not answered.
pub(crate) async fn over(
    conn: impl sqlx::SqliteExecutor<'_>,
    given_up: Instant,
    limit: u32,
) -> Result<Vec<Over>, sqlx::Error> {
    let select = "select w.* from self_test_wanted w left join command c on c.tenant = w.tenant \
                  and c.command_id = w.command_id where w.ticket_id is null and w.decided is null \
                  and w.taken is not null and (w.replied is not null or w.taken <= ? \
                  or coalesce(c.state, 'expired') in ('refused', 'expired')) order by w.number limit ?";
    let rows = sqlx::query(select).bind(given_up.micros()).bind(limit);
    let one = |row: &SqliteRow| {
        let replied: Option<i64> = row.try_get("replied")?;
        Ok(Over {
            test: read(row)?,
            found: Found::of(row.try_get("passed")?),
            replied: replied.map(Instant::from_micros),
            result: row.try_get("result")?,
            until: Instant::from_micros(row.try_get("until")?),
        })
    };
    rows.fetch_all(conn).await?.iter().map(one).collect()
}

/// Notes that one was acted upon, and wants the next one at `again`.
pub(crate) async fn decided(
    tx: &mut SqliteConnection,
    over: &Over,
    again: Option<Instant>,
    now: Instant,
) -> Result<(), sqlx::Error> {
    let test = &over.test;
    let update = "update self_test_wanted set decided = ? where number = ?";
    sqlx::query(update).bind(now.micros()).bind(test.number).execute(&mut *tx).await?;
    let Some(due) = again else { return Ok(()) };
    insert_first(tx, &test.fault(), &test.name, now, due, over.until).await
}

/// The next ones to deliver, of all tenants, in order.
pub async fn waiting(pool: &SqlitePool, now: Instant, limit: u32) -> Result<Vec<Wanted>, sqlx::Error> {
    let select = "select * from self_test_wanted where taken is null and decided is null and due <= ? \
                  order by number limit ?";
    sqlx::query(select).bind(now.micros()).bind(limit).fetch_all(pool).await?.iter().map(read).collect()
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
    match (&problem, &wanted.ticket_id) {
        (Some(problem), Some(ticket_id)) => {
            note(&mut tx, ticket_id, now, &format!("{} was not ordered: {problem}", wanted.name)).await?;
        }
        // The ticket that comes of it says why.
        (Some(problem), None) => {
            let update = "update self_test_wanted set result = ? where number = ?";
            let result = json!({ "error": problem }).to_string();
            sqlx::query(update).bind(result).bind(wanted.number).execute(&mut *tx).await?;
        }
        (None, _) => {}
    }
    let update = "update self_test_wanted set taken = ? where number = ? and taken is null";
    sqlx::query(update).bind(now.micros()).bind(wanted.number).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(once)
}

/// Notes what a device found, if its reply is that of a self-test. Inside the transaction of the reply. Tells what it was.
pub(crate) async fn replied(tx: &mut SqliteConnection, reply: &Reply) -> Result<Option<Found>, sqlx::Error> {
    let select = "select * from self_test_wanted where tenant = ? and command_id = ? and device_id = ?";
    let query = sqlx::query(select).bind(reply.from.tenant.as_str()).bind(&reply.command_id);
    let row = query.bind(reply.from.device_id.as_str()).fetch_optional(&mut *tx).await?;
    let Some(test) = row.as_ref().map(read).transpose()? else { return Ok(None) };
    let passed = passed(reply.ok, reply.result.as_deref(), test.fault_key.component());
    let update = "update self_test_wanted set replied = ?, passed = ?, result = ? where number = ?";
    let query = sqlx::query(update).bind(reply.at.micros()).bind(passed).bind(&reply.result).bind(test.number);
    query.execute(&mut *tx).await?;
    let found = Found::of(passed);
    if let Some(ticket_id) = &test.ticket_id {
        note(tx, ticket_id, reply.at, &words(&test.name, found, reply.result.as_deref())).await?;
    }
    Ok(Some(found))
}

/// What a ticket's history says of a reply.
pub(crate) fn words(name: &str, found: Found, result: Option<&str>) -> String {
    let result = result.map_or(String::new(), |result| format!(": {}", shortened(result)));
    match found {
        Found::Undone => format!("{name} could not be done{result}"),
        done => format!("{name} {}{result}", done.as_str()),
    }
}

/// Adds an entry of triage's to a ticket's history.
pub(crate) async fn note(
    tx: &mut SqliteConnection,
    ticket_id: &str,
    at: Instant,
    text: &str,
) -> Result<(), sqlx::Error> {
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Note, change: None, text };
    ticket::store::note(tx, ticket_id, &entry).await.map(|_| ())
}

/// The self-tests of a ticket, oldest first.
pub(crate) async fn of_ticket(tx: &mut SqliteConnection, ticket_id: &str) -> Result<Vec<SelfTest>, sqlx::Error> {
    let select = "select w.*, c.state as state from self_test_wanted w left join command c on c.tenant = w.tenant \
                  and c.command_id = w.command_id where w.ticket_id = ? order by w.number";
    sqlx::query(select).bind(ticket_id).fetch_all(tx).await?.iter().map(show).collect()
}

/// The self-tests that came before a ticket on an alarm's fault while it was raised, oldest first.
pub(crate) async fn of_alarm(pool: &SqlitePool, alarm: &Alarm) -> Result<Vec<SelfTest>, sqlx::Error> {
    let select = "select w.*, c.state as state from self_test_wanted w left join command c on c.tenant = w.tenant \
                  and c.command_id = w.command_id where w.tenant = ? and w.device_id = ? and w.fault_key = ? \
                  and w.until is not null and w.until > ? and w.wanted <= coalesce(?, w.wanted) order by w.number";
    let query = sqlx::query(select).bind(alarm.tenant.as_str());
    let query = query.bind(alarm.device_id.as_str()).bind(alarm.fault_key.as_str());
    let query = query.bind(alarm.alarm_reporting_time.micros()).bind(alarm.alarm_cleared_time.map(Instant::micros));
    query.fetch_all(pool).await?.iter().map(show).collect()
}

fn show(row: &SqliteRow) -> Result<SelfTest, sqlx::Error> {
    let at = |name| row.try_get::<Option<i64>, _>(name).map(|it| it.map(Instant::from_micros));
    let replied = at("replied")?;
    // The command may be forgotten; what is kept here tells the most of it.
    let state = match (row.try_get::<Option<String>, _>("state")?, replied, at("taken")?) {
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
        due: Instant::from_micros(row.try_get("due")?),
        state,
        replied,
        passed: row.try_get("passed")?,
        result: result.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

fn read(row: &SqliteRow) -> Result<Wanted, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    Ok(Wanted {
        number: row.try_get("number")?,
        command_id: text("command_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
        fault_key: text("fault_key")?.parse().map_err(decode("fault_key"))?,
        name: text("name")?,
        ticket_id: row.try_get("ticket_id")?,
        wanted: Instant::from_micros(row.try_get("wanted")?),
    })
}
