//! The calendar message of an appointment: iTIP (RFC 5546) in iCalendar (RFC 5545). Pure.
//!
//! What stands in the customer's calendar is the arrival window, not the planned start.

use icalendar::{Calendar, Component, Event, EventLike, EventStatus};
use schemas::time::Instant;

use super::{Appointment, State};

/// Writes the file. `title` is the ticket's; `address` stands in it only if somebody told one.
pub(crate) fn calendar(appointment: &Appointment, title: &str, address: Option<&str>) -> String {
    let mut event = Event::new();
    event
        .uid(&appointment.appointment_id)
        .add_property("SEQUENCE", appointment.sequence.to_string())
        .add_property("DTSTAMP", utc(appointment.changed_at))
        .add_property("CREATED", utc(appointment.created_at))
        .add_property("LAST-MODIFIED", utc(appointment.changed_at))
        .add_property("DTSTART", utc(appointment.window.start))
        .add_property("DTEND", utc(appointment.window.end))
        .summary(&format!("Service visit: {title}"))
        .status(if ended(appointment) { EventStatus::Cancelled } else { EventStatus::Confirmed });
    if let Some(address) = address {
        event.location(address);
    }
    let mut calendar = Calendar::empty();
    calendar
        .append_property(("VERSION", "2.0"))
        .append_property(("PRODID", "-//Forewarn//visits//EN"))
        .append_property(("CALSCALE", "GREGORIAN"))
        .append_property(("METHOD", method(appointment)))
        .push(event.done());
    calendar.to_string()
}

/// iTIP's method: what the calendar is asked to do.
pub(crate) fn method(appointment: &Appointment) -> &'static str {
    if ended(appointment) { "CANCEL" } else { "REQUEST" }
}

fn ended(appointment: &Appointment) -> bool {
    matches!(appointment.state, State::Cancelled(_) | State::Failed(_))
}

fn utc(at: Instant) -> String {
    at.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string()
}
