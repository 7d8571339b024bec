//! What agents and programs hear of: an outbox, read in order.
//!
//! In: events written in the transaction of what they tell. Out: `GET /v1/events`, server-sent, from any place in the
//! last [`KEPT`] events on. Promise: no event without its fact, no fact without its event, in commit order. Never: a
//! slow listener holding up a writer.

pub mod routes;
pub mod store;

use std::sync::Arc;

use schemas::{id::TenantId, time::Instant};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events kept for those who resume; about a day of a fleet of a million devices, some 50 MB.
pub const KEPT: i64 = 100_000;

/// What an event tells. The names are those of TM Forum 621, 642, 646 and 656, as CloudEvents types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A ticket was opened.
    TicketCreated,
    /// A ticket's status changed.
    TicketStatusChanged,
    /// Something else of a ticket changed: owner, severity, a note.
    TicketChanged,
    /// An alarm was raised.
    AlarmRaised,
    /// An alarm was cleared.
    AlarmCleared,
    /// An advisory came.
    AdvisoryCreated,
    /// A device is wanted to test itself.
    SelfTestWanted,
    /// Many devices of one model have one fault.
    ServiceProblemCreated,
    /// A service problem changed.
    ServiceProblemChanged,
    /// An appointment was made.
    AppointmentCreated,
    /// An appointment's state or time changed.
    AppointmentChanged,
}

impl Kind {
    /// The CloudEvents type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TicketCreated => "forewarn.ticket.created",
            Self::TicketStatusChanged => "forewarn.ticket.status_changed",
            Self::TicketChanged => "forewarn.ticket.changed",
            Self::AlarmRaised => "forewarn.alarm.raised",
            Self::AlarmCleared => "forewarn.alarm.cleared",
            Self::AdvisoryCreated => "forewarn.advisory.created",
            Self::SelfTestWanted => "forewarn.self_test.wanted",
            Self::ServiceProblemCreated => "forewarn.service_problem.created",
            Self::ServiceProblemChanged => "forewarn.service_problem.changed",
            Self::AppointmentCreated => "forewarn.appointment.created",
            Self::AppointmentChanged => "forewarn.appointment.changed",
        }
    }
}

/// An event before it has a place.
#[derive(Debug, Clone, PartialEq)]
pub struct New<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// What it tells.
    pub kind: Kind,
    /// The id of the ticket, alarm, advisory, self-test, service problem or appointment.
    pub subject: &'a str,
    /// When it happened.
    pub at: Instant,
    /// The particulars.
    pub data: Value,
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place; goes up, with holes.
    pub event_id: i64,
    /// CloudEvents type.
    pub kind: String,
    /// The id of the ticket, alarm, appointment or service problem.
    pub subject: String,
    /// When it happened.
    pub at: Instant,
    /// The particulars.
    pub data: Value,
}

/// Wakes those who wait for events. Writers call [`Hub::wake`] after they have committed.
#[derive(Debug, Clone)]
pub struct Hub {
    turn: Arc<watch::Sender<u64>>,
    stop: CancellationToken,
}

impl Default for Hub {
    fn default() -> Self {
        Self { turn: Arc::new(watch::Sender::new(0)), stop: CancellationToken::new() }
    }
}

impl Hub {
    /// Tells all listeners to look.
    pub fn wake(&self) {
        self.turn.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    /// Changes whenever there may be something new.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.turn.subscribe()
    }

    /// Ends every stream: the server stops.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Completes when the server stops.
    pub async fn closed(&self) {
        self.stop.cancelled().await;
    }
}
