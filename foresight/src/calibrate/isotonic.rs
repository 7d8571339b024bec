//! Isotonic regression: the nearest probabilities that never fall while the margin rises.
//!
//! Pool adjacent violators (Ayer and others, 1955; Barlow and others, 1972), weighted. Within a step the probability
//! is the step's mean, between two steps it is drawn straight, beyond the ends it stays.

use serde::{Deserialize, Serialize};

/// Corners that are kept at most: 512 steps. Pooling leaves about the cube root of the cases, so a million cases give
/// hundreds; beyond that neighbours are pooled further.
const MAX_STEPS: usize = 512;

/// Steps as corners of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    /// `(margin, share of events)`; both never fall.
    corners: Vec<(f64, f64)>,
    /// Probabilities stay this far from 0 and 1: as if one more case of each kind had been seen.
    least: f64,
}

/// Cases that share one probability.
#[derive(Debug, Clone, Copy)]
struct Step {
    first: f64,
    last: f64,
    weight: f64,
    events: f64,
}

impl Step {
    fn mean(&self) -> f64 {
        self.events / self.weight
    }

    fn with(self, next: Step) -> Step {
        Step { last: next.last, weight: self.weight + next.weight, events: self.events + next.events, ..self }
    }
}

impl Isotonic {
    /// Learns the steps; cases without weight or with a margin that is no number are left out.
    pub fn fit(margins: &[f64], events: &[bool], weights: &[f64]) -> Self {
        let mut cases: Vec<Step> = (margins.iter().zip(events).zip(weights))
            .filter(|((margin, _), weight)| margin.is_finite() && **weight > 0.0)
            .map(|((margin, event), weight)| Step {
                first: *margin,
                last: *margin,
                weight: *weight,
                events: if *event { *weight } else { 0.0 },
            })
            .collect();
        cases.sort_by(|one, other| one.first.total_cmp(&other.first));
        let cases = cases.chunk_by(|one, other| one.first == other.first);
        let mut steps: Vec<Step> = Vec::new();
        for mut case in cases.filter_map(|equal| equal.iter().copied().reduce(Step::with)) {
            while let Some(last) = steps.pop_if(|last| last.mean() >= case.mean()) {
                case = last.with(case);
            }
            steps.push(case);
        }
        let weight: f64 = steps.iter().map(|step| step.weight).sum();
        let share = steps.len().div_ceil(MAX_STEPS).max(1);
        let pooled = steps.chunks(share).filter_map(|some| some.iter().copied().reduce(Step::with));
        let corners = pooled.flat_map(|step| [(step.first, step.mean()), (step.last, step.mean())]).collect();
        Self { corners, least: 1.0 / (weight + 2.0) }
    }

    /// The share of events at a margin, as the steps have it; one half where nothing was learnt.
    pub fn share(&self, margin: f64) -> f64 {
        let next = self.corners.partition_point(|corner| corner.0 < margin);
        match (next.checked_sub(1).and_then(|last| self.corners.get(last)), self.corners.get(next)) {
            (None, None) => 0.5,
            (Some(only), None) | (None, Some(only)) => only.1,
            (Some(last), Some(next)) => {
                let way = (margin - last.0) / (next.0 - last.0);
                last.1 + way * (next.1 - last.1)
            }
        }
    }

    /// The probability at a margin.
    pub fn probability(&self, margin: f64) -> f64 {
        self.share(margin).clamp(self.least, 1.0 - self.least)
    }
}
