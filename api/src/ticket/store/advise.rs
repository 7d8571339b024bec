//! What an advisory changes of a ticket: evidence, severity, an agent's yes that is no longer needed.

use schemas::{advisory::Advisory, time::Instant};
use sqlx::SqliteConnection;

use super::super::{EntryKind, NewEntry, State, TRIAGE, Ticket, rules};
use crate::{advisory, event};

/// Counts an advisory in, notes what it says, raises the severity if it is worse. A ticket that is over is left as it is,
/// but for the count.
pub(crate) async fn attach_advisory(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    advisory: &Advisory,
) -> Result<(), sqlx::Error> {
    ticket.advisory_count += 1;
    if !ticket.state.status().is_open() {
        let update = "update ticket set advisory_count = advisory_count + 1 where ticket_id = ?";
        return sqlx::query(update).bind(&ticket.ticket_id).execute(tx).await.map(|_| ());
    }
    ticket.last_update = ticket.last_update.max(advisory.advisory_reporting_time);
    let at = ticket.last_update;
    let text = advisory::rules::note(advisory);
    let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Note, change: None, text: &text };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    let (before, after) = (ticket.subject.severity, advisory.perceived_severity());
    if after > before {
        ticket.subject.severity = after;
        let text = format!("severity {} raised to {} by an advisory", before.as_str(), after.as_str());
        let entry = NewEntry { at, actor: TRIAGE, kind: EntryKind::Severity, change: None, text: &text };
        super::note(tx, &ticket.ticket_id, &entry).await?;
    }
    super::change::save(tx, ticket, event::Kind::TicketChanged).await
}

/// A ticket that waited for an agent's yes needs none any more.
pub(crate) async fn confirm(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    at: Instant,
    why: &str,
) -> Result<(), sqlx::Error> {
    let State::Proposed { at: opened } = ticket.state else {
        return Ok(());
    };
    ticket.state = State::Acknowledged { at: opened, owner: None };
    ticket.sub_status = rules::sub_status(&ticket.state, false).to_owned();
    ticket.last_update = ticket.last_update.max(at);
    let entry = NewEntry { at: ticket.last_update, actor: TRIAGE, kind: EntryKind::Note, change: None, text: why };
    super::note(tx, &ticket.ticket_id, &entry).await?;
    super::change::save(tx, ticket, event::Kind::TicketChanged).await
}
