//! Has the mean moved: two-sided Page-Hinkley, cumulative sums of what exceeds a drift that is allowed.

use serde::{Deserialize, Serialize};

/// Cumulative sums of a standardised value (usual value 0, usual distance 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    allowed: f64,
    up: f64,
    down: f64,
}

impl PageHinkley {
    /// `allowed` is the move that is of no interest, half of the one that is (Page 1954).
    pub fn new(allowed: f64) -> Self {
        Self { allowed, up: 0.0, down: 0.0 }
    }

    /// Takes one value in; the larger of the two sums. A value that is no number changes nothing.
    pub fn add(&mut self, z: f64) -> f64 {
        if z.is_finite() {
            self.up = (self.up + z - self.allowed).max(0.0);
            self.down = (self.down - z - self.allowed).max(0.0);
        }
        self.up.max(self.down)
    }

    /// Starts again, after an alarm.
    pub fn reset(&mut self) {
        (self.up, self.down) = (0.0, 0.0);
    }
}
