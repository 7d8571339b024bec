//! Tickets under a service problem: held while it lasts, acknowledged again when it has ended.

use schemas::time::Instant;
use sqlx::SqliteConnection;

use super::{
    super::{EntryKind, HeldReason, NewEntry, State, Status, TRIAGE, Ticket, rules},
    change::save,
};
use crate::event;

/// Puts a ticket under a service problem. It is held if nobody has begun to work on it; tells whether it is.
pub(crate) async fn hold(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    service_problem_id: &str,
) -> Result<bool, sqlx::Error> {
    ticket.service_problem_id = Some(service_problem_id.to_owned());
    let at = ticket.last_update;
    let State::Acknowledged { owner, .. } = &ticket.state else {
        let text = format!("one of many: service problem {service_problem_id}");
        let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Note, change: None, text: &text };
        super::note(tx, &ticket.ticket_id, &entry).await?;
        save(tx, ticket, event::Kind::TicketChanged).await?;
        return Ok(false);
    };
    let by = owner.clone().unwrap_or_else(|| TRIAGE.to_owned());
    ticket.state = State::Held { by, since: at, reason: HeldReason::ServiceProblem };
    ticket.sub_status = rules::sub_status(&ticket.state, false).to_owned();
    let text = format!("one of many: held for service problem {service_problem_id}");
    let change = Some((Status::Acknowledged, Status::Held));
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Status, change, text: &text };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    save(tx, ticket, event::Kind::TicketStatusChanged).await?;
    Ok(true)
}

/// Gives a ticket back that was held for a service problem; one that is not held stays as it is.
pub(crate) async fn release(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    why: &str,
    now: Instant,
) -> Result<(), sqlx::Error> {
    let State::Held { by, reason: HeldReason::ServiceProblem, .. } = &ticket.state else {
        return Ok(());
    };
    let at = now.max(ticket.last_update);
    ticket.state = State::Acknowledged { at, owner: Some(by.clone()).filter(|owner| owner != TRIAGE) };
    ticket.sub_status = rules::sub_status(&ticket.state, false).to_owned();
    ticket.last_update = at;
    let change = Some((Status::Held, Status::Acknowledged));
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Status, change, text: why };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    save(tx, ticket, event::Kind::TicketStatusChanged).await
}
