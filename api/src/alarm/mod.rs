//! Alarms as the service side keeps them, and the triage that turns them into tickets.
//!
//! In: alarm events of detection, in any order, any number of times. Out: alarms attached to tickets. Promise: the
//! same events in any order give the same alarms and the same number of open tickets. Never: a ticket opened for an
//! alarm that was raised before the last ticket on that fault was resolved, or its component mended on another one.
//!
//! Where a model speaks for the component, a rule's alarm that would open a ticket waits for its word
//! ([`crate::prognosis`]); where none does and the rule says `self_test_first`, for what the device finds ([`crate::self_test`]).
//! It opens one then, or ends. Whoever opens one on its fault meanwhile takes it in. A storm waits for nobody.

pub mod routes;
pub mod rules;
pub mod store;

use schemas::alarm::Alarm;

/// An alarm in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// In the order in which they came.
    pub number: i64,
    /// The alarm in its latest state.
    pub alarm: Alarm,
    /// Whether it was raised in a planned outage.
    pub planned_outage: bool,
    /// The ticket it is attached to.
    pub ticket_id: Option<String>,
    /// What it waits for before it opens one.
    pub awaits: Option<Awaits>,
}

words!(
    /// What an alarm waits for before it opens a ticket.
    Awaits, "awaits" {
        /// The word of the model that speaks for its component.
        Prognosis = "prognosis",
        /// What the device finds.
        SelfTest = "self_test",
    }
);

/// The severity of a word.
pub(crate) fn severity(word: &str) -> Option<schemas::alarm::PerceivedSeverity> {
    use schemas::alarm::PerceivedSeverity::{Critical, Indeterminate, Major, Minor, Warning};
    [Indeterminate, Warning, Minor, Major, Critical].into_iter().find(|severity| severity.as_str() == word)
}
