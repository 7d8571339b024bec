//! Logistic regression with a ridge: log-odds as a weighted sum of indicators, for when there are few failures.
//!
//! In: a [`Matrix`] (NaN is missing), 0/1 targets, how hard weights are pulled to 0. Out: margins and what each indicator
//! added, exactly. Promise: the same input gives the same weights; an indicator that is missing, or that never varied,
//! adds nothing. Never: a choice of indicators.
//!
//! Indicators are put on one scale first (mean 0, standard deviation 1, cut off at [`FAR`]), so that one ridge fits all.
//! Newton's method (iteratively reweighted least squares), Cholesky for each step; le Cessie and van Houwelingen, 1992.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::boost::{BoostError, Matrix, logistic};

/// Standard deviations from the mean beyond which a value counts as this far: one broken reading moves no more.
pub const FAR: f64 = 8.0;

/// Newton's method needs fewer than ten; with a ridge it does not run away.
const MAX_STEPS: usize = 50;

/// Below this a step changes nothing that could be seen.
const STILL: f64 = 1e-9;

/// Keeps the intercept's curvature positive.
const LEAST_CURVATURE: f64 = 1e-9;

/// One indicator's scale and weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Term {
    mean: f64,
    deviation: f64,
    weight: f64,
}

impl Term {
    fn scaled(&self, value: f64) -> f64 {
        if value.is_nan() || self.deviation == 0.0 {
            return 0.0;
        }
        ((value - self.mean) / self.deviation).clamp(-FAR, FAR)
    }
}

/// Weights of indicators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logit {
    names: Vec<String>,
    terms: Vec<Term>,
    intercept: f64,
}

impl Logit {
    /// Learns the weights; `ridge` is the inverse variance of the weights' prior, the intercept is free.
    pub fn fit(matrix: &Matrix, target: &[f64], ridge: f64) -> Result<Self, BoostError> {
        let width = matrix.names().len();
        if matrix.rows() == 0 || width == 0 {
            return Err(BoostError::Empty { rows: matrix.rows(), columns: width });
        }
        let terms: Vec<Term> = (0..width).map(|column| scale(matrix.column(column))).collect();
        let mut scaled = Vec::with_capacity(matrix.rows() * (width + 1));
        for row in 0..matrix.rows() {
            scaled.extend((0..width).map(|column| terms[column].scaled(matrix.column(column)[row])));
            scaled.push(1.0);
        }
        let weights = newton(&scaled, width + 1, target, ridge);
        let terms = terms.into_iter().zip(&weights).map(|(term, weight)| Term { weight: *weight, ..term }).collect();
        Ok(Self { names: matrix.names().to_vec(), terms, intercept: weights[width] })
    }

    /// Feature names, in column order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Log-odds per row.
    pub fn margin(&self, matrix: &Matrix) -> Result<Vec<f64>, BoostError> {
        self.same(matrix)?;
        let mut margins = vec![0.0; matrix.rows()];
        for (column, term) in self.terms.iter().enumerate().filter(|(_, term)| term.weight != 0.0) {
            let values = margins.iter_mut().zip(matrix.column(column));
            values.for_each(|(margin, value)| *margin += term.weight * term.scaled(*value));
        }
        margins.iter_mut().for_each(|margin| *margin += self.intercept);
        Ok(margins)
    }

    /// What each indicator added per row; the last value is the intercept.
    pub fn contributions(&self, matrix: &Matrix) -> Result<Vec<Vec<f64>>, BoostError> {
        self.same(matrix)?;
        let one = |row: usize| {
            let parts = self.terms.iter().enumerate();
            let parts = parts.map(|(column, term)| term.weight * term.scaled(matrix.column(column)[row]));
            parts.chain([self.intercept]).collect()
        };
        Ok((0..matrix.rows()).map(one).collect())
    }

    fn same(&self, matrix: &Matrix) -> Result<(), BoostError> {
        if matrix.names() == self.names {
            return Ok(());
        }
        Err(BoostError::Features { given: matrix.names().to_vec(), grown: self.names.clone() })
    }
}

/// Mean and standard deviation of what is there.
fn scale(column: &[f64]) -> Term {
    let there = || column.iter().filter(|value| value.is_finite());
    let count = there().count().max(1) as f64;
    let mean = there().sum::<f64>() / count;
    let variance = there().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    // Rounding leaves a little variance in a column that never varied.
    let varies = variance.sqrt() > 1e-12 * mean.abs();
    Term { mean, deviation: if varies { variance.sqrt() } else { 0.0 }, weight: 0.0 }
}

/// Penalised log loss.
fn loss(scaled: &[f64], target: &[f64], ridge: f64, weights: &[f64]) -> f64 {
    let width = weights.len();
    let penalty = ridge / 2.0 * weights[..width - 1].iter().map(|weight| weight * weight).sum::<f64>();
    let rows = scaled.chunks_exact(width).zip(target).map(|(row, target)| {
        let margin: f64 = row.iter().zip(weights).map(|(value, weight)| value * weight).sum();
        margin.max(0.0) - target * margin + (-margin.abs()).exp().ln_1p()
    });
    penalty + rows.sum::<f64>()
}

fn newton(scaled: &[f64], width: usize, target: &[f64], ridge: f64) -> Vec<f64> {
    let mut weights = vec![0.0; width];
    let share = (target.iter().sum::<f64>() + 0.5) / (target.len() as f64 + 1.0);
    weights[width - 1] = (share / (1.0 - share)).ln();
    let mut best = loss(scaled, target, ridge, &weights);
    for _ in 0..MAX_STEPS {
        let mut gradient: Vec<f64> = weights.iter().map(|weight| ridge * weight).collect();
        gradient[width - 1] = 0.0;
        let mut curvature = vec![0.0; width * width];
        for (row, target) in scaled.chunks_exact(width).zip(target) {
            let said = logistic(row.iter().zip(&weights).map(|(value, weight)| value * weight).sum());
            for (place, value) in row.iter().enumerate() {
                gradient[place] += (said - target) * value;
                let spread = said * (1.0 - said) * value;
                // Slices without an index: this loop is all of the time, and so it becomes vector instructions.
                let lower = &mut curvature[place * width..=place * width + place];
                lower.iter_mut().zip(row).for_each(|(cell, second)| *cell += spread * second);
            }
        }
        for place in 0..width {
            curvature[place * width + place] += if place + 1 == width { LEAST_CURVATURE } else { ridge };
        }
        let step = solve(&mut curvature, &gradient);
        let tried = (0..20).map(|halvings| 0.5f64.powi(halvings)).find_map(|share| {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(weight, step)| weight - share * step).collect();
            let loss = loss(scaled, target, ridge, &next);
            (loss < best).then_some((next, loss))
        });
        let Some((next, loss)) = tried else { break };
        weights = next;
        if best - loss < STILL * best.abs() {
            break;
        }
        best = loss;
    }
    weights
}

/// Cholesky's solution of a symmetric positive system, of which the lower half is given and is used up.
fn solve(lower: &mut [f64], right: &[f64]) -> Vec<f64> {
    let width = right.len();
    for row in 0..width {
        for column in 0..=row {
            let known: f64 = (0..column).map(|place| lower[row * width + place] * lower[column * width + place]).sum();
            let rest = lower[row * width + column] - known;
            lower[row * width + column] =
                if row == column { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / lower[column * width + column] };
        }
    }
    let mut found = right.to_vec();
    for row in 0..width {
        let known: f64 = (0..row).map(|place| lower[row * width + place] * found[place]).sum();
        found[row] = (found[row] - known) / lower[row * width + row];
    }
    for row in (0..width).rev() {
        let known: f64 = (row + 1..width).map(|place| lower[place * width + row] * found[place]).sum();
        found[row] = (found[row] - known) / lower[row * width + row];
    }
    found
}
