//! Triage (`service-domain.md` 3.4): what a new alarm does to the tickets of its fault. Pure.

use std::time::Duration;

use schemas::{
    alarm::{Alarm, AlarmSource},
    profile::Profile,
    time::Instant,
};

use crate::ticket::{Channel, State, Status, Subject, Ticket, TicketType};

/// A closed ticket's fault that comes back within this time is a repeat (`service-domain.md` 3.4, item 8).
pub const REPEAT_WITHIN: Duration = Duration::from_secs(90 * 86_400);
/// An alarm that stays raised for so long though what it waits for speaks against it is for a person to judge.
pub const DOUBT: Duration = Duration::from_secs(7 * 86_400);
/// Time on site where the profile does not know the component.
const REPAIR_UNKNOWN: Duration = Duration::from_secs(3600);

/// What becomes of a new alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triage {
    /// A new ticket; whether it repeats the last one.
    Open {
        /// The last ticket was closed not long ago.
        repeat: bool,
    },
    /// Joins the open ticket; whether that reopens it.
    Attach {
        /// The ticket was resolved and the fault came back.
        reopen: bool,
    },
    /// Belongs to what the last ticket dealt with: it came late.
    AttachLate,
}

/// Decides, given the latest ticket on the alarm's fault, which is the open one if any is.
pub fn triage(last: Option<&Ticket>, alarm: &Alarm) -> Triage {
    let Some(last) = last else {
        return Triage::Open { repeat: false };
    };
    let raised = alarm.alarm_raised_time;
    let dealt_with = last.resolution_date.unwrap_or(last.state.since());
    match last.state {
        State::Resolved { .. } => Triage::Attach { reopen: raised > dealt_with },
        _ if last.state.status().is_open() => Triage::Attach { reopen: false },
        _ if raised <= dealt_with => Triage::AttachLate,
        _ => Triage::Open { repeat: repeats(last, raised) },
    }
}

/// Whether the component was mended after the alarm was raised, on a ticket of whatever failure mode: the alarm is about what
/// is gone.
pub fn mended_since(ticket: &Ticket, alarm: &Alarm) -> bool {
    let mended = ticket.state.resolution().is_some_and(|done| done.disposition.confirms_fault() == Some(true));
    mended && alarm.alarm_raised_time <= ticket.resolution_date.unwrap_or(ticket.state.since())
}

/// Whether a new ticket at this time repeats the last one.
pub(crate) fn repeats(last: &Ticket, at: Instant) -> bool {
    last.state.status() == Status::Closed && at.since(last.state.since()) <= REPEAT_WITHIN
}

/// What the ticket says, from the alarm and the device's profile.
pub fn subject(alarm: &Alarm, profile: Option<&Profile>) -> Subject {
    let component = profile.and_then(|profile| profile.component(alarm.fault_key.component()));
    let customer_text = profile.and_then(|profile| match alarm.source {
        AlarmSource::Rule => {
            let rule = profile.rules.iter().find(|rule| rule.name == alarm.specific_problem);
            rule.map(|rule| rule.customer_text.clone())
        }
        AlarmSource::Device => profile.fault(&alarm.specific_problem).map(|fault| fault.customer_text.clone()),
    });
    let title = component.map_or(alarm.fault_key.as_str(), |component| &component.title);
    Subject {
        ticket_type: TicketType::Incident,
        channel: Channel::Alarm,
        device_id: alarm.device_id.clone(),
        profile: Some(alarm.profile.clone()),
        fault_key: alarm.fault_key.clone(),
        severity: alarm.perceived_severity,
        title: format!("{title}: {}", alarm.probable_cause),
        description: alarm.evidence.reason.clone(),
        customer_text: customer_text.unwrap_or_else(|| alarm.probable_cause.clone()),
        skills: component.map(|component| component.skills.clone()).unwrap_or_default(),
        parts: component.map(|component| component.parts.clone()).unwrap_or_default(),
        repair: component.map_or(REPAIR_UNKNOWN, |component| component.repair),
    }
}
