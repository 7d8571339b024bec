//! When did it last change: Bayesian online changepoint detection (Adams and MacKay 2007).
//!
//! In: one standardised value at a time. Out: the probability of every run length, that is of "so many rows since the
//! last change". Promise: at most [`MOST_RUNS`] run lengths are kept; the least likely one gives way, its probability
//! is spread over the others. The model of a run is a Gaussian of unknown mean and variance, so a step in either is a change.

use serde::{Deserialize, Serialize};

/// Run lengths kept: what a detector looks at is whether the last change is recent.
pub const MOST_RUNS: usize = 100;
/// Before the first row: mean 0, variance about 1, with the weight of one row on the mean and two on the variance.
const PRIOR: Run = Run { probability: 1.0, length: 0, mean: 0.0, weight: 1.0, shape: 1.0, scale: 1.0 };

/// Probabilities of run lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changepoint {
    hazard: f64,
    runs: Vec<Run>,
}

/// A hypothesis: the last change was `length` rows ago, and what the rows since say (normal-gamma).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Run {
    probability: f64,
    length: u64,
    mean: f64,
    weight: f64,
    shape: f64,
    scale: f64,
}

impl Changepoint {
    /// One change in `rows_between` rows is expected.
    pub fn new(rows_between: f64) -> Self {
        Self { hazard: 1.0 / rows_between.max(2.0), runs: vec![PRIOR] }
    }

    /// Takes one value in; the most likely number of rows since the last change. A value that is no number changes nothing.
    pub fn add(&mut self, z: f64) -> u64 {
        if !z.is_finite() {
            return self.length();
        }
        let mut runs = Vec::with_capacity(self.runs.len() + 1);
        let most = self.runs.iter().map(|run| run.log_density(z)).fold(f64::NEG_INFINITY, f64::max);
        // Relative to the largest, so that a value none of them expected does not make all of them 0.
        let grown = self.runs.iter().map(|run| run.probability * (run.log_density(z) - most).exp());
        let weights: Vec<f64> = grown.collect();
        let total: f64 = weights.iter().sum();
        // A change is as likely whatever came before: the new run starts with the prior.
        runs.push(Run { probability: self.hazard * total, ..PRIOR });
        for (run, weight) in self.runs.iter().zip(weights) {
            runs.push(Run { probability: (1.0 - self.hazard) * weight, ..run.with(z) });
        }
        if runs.len() > MOST_RUNS {
            let place =
                (1..runs.len()).min_by(|one, other| runs[*one].probability.total_cmp(&runs[*other].probability));
            if let Some(place) = place {
                runs.remove(place);
            }
        }
        let total: f64 = runs.iter().map(|run| run.probability).sum();
        runs.iter_mut().for_each(|run| run.probability /= total);
        self.runs = runs;
        self.length()
    }

    /// The most likely number of rows since the last change.
    pub fn length(&self) -> u64 {
        let likely = self.runs.iter().max_by(|one, other| one.probability.total_cmp(&other.probability));
        likely.map_or(0, |run| run.length)
    }

    /// Probability that the last change is at most so many rows ago.
    pub fn within(&self, rows: u64) -> f64 {
        self.runs.iter().filter(|run| run.length <= rows).map(|run| run.probability).sum()
    }
}

impl Run {
    fn with(self, value: f64) -> Self {
        let from = value - self.mean;
        Self {
            length: self.length + 1,
            mean: self.mean + from / (self.weight + 1.0),
            weight: self.weight + 1.0,
            shape: self.shape + 0.5,
            scale: self.scale + 0.5 * self.weight / (self.weight + 1.0) * from * from,
            ..self
        }
    }

    /// Student's t with 2 `shape` degrees of freedom.
    fn log_density(&self, value: f64) -> f64 {
        let freedom = 2.0 * self.shape;
        let variance = self.scale * (self.weight + 1.0) / (self.shape * self.weight);
        let squared = (value - self.mean).powi(2) / variance;
        log_gamma(self.shape + 0.5)
            - log_gamma(self.shape)
            - 0.5 * (std::f64::consts::PI * freedom * variance).ln()
            - (self.shape + 0.5) * (squared / freedom).ln_1p()
    }
}

/// ln of the gamma function from 1 up, by Stirling's series after a shift: error below 1e-9.
fn log_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 8.0 {
        shift += x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}
