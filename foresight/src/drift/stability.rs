//! The population stability index of one feature.
//!
//! `sum over bins of (share now - share then) * ln(share now / share then)`: the symmetrised Kullback-Leibler divergence
//! (Jeffreys). Below 0.1 nothing, up to 0.25 something, above it much has changed: the customary rule of credit scoring
//! (Siddiqi, *Credit Risk Scorecards*, 2006). By chance alone its mean is about `(bins - 1) * (1 / then + 1 / now)`
//! (Yurdakul 2018), which is why few values give no verdict.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// Bins of the reference: tenths, as is customary.
const BINS: usize = 10;
/// Added to each bin's count, so that an empty one has a logarithm.
const HALF: f64 = 0.5;
/// Values before a verdict: ten bins then move by 0.05 at most on average by chance.
const LEAST_VALUES: u64 = 200;
/// From here on something has changed.
const MOVED: f64 = 0.1;
/// From here on much has changed.
const DRIFTED: f64 = 0.25;

/// How a feature was spread in the training: tenths, and the share of missing values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Upper edges of all bins but the last; a value at an edge lies below it.
    edges: Vec<f64>,
    /// Per bin, then missing: values of the training.
    counts: Vec<u64>,
}

impl Reference {
    /// From the training's values; NaN is missing. Equal tenths are one bin.
    pub fn new(values: &[f64]) -> Self {
        let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        present.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = Vec::new();
        for tenth in 1..BINS {
            // `present[k - 1]` with k = ceil(n * tenth / BINS) is the tenth's upper end.
            if let Some(edge) = (present.len() * tenth).div_ceil(BINS).checked_sub(1).and_then(|k| present.get(k)) {
                edges.push(*edge);
            }
        }
        edges.dedup();
        let mut counts = vec![0; edges.len() + 2];
        for value in values {
            counts[bin(&edges, *value)] += 1;
        }
        Self { edges, counts }
    }
}

/// The place of a value; missing ones have the last.
fn bin(edges: &[f64], value: f64) -> usize {
    if value.is_nan() { edges.len() + 1 } else { edges.partition_point(|edge| *edge < value) }
}

/// The index of a feature as its values come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    reference: Reference,
    counts: Vec<u64>,
}

impl Stability {
    /// Nothing has come in yet.
    pub fn new(reference: Reference) -> Self {
        let counts = vec![0; reference.counts.len()];
        Self { reference, counts }
    }

    /// Takes in a value.
    pub fn add(&mut self, value: f64) {
        self.counts[bin(&self.reference.edges, value)] += 1;
    }

    /// How many came in.
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The index; `None` before the first value.
    pub fn index(&self) -> Option<f64> {
        let total = |counts: &[u64]| counts.iter().map(|count| *count as f64 + HALF).sum::<f64>();
        let (now, then) = (total(&self.counts), total(&self.reference.counts));
        let terms = self.counts.iter().zip(&self.reference.counts).map(|(is, was)| {
            let (is, was) = ((*is as f64 + HALF) / now, (*was as f64 + HALF) / then);
            (is - was) * (is / was).ln()
        });
        (self.values() > 0).then(|| terms.sum())
    }

    /// By the customary rule.
    pub fn verdict(&self) -> Verdict {
        match self.index() {
            Some(index) if self.values() >= LEAST_VALUES => match index {
                index if index >= DRIFTED => Verdict::Drifted,
                index if index >= MOVED => Verdict::Moved,
                _ => Verdict::Stable,
            },
            _ => Verdict::Unknown,
        }
    }

    /// Forgets what came in: the next period begins.
    pub fn restart(&mut self) {
        self.counts.fill(0);
    }
}
