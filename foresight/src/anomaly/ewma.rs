//! A running mean that forgets.

use serde::{Deserialize, Serialize};

/// The plain mean of the first `memory` values, then exponentially weighted with a weight of `1/memory`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    mean: f64,
    count: f64,
    memory: f64,
}

impl Ewma {
    /// Nothing seen; `memory` is in values and at least 1.
    pub fn new(memory: f64) -> Self {
        Self { mean: 0.0, count: 0.0, memory: memory.max(1.0) }
    }

    /// Takes one value in.
    pub fn add(&mut self, value: f64) {
        self.count = (self.count + 1.0).min(self.memory);
        self.mean += (value - self.mean) / self.count;
    }

    /// The mean; 0 before the first value.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Values that the mean stands on, at most the memory.
    pub fn count(&self) -> f64 {
        self.count
    }
}
