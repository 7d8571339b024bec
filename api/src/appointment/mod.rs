//! Appointments: what was offered to a customer, what was promised, how it went.
//!
//! In: a ticket whose device has a site. Out: slots that hold a technician's time for [`HOLD_TTL`], one of which
//! becomes the appointment; an iCalendar file. Promise: a technician is never in two places; of two that want the same
//! time one gets it and the other hears why not; a promise moves only with consent. Never: a plan made outside the
//! transaction that keeps it.
//!
//! States are those of TM Forum 646: a slot is `initialized`, its appointment `confirmed`, later `completed`,
//! `cancelled` or `failed`.

mod calendar;
pub mod metrics;
pub mod routes;
pub(crate) mod rules;
pub mod slot;
pub mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
};

use crate::ticket::store::BookError;

pub use crate::technician::Stretch;
pub use routes::{AppointmentJson, router};

/// How long an offered slot keeps a technician's time: long enough to ask the customer on the phone.
pub const HOLD_TTL: Duration = Duration::from_secs(15 * 60);

/// When a technician may arrive, as the customer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Not before.
    pub start: Instant,
    /// Not after.
    pub end: Instant,
}

words!(
    /// Why an appointment was called off.
    CallOffReason, "reason" {
        /// The customer does not want it, or not then.
        CustomerRequest = "customer_request",
        /// The technician cannot come.
        TechnicianUnavailable = "technician_unavailable",
        /// A part will not be there.
        PartMissing = "part_missing",
        /// The fault was dealt with otherwise, or the ticket was cancelled.
        TicketEnded = "ticket_ended",
        /// The device is no longer in use.
        DeviceRetired = "device_retired",
    }
);

words!(
    /// Why a visit came to nothing.
    FailReason, "reason" {
        /// Nobody was there.
        CustomerNoShow = "customer_no_show",
        /// The technician did not come.
        TechnicianNoShow = "technician_no_show",
        /// The device could not be reached.
        NoAccess = "no_access",
        /// Work would have been dangerous.
        Unsafe = "unsafe",
        /// The part that was brought does not fit.
        WrongPart = "wrong_part",
    }
);

/// The state of a promise, with what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Offered: a slot that nobody has taken yet.
    Initialized,
    /// Promised.
    Confirmed,
    /// Called off.
    Cancelled(CallOffReason),
    /// The visit is done.
    Completed,
    /// The visit came to nothing.
    Failed(FailReason),
}

/// What is asked of a promise that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Call it off.
    Cancel(CallOffReason),
    /// The visit is done.
    Complete,
    /// The visit came to nothing.
    Fail(FailReason),
    /// Another held slot takes its place; the customer has agreed.
    Reschedule {
        /// Which slot.
        slot_id: String,
    },
}

/// A promise to a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appointment {
    /// Unique; iCalendar's UID.
    pub appointment_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What it serves.
    pub ticket_id: String,
    /// What is visited.
    pub device_id: DeviceId,
    /// The slot that it came from.
    pub slot_id: String,
    /// Who comes.
    pub technician_id: String,
    /// What the customer was told.
    pub window: Window,
    /// When work is planned.
    pub visit: Stretch,
    /// One up with each change; iCalendar's SEQUENCE.
    pub sequence: u32,
    /// How it stands.
    pub state: State,
    /// Who changed it last.
    pub actor: String,
    /// When it was confirmed first.
    pub created_at: Instant,
    /// When it was changed last.
    pub changed_at: Instant,
}

/// Why something was not done; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such thing for this tenant.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// Such as `ticket`.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// It contradicts what is there.
    #[error("{detail}")]
    Conflict {
        /// For programs, such as `slot_expired`.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// Well formed, and not possible as things are.
    #[error("{detail}")]
    Unprocessable {
        /// For programs, such as `no_site`.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// The database fails.
    #[error("keep a visit")]
    Database(#[from] sqlx::Error),
}

impl From<BookError> for Refused {
    fn from(error: BookError) -> Self {
        match error {
            BookError::NotFound => Self::NotFound { what: "ticket", id: String::new() },
            BookError::NotOpen(_) => Self::conflict("ticket_not_open", error.to_string()),
            BookError::Db(error) => error.into(),
        }
    }
}

impl Refused {
    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    pub(crate) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Unprocessable { code, detail: detail.into() }
    }
}

impl State {
    /// TM Forum 646's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Confirmed => "confirmed",
            Self::Cancelled(_) => "cancelled",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
        }
    }

    /// Why, where there is a why.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Cancelled(reason) => Some(reason.as_str()),
            Self::Failed(reason) => Some(reason.as_str()),
            Self::Initialized | Self::Confirmed | Self::Completed => None,
        }
    }

    /// Reads the two words back.
    pub fn parse(state: &str, reason: Option<&str>) -> Option<Self> {
        match (state, reason) {
            ("initialized", None) => Some(Self::Initialized),
            ("confirmed", None) => Some(Self::Confirmed),
            ("completed", None) => Some(Self::Completed),
            ("cancelled", Some(reason)) => reason.parse().ok().map(Self::Cancelled),
            ("failed", Some(reason)) => reason.parse().ok().map(Self::Failed),
            _ => None,
        }
    }
}
