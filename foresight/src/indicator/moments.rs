//! Sums of a window, kept so that they do not cancel: means and second moments about the running mean (Welford 1962).

use serde::{Deserialize, Serialize};

/// What is known of the points `(t, x)` of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// Sum of squares of x about its mean.
    squares: f64,
    time_mean: f64,
    /// Sum of squares of t about its mean.
    time_squares: f64,
    /// Sum of products about both means.
    products: f64,
}

impl Moments {
    pub(crate) fn push(&mut self, time: f64, value: f64) {
        if self.count == 0 {
            (self.min, self.max, self.first) = (value, value, value);
        }
        self.count += 1;
        let count = self.count as f64;
        let (from_mean, from_time) = (value - self.mean, time - self.time_mean);
        self.mean += from_mean / count;
        self.time_mean += from_time / count;
        self.squares += from_mean * (value - self.mean);
        self.time_squares += from_time * (time - self.time_mean);
        self.products += from_time * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
    }

    pub(crate) fn std(&self) -> f64 {
        if self.count < 2 { f64::NAN } else { (self.squares / (self.count - 1) as f64).sqrt() }
    }

    pub(crate) fn slope(&self) -> f64 {
        if self.count < 2 || self.time_squares <= 0.0 { f64::NAN } else { self.products / self.time_squares }
    }

    /// `value` where there is a point.
    pub(crate) fn known(&self, value: f64) -> f64 {
        if self.count == 0 { f64::NAN } else { value }
    }
}
