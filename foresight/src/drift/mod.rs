//! Whether what comes in, and what comes of it, is still what was learnt on.
//!
//! In: values of a feature against a reference from the training ([`Stability`]); probabilities with their outcomes
//! ([`Calibration`]). Out: an index and a verdict. Promise: state is a few counters, however much comes in.

mod calibration;
mod stability;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    calibration::{Calibrated, Calibration},
    stability::{Reference, Stability},
};

/// How far things have moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too little came to tell.
    Unknown,
    /// As learnt.
    Stable,
    /// To be looked at.
    Moved,
    /// The model should not be trusted: fall back, learn anew.
    Drifted,
}
