//! How rare is a number among those of its own stream: a streaming p-value.
//!
//! In: a statistic that is never negative and of the order of 1. Out: -ln p. Promise: where the stream has values beyond
//! the number, p is their share (conformal: rank over count); beyond the highest ones, p falls as a power of the number,
//! with Hill's estimate of the exponent from the highest share, so a larger number is always rarer. Never: the values
//! themselves, only counts in logarithmic bins.

use serde::{Deserialize, Serialize};

/// Bins a tenth apart in the logarithm, from 1/1000 to 8,900: a statistic is known to 10 %, its rank between bins is
/// interpolated.
const BINS: usize = 160;
const LOWEST: f64 = 1e-3;
const WIDTH: f64 = 0.1;
/// Share of the highest values that the power law is fitted to, as in peaks over threshold (Siffer and others 2017: 2 %).
const TOP_SHARE: f64 = 0.02;
/// What is believed of the power law's slope before the highest values are seen, and with the weight of how many of
/// them: p falls with the fourth power. Between a Gaussian's tail (eighth) and a log-normal's of one (second or third); the
/// weight is a third of the values that the highest share of a full memory holds.
const PRIOR_SLOPE: f64 = 0.25;
const PRIOR_WEIGHT: f64 = 20.0;
/// The fastest fall that is believed: p as the tenth power, about a Gaussian's at its 1 in 1000.
const LEAST_SLOPE: f64 = 0.1;
/// Values before anything is rare.
const LEAST_COUNT: f64 = 20.0;
/// p is never said to be below e^-600.
const MOST_EVIDENCE: f64 = 600.0;

/// Counts of a statistic, forgetting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    counts: Vec<f64>,
    total: f64,
    keep: f64,
}

impl Tail {
    /// Nothing seen; `memory` is in values.
    pub fn new(memory: f64) -> Self {
        Self { counts: vec![0.0; BINS], total: 0.0, keep: 1.0 - 1.0 / memory.max(2.0) }
    }

    /// Takes one value in.
    pub fn add(&mut self, value: f64) {
        self.counts.iter_mut().for_each(|count| *count *= self.keep);
        self.total = self.total * self.keep + 1.0;
        self.counts[bin(value)] += 1.0;
    }

    /// -ln of the share of values at least as large.
    pub fn evidence(&self, value: f64) -> f64 {
        if self.total < LEAST_COUNT {
            return 0.0;
        }
        let place = bin(value);
        let share = ((value - edge(place)) / (edge(place + 1) - edge(place))).clamp(0.0, 1.0);
        let above: f64 = self.counts[place + 1..].iter().sum();
        let ranked = (above + self.counts[place] * (1.0 - share) + 0.5) / (self.total + 1.0);
        if ranked > TOP_SHARE {
            return -ranked.ln();
        }
        // The bin in which the highest share begins; the tail is what lies above that bin.
        let wanted = TOP_SHARE * self.total.max(100.0);
        let (mut first, mut mass) = (BINS, 0.0);
        while first > 0 && mass < wanted {
            first -= 1;
            mass += self.counts[first];
        }
        let from = edge(first + 1);
        if first + 1 >= BINS || value <= from {
            return -ranked.ln();
        }
        let (mut beyond, mut logarithms) = (0.0, 0.0);
        for place in first + 1..BINS {
            beyond += self.counts[place];
            logarithms += self.counts[place] * (f64::midpoint(edge(place), edge(place + 1)) / from).ln();
        }
        // Hill's mean, drawn to what is believed beforehand.
        let slope = ((logarithms + PRIOR_WEIGHT * PRIOR_SLOPE) / (beyond + PRIOR_WEIGHT)).max(LEAST_SLOPE);
        let fall = (value / from).ln() / slope;
        (fall - ((beyond + 0.5) / (self.total + 1.0)).ln()).min(MOST_EVIDENCE)
    }
}

fn bin(value: f64) -> usize {
    // A float that is too large for the type saturates, so infinity is in the last bin.
    (((value.max(LOWEST) / LOWEST).ln() / WIDTH) as usize).min(BINS - 1)
}

fn edge(place: usize) -> f64 {
    LOWEST * (place as f64 * WIDTH).exp()
}
