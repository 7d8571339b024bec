//! What a linear forecast leaves over, in usual errors.

use serde::{Deserialize, Serialize};

use super::{ewma::Ewma, least_squares::LeastSquares};

/// An error teaches as at most this many usual ones: one spike does not bend the forecast.
const CLIP: f64 = 6.0;
/// The usual error takes at most twice that, once it stands on so many.
const UNCLIPPED: f64 = 100.0;
/// Least usual error, in spreads of the stream: a forecast of a flat stream is perfect, and no error is infinitely rare.
const LEAST_ERROR: f64 = 1e-3;
/// Rows the forecast remembers: a week of five-minute rows.
const MEMORY: f64 = 2000.0;

/// A forecast and its usual error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    model: LeastSquares,
    error: Ewma,
}

impl Residual {
    /// Nothing learnt; `memory` is that of the usual error, in rows.
    pub fn new(features: usize, memory: f64) -> Self {
        Self { model: LeastSquares::new(features, MEMORY), error: Ewma::new(memory) }
    }

    /// What came less what was to be expected.
    pub fn of(&self, features: &[f64], value: f64) -> f64 {
        value - self.model.forecast(features)
    }

    /// The usual error, never 0.
    pub fn usual(&self) -> f64 {
        self.error.mean().max(LEAST_ERROR)
    }

    /// Takes in what was left over.
    pub fn learn(&mut self, features: &[f64], residual: f64) {
        let most = CLIP * self.usual();
        self.model.learn(features, residual.clamp(-most, most));
        let known = self.error.count() > UNCLIPPED;
        self.error.add(if known { residual.abs().min(2.0 * most) } else { residual.abs() });
    }
}
