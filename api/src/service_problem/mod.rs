//! A service problem (TM Forum 656): many devices of one model and firmware with one fault, at once.
//!
//! In: new alarms with their tickets. Out: one problem as the parent of those tickets, which are held: the cause lies
//! with the model, and calling every customer is a decision for a person. Promise: at most one open problem per tenant,
//! model, firmware and fault, kept by a unique index; the same alarms in any order, any number of times, gather the
//! same tickets; a problem that ends gives its tickets back. Never: a ticket taken from an agent who works on it; a
//! ticket lost in a storm, each device keeps its own.
//!
//! The running example: firmware 1.5.0 makes the pump of 800 washing machines report E21 within an hour. There are 800
//! tickets, held, and one problem. Firmware 1.5.1 goes out, the problem is resolved, the 800 tickets are acknowledged
//! again: those whose pump still reports E21 are real.

pub mod routes;
pub mod rules;
pub mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use schemas::{
    alarm::PerceivedSeverity,
    id::{FaultKey, ProfileName, TenantId},
    time::Instant,
};
use serde::{Deserialize, Serialize};

/// From when on alarms are a storm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// So many devices at least; `20`: what an agent can still look at one by one is no storm.
    pub devices: u32,
    /// Within so long, by event time; `1h`: wear spreads over months, a bad update or a power cut does not.
    #[serde(with = "schemas::time::span")]
    pub within: Duration,
    /// And so large a share of the devices of this model and firmware; `0.01`: with one failure in ten device-years, one
    /// in a hundred devices an hour is nine hundred times what chance brings, however large the fleet is.
    pub share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { devices: 20, within: Duration::from_secs(3600), share: 0.01 }
    }
}

words!(
    /// Where a service problem stands; words of TM Forum 656.
    ProblemStatus, "status" {
        /// Found; nobody works on it yet.
        Acknowledged = "acknowledged",
        /// Worked on.
        InProgress = "inProgress",
        /// The cause is gone.
        Resolved = "resolved",
        /// It was none.
        Cancelled = "cancelled",
    }
);

impl ProblemStatus {
    /// Whether new alarms are gathered under it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Acknowledged | Self::InProgress)
    }
}

/// What the devices of a problem have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Their model.
    pub profile: ProfileName,
    /// Their firmware, if told.
    pub firmware: Option<String>,
    /// What is wrong with them.
    pub fault_key: FaultKey,
}

/// A service problem.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceProblem {
    /// In the order of opening.
    pub number: i64,
    /// Its id.
    pub service_problem_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What its devices have in common.
    pub common: Common,
    /// Where it stands.
    pub status: ProblemStatus,
    /// Who works on it.
    pub owner: Option<String>,
    /// The severity of the alarm that made it one.
    pub severity: PerceivedSeverity,
    /// One line.
    pub title: String,
    /// Why it is one, in numbers.
    pub description: String,
    /// What was found.
    pub note: Option<String>,
    /// Tickets that were ever gathered under it.
    pub affected: u32,
    /// Event time of the first alarm.
    pub first_alert: Instant,
    /// When it was found.
    pub creation_date: Instant,
    /// Its last change.
    pub last_update: Instant,
    /// When it ended.
    pub resolution_date: Option<Instant>,
    /// Goes up with each change.
    pub version: i64,
}
