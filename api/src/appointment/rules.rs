//! What may become of a promise. Pure.

use schemas::time::Instant;

use super::{
    Appointment, Change, Refused, State, Window,
    slot::{Hold, HoldState},
};
use crate::{
    plan::{HORIZON, LEAD, WINDOW},
    ticket::{self, Status},
};

/// The next state, or none where it is there already; asking the same thing twice is the same as once.
pub(crate) fn next(appointment: &Appointment, change: &Change, now: Instant) -> Result<Option<State>, Refused> {
    let wanted = match change {
        Change::Cancel(reason) => State::Cancelled(*reason),
        Change::Complete => State::Completed,
        Change::Fail(reason) => State::Failed(*reason),
        Change::Reschedule { .. } => State::Confirmed,
    };
    let again = match change {
        Change::Reschedule { slot_id } => *slot_id == appointment.slot_id,
        _ => true,
    };
    if appointment.state == wanted && again {
        return Ok(None);
    }
    if appointment.state != State::Confirmed {
        let detail = format!("the appointment is {}; only a confirmed one changes", appointment.state.as_str());
        return Err(Refused::conflict("appointment_ended", detail));
    }
    if matches!(change, Change::Complete | Change::Fail(_)) && now < appointment.window.start {
        let detail =
            format!("the visit begins at {} or later; nobody can have been there yet", appointment.window.start);
        return Err(Refused::conflict("not_yet", detail));
    }
    Ok(Some(wanted))
}

/// The time in which windows may lie: what was asked for, cut to lead and horizon.
pub(crate) fn range(now: Instant, earliest: Option<Instant>, latest: Option<Instant>) -> Result<Window, Refused> {
    let start = earliest.unwrap_or(now).max(now.plus(LEAD));
    let end = latest.unwrap_or(Instant::MAX).min(now.plus(HORIZON));
    if end < start.plus(WINDOW) {
        let detail = format!(
            "between {start} and {end} lies no window of {} hours; windows begin {} hours from now and end within {} days",
            WINDOW.as_secs() / 3600,
            LEAD.as_secs() / 3600,
            HORIZON.as_secs() / 86_400
        );
        return Err(Refused::unprocessable("no_window", detail));
    }
    Ok(Window { start, end })
}

/// Whether a held slot can still be taken for a ticket.
pub(crate) fn takeable(hold: &Hold, ticket_id: &str, now: Instant) -> Result<(), Refused> {
    if hold.ticket_id != ticket_id {
        return Err(Refused::conflict("slot_of_another_ticket", "the slot was offered for another ticket"));
    }
    match hold.state {
        HoldState::Held if now < hold.expires_at => Ok(()),
        HoldState::Held | HoldState::Expired => {
            let detail = format!("the slot expired at {}; ask for new slots", hold.expires_at);
            Err(Refused::conflict("slot_expired", detail))
        }
        HoldState::Released => {
            let detail = "the slot was given back: newer slots were offered, or another one was taken";
            Err(Refused::conflict("slot_released", detail))
        }
        HoldState::Confirmed => {
            Err(Refused::conflict("slot_used", "the slot's appointment has ended; ask for new slots"))
        }
    }
}

/// Whether a ticket that stands there can be visited.
pub(crate) fn visitable(state: &ticket::State) -> Result<(), Refused> {
    if matches!(state, ticket::State::Proposed { .. }) {
        let detail = "the ticket waits for an agent's yes; set its owner first";
        return Err(Refused::conflict("ticket_not_confirmed", detail));
    }
    match state.status() {
        Status::Acknowledged | Status::Pending | Status::Held | Status::InProgress => Ok(()),
        status => {
            Err(Refused::conflict("ticket_not_open", format!("the ticket is {status}; no visit is planned for it")))
        }
    }
}
