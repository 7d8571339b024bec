//! A ticket as a row, and back. What cannot be read back was not written by this program: an error of the world.

use std::time::Duration;

use schemas::time::Instant;
use sqlx::{Row, SqliteConnection, error::BoxDynError, sqlite::SqliteRow};

use super::super::{Entry, EntryKind, State, Status, Subject, Ticket, rules};
use crate::{alarm, store::decode};

pub(super) async fn insert(tx: &mut SqliteConnection, ticket: &Ticket) -> Result<i64, sqlx::Error> {
    let insert = "insert into ticket (ticket_id, tenant, device_id, profile, fault_key, ticket_type, channel, \
                  status, sub_status, since, owner, severity, priority, title, description, customer_text, skills, parts, \
                  repair_seconds, repeat_of, creation_date, last_update) \
                  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning number";
    let subject = &ticket.subject;
    let json = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    sqlx::query_scalar(insert)
        .bind(&ticket.ticket_id)
        .bind(ticket.tenant.as_str())
        .bind(subject.device_id.as_str())
        .bind(subject.profile.as_ref().map(|profile| profile.as_str()))
        .bind(subject.fault_key.as_str())
        .bind(subject.ticket_type.as_str())
        .bind(subject.channel.as_str())
        .bind(ticket.state.status().as_str())
        .bind(&ticket.sub_status)
        .bind(ticket.state.since().micros())
        .bind(ticket.state.owner())
        .bind(subject.severity.as_str())
        .bind(rules::priority(subject.severity))
        .bind(&subject.title)
        .bind(&subject.description)
        .bind(&subject.customer_text)
        .bind(serde_json::to_string(&subject.skills).map_err(json)?)
        .bind(serde_json::to_string(&subject.parts).map_err(json)?)
        .bind(i64::try_from(subject.repair.as_secs()).unwrap_or(i64::MAX))
        .bind(&ticket.repeat_of)
        .bind(ticket.creation_date.micros())
        .bind(ticket.last_update.micros())
        .fetch_one(tx)
        .await
}

/// Writes what may change, and counts the version up. False where somebody else changed it first.
pub(super) async fn update(tx: &mut SqliteConnection, ticket: &mut Ticket) -> Result<bool, sqlx::Error> {
    let update = "update ticket set status = ?, sub_status = ?, since = ?, owner = ?, reason = ?, resolution = ?, \
                  severity = ?, priority = ?, reopen_count = ?, first_contact = ?, alarm_count = ?, advisory_count = ?, \
                  last_update = ?, resolution_date = ?, service_problem_id = ?, version = version + 1 \
                  where ticket_id = ? and version = ?";
    let done = sqlx::query(update)
        .bind(ticket.state.status().as_str())
        .bind(&ticket.sub_status)
        .bind(ticket.state.since().micros())
        .bind(ticket.state.owner())
        .bind(ticket.state.reason())
        .bind(super::resolution_json(&ticket.state)?)
        .bind(ticket.subject.severity.as_str())
        .bind(rules::priority(ticket.subject.severity))
        .bind(ticket.reopen_count)
        .bind(ticket.first_contact.map(Instant::micros))
        .bind(ticket.alarm_count)
        .bind(ticket.advisory_count)
        .bind(ticket.last_update.micros())
        .bind(ticket.resolution_date.map(Instant::micros))
        .bind(&ticket.service_problem_id)
        .bind(&ticket.ticket_id)
        .bind(ticket.version)
        .execute(tx)
        .await?;
    ticket.version += 1;
    Ok(done.rows_affected() == 1)
}

fn at(row: &SqliteRow, name: &str) -> Result<Option<Instant>, sqlx::Error> {
    row.try_get::<Option<i64>, _>(name).map(|micros| micros.map(Instant::from_micros))
}

fn parsed<T>(row: &SqliteRow, name: &'static str) -> Result<T, sqlx::Error>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<String, _>(name)?.parse().map_err(decode(name))
}

fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, name: &'static str) -> Result<T, sqlx::Error> {
    serde_json::from_str(&row.try_get::<String, _>(name)?).map_err(decode(name))
}

pub(super) fn read(row: &SqliteRow) -> Result<Ticket, sqlx::Error> {
    let severity: String = row.try_get("severity")?;
    let seconds: i64 = row.try_get("repair_seconds")?;
    let profile: Option<String> = row.try_get("profile")?;
    let subject = Subject {
        ticket_type: parsed(row, "ticket_type")?,
        channel: parsed(row, "channel")?,
        device_id: parsed(row, "device_id")?,
        profile: profile.map(|text| text.parse()).transpose().map_err(decode("profile"))?,
        fault_key: parsed(row, "fault_key")?,
        severity: alarm::severity(&severity).ok_or_else(|| decode("severity")(severity))?,
        title: row.try_get("title")?,
        description: row.try_get("description")?,
        customer_text: row.try_get("customer_text")?,
        skills: json(row, "skills")?,
        parts: json(row, "parts")?,
        repair: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    };
    Ok(Ticket {
        number: row.try_get("number")?,
        ticket_id: row.try_get("ticket_id")?,
        tenant: parsed(row, "tenant")?,
        subject,
        state: state(row)?,
        sub_status: row.try_get("sub_status")?,
        reopen_count: row.try_get("reopen_count")?,
        first_contact: at(row, "first_contact")?,
        service_problem_id: row.try_get("service_problem_id")?,
        repeat_of: row.try_get("repeat_of")?,
        alarm_count: row.try_get("alarm_count")?,
        advisory_count: row.try_get("advisory_count")?,
        creation_date: Instant::from_micros(row.try_get("creation_date")?),
        last_update: Instant::from_micros(row.try_get("last_update")?),
        resolution_date: at(row, "resolution_date")?,
        version: row.try_get("version")?,
    })
}

fn state(row: &SqliteRow) -> Result<State, sqlx::Error> {
    let owner: Option<String> = row.try_get("owner")?;
    let since = Instant::from_micros(row.try_get("since")?);
    let by = || owner.clone().ok_or_else(|| decode("owner")("a ticket in work without an owner"));
    Ok(match parsed::<Status>(row, "status")? {
        Status::Acknowledged if row.try_get::<String, _>("sub_status")? == rules::AWAITING_CONFIRMATION => {
            State::Proposed { at: since }
        }
        Status::Acknowledged => State::Acknowledged { at: since, owner },
        Status::InProgress => State::InProgress { by: by()?, since },
        Status::Pending => State::Pending { by: by()?, since, reason: parsed(row, "reason")? },
        Status::Held => State::Held { by: by()?, since, reason: parsed(row, "reason")? },
        Status::Resolved => State::Resolved { by: by()?, at: since, resolution: json(row, "resolution")? },
        Status::Closed => {
            let (resolution, reason) = (json(row, "resolution")?, parsed(row, "reason")?);
            State::Closed { by: owner, at: since, resolution, reason }
        }
        Status::Cancelled => State::Cancelled { by: owner, at: since, reason: parsed(row, "reason")? },
        Status::Rejected => State::Rejected { by: owner, at: since, reason: parsed(row, "reason")? },
    })
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let status = |name: &'static str| -> Result<Option<Status>, sqlx::Error> {
        row.try_get::<Option<String>, _>(name)?.map(|text| text.parse()).transpose().map_err(decode(name))
    };
    let kind: EntryKind = parsed(row, "kind")?;
    Ok(Entry {
        entry: row.try_get("entry")?,
        at: Instant::from_micros(row.try_get("at")?),
        actor: row.try_get("actor")?,
        kind,
        change: status("from_status")?.zip(status("to_status")?),
        text: row.try_get("text")?,
    })
}

impl From<Conflict> for sqlx::Error {
    fn from(Conflict: Conflict) -> Self {
        let text = "a ticket changed inside a write transaction";
        sqlx::Error::Protocol(BoxDynError::from(text).to_string())
    }
}

/// Cannot happen while write transactions exclude one another.
#[derive(Debug)]
pub(super) struct Conflict;
