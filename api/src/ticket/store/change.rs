//! Changes of a ticket: by agents, by triage, by visits, by time. Each writes row, history, event and, where something
//! was learned, an outcome, in one transaction.

use std::time::Duration;

use schemas::{
    alarm::{Alarm, PerceivedSeverity},
    id::TenantId,
    outcome::{Disposition, Outcome},
    time::Instant,
};
use sqlx::{SqliteConnection, SqlitePool};

use super::super::{
    CloseReason, EntryKind, NewEntry, RejectReason, Resolution, State, Status, TRIAGE, Ticket,
    rules::{self, Facts, Refusal, Step},
};
use super::{row, tell};
use crate::{advisory, alarm, appointment, event, outcome, self_test, store};

/// What an agent changes at once.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// The versions the agent knows; none means any.
    pub if_match: Option<Vec<i64>>,
    /// The new owner.
    pub owner: Option<String>,
    /// Something to note.
    pub note: Option<(EntryKind, String)>,
    /// Where it goes.
    pub step: Option<Step>,
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The tenant has no such ticket.
    #[error("there is no such ticket")]
    NotFound,
    /// Somebody else changed it.
    #[error("the ticket's version is {0}")]
    Stale(i64),
    /// The rules refuse.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A ticket that is over takes notes only.
    #[error("a ticket that is {0} keeps its owner")]
    Over(Status),
    /// The database.
    #[error("change a ticket")]
    Db(#[from] sqlx::Error),
}

/// Who changes, when, and for how long a fault must stay away.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The token's name.
    pub actor: &'a str,
    /// The present.
    pub now: Instant,
    /// T_verify.
    pub verify_after: Duration,
}

/// Makes an agent's change.
pub async fn patch(
    pool: &SqlitePool,
    tenant: &TenantId,
    ticket_id: &str,
    patch: Patch,
    by: By<'_>,
) -> Result<Ticket, PatchError> {
    let mut tx = store::write(pool).await?;
    let mut ticket = super::get(&mut tx, tenant, ticket_id).await?.ok_or(PatchError::NotFound)?;
    if patch.if_match.is_some_and(|known| !known.contains(&ticket.version)) {
        return Err(PatchError::Stale(ticket.version));
    }
    // The ticket's own time never goes back, whatever the clock does.
    let at = by.now.max(ticket.last_update);
    ticket.last_update = at;
    let confirmed = matches!(ticket.state, State::Proposed { .. }) && patch.owner.is_some();
    if let Some(owner) = patch.owner.filter(|owner| ticket.state.owner() != Some(owner)) {
        let text = match ticket.state.owner() {
            Some(before) => format!("owner {before} hands over to {owner}"),
            None => format!("owner is {owner}"),
        };
        ticket.state = owned(ticket.state, owner)?;
        ticket.sub_status = sub_status(&ticket);
        let entry = NewEntry { at, actor: by.actor, kind: EntryKind::Owner, change: None, text: &text };
        super::note(&mut tx, ticket_id, &entry).await?;
    }
    if let Some((kind, text)) = &patch.note {
        if matches!(kind, EntryKind::Contact | EntryKind::RemoteAction) {
            ticket.first_contact.get_or_insert(at);
        }
        let entry = NewEntry { at, actor: by.actor, kind: *kind, change: None, text };
        super::note(&mut tx, ticket_id, &entry).await?;
    }
    let mut kind = event::Kind::TicketChanged;
    if let Some(step) = patch.step {
        let facts = Facts {
            now: at,
            owner: ticket.state.owner().map(str::to_owned),
            contacted: ticket.first_contact.is_some(),
            alarm_active: super::alarm_active(&mut tx, ticket_id).await?,
            verify_after: by.verify_after,
        };
        take(&mut tx, &mut ticket, step, &facts, by.actor, "").await?;
        kind = event::Kind::TicketStatusChanged;
    }
    if confirmed {
        self_test::store::want(&mut tx, &ticket, at).await?;
    }
    save(&mut tx, &mut ticket, kind).await?;
    tx.commit().await?;
    Ok(ticket)
}

pub(super) async fn save(tx: &mut SqliteConnection, ticket: &mut Ticket, kind: event::Kind) -> Result<(), sqlx::Error> {
    if !row::update(tx, ticket).await? {
        return Err(row::Conflict.into());
    }
    tell(tx, ticket, kind).await
}

fn sub_status(ticket: &Ticket) -> String {
    match ticket.state {
        // Finer words of work in progress are set by whoever knows, such as visits.
        State::InProgress { .. } => ticket.sub_status.clone(),
        ref state => rules::sub_status(state, false).to_owned(),
    }
}

fn owned(state: State, owner: String) -> Result<State, PatchError> {
    Ok(match state {
        State::Proposed { at } | State::Acknowledged { at, .. } => State::Acknowledged { at, owner: Some(owner) },
        State::InProgress { since, .. } => State::InProgress { by: owner, since },
        State::Pending { since, reason, .. } => State::Pending { by: owner, since, reason },
        State::Held { since, reason, .. } => State::Held { by: owner, since, reason },
        State::Resolved { at, resolution, .. } => State::Resolved { by: owner, at, resolution },
        over => return Err(PatchError::Over(over.status())),
    })
}

/// Takes a step: state, history, what follows from it. The row is saved by the caller.
async fn take(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    step: Step,
    facts: &Facts,
    actor: &str,
    text: &str,
) -> Result<(), PatchError> {
    let from = ticket.state.status();
    let reopened = from == Status::Resolved && step == Step::Work;
    ticket.state = rules::step(ticket.state.clone(), step, facts)?;
    let to = ticket.state.status();
    ticket.sub_status = rules::sub_status(&ticket.state, reopened).to_owned();
    ticket.reopen_count += u32::from(reopened);
    if to == Status::Resolved {
        ticket.resolution_date = Some(facts.now);
    }
    let reason = ticket.state.reason().or(ticket.state.resolution().map(|found| found.disposition.as_str()));
    let text = if text.is_empty() { reason.unwrap_or(&ticket.sub_status) } else { text };
    let entry = NewEntry { at: facts.now, actor, kind: EntryKind::Status, change: Some((from, to)), text };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    if let Some(outcome) = learned(tx, ticket).await? {
        outcome::store::enqueue(tx, &outcome, facts.now).await?;
    }
    if !to.is_open() {
        let (tenant, ticket_id) = (&ticket.tenant, &ticket.ticket_id);
        appointment::store::release_for_ticket(tx, tenant, actor, ticket_id, facts.now).await?;
    }
    Ok(())
}

/// What a ticket that just ended teaches. Its id tells the round, so that saying it again is the same outcome.
async fn learned(tx: &mut SqliteConnection, ticket: &Ticket) -> Result<Option<Outcome>, sqlx::Error> {
    let none = |disposition| Resolution {
        disposition,
        failure_mode: None,
        failure_mechanism: None,
        failure_cause: None,
        detection_method: None,
        maintenance_activity: None,
        part_replaced: None,
        failure_time: None,
    };
    let found = match &ticket.state {
        State::Resolved { resolution, .. } => resolution.clone(),
        State::Rejected { reason: RejectReason::FalseAlarm, .. } => none(Disposition::FalseAlarm),
        _ => return Ok(None),
    };
    let (tenant, ticket_id) = (&ticket.tenant, ticket.ticket_id.as_str());
    let failure_time = match (found.failure_time, found.disposition.confirms_fault()) {
        (None, Some(true)) => alarm::store::first_grave_code(tx, tenant, ticket_id).await?,
        (told, _) => told,
    };
    let word = |word: Option<&'static str>| word.map(str::to_owned);
    Ok(Some(Outcome {
        outcome_id: format!("{}.{}", ticket.ticket_id, ticket.reopen_count),
        tenant: ticket.tenant.clone(),
        device_id: ticket.subject.device_id.clone(),
        profile: ticket.subject.profile.clone(),
        ticket_id: Some(ticket.ticket_id.clone()),
        advisory_id: advisory::store::first_of(tx, tenant, ticket_id).await?,
        fault_key: ticket.subject.fault_key.clone(),
        event_time: ticket.state.since(),
        failure_time,
        disposition: found.disposition,
        failure_mode: found.failure_mode,
        failure_mechanism: word(found.failure_mechanism.map(|code| code.as_str())),
        failure_cause: word(found.failure_cause.map(|code| code.as_str())),
        detection_method: word(found.detection_method.map(|code| code.as_str())),
        maintenance_activity: word(found.maintenance_activity.map(|code| code.as_str())),
        part_replaced: found.part_replaced,
    }))
}

/// Counts an alarm in, raises the severity if the alarm is worse. Saved, told of if something else than the count changed.
pub(crate) async fn attach(tx: &mut SqliteConnection, ticket: &mut Ticket, alarm: &Alarm) -> Result<(), sqlx::Error> {
    let severity: PerceivedSeverity = ticket.subject.severity;
    ticket.alarm_count += 1;
    if !ticket.state.status().is_open() || alarm.perceived_severity <= severity {
        // The count alone is no change that an agent could lose: the version stays.
        let update = "update ticket set alarm_count = alarm_count + 1 where ticket_id = ?";
        return sqlx::query(update).bind(&ticket.ticket_id).execute(tx).await.map(|_| ());
    }
    ticket.subject.severity = alarm.perceived_severity;
    ticket.last_update = ticket.last_update.max(alarm.alarm_reporting_time);
    let (before, after) = (severity.as_str(), alarm.perceived_severity.as_str());
    let text = format!("severity {before} raised to {after} by {}", alarm.specific_problem);
    let entry =
        NewEntry { at: ticket.last_update, actor: TRIAGE, kind: EntryKind::Severity, change: None, text: &text };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    save(tx, ticket, event::Kind::TicketChanged).await
}

/// Opens a resolved ticket again because its fault came back.
pub(crate) async fn reopen(tx: &mut SqliteConnection, ticket: &mut Ticket, alarm: &Alarm) -> Result<(), sqlx::Error> {
    let State::Resolved { by, .. } = &ticket.state else {
        return Ok(());
    };
    let at = ticket.last_update.max(alarm.alarm_reporting_time);
    ticket.state = State::InProgress { by: by.clone(), since: at };
    ticket.sub_status = rules::sub_status(&ticket.state, true).to_owned();
    ticket.reopen_count += 1;
    ticket.last_update = at;
    let text = format!("recurrence: {}", alarm.evidence.reason);
    let change = Some((Status::Resolved, Status::InProgress));
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Status, change, text: &text };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    save(tx, ticket, event::Kind::TicketStatusChanged).await
}

/// Why a visit cannot be booked on a ticket.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The tenant has no such ticket.
    #[error("there is no such ticket")]
    NotFound,
    /// Its state has no room for a visit.
    #[error("a ticket that is {0} takes no visit; legal is acknowledged, inProgress, pending or held")]
    NotOpen(Status),
    /// The database.
    #[error("book a visit on a ticket")]
    Db(#[from] sqlx::Error),
}

/// A customer agreed to a visit: that is contact, and the ticket is in work. Inside the appointment's transaction.
pub async fn booked(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
    at: Instant,
    actor: &str,
    text: &str,
) -> Result<Ticket, BookError> {
    let mut ticket = super::get(tx, tenant, ticket_id).await?.ok_or(BookError::NotFound)?;
    let from = ticket.state.status();
    if !from.is_open() || from == Status::Resolved {
        return Err(BookError::NotOpen(from));
    }
    let at = at.max(ticket.last_update);
    ticket.last_update = at;
    ticket.first_contact.get_or_insert(at);
    let entry = NewEntry { at, actor, kind: EntryKind::Appointment, change: None, text };
    super::note(tx, ticket_id, &entry).await?;
    let mut kind = event::Kind::TicketChanged;
    if from != Status::InProgress {
        let by = ticket.state.owner().unwrap_or(actor).to_owned();
        ticket.state = State::InProgress { by, since: at };
        let change = Some((from, Status::InProgress));
        let entry = NewEntry { at, actor, kind: EntryKind::Status, change, text: "visit_booked" };
        super::note(tx, ticket_id, &entry).await?;
        kind = event::Kind::TicketStatusChanged;
    }
    ticket.sub_status = "visit_booked".to_owned();
    save(tx, &mut ticket, kind).await?;
    Ok(ticket)
}

/// A visit will not be, or is over: noted, and the finer word goes back. Inside the appointment's transaction.
pub async fn unbooked(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
    at: Instant,
    actor: &str,
    text: &str,
) -> Result<Ticket, BookError> {
    let mut ticket = super::get(tx, tenant, ticket_id).await?.ok_or(BookError::NotFound)?;
    let at = at.max(ticket.last_update);
    ticket.last_update = at;
    let entry = NewEntry { at, actor, kind: EntryKind::Appointment, change: None, text };
    super::note(tx, ticket_id, &entry).await?;
    ticket.sub_status = rules::sub_status(&ticket.state, false).to_owned();
    save(tx, &mut ticket, event::Kind::TicketChanged).await?;
    Ok(ticket)
}

/// Tickets settled in one transaction; the rest follows in the next round.
const SETTLE_BATCH: u32 = 200;

/// Closes resolved tickets whose time is over: verified where the device was heard of since and no alarm is raised,
/// otherwise unverified. Returns how many.
pub async fn settle(pool: &SqlitePool, now: Instant, verify_after: Duration) -> Result<usize, sqlx::Error> {
    let due = now.minus(verify_after).micros();
    let select = "select t.tenant, t.ticket_id, exists (select 1 from device d where d.tenant = t.tenant \
                  and d.device_id = t.device_id and d.last_seen >= t.since) as heard \
                  from ticket t where t.status = 'resolved' and t.since <= ? order by t.number limit ?";
    let due: Vec<(String, String, bool)> = sqlx::query_as(select).bind(due).bind(SETTLE_BATCH).fetch_all(pool).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut tx = store::write(pool).await?;
    let mut settled = 0;
    for (tenant, ticket_id, heard) in due {
        let tenant = tenant.parse().map_err(store::decode("tenant"))?;
        let Some(mut ticket) = super::get(&mut tx, &tenant, &ticket_id).await? else { continue };
        let alarm_active = super::alarm_active(&mut tx, &ticket_id).await?;
        let reason = if heard && !alarm_active { CloseReason::Verified } else { CloseReason::Unverified };
        let owner = ticket.state.owner().map(str::to_owned);
        let facts = Facts { now: now.max(ticket.last_update), owner, contacted: true, alarm_active, verify_after };
        ticket.last_update = facts.now;
        match take(&mut tx, &mut ticket, Step::Close(reason), &facts, TRIAGE, "").await {
            Ok(()) => save(&mut tx, &mut ticket, event::Kind::TicketStatusChanged).await?,
            // Somebody was quicker, such as a recurrence between the two statements.
            Err(PatchError::Refused(_)) => continue,
            Err(PatchError::Db(error)) => return Err(error),
            Err(PatchError::NotFound | PatchError::Stale(_) | PatchError::Over(_)) => continue,
        }
        settled += 1;
    }
    tx.commit().await?;
    Ok(settled)
}
