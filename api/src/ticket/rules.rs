//! The life of a ticket as a table of allowed steps (`service-domain.md` 3.3). Pure: a state and a step give the next
//! state or a refusal that names what is missing.

use std::time::Duration;

use schemas::{alarm::PerceivedSeverity, outcome::Disposition, time::Instant};

use super::{CancelReason, CloseReason, HeldReason, PendingReason, RejectReason, Resolution, State, Status};

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Work on it: begin, go on after waiting, or begin again.
    Work,
    /// Wait for the customer.
    Wait(PendingReason),
    /// Wait for us or a third party.
    Hold(HeldReason),
    /// Done.
    Resolve(Resolution),
    /// Known to be done.
    Close(CloseReason),
    /// Withdrawn.
    Cancel(CancelReason),
    /// Not taken.
    Reject(RejectReason),
}

impl Step {
    /// The status it leads to.
    pub fn to(&self) -> Status {
        match self {
            Self::Work => Status::InProgress,
            Self::Wait(_) => Status::Pending,
            Self::Hold(_) => Status::Held,
            Self::Resolve(_) => Status::Resolved,
            Self::Close(_) => Status::Closed,
            Self::Cancel(_) => Status::Cancelled,
            Self::Reject(_) => Status::Rejected,
        }
    }
}

/// What else the decision needs to know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The present.
    pub now: Instant,
    /// The owner after this step.
    pub owner: Option<String>,
    /// Whether the customer was contacted, or something was done from afar.
    pub contacted: bool,
    /// Whether an attached alarm is still raised.
    pub alarm_active: bool,
    /// How long a fault must stay away (T_verify).
    pub verify_after: Duration,
}

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The table has no such step.
    #[error("a ticket that is {from} cannot become {to}; legal is {}", words(.from))]
    NotInTable {
        /// Where it stands.
        from: Status,
        /// Where it was to go.
        to: Status,
    },
    /// Nobody owns it.
    #[error("owner is missing: a ticket in work has one")]
    NoOwner,
    /// Nobody has contacted the customer.
    #[error("no contact is logged: add a note of kind contact or remote_action")]
    NoContact,
    /// The part is not named.
    #[error("part_replaced is missing: disposition part_replaced names the part")]
    NoPart,
    /// It is too early to know.
    #[error("{reason} is possible from {from} on: the fault must stay away for {}", schemas::time::span::text(*.wait))]
    TooEarly {
        /// What was claimed.
        reason: CloseReason,
        /// When it can be.
        from: Instant,
        /// T_verify.
        wait: Duration,
    },
    /// The fault is still there.
    #[error("an alarm of the ticket is still raised, so it is not verified")]
    AlarmActive,
}

/// The statuses to which a ticket may go.
pub fn next(from: Status) -> &'static [Status] {
    use Status::*;
    match from {
        Acknowledged => &[InProgress, Rejected, Cancelled],
        InProgress => &[Pending, Held, Resolved, Cancelled],
        Pending | Held => &[InProgress, Cancelled],
        Resolved => &[InProgress, Closed, Cancelled],
        Closed | Cancelled | Rejected => &[],
    }
}

fn words(from: &Status) -> String {
    match next(*from) {
        [] => "nothing: open a new ticket".to_owned(),
        next => next.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// Takes a step or says why not.
pub fn step(state: State, step: Step, facts: &Facts) -> Result<State, Refusal> {
    let (from, to) = (state.status(), step.to());
    if !next(from).contains(&to) {
        return Err(Refusal::NotInTable { from, to });
    }
    let at = facts.now;
    let by = facts.owner.clone();
    Ok(match step {
        Step::Work => {
            let by = by.ok_or(Refusal::NoOwner)?;
            if from == Status::Acknowledged && !facts.contacted {
                return Err(Refusal::NoContact);
            }
            State::InProgress { by, since: at }
        }
        Step::Wait(reason) => State::Pending { by: by.ok_or(Refusal::NoOwner)?, since: at, reason },
        Step::Hold(reason) => State::Held { by: by.ok_or(Refusal::NoOwner)?, since: at, reason },
        Step::Resolve(resolution) => {
            if resolution.disposition == Disposition::PartReplaced && resolution.part_replaced.is_none() {
                return Err(Refusal::NoPart);
            }
            State::Resolved { by: by.ok_or(Refusal::NoOwner)?, at, resolution }
        }
        Step::Close(reason) => {
            let State::Resolved { at: resolved, resolution, .. } = state else {
                return Err(Refusal::NotInTable { from, to });
            };
            let due = resolved.plus(facts.verify_after);
            if reason != CloseReason::CustomerConfirmed && at < due {
                return Err(Refusal::TooEarly { reason, from: due, wait: facts.verify_after });
            }
            if reason == CloseReason::Verified && facts.alarm_active {
                return Err(Refusal::AlarmActive);
            }
            State::Closed { by, at, resolution, reason }
        }
        Step::Cancel(reason) => State::Cancelled { by, at, reason },
        Step::Reject(reason) => State::Rejected { by, at, reason },
    })
}

/// The finer word of a ticket that waits for an agent's yes.
pub const AWAITING_CONFIRMATION: &str = "awaiting_confirmation";

/// The state in finer words.
pub fn sub_status(state: &State, reopened: bool) -> &'static str {
    match state {
        State::Proposed { .. } => AWAITING_CONFIRMATION,
        State::Acknowledged { owner: None, .. } => "awaiting_owner",
        State::Acknowledged { .. } => "awaiting_contact",
        State::InProgress { .. } if reopened => "reopened",
        State::InProgress { .. } => "in_work",
        State::Resolved { .. } => "verifying",
        state => state.reason().unwrap_or("none"),
    }
}

/// How urgent: a word for the queue.
pub fn priority(severity: PerceivedSeverity) -> &'static str {
    match severity {
        PerceivedSeverity::Critical => "critical",
        PerceivedSeverity::Major => "high",
        PerceivedSeverity::Minor => "medium",
        PerceivedSeverity::Warning | PerceivedSeverity::Indeterminate => "low",
    }
}
