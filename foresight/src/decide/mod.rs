//! Whether to act on a probability: by expected cost.
//!
//! In: a calibrated probability that the component fails within the horizon, and [`Costs`]. Out: a [`Decision`] with its
//! threshold, both expected costs and a reason in words. Promise: a higher probability, a dearer failure or a cheaper
//! visit never turns `auto` into less. Never: a decision from a probability that is none.
//!
//! Waiting costs `p * failure`. A visit costs `visit`, leaves the share of failures it does not avoid, `p * (1 - avoided) *
//! failure`, and where nothing would have failed, `(1 - p) * false_alarm`. So a visit pays where
//!
//! ```text
//! p * avoided * failure > visit + (1 - p) * false_alarm
//! p > p* = (visit + false_alarm) / (avoided * failure + false_alarm)
//! ```
//!
//! (the threshold of cost-sensitive learning: Elkan 2001, equation 2, with the visit's own cost in both rows of "act").

mod history;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::history::{Chosen, Labelled, cheapest_threshold};

/// Assistance (a self-test, a call) is offered from this share of `p*` on: it costs little beside a visit, so it pays
/// where a visit is within a factor of two of paying.
pub const ASSIST_SHARE: f64 = 0.5;

/// What things cost for one component, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// A planned visit with its part.
    pub visit: f64,
    /// A failure: repair in haste, damage, the user's trouble.
    pub failure: f64,
    /// What a needless visit costs beside the visit.
    pub false_alarm: f64,
    /// Share of failures that a visit within the horizon avoids, 0 to 1.
    pub avoided: f64,
}

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} = {value}: {legal}")]
pub struct DecideError {
    /// Which.
    pub field: &'static str,
    /// As given.
    pub value: f64,
    /// What is legal.
    pub legal: &'static str,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Go on watching.
    Watch,
    /// A self-test, a call: what costs little and tells more.
    Assist,
    /// Open a ticket and offer a visit.
    Auto,
}

/// A decision and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// The probability it was made on.
    pub probability: f64,
    /// `p*`; above 1 a visit never pays.
    pub threshold: f64,
    /// Expected cost of waiting.
    pub wait_cost: f64,
    /// Expected cost of a visit.
    pub visit_cost: f64,
    /// The costs it was made with.
    pub costs: Costs,
    /// In words.
    pub reason: String,
}

impl Costs {
    /// Refuses costs below zero and shares outside of 0 to 1.
    pub fn check(self) -> Result<Self, DecideError> {
        for (field, value) in [("visit", self.visit), ("failure", self.failure), ("false_alarm", self.false_alarm)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(DecideError { field, value, legal: "a finite cost of at least 0" });
            }
        }
        if !(0.0..=1.0).contains(&self.avoided) {
            return Err(DecideError { field: "avoided", value: self.avoided, legal: "a share from 0 to 1" });
        }
        Ok(self)
    }

    /// `p*`: from this probability on a visit pays. Infinite where it never does.
    pub fn threshold(&self) -> f64 {
        let saved = self.avoided * self.failure + self.false_alarm;
        if saved > 0.0 { (self.visit + self.false_alarm) / saved } else { f64::INFINITY }
    }

    /// Expected cost of waiting.
    pub fn wait_cost(&self, probability: f64) -> f64 {
        probability * self.failure
    }

    /// Expected cost of a visit.
    pub fn visit_cost(&self, probability: f64) -> f64 {
        self.visit + probability * (1.0 - self.avoided) * self.failure + (1.0 - probability) * self.false_alarm
    }
}

/// Decides by expected cost.
///
/// ```
/// use foresight::decide::{Action, Costs, decide};
/// let pump = Costs { visit: 80.0, failure: 400.0, false_alarm: 20.0, avoided: 0.9 };
/// assert_eq!(decide(0.30, pump).unwrap().action, Action::Auto, "p* = 100 / 380 = 0.26");
/// assert_eq!(decide(0.15, pump).unwrap().action, Action::Assist);
/// assert_eq!(decide(0.05, pump).unwrap().action, Action::Watch);
/// ```
pub fn decide(probability: f64, costs: Costs) -> Result<Decision, DecideError> {
    let threshold = costs.check()?.threshold();
    decide_at(probability, threshold, costs)
}

/// Decides by a threshold from elsewhere ([`cheapest_threshold`]); the costs are those of the reason.
pub fn decide_at(probability: f64, threshold: f64, costs: Costs) -> Result<Decision, DecideError> {
    if !(0.0..=1.0).contains(&probability) {
        return Err(DecideError { field: "probability", value: probability, legal: "a probability from 0 to 1" });
    }
    if threshold.is_nan() || threshold < 0.0 {
        return Err(DecideError { field: "threshold", value: threshold, legal: "at least 0" });
    }
    let costs = costs.check()?;
    let (wait_cost, visit_cost) = (costs.wait_cost(probability), costs.visit_cost(probability));
    let (action, says) = if probability >= threshold {
        (Action::Auto, "at or above")
    } else if probability >= ASSIST_SHARE * threshold {
        (Action::Assist, "within half of")
    } else {
        (Action::Watch, "below half of")
    };
    let reason = if threshold > 1.0 && action == Action::Watch {
        format!(
            "a visit never pays: it avoids at most {:.2} and costs {:.2}",
            costs.avoided * costs.failure,
            costs.visit
        )
    } else {
        format!(
            "probability {probability:.3} is {says} the threshold {threshold:.3}; \
             waiting is expected to cost {wait_cost:.2}, a visit {visit_cost:.2}"
        )
    };
    Ok(Decision { action, probability, threshold, wait_cost, visit_cost, costs, reason })
}
