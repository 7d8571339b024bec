//! What a new advisory does to the tickets of its fault (`service-domain.md` 3.4, items 3 and 4). Pure.

use std::time::Duration;

use schemas::{
    advisory::{Advisory, Decision},
    profile::Profile,
};

use crate::{
    alarm::rules::repeats,
    ticket::{Channel, RejectReason, State, Status, Subject, Ticket, TicketType},
};

/// Time on site where the profile does not know the component.
const REPAIR_UNKNOWN: Duration = Duration::from_secs(3600);

/// What becomes of a new advisory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triage {
    /// A new ticket; whether it repeats the last one, and whether an agent has to say yes first.
    Open {
        /// The last ticket was closed not long ago.
        repeat: bool,
        /// The decision was `assist`.
        proposed: bool,
    },
    /// Joins the last ticket; whether that needs no agent's yes any more.
    Attach {
        /// The ticket waited for an agent, and this advisory needs none.
        confirm: bool,
    },
    /// Is kept and does nothing.
    Keep,
}

/// Decides, given the latest ticket on the advisory's component, which is an open one if any is. Its failure mode may be
/// another: a prediction says that the component fails, and whoever goes for one mode mends the component.
///
/// A probability is no sight of the fault: it joins a resolved ticket and does not open it again, which an alarm does.
/// Where somebody looked and found nothing, the same prediction is about the same evidence until its horizon is over.
/// What was seen before a ticket was over is about what that ticket dealt with.
pub fn triage(last: Option<&Ticket>, advisory: &Advisory) -> Triage {
    let proposed = match advisory.decision {
        Decision::Watch => return Triage::Keep,
        Decision::Assist => true,
        Decision::Auto => false,
    };
    let Some(last) = last else {
        return Triage::Open { repeat: false, proposed };
    };
    let seen = advisory.event_time;
    if last.state.status().is_open() {
        return Triage::Attach { confirm: !proposed && matches!(last.state, State::Proposed { .. }) };
    }
    if is_stale(last, advisory) || (found_nothing(last) && seen <= last.state.since().plus(horizon(advisory))) {
        return Triage::Attach { confirm: false };
    }
    let repeat = last.subject.fault_key == advisory.fault_key && repeats(last, seen);
    Triage::Open { repeat, proposed }
}

/// Whether an advisory looked at the component as it was before a ticket on it was resolved or over.
pub fn is_stale(last: &Ticket, advisory: &Advisory) -> bool {
    let status = last.state.status();
    (status == Status::Resolved || !status.is_open()) && advisory.event_time <= last.state.since()
}

/// Whether somebody looked and there was no fault.
fn found_nothing(ticket: &Ticket) -> bool {
    match &ticket.state {
        State::Rejected { reason, .. } => *reason == RejectReason::FalseAlarm,
        state => state.resolution().is_some_and(|found| found.disposition.confirms_fault() == Some(false)),
    }
}

/// A horizon that is no time at all counts as none; one beyond ten years is cut.
fn horizon(advisory: &Advisory) -> Duration {
    const LONGEST_HOURS: f64 = 87_600.0;
    let hours = advisory.horizon_hours;
    if hours > 0.0 { Duration::from_secs_f64(hours.min(LONGEST_HOURS) * 3600.0) } else { Duration::ZERO }
}

/// What the ticket says, from the advisory and the device's profile.
pub fn subject(advisory: &Advisory, profile: Option<&Profile>) -> Subject {
    let component = profile.and_then(|profile| profile.component(advisory.fault_key.component()));
    // The words a customer reads stand with the rules: they are about the same fault.
    let rule = profile.and_then(|profile| profile.rules.iter().find(|rule| rule.fault_key == advisory.fault_key));
    let title = component.map_or(advisory.fault_key.as_str(), |component| &component.title);
    let mode = advisory.fault_key.failure_mode().replace('_', " ");
    let days = (advisory.horizon_hours / 24.0).round();
    let customer_text = match rule {
        Some(rule) => rule.customer_text.clone(),
        None => format!("A part may fail soon: {title}. We would like to look at it before it does."),
    };
    Subject {
        ticket_type: TicketType::Incident,
        channel: Channel::Alarm,
        device_id: advisory.device_id.clone(),
        profile: Some(advisory.profile.clone()),
        fault_key: advisory.fault_key.clone(),
        severity: advisory.perceived_severity(),
        title: format!("{title}: {mode}, {:.0} % within {days} days", advisory.probability * 100.0),
        description: advisory.reason.clone(),
        customer_text,
        skills: advisory.skills.clone(),
        parts: advisory.parts.clone(),
        repair: component.map_or(REPAIR_UNKNOWN, |component| component.repair),
    }
}

/// What the history says of an advisory that joined.
pub fn note(advisory: &Advisory) -> String {
    let Advisory { probability, threshold, costs, model, decision, reason, .. } = advisory;
    format!(
        "advisory {}: {:.0} % within {:.0} h by {} {}; acting pays from {:.0} % (visit {}, failure {}, false alarm {}): {reason}",
        decision.as_str(),
        probability * 100.0,
        advisory.horizon_hours,
        model.name,
        model.version,
        threshold * 100.0,
        costs.visit,
        costs.failure,
        costs.false_alarm,
    )
}
