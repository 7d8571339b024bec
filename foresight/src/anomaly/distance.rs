//! Several metrics at once: Mahalanobis distance with a running, shrunk covariance.
//!
//! Shrinking towards the diagonal keeps the matrix regular when metrics move together or few rows were seen. The share
//! falls with the rows seen: `(width + 1) / (rows + width + 1)`, the order of the optimal share of Ledoit and Wolf (2004)
//! without its data-dependent factor, and never below 1 %.

use serde::{Deserialize, Serialize};

/// Least share of the diagonal.
const LEAST_SHRINKAGE: f64 = 0.01;
/// Least variance of a metric as a share of its mean square.
const RESOLUTION: f64 = 1e-12;

/// Running mean and covariance of a few metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    mean: Vec<f64>,
    covariance: Vec<f64>,
    rows: f64,
    memory: f64,
}

impl Distance {
    /// Nothing seen; `memory` is in rows.
    pub fn new(metrics: usize, memory: f64) -> Self {
        Self { mean: vec![0.0; metrics], covariance: vec![0.0; metrics * metrics], rows: 0.0, memory: memory.max(2.0) }
    }

    /// Squared distance per metric, so about 1 for a usual row; nothing before two rows per metric, with another number of
    /// metrics, or with a value that is no number.
    pub fn of(&self, row: &[f64]) -> Option<f64> {
        let width = self.mean.len();
        if !self.takes(row) || width == 0 || self.rows < 2.0 * width as f64 {
            return None;
        }
        let least = (width + 1) as f64;
        let shrinkage = (least / (self.rows + least)).max(LEAST_SHRINKAGE);
        let mut matrix = self.covariance.clone();
        for (place, entry) in matrix.iter_mut().enumerate() {
            let (down, across) = (place / width, place % width);
            if down == across {
                *entry += RESOLUTION * self.mean[down].powi(2) + f64::MIN_POSITIVE;
            } else {
                *entry *= 1.0 - shrinkage;
            }
        }
        let from: Vec<f64> = row.iter().zip(&self.mean).map(|(value, mean)| value - mean).collect();
        // Cholesky, and the forward half of the solution: |L^-1 d|^2 is the squared distance.
        let mut solved: Vec<f64> = Vec::with_capacity(width);
        for down in 0..width {
            for across in 0..=down {
                let dot: f64 = (0..across).map(|k| matrix[down * width + k] * matrix[across * width + k]).sum();
                let rest = matrix[down * width + across] - dot;
                matrix[down * width + across] = if down == across {
                    rest.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    rest / matrix[across * width + across]
                };
            }
            let dot: f64 = solved.iter().enumerate().map(|(k, solved)| matrix[down * width + k] * solved).sum();
            solved.push((from[down] - dot) / matrix[down * width + down]);
        }
        Some(solved.iter().map(|part| part * part).sum::<f64>() / width as f64)
    }

    /// Takes one row in; one with another number of metrics or without all its numbers changes nothing.
    pub fn add(&mut self, row: &[f64]) {
        if !self.takes(row) {
            return;
        }
        let width = self.mean.len();
        self.rows = (self.rows + 1.0).min(self.memory);
        let share = 1.0 / self.rows;
        let from: Vec<f64> = row.iter().zip(&self.mean).map(|(value, mean)| value - mean).collect();
        for (mean, from) in self.mean.iter_mut().zip(&from) {
            *mean += share * from;
        }
        for (place, entry) in self.covariance.iter_mut().enumerate() {
            *entry = (1.0 - share) * (*entry + share * from[place / width] * from[place % width]);
        }
    }

    fn takes(&self, row: &[f64]) -> bool {
        row.len() == self.mean.len() && row.iter().all(|value| value.is_finite())
    }
}
