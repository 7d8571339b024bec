//! Calibration: from a score to a probability that can be checked.
//!
//! In: margins (log-odds that are not to be trusted yet) of cases the model was **not** fitted on, whether the event
//! came, and a weight per case. Out: a [`Calibration`], by which any margin becomes a probability. Promise: a greater
//! margin never gets a smaller probability; no probability is 0 or 1. Never: the cases the model was fitted on, whose
//! margins are too sure; hold out by device or by time.
//!
//! | events held out | [`Calibration`] | why |
//! |---|---|---|
//! | fewer than 20 | `Shift`: one number is added | ten events per number to be learnt, as is usual for logistic models |
//! | fewer than 1000 | `Platt`: slope and intercept | isotonic steps overfit below about 1000 cases of the rarer class |
//! | more | `Isotonic`: steps of any form | the margins' form no longer has to be logistic |
//!
//! The bounds are from Peduzzi and others, 1996 (events per variable) and Niculescu-Mizil and Caruana, 2005 (isotonic
//! wins from about 1000 held-out cases on; here they are counted in events, which are the rarer class).

mod isotonic;
mod platt;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{isotonic::Isotonic, platt::Platt};
use crate::boost::logistic;

/// Events from which a slope is learnt too: ten for each of two numbers.
pub const PLATT_EVENTS: usize = 20;

/// Events from which the form is free.
pub const ISOTONIC_EVENTS: usize = 1000;

/// From margin to probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// The margin is right up to a constant.
    Shift(f64),
    /// The margin is right up to slope and intercept.
    Platt(Platt),
    /// Steps.
    Isotonic(Isotonic),
}

impl Calibration {
    /// Learns from held-out cases; which form is the table above. `weights` are how many cases each stands for. Without
    /// any case the margins are taken as they are.
    ///
    /// # Panics
    /// If the three differ in length.
    pub fn fit(margins: &[f64], events: &[bool], weights: &[f64]) -> Self {
        assert!(margins.len() == events.len() && margins.len() == weights.len(), "one event and weight per margin");
        match events.iter().filter(|event| **event).count() {
            count if count >= ISOTONIC_EVENTS => Self::Isotonic(Isotonic::fit(margins, events, weights)),
            count if count >= PLATT_EVENTS => Self::Platt(Platt::fit(margins, events, weights)),
            _ => Self::Shift(Platt::shift(margins, events, weights).intercept),
        }
    }

    /// The probability of the event at a margin; strictly between 0 and 1.
    pub fn probability(&self, margin: f64) -> f64 {
        let said = match self {
            Self::Shift(shift) => logistic(margin + shift),
            Self::Platt(platt) => platt.probability(margin),
            Self::Isotonic(isotonic) => isotonic.probability(margin),
        };
        said.clamp(f64::EPSILON, 1.0 - f64::EPSILON)
    }

    /// By how much a change of the margin changes the log-odds: 1 where only a constant was learnt, and near enough for
    /// steps, which have no slope of their own.
    pub fn slope(&self) -> f64 {
        match self {
            Self::Platt(platt) => platt.slope,
            Self::Shift(_) | Self::Isotonic(_) => 1.0,
        }
    }
}

/// `ln(p / (1 - p))`.
pub fn log_odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln()
}
