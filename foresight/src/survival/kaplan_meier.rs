//! The share that outlives each age, without a law (Kaplan and Meier 1958).
//!
//! In: exact failures and survivals with counts; late entries enter the risk set when they were first seen. Out: a step
//! per failure age with Greenwood's variance and 95 % limits on the log-log scale, which stay between 0 and 1 (Kalbfleisch
//! and Prentice 2002, section 1.4). A survival at the age of a failure counts as at risk there.

use serde::{Deserialize, Serialize};

use super::{Lifetime, Seen, SurvivalError, fit::NORMAL_95};

/// The curve after one failure age.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The age.
    pub age: f64,
    /// Units at risk just before it.
    pub at_risk: f64,
    /// Failures at it.
    pub failures: f64,
    /// Share that outlives it.
    pub survival: f64,
    /// Greenwood's variance of that share.
    pub variance: f64,
    /// Lower 95 % limit.
    pub lower: f64,
    /// Upper 95 % limit.
    pub upper: f64,
}

/// The curve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct KaplanMeier {
    /// In order of age.
    pub steps: Vec<Step>,
}

impl KaplanMeier {
    /// The curve of lifetimes.
    pub fn new(lifetimes: &[Lifetime]) -> Result<Self, SurvivalError> {
        let mut ends = Vec::with_capacity(lifetimes.len());
        for lifetime in lifetimes {
            match lifetime.seen {
                Seen::Failed(at) => ends.push((at, lifetime.count, lifetime.count)),
                Seen::Survived(until) => ends.push((until, lifetime.count, 0.0)),
                seen => return Err(SurvivalError::Inexact { method: "Kaplan-Meier", seen }),
            }
        }
        let entries = lifetimes.iter().map(|lifetime| (lifetime.window.0, lifetime.count)).collect();
        let mut survival = 1.0;
        let mut greenwood = 0.0;
        let steps = risk_sets(ends, entries).into_iter().map(|(age, at_risk, failures)| {
            survival *= 1.0 - failures / at_risk;
            greenwood += failures / (at_risk * (at_risk - failures));
            let (lower, upper) = limits(survival, greenwood);
            let variance = if survival > 0.0 { survival * survival * greenwood } else { 0.0 };
            Step { age, at_risk, failures, survival, variance, lower, upper }
        });
        Ok(Self { steps: steps.collect() })
    }

    /// Share that outlives an age.
    pub fn survival(&self, age: f64) -> f64 {
        let after = self.steps.partition_point(|step| step.age <= age);
        after.checked_sub(1).map_or(1.0, |last| self.steps[last].survival)
    }

    /// The first age by which at least this share failed; `None` where the curve does not come down that far.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        // A billionth, so that a share that is a step's own is not missed by a rounding.
        self.steps.iter().find(|step| 1.0 - step.survival >= share - 1e-9).map(|step| step.age)
    }
}

fn limits(survival: f64, greenwood: f64) -> (f64, f64) {
    if survival <= 0.0 {
        return (0.0, 0.0);
    }
    let ln = survival.ln();
    let wide = NORMAL_95 * greenwood.sqrt() / ln.abs();
    ((ln * wide.exp()).exp(), (ln * (-wide).exp()).exp())
}

/// Per age with failures: the age, units at risk just before it, failures. `ends` are (age, units, failures).
pub(super) fn risk_sets(mut ends: Vec<(f64, f64, f64)>, mut entries: Vec<(f64, f64)>) -> Vec<(f64, f64, f64)> {
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    entries.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut sets = Vec::new();
    let (mut entered, mut left, mut next) = (0.0, 0.0, 0);
    let mut place = 0;
    while place < ends.len() {
        let age = ends[place].0;
        while next < entries.len() && entries[next].0 < age {
            entered += entries[next].1;
            next += 1;
        }
        let at_risk = entered - left;
        let mut failures = 0.0;
        while place < ends.len() && ends[place].0 == age {
            failures += ends[place].2;
            left += ends[place].1;
            place += 1;
        }
        if failures > 0.0 {
            sets.push((age, at_risk, failures));
        }
    }
    sets
}
