//! Recursive least squares with forgetting: a linear forecast that follows.

use serde::{Deserialize, Serialize};

/// Variance of a weight that nothing is known of; with forgetting it would grow without end where a feature never moves.
const MOST_VARIANCE: f64 = 1e3;

/// Weights of a few features and what is known of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeastSquares {
    weights: Vec<f64>,
    /// Symmetric, row by row.
    covariance: Vec<f64>,
    keep: f64,
}

impl LeastSquares {
    /// All weights 0; `memory` is in rows.
    pub fn new(features: usize, memory: f64) -> Self {
        let mut covariance = vec![0.0; features * features];
        covariance.iter_mut().step_by(features + 1).for_each(|variance| *variance = 1.0);
        Self { weights: vec![0.0; features], covariance, keep: 1.0 - 1.0 / memory.max(2.0) }
    }

    /// What the features say comes.
    pub fn forecast(&self, features: &[f64]) -> f64 {
        dot(&self.weights, features)
    }

    /// Takes in by how much the forecast from these features was too low.
    pub fn learn(&mut self, features: &[f64], error: f64) {
        let width = self.weights.len();
        let gain: Vec<f64> = self.covariance.chunks_exact(width).map(|row| dot(row, features)).collect();
        let scale = self.keep + dot(&gain, features);
        if !scale.is_finite() || scale <= 0.0 {
            // Rounding has made the matrix useless: what was learnt stays, what is known of it starts again.
            *self = Self { weights: self.weights.clone(), ..Self::new(width, 1.0 / (1.0 - self.keep)) };
            return;
        }
        for (weight, gain) in self.weights.iter_mut().zip(&gain) {
            *weight += gain / scale * error;
        }
        for (row, down) in self.covariance.chunks_exact_mut(width).zip(&gain) {
            for (entry, across) in row.iter_mut().zip(&gain) {
                *entry = (*entry - down * across / scale) / self.keep;
            }
        }
        let trace: f64 = self.covariance.iter().step_by(width + 1).sum();
        if trace > MOST_VARIANCE {
            self.covariance.iter_mut().for_each(|entry| *entry *= MOST_VARIANCE / trace);
        }
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}
