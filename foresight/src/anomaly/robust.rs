//! Robust z: how far a value is from what is usual, in usual distances.
//!
//! Location and spread are running means of clipped values (Huber 1964), so one wild value moves neither far; a median
//! over the same memory would need the values themselves.

use serde::{Deserialize, Serialize};

use super::ewma::Ewma;

/// A value counts as at most this many spreads away: far enough that a Gaussian is never clipped, near enough that a
/// thousandfold spike moves the mean like a tenfold one.
const CLIP: f64 = 10.0;
/// Values that are taken as they come; the spread is not known before.
const UNCLIPPED: f64 = 100.0;
/// Least spread as a share of the location: what single precision leaves of a sensor's value.
const RESOLUTION: f64 = 1e-6;

/// Running location and mean absolute deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustZ {
    location: Ewma,
    deviation: Ewma,
}

impl RobustZ {
    /// Nothing seen; `memory` is in values.
    pub fn new(memory: f64) -> Self {
        Self { location: Ewma::new(memory), deviation: Ewma::new(memory) }
    }

    /// Distance from the location in spreads, with its sign; 0 before the first value.
    pub fn z(&self, value: f64) -> f64 {
        if self.location.count() == 0.0 { 0.0 } else { (value - self.location.mean()) / self.spread() }
    }

    /// The usual value.
    pub fn location(&self) -> f64 {
        self.location.mean()
    }

    /// The usual distance from it, never 0.
    pub fn spread(&self) -> f64 {
        self.deviation.mean().max(1e-12 + RESOLUTION * self.location.mean().abs())
    }

    /// The value, no further away than one that still counts in full.
    pub fn clip(&self, value: f64) -> f64 {
        if self.location.count() <= UNCLIPPED {
            return value;
        }
        let reach = CLIP * self.spread();
        value.clamp(self.location.mean() - reach, self.location.mean() + reach)
    }

    /// Takes one value in.
    pub fn add(&mut self, value: f64) {
        let value = self.clip(value);
        if self.location.count() > 0.0 {
            self.deviation.add((value - self.location.mean()).abs());
        }
        self.location.add(value);
    }
}
