//! Alarms that come and go: from the n-th within a span on they are one that stays (X.733 has no word for it; control
//! rooms call it chattering, ISA-18.2).
//!
//! In: when an alarm of a rule on a device was raised. Out: whether it is flapping. Promise: bounded: at most as many
//! instants as make it flapping. Never: an alarm held back; the n-th is raised like any other and then stays until the
//! condition was gone for the span.

use schemas::{profile::Flapping, time::Instant};
use serde::{Deserialize, Serialize};

/// When alarms of a rule on a device were raised, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raises(Vec<Instant>);

impl Raises {
    /// Notes an alarm; tells how many there were since when, if that is flapping.
    pub fn raise(&mut self, flapping: &Flapping, at: Instant) -> Option<(usize, Instant)> {
        self.forget(flapping, at);
        self.0.push(at);
        let first = *self.0.first()?;
        (self.0.len() >= flapping.count as usize).then_some((self.0.len(), first))
    }

    /// Forgets what lies further back than the span.
    pub fn forget(&mut self, flapping: &Flapping, at: Instant) {
        self.0.retain(|raised| at.since(*raised) < flapping.within);
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
