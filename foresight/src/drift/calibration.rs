//! Whether as many fail as was said.
//!
//! Two tests on probabilities `p` with outcomes `y`. Calibration in the large: `(sum y - sum p) / sqrt(sum p (1 - p))`.
//! Spiegelhalter's (1986) on the Brier score: `sum (y - p)(1 - 2 p) / sqrt(sum (1 - 2 p)^2 p (1 - p))`, which sees spread
//! that is too wide or too narrow too. Both are about standard normal where the probabilities hold and there are enough
//! cases.

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::survival::normal_two_sided;

/// Expected failures, and expected survivals, before a verdict: with fewer the normal law is far off.
const LEAST_EXPECTED: f64 = 5.0;
/// Chance of either test to say `moved` although nothing has: each period is one look.
const MOVED: f64 = 0.01;
/// The same for `drifted`: at daily looks once in some thirty years.
const DRIFTED: f64 = 0.0001;

/// Sums over probabilities and outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    cases: u64,
    observed: f64,
    expected: f64,
    variance: f64,
    spread: f64,
    spread_variance: f64,
    refused: u64,
}

/// What the tests say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// Cases.
    pub cases: u64,
    /// Failures that came.
    pub observed: f64,
    /// Failures that were said.
    pub expected: f64,
    /// Calibration in the large; above 0 more failed than was said.
    pub z: f64,
    /// Its two-sided probability under calibration.
    pub p_value: f64,
    /// Spiegelhalter's z.
    pub spiegelhalter_z: f64,
    /// Its two-sided probability under calibration.
    pub spiegelhalter_p_value: f64,
    /// By the smaller of both.
    pub verdict: Verdict,
    /// Values that were no probability.
    pub refused: u64,
}

impl Calibration {
    /// Takes in a probability and its outcome; what is no probability is counted and left out.
    pub fn add(&mut self, probability: f64, failed: bool) {
        if !(0.0..=1.0).contains(&probability) {
            self.refused += 1;
            return;
        }
        let outcome = f64::from(u8::from(failed));
        let (variance, tilt) = (probability * (1.0 - probability), 1.0 - 2.0 * probability);
        self.cases += 1;
        self.observed += outcome;
        self.expected += probability;
        self.variance += variance;
        self.spread += (outcome - probability) * tilt;
        self.spread_variance += tilt * tilt * variance;
    }

    /// What the tests say so far.
    pub fn judge(&self) -> Calibrated {
        let z = ratio(self.observed - self.expected, self.variance);
        let spiegelhalter_z = ratio(self.spread, self.spread_variance);
        let (p_value, spiegelhalter_p_value) = (normal_two_sided(z), normal_two_sided(spiegelhalter_z));
        // Two looks at once: each gets half of the chance.
        let least = 2.0 * p_value.min(spiegelhalter_p_value);
        let enough = self.expected >= LEAST_EXPECTED && self.cases as f64 - self.expected >= LEAST_EXPECTED;
        let verdict = match least {
            _ if !enough => Verdict::Unknown,
            p if p < DRIFTED => Verdict::Drifted,
            p if p < MOVED => Verdict::Moved,
            _ => Verdict::Stable,
        };
        let Self { cases, observed, expected, refused, .. } = *self;
        Calibrated { cases, observed, expected, z, p_value, spiegelhalter_z, spiegelhalter_p_value, verdict, refused }
    }

    /// Forgets what came in: the next period begins.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

fn ratio(difference: f64, variance: f64) -> f64 {
    if variance > 0.0 { difference / variance.sqrt() } else { 0.0 }
}
