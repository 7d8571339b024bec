//! A ticket: one fault of one device and what is done about it (TM Forum 621).
//!
//! In: alarms and advisories through triage, agents through the API. Out: tickets, history, events, outcomes. Promise: at most one
//! open ticket per tenant, device and fault key, kept by a unique index; history is append-only and monotone in time;
//! a closed ticket stays closed, recurrence opens a linked one. Never: severity lowered by an alarm or an advisory.
//!
//! The running example: the drum bearing of `wm-17` wears, a rule raises, a ticket is `acknowledged`; an agent calls
//! (`inProgress`), the customer picks a slot, the bearing is replaced (`resolved`), a week later the drum still runs
//! quietly (`closed`).

pub mod iso14224;
pub(crate) mod json;
mod reason;
pub mod routes;
pub mod rules;
pub mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use schemas::{
    alarm::PerceivedSeverity,
    id::{DeviceId, FaultKey, ProfileName, TenantId},
    outcome::Disposition,
    profile::Part,
    time::Instant,
};
use serde::{Deserialize, Serialize};

pub use reason::{CancelReason, CloseReason, HeldReason, PendingReason, RejectReason, ReopenReason};

words!(
    /// Where a ticket stands; words of TM Forum 621.
    Status, "status" {
        /// Opened; nobody has contacted the customer yet.
        Acknowledged = "acknowledged",
        /// Not taken.
        Rejected = "rejected",
        /// Waits for the customer.
        Pending = "pending",
        /// Waits for us or a third party.
        Held = "held",
        /// Worked on.
        InProgress = "inProgress",
        /// Withdrawn.
        Cancelled = "cancelled",
        /// Done and verified, or timed out unverified.
        Closed = "closed",
        /// Done; recurrence reopens it.
        Resolved = "resolved",
    }
);

impl Status {
    /// Whether a ticket of this status blocks another one for the same fault.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Rejected | Self::Cancelled | Self::Closed)
    }
}

words!(
    /// What kind of ticket.
    TicketType, "ticket_type" {
        /// A fault.
        Incident = "incident",
        /// A customer is not content.
        Complaint = "complaint",
        /// A wish.
        Request = "request",
    }
);

words!(
    /// How a ticket came.
    Channel, "channel" {
        /// By itself: an alarm, or an advisory before there was one.
        Alarm = "alarm",
        /// An agent wrote it.
        Agent = "agent",
    }
);

/// What was found and done; codes of ISO 14224 in separate fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    /// How it ended.
    pub disposition: Disposition,
    /// What was observed.
    pub failure_mode: Option<String>,
    /// The physical process.
    pub failure_mechanism: Option<iso14224::Mechanism>,
    /// The circumstance.
    pub failure_cause: Option<iso14224::Cause>,
    /// How it was discovered.
    pub detection_method: Option<iso14224::DetectionMethod>,
    /// What was done.
    pub maintenance_activity: Option<iso14224::Activity>,
    /// The part that went in.
    pub part_replaced: Option<String>,
    /// When the device failed, if it did and somebody knows.
    #[serde(default)]
    pub failure_time: Option<Instant>,
}

/// Where a ticket stands and what that state knows.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Opened by an advisory that wants an agent's yes: to take it as owner. Until then nobody is contacted or visited.
    /// `acknowledged` in TM Forum's words, `awaiting_confirmation` in ours.
    Proposed {
        /// When.
        at: Instant,
    },
    /// Opened; perhaps somebody owns it already.
    Acknowledged {
        /// When.
        at: Instant,
        /// The customer's face, if chosen.
        owner: Option<String>,
    },
    /// Worked on.
    InProgress {
        /// The owner.
        by: String,
        /// Since when.
        since: Instant,
    },
    /// Waits for the customer.
    Pending {
        /// The owner.
        by: String,
        /// Since when.
        since: Instant,
        /// For what.
        reason: PendingReason,
    },
    /// Waits for us or a third party.
    Held {
        /// The owner.
        by: String,
        /// Since when.
        since: Instant,
        /// For whom.
        reason: HeldReason,
    },
    /// Done, not verified yet.
    Resolved {
        /// The owner.
        by: String,
        /// When.
        at: Instant,
        /// What was found.
        resolution: Resolution,
    },
    /// Done.
    Closed {
        /// Who owned it.
        by: Option<String>,
        /// When.
        at: Instant,
        /// What was found.
        resolution: Resolution,
        /// How that is known.
        reason: CloseReason,
    },
    /// Withdrawn.
    Cancelled {
        /// Who owned it.
        by: Option<String>,
        /// When.
        at: Instant,
        /// Why.
        reason: CancelReason,
    },
    /// Not taken.
    Rejected {
        /// Who owned it.
        by: Option<String>,
        /// When.
        at: Instant,
        /// Why.
        reason: RejectReason,
    },
}

impl State {
    /// The state's word.
    pub fn status(&self) -> Status {
        match self {
            Self::Proposed { .. } | Self::Acknowledged { .. } => Status::Acknowledged,
            Self::InProgress { .. } => Status::InProgress,
            Self::Pending { .. } => Status::Pending,
            Self::Held { .. } => Status::Held,
            Self::Resolved { .. } => Status::Resolved,
            Self::Closed { .. } => Status::Closed,
            Self::Cancelled { .. } => Status::Cancelled,
            Self::Rejected { .. } => Status::Rejected,
        }
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        match self {
            Self::InProgress { since, .. } | Self::Pending { since, .. } | Self::Held { since, .. } => *since,
            Self::Proposed { at }
            | Self::Acknowledged { at, .. }
            | Self::Resolved { at, .. }
            | Self::Closed { at, .. }
            | Self::Cancelled { at, .. }
            | Self::Rejected { at, .. } => *at,
        }
    }

    /// The customer's face.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Proposed { .. } => None,
            Self::InProgress { by, .. }
            | Self::Pending { by, .. }
            | Self::Held { by, .. }
            | Self::Resolved { by, .. } => Some(by),
            Self::Acknowledged { owner: by, .. }
            | Self::Closed { by, .. }
            | Self::Cancelled { by, .. }
            | Self::Rejected { by, .. } => by.as_deref(),
        }
    }

    /// The reason that belongs to the state, as a word.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Proposed { .. } | Self::Acknowledged { .. } | Self::InProgress { .. } | Self::Resolved { .. } => None,
            Self::Pending { reason, .. } => Some(reason.as_str()),
            Self::Held { reason, .. } => Some(reason.as_str()),
            Self::Closed { reason, .. } => Some(reason.as_str()),
            Self::Cancelled { reason, .. } => Some(reason.as_str()),
            Self::Rejected { reason, .. } => Some(reason.as_str()),
        }
    }

    /// What was found, once it was.
    pub fn resolution(&self) -> Option<&Resolution> {
        match self {
            Self::Resolved { resolution, .. } | Self::Closed { resolution, .. } => Some(resolution),
            _ => None,
        }
    }
}

/// What a new ticket is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The kind of ticket.
    pub ticket_type: TicketType,
    /// How it came.
    pub channel: Channel,
    /// Which device.
    pub device_id: DeviceId,
    /// Its kind, if known.
    pub profile: Option<ProfileName>,
    /// Maintainable item and failure mode.
    pub fault_key: FaultKey,
    /// X.733 severity; alarms and advisories only ever raise it.
    pub severity: PerceivedSeverity,
    /// One line for the agent.
    pub title: String,
    /// The evidence in a sentence.
    pub description: String,
    /// What to tell the customer.
    pub customer_text: String,
    /// What a technician must be able to do.
    pub skills: Vec<String>,
    /// What a technician takes along.
    pub parts: Vec<Part>,
    /// Time on site.
    pub repair: Duration,
}

/// A ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// In the order of opening.
    pub number: i64,
    /// Its id.
    pub ticket_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What it is about.
    pub subject: Subject,
    /// Where it stands.
    pub state: State,
    /// The state in finer words, such as `visit_booked`.
    pub sub_status: String,
    /// How often the fault came back after it was resolved.
    pub reopen_count: u32,
    /// First contact with the customer, or first remote action.
    pub first_contact: Option<Instant>,
    /// The service problem under which it was gathered.
    pub service_problem_id: Option<String>,
    /// The closed ticket whose fault came back.
    pub repeat_of: Option<String>,
    /// Alarms attached.
    pub alarm_count: u32,
    /// Advisories attached.
    pub advisory_count: u32,
    /// When it was opened.
    pub creation_date: Instant,
    /// Its last change.
    pub last_update: Instant,
    /// When it was resolved last.
    pub resolution_date: Option<Instant>,
    /// Goes up with each change; the ETag.
    pub version: i64,
}

words!(
    /// What a history entry tells.
    EntryKind, "kind" {
        /// The ticket was opened.
        Created = "created",
        /// The status changed.
        Status = "status",
        /// Somebody noted something.
        Note = "note",
        /// The customer was contacted, or it was tried.
        Contact = "contact",
        /// Something was done from afar.
        RemoteAction = "remote_action",
        /// The owner changed.
        Owner = "owner",
        /// The severity was raised.
        Severity = "severity",
        /// An appointment was made or changed.
        Appointment = "appointment",
    }
);

/// What happened to a ticket, before it has a place in its history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry<'a> {
    /// When; a history never goes back, so an earlier instant becomes the last entry's.
    pub at: Instant,
    /// Who: a token's name, or `triage`.
    pub actor: &'a str,
    /// What kind of thing.
    pub kind: EntryKind,
    /// The status before and after, where it changed.
    pub change: Option<(Status, Status)>,
    /// In words.
    pub text: &'a str,
}

/// One entry of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place, from 1.
    pub entry: i64,
    /// When.
    pub at: Instant,
    /// Who.
    pub actor: String,
    /// What kind of thing.
    pub kind: EntryKind,
    /// The status before and after, where it changed.
    pub change: Option<(Status, Status)>,
    /// In words.
    pub text: String,
}

/// The actor of what Forewarn does by itself; also the owner of tickets that it holds and nobody owns.
pub const TRIAGE: &str = "triage";
