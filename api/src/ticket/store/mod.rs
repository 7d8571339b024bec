//! The tickets' SQL. Functions that take a connection run inside the caller's transaction; those that take the pool are
//! whole transactions.

mod advise;
mod change;
mod create;
mod row;
mod storm;

use schemas::{
    id::{DeviceId, FaultKey, TenantId},
    time::Instant,
};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};

use super::{Entry, EntryKind, NewEntry, Resolution, State, Status, Subject, Ticket, rules};
use crate::{event, id};

pub(crate) use advise::{attach_advisory, confirm};
pub use change::{BookError, By, Patch, PatchError, booked, patch, settle, unbooked};
pub(crate) use change::{attach, reopen};
pub use create::{ALARMS_MAX, Create, Created, Whole, create, whole};
pub(crate) use storm::{hold, release};

/// How a ticket is opened.
#[derive(Debug, Clone)]
pub struct Opening<'a> {
    /// The customer's face, if chosen.
    pub owner: Option<String>,
    /// Whether an agent has to say yes first.
    pub proposed: bool,
    /// The closed ticket whose fault came back.
    pub repeat_of: Option<String>,
    /// When.
    pub at: Instant,
    /// Who: a token's name, or `triage`.
    pub actor: &'a str,
}

/// Opens a ticket that needs nobody's yes.
pub async fn insert(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    subject: &Subject,
    owner: Option<String>,
    repeat_of: Option<String>,
    at: Instant,
    actor: &str,
) -> Result<Ticket, sqlx::Error> {
    open(tx, tenant, subject, Opening { owner, proposed: false, repeat_of, at, actor }).await
}

/// Opens a ticket: row, history, event. Fails on the unique index if the fault has an open one.
pub async fn open(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    subject: &Subject,
    opening: Opening<'_>,
) -> Result<Ticket, sqlx::Error> {
    let Opening { owner, proposed, repeat_of, at, actor } = opening;
    let state = if proposed { State::Proposed { at } } else { State::Acknowledged { at, owner } };
    let mut ticket = Ticket {
        number: 0,
        ticket_id: id::new(at),
        tenant: tenant.clone(),
        subject: subject.clone(),
        sub_status: rules::sub_status(&state, false).to_owned(),
        state,
        reopen_count: 0,
        first_contact: None,
        service_problem_id: None,
        repeat_of,
        alarm_count: 0,
        advisory_count: 0,
        creation_date: at,
        last_update: at,
        resolution_date: None,
        version: 1,
    };
    ticket.number = row::insert(tx, &ticket).await?;
    let text = match &ticket.repeat_of {
        Some(earlier) => format!("opened; repeat of {earlier}"),
        None if proposed => "opened, and waits for an agent to take it".to_owned(),
        None => "opened".to_owned(),
    };
    let entry = NewEntry { at, actor, kind: EntryKind::Created, change: None, text: &text };
    note(tx, &ticket.ticket_id, &entry).await?;
    tell(tx, &ticket, event::Kind::TicketCreated).await?;
    Ok(ticket)
}

/// Adds an entry to a history; returns its place. An instant before the last entry's becomes the last entry's.
pub async fn note(tx: &mut SqliteConnection, ticket_id: &str, entry: &NewEntry<'_>) -> Result<i64, sqlx::Error> {
    let insert = "insert into ticket_history (ticket_id, entry, at, actor, kind, from_status, to_status, text) \
                  select ?1, coalesce(max(entry), 0) + 1, max(coalesce(max(at), ?2), ?2), ?3, ?4, ?5, ?6, ?7 \
                  from ticket_history where ticket_id = ?1 returning entry";
    sqlx::query_scalar(insert)
        .bind(ticket_id)
        .bind(entry.at.micros())
        .bind(entry.actor)
        .bind(entry.kind.as_str())
        .bind(entry.change.map(|(from, _)| from.as_str()))
        .bind(entry.change.map(|(_, to)| to.as_str()))
        .bind(entry.text)
        .fetch_one(tx)
        .await
}

/// Writes the event of a ticket as it is now.
pub(crate) async fn tell(tx: &mut SqliteConnection, ticket: &Ticket, kind: event::Kind) -> Result<(), sqlx::Error> {
    let (tenant, at) = (&ticket.tenant, ticket.last_update);
    let new = event::New { tenant, kind, subject: &ticket.ticket_id, at, data: summary(ticket) };
    event::store::append(tx, &new).await.map(|_| ())
}

fn summary(ticket: &Ticket) -> Value {
    json!({
        "ticket_id": ticket.ticket_id,
        "number": ticket.number,
        "device_id": ticket.subject.device_id,
        "profile": ticket.subject.profile,
        "fault_key": ticket.subject.fault_key,
        "status": ticket.state.status(),
        "sub_status": ticket.sub_status,
        "severity": ticket.subject.severity,
        "priority": rules::priority(ticket.subject.severity),
        "title": ticket.subject.title,
        "owner": ticket.state.owner(),
        "reopen_count": ticket.reopen_count,
        "service_problem_id": ticket.service_problem_id,
        "repeat_of": ticket.repeat_of,
        "version": ticket.version,
    })
}

/// A ticket of the tenant.
pub async fn get(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
) -> Result<Option<Ticket>, sqlx::Error> {
    let select = "select * from ticket where tenant = ? and ticket_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(ticket_id).fetch_optional(conn).await?;
    row.as_ref().map(row::read).transpose()
}

/// The latest ticket on a fault: the open one, if any is open.
pub async fn latest(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    device_id: &DeviceId,
    fault_key: &FaultKey,
) -> Result<Option<Ticket>, sqlx::Error> {
    let select =
        "select * from ticket where tenant = ? and device_id = ? and fault_key = ? order by number desc limit 1";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(device_id.as_str()).bind(fault_key.as_str());
    query.fetch_optional(conn).await?.as_ref().map(row::read).transpose()
}

/// The ticket that a word about a component belongs to: an open one, first that on this fault, else the latest on the
/// component, whatever its failure mode.
pub async fn latest_on_component(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    device_id: &DeviceId,
    fault_key: &FaultKey,
) -> Result<Option<Ticket>, sqlx::Error> {
    // '0' is the character after '/'.
    let select = "select * from ticket where tenant = ?1 and device_id = ?2 and fault_key > ?3 || '/' and fault_key < ?3 || '0' \
                  order by status in ('acknowledged', 'pending', 'held', 'inProgress', 'resolved') desc, \
                  fault_key = ?4 desc, number desc limit 1";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(device_id.as_str()).bind(fault_key.component());
    query.bind(fault_key.as_str()).fetch_optional(conn).await?.as_ref().map(row::read).transpose()
}

/// Which tickets a page shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these; empty means all.
    pub status: Vec<Status>,
    /// Of this device.
    pub device_id: Option<DeviceId>,
    /// On this fault.
    pub fault_key: Option<FaultKey>,
    /// Of this service problem.
    pub service_problem_id: Option<String>,
    /// Opened before the ticket of this number.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A tenant's tickets, newest first.
pub async fn list(pool: &SqlitePool, tenant: &TenantId, filter: &Filter) -> Result<Vec<Ticket>, sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new("select * from ticket where tenant = ");
    query.push_bind(tenant.as_str());
    if !filter.status.is_empty() {
        query.push(" and status in (");
        let mut words = query.separated(", ");
        for status in &filter.status {
            words.push_bind(status.as_str());
        }
        query.push(")");
    }
    if let Some(device_id) = &filter.device_id {
        query.push(" and device_id = ").push_bind(device_id.as_str());
    }
    if let Some(fault_key) = &filter.fault_key {
        query.push(" and fault_key = ").push_bind(fault_key.as_str());
    }
    if let Some(service_problem_id) = &filter.service_problem_id {
        query.push(" and service_problem_id = ").push_bind(service_problem_id);
    }
    if let Some(after) = filter.after {
        query.push(" and number < ").push_bind(after);
    }
    query.push(" order by number desc limit ").push_bind(filter.limit);
    query.build().fetch_all(pool).await?.iter().map(row::read).collect()
}

/// The most history entries of one answer: the latest of them.
pub const HISTORY_MAX: u32 = 1000;

/// A ticket's history in order.
pub async fn history(conn: &mut SqliteConnection, ticket_id: &str) -> Result<Vec<Entry>, sqlx::Error> {
    let select =
        "select * from (select * from ticket_history where ticket_id = ? order by entry desc limit ?) order by entry";
    let rows = sqlx::query(select).bind(ticket_id).bind(HISTORY_MAX).fetch_all(conn).await?;
    rows.iter().map(row::entry).collect()
}

/// Whether an alarm of the ticket is still raised.
pub(crate) async fn alarm_active(conn: &mut SqliteConnection, ticket_id: &str) -> Result<bool, sqlx::Error> {
    let select = "select exists (select 1 from alarm where ticket_id = ? and state = 'raised')";
    sqlx::query_scalar(select).bind(ticket_id).fetch_one(conn).await
}

/// Counts tickets by status, for tests and for the start-up log line.
pub async fn count(pool: &SqlitePool, tenant: &TenantId) -> Result<Vec<(Status, i64)>, sqlx::Error> {
    let select = "select status, count(*) as n from ticket where tenant = ? group by status order by status";
    let rows = sqlx::query(select).bind(tenant.as_str()).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let status: String = row.try_get("status")?;
            Ok((status.parse().map_err(crate::store::decode("status"))?, row.try_get("n")?))
        })
        .collect()
}

fn resolution_json(state: &State) -> Result<Option<String>, sqlx::Error> {
    let text = |resolution: &Resolution| serde_json::to_string(resolution);
    state.resolution().map(text).transpose().map_err(|error| sqlx::Error::Encode(error.into()))
}
