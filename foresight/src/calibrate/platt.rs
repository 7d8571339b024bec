//! Platt's sigmoid: log-odds as a straight line of the margin.
//!
//! Platt, "Probabilistic outputs for support vector machines", 1999, with the smoothed targets of that paper and
//! Newton's method with halved steps as in Lin, Lin and Weng, "A note on Platt's probabilistic outputs", 2007.

use serde::{Deserialize, Serialize};

use crate::boost::logistic;

/// Newton's method is done long before; it doubles the digits with each step.
const MAX_STEPS: usize = 100;

/// Halvings of one step before it counts as standing still.
const MAX_HALVINGS: usize = 30;

/// Keeps the curvature positive where all margins are equal.
const RIDGE: f64 = 1e-9;

/// Slope and intercept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// What a unit of margin is worth; never negative: a model that ranks the wrong way round on held-out cases knows
    /// nothing, and everybody is told the mean.
    pub slope: f64,
    /// Log-odds at margin 0.
    pub intercept: f64,
}

impl Platt {
    /// Learns both numbers.
    pub fn fit(margins: &[f64], events: &[bool], weights: &[f64]) -> Self {
        let targets = targets(events, weights);
        let found = newton(margins, &targets, weights, Self { slope: 1.0, intercept: 0.0 }, true);
        if found.slope > 0.0 {
            return found;
        }
        newton(margins, &targets, weights, Self { slope: 0.0, intercept: 0.0 }, false)
    }

    /// Learns the intercept alone.
    pub fn shift(margins: &[f64], events: &[bool], weights: &[f64]) -> Self {
        newton(margins, &targets(events, weights), weights, Self { slope: 1.0, intercept: 0.0 }, false)
    }

    /// The probability at a margin.
    pub fn probability(&self, margin: f64) -> f64 {
        logistic(self.slope * margin + self.intercept)
    }
}

/// Platt's targets: a little less than 1 and a little more than 0, as if one more case of each kind had been seen.
fn targets(events: &[bool], weights: &[f64]) -> Vec<f64> {
    let mass =
        |of: bool| -> f64 { events.iter().zip(weights).filter(|(event, _)| **event == of).map(|(_, w)| w).sum() };
    let (yes, no) = ((mass(true) + 1.0) / (mass(true) + 2.0), 1.0 / (mass(false) + 2.0));
    events.iter().map(|event| if *event { yes } else { no }).collect()
}

/// Log loss; its gradient and curvature in slope and intercept.
fn derivatives(margins: &[f64], targets: &[f64], weights: &[f64], at: Platt) -> ([f64; 2], [f64; 3]) {
    let (mut gradient, mut curvature) = ([0.0; 2], [RIDGE, 0.0, RIDGE]);
    for ((margin, target), weight) in margins.iter().zip(targets).zip(weights) {
        let said = at.probability(*margin);
        let (error, spread) = (weight * (said - target), weight * said * (1.0 - said));
        gradient = [gradient[0] + error * margin, gradient[1] + error];
        curvature = [curvature[0] + spread * margin * margin, curvature[1] + spread * margin, curvature[2] + spread];
    }
    (gradient, curvature)
}

/// Log loss without overflow at great margins.
fn loss(margins: &[f64], targets: &[f64], weights: &[f64], at: Platt) -> f64 {
    let one = |margin: f64, target: f64| {
        let odds = at.slope * margin + at.intercept;
        odds.max(0.0) - target * odds + (-odds.abs()).exp().ln_1p()
    };
    margins.iter().zip(targets).zip(weights).map(|((margin, target), weight)| weight * one(*margin, *target)).sum()
}

fn newton(margins: &[f64], targets: &[f64], weights: &[f64], start: Platt, with_slope: bool) -> Platt {
    let mut at = start;
    let mut best = loss(margins, targets, weights, at);
    for _ in 0..MAX_STEPS {
        let (gradient, [slopes, mixed, intercepts]) = derivatives(margins, targets, weights, at);
        let determinant = slopes * intercepts - mixed * mixed;
        let step = if with_slope && determinant > 0.0 {
            [
                (intercepts * gradient[0] - mixed * gradient[1]) / determinant,
                (slopes * gradient[1] - mixed * gradient[0]) / determinant,
            ]
        } else {
            [0.0, gradient[1] / intercepts]
        };
        let tried = (0..MAX_HALVINGS).map(|halvings| 0.5f64.powi(halvings as i32)).find_map(|share| {
            let next = Platt { slope: at.slope - share * step[0], intercept: at.intercept - share * step[1] };
            let loss = loss(margins, targets, weights, next);
            (loss < best).then_some((next, loss))
        });
        let Some((next, loss)) = tried else { break };
        (at, best) = (next, loss);
    }
    at
}
