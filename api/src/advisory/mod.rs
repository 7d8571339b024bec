//! Advisories as the service side keeps them, and what each decision does to the tickets of its fault.
//!
//! In: advisories of prognosis, in any order, any number of times. Out: advisories attached to tickets. Promise: the same
//! advisories in any order give the same number of open tickets; threshold, costs and reason stay with each. Never: a
//! ticket opened or joined by what is only watched, a ticket opened again because of a probability, one opened because of
//! what was seen before the component was last seen to.
//!
//! A prediction is about a component. Its fault key is that of the rule that watches it and a guess at the failure mode, so
//! it joins whatever ticket is open on the component: two tickets would be two visits for one bearing. An alarm is a sight of
//! its own failure mode and gets its own ticket, unless it waited for the prediction, and then it joins with it.
//!
//! | decision | no open ticket on the component | an open one |
//! |---|---|---|
//! | `auto` | opens one; the device is asked to test itself first, where it can | joins it: evidence, and severity if worse |
//! | `assist` | opens one that waits for an agent's yes | joins it the same way |
//! | `watch` | is kept | is kept |

pub mod routes;
pub mod rules;
pub mod store;

use schemas::advisory::Advisory;

/// Advisories without a ticket that are kept; the table `advisory` of the lake has all. About a hundred for each of a
/// thousand devices that are watched closely.
pub const KEPT_ALONE: i64 = 100_000;

/// An advisory in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// In the order in which they came.
    pub number: i64,
    /// The advisory as it came.
    pub advisory: Advisory,
    /// The ticket it is attached to.
    pub ticket_id: Option<String>,
}
