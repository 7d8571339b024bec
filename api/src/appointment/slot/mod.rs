//! Slots: offers that keep a technician's time for a while.
//!
//! In: the planner's offers. Out: holds that others see as taken. Promise: a hold counts until its time is over, to the
//! microsecond of the clock that is given, and not after. Never: two live sets for one ticket; asking again gives the
//! earlier ones back.

pub mod store;

use std::time::Duration;

use schemas::time::Instant;

use super::{Stretch, Window};
use crate::{plan::Shortfall, technician::Place};

words!(
    /// What became of a slot.
    HoldState, "state" {
        /// Kept for the customer until it expires.
        Held = "held",
        /// Became an appointment.
        Confirmed = "confirmed",
        /// Given back.
        Released = "released",
        /// Nobody took it in time.
        Expired = "expired",
    }
);

/// A held slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Unique.
    pub slot_id: String,
    /// For which ticket.
    pub ticket_id: String,
    /// Who would come.
    pub technician_id: String,
    /// When they may arrive.
    pub window: Window,
    /// When work is planned.
    pub visit: Stretch,
    /// Where the device stood when it was offered.
    pub place: Place,
    /// Travel that it adds to the technician's day.
    pub travel_added: Duration,
    /// One sentence for the agent.
    pub why: String,
    /// What became of it.
    pub state: HoldState,
    /// When it was offered.
    pub created_at: Instant,
    /// From here on others may have the time.
    pub expires_at: Instant,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// For which ticket.
    pub ticket_id: String,
    /// Most slots wanted.
    pub count: usize,
    /// No window begins before this.
    pub earliest: Option<Instant>,
    /// No window ends after this.
    pub latest: Option<Instant>,
    /// How long the slots keep the technicians' time; [`super::HOLD_TTL`] unless set otherwise.
    pub hold: Duration,
}

/// What is offered.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Earliest first.
    pub slots: Vec<Hold>,
    /// Set where there is none.
    pub shortfall: Option<Shortfall>,
}
