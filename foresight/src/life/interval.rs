//! Intervals from what units that were held out did: cross-conformal, by unit, conditional on the predicted life.
//!
//! In: rows with predicted and true life, from models that had not seen the unit. Out: per predicted life the interval of true lives
//! that holds [`SHARE`] of the rows predicted near it, with equal tails. Near the end of life predictions are close and so
//! is the interval. Where more than a tail lies at the cap, the interval ends in the cap and the other tail takes both
//! shares: equal tails would hold nine in ten there. (The shortest interval would be narrower on these rows and hold fewer
//! of the next.) Promise: `0 <= low <= life <= high <= cap`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Prediction;

/// Share of true lives that the interval holds.
pub const SHARE: f64 = 0.8;

/// A row of a unit that the model had not seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Which unit.
    pub unit: usize,
    /// Predicted life.
    pub said: f64,
    /// True life, capped.
    pub is: f64,
}

/// Nodes over `0..=cap`; between them the ends are interpolated.
const NODES: usize = 26;
/// Rows around a node: this share of all, at least [`LEAST`]. A tenth follows the change of width over life and still holds
/// hundreds of rows.
const NEAREST: f64 = 0.1;
/// Rows without which ends are noise.
const LEAST: usize = 50;

/// Ends of the interval by predicted life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    cap: f64,
    /// Per node: what to add to the prediction for the lower and the upper end.
    ends: Vec<(f64, f64)>,
}

impl Interval {
    /// From rows of units that were held out.
    pub fn of(rows: &[Held], cap: f64) -> Self {
        let mut sorted = rows.to_vec();
        sorted.sort_by(|one, other| one.said.total_cmp(&other.said));
        let ends = (0..NODES).map(|node| ends(&sorted, cap * node as f64 / (NODES - 1) as f64, cap)).collect();
        Self { cap, ends }
    }

    /// The interval around a predicted life within `0..=cap`.
    pub fn around(&self, life: f64) -> Prediction {
        let along = (life / self.cap * (NODES - 1) as f64).clamp(0.0, (NODES - 1) as f64);
        let node = (along as usize).min(NODES - 2);
        let share = along - node as f64;
        let (before, after) = (self.ends[node], self.ends[node + 1]);
        let low = life + before.0 + share * (after.0 - before.0);
        let high = life + before.1 + share * (after.1 - before.1);
        Prediction { life, low: low.clamp(0.0, life), high: high.clamp(life, self.cap) }
    }
}

fn ends(sorted: &[Held], node: f64, cap: f64) -> (f64, f64) {
    let count = ((sorted.len() as f64 * NEAREST) as usize).max(LEAST).min(sorted.len());
    if count == 0 {
        return (-cap, cap);
    }
    let mut from = sorted.partition_point(|row| row.said < node).saturating_sub(count / 2).min(sorted.len() - count);
    // The nearest by prediction, not half on each side: at the ends of life there is only one side.
    while from > 0 && node - sorted[from - 1].said < sorted[from + count - 1].said - node {
        from -= 1;
    }
    while from + count < sorted.len() && sorted[from + count].said - node < node - sorted[from].said {
        from += 1;
    }
    let near = &sorted[from..from + count];
    // Errors moved to the node and cut to what a life can be; a true life at the cap stays there.
    let moved = |row: &Held| if row.is >= cap { cap } else { (node + row.is - row.said).clamp(0.0, cap) };
    let mut lives: Vec<f64> = near.iter().map(moved).collect();
    lives.sort_by(f64::total_cmp);
    let quantile = |share: f64| lives[((lives.len() - 1) as f64 * share).round() as usize];
    let units = near.iter().map(|row| row.unit).collect::<BTreeSet<_>>().len() as f64;
    // Conformal, each tail by itself: of n units and one more. Rows of a unit err together, so n counts units.
    let tail = |held: f64| (1.0 - held * (units + 1.0) / units).max(0.0);
    let (low, high) = (quantile(tail(SHARE.midpoint(1.0))), quantile(1.0 - tail(SHARE.midpoint(1.0))));
    let low = if high >= cap { quantile(tail(SHARE)) } else { low };
    (low - node, high - node)
}
