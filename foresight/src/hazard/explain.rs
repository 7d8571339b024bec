//! Why a probability is what it is.

use serde::{Deserialize, Serialize};

use super::{Model, PERIOD};
use crate::boost::{BoostError, Matrix};

/// What one indicator added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which indicator.
    pub feature: String,
    /// Its value; none where it is missing.
    pub value: Option<f64>,
    /// What it added to the log-odds of failing, a mean over the periods; below 0 it speaks against a failure.
    pub log_odds: f64,
    /// Its share of all that was added or taken away, regardless of sign; all shares of a row sum to 1.
    pub share: f64,
}

/// One prediction and its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Calibrated, within the horizon.
    pub probability: f64,
    /// The indicators that weigh most, greatest first.
    pub parts: Vec<Part>,
}

impl Model {
    /// Per row, the probability and the `most` indicators that weigh most, in the calibrated model's log-odds (of the
    /// trees themselves where the calibration has no slope, see [`Calibration::slope`](crate::calibrate::Calibration)).
    pub fn explain(&self, features: &Matrix, most: usize) -> Result<Vec<Explanation>, BoostError> {
        let probabilities = self.probability(features)?;
        let mut sums = vec![vec![0.0; self.learnt.names().len()]; features.rows()];
        for period in 0..self.periods {
            for (sums, parts) in sums.iter_mut().zip(self.learnt.contributions(&self.at(features, period))?) {
                sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
            }
        }
        let scale = self.calibration.slope() / self.periods as f64;
        let rows = probabilities.into_iter().zip(sums).enumerate();
        Ok(rows.map(|(row, (probability, sums))| self.one(features, row, probability, &sums, scale, most)).collect())
    }

    fn one(
        &self,
        features: &Matrix,
        row: usize,
        probability: f64,
        sums: &[f64],
        scale: f64,
        most: usize,
    ) -> Explanation {
        let named = self.learnt.names().iter().zip(sums).enumerate().filter(|(_, (name, _))| *name != PERIOD);
        let mut parts: Vec<Part> = named
            .map(|(column, (name, sum))| Part {
                feature: name.clone(),
                value: Some(features.column(column)[row]).filter(|value| !value.is_nan()),
                log_odds: sum * scale,
                share: 0.0,
            })
            .collect();
        let all: f64 = parts.iter().map(|part| part.log_odds.abs()).sum();
        parts.iter_mut().for_each(|part| part.share = if all > 0.0 { part.log_odds.abs() / all } else { 0.0 });
        parts.sort_by(|one, other| other.share.total_cmp(&one.share));
        parts.truncate(most);
        Explanation { probability, parts }
    }
}
