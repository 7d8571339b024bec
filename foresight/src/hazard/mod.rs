//! P(component fails within a horizon): a discrete-time hazard, by gradient boosting or, with few failures, by a
//! weighted sum.
//!
//! In: indicators as they stood at some instants (landmarks), and per landmark how long the device was followed from
//! there and whether that ended with the failure. Out: a [`Model`] that tells for any row of indicators a calibrated
//! probability of failing within the horizon, and what each indicator added. Promise: a device that was followed for a
//! part of the horizon counts for that part (right censoring); no device is in both the trees and the calibration that
//! judges them; the same examples, settings and seed give the same model. Never: an indicator from after its landmark;
//! that is the caller's to keep.
//!
//! ```text
//!            landmark            horizon = 4 periods
//! pump A        |----|----|----|----|        followed to the end: 4 rows, none with the failure
//! pump B        |----|--x                    failed in period 2:  2 rows, the second with the failure
//! pump C        |----|----|--                followed for 2.5:    2 rows; the third was not seen to its end
//! ```
//!
//! The horizon is cut into [`Settings::periods`]; each period a device entered in working order and was followed through
//! is a row (person-period: Singer and Willett, 1993; Tutz and Schmid, 2016). Indicators are held as they stood at the
//! landmark (van Houwelingen, 2007), and the period's number is one more feature. Trees tell each period's hazard,
//! a [`Calibration`] on devices they were not grown on corrects it, and
//!
//! ```text
//! P(within horizon) = 1 - (1 - hazard 1) (1 - hazard 2) … (1 - hazard n)
//! ```
//!
//! With one period this is a plain classifier that leaves out what was not followed to the horizon. Why more than one:
//! `docs/foresight.md`.
//!
//! Quiet rows outnumber failures by thousands; only a share `q` of them is kept. That multiplies the odds of every row by
//! `1 / q` exactly (King and Zeng, 2001), so `ln q` is added to the margin, and nothing else changes.

mod explain;
mod learner;
mod rows;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::explain::{Explanation, Part};
pub use self::learner::{Learner, TREES_DEVICES};
use self::{
    learner::{Learnt, learn},
    rows::Rows,
};
use crate::{
    boost::{BoostError, Matrix, Objective, Settings as Trees},
    calibrate::Calibration,
};

/// Name of the feature that numbers the periods; no indicator may have it.
pub const PERIOD: &str = "period";

/// Most periods a horizon is cut into: each multiplies rows and the time of scoring.
pub const MAX_PERIODS: usize = 64;

/// Most trees of a model, which bounds its size: at the greatest depth each tree has 127 nodes of about 300 bytes as
/// JSON, so a model stays below 20 MB. See [`Settings::trees`].
pub const MAX_TREES: usize = 500;

/// Greatest depth of a tree.
pub const MAX_DEPTH: usize = 6;

/// What followed after a landmark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Followed {
    /// Rows of one group are never parted between trees and calibration: the device.
    pub group: u64,
    /// For how long the device was seen after the landmark, in the unit of [`Settings::horizon`].
    pub time: f64,
    /// Whether that ended with the failure.
    pub failed: bool,
}

/// How the model is learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How far ahead, in the unit of [`Followed::time`].
    pub horizon: f64,
    /// Into how many equal periods the horizon is cut; 1 to [`MAX_PERIODS`].
    pub periods: usize,
    /// Quiet rows kept per row with a failure.
    pub quiet_per_failure: f64,
    /// Quiet rows kept whatever the number of failures.
    pub quiet_least: usize,
    /// Parts for calibration: each part's devices are judged by trees grown on the others.
    pub folds: usize,
    /// Trees or a weighted sum.
    pub learner: Learner,
    /// The trees: at most [`MAX_TREES`] of depth [`MAX_DEPTH`].
    pub trees: Trees,
    /// Chance of keeping a quiet row and of the parts.
    pub seed: u64,
}

impl Settings {
    /// Settings for rare failures: shallow trees and strong penalties, see `docs/foresight.md`.
    pub fn new(horizon: f64, periods: usize, seed: u64) -> Self {
        let trees = Trees {
            trees: 100,
            max_depth: 3,
            // A leaf must hold the weight of a few failures, or single ones are learnt by heart.
            l2: 10.0,
            min_leaf_weight: 2.0,
            column_share: 0.5,
            ..Trees::new(Objective::Logistic, seed)
        };
        // Beyond a hundred quiet rows per failure, more of them hardly narrow the estimate: its variance falls with
        // 1 / failures + 1 / quiet.
        Self {
            horizon,
            periods,
            quiet_per_failure: 100.0,
            quiet_least: 20_000,
            folds: 5,
            learner: Learner::Auto,
            trees,
            seed,
        }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum HazardError {
    /// A setting is out of its range.
    #[error("{field} = {value}: {legal}")]
    Setting {
        /// Which.
        field: &'static str,
        /// As given.
        value: f64,
        /// What is legal.
        legal: &'static str,
    },
    /// Features and what followed do not fit together.
    #[error("{features} rows of features and {followed} of what followed")]
    Length {
        /// Rows of features.
        features: usize,
        /// Rows of what followed.
        followed: usize,
    },
    /// There is nothing to tell failures from.
    #[error("{failures} failures and {quiet} quiet periods within the horizon: at least one of each is needed")]
    OneSided {
        /// Periods with a failure.
        failures: usize,
        /// Periods without.
        quiet: usize,
    },
    /// A feature has the name that is kept for the period's number.
    #[error("feature {PERIOD:?} is added by the model")]
    Period,
    /// No trees.
    #[error("grow trees of hazards")]
    Trees(#[from] BoostError),
}

/// Hazards and their calibration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Model {
    horizon: f64,
    periods: usize,
    /// `ln q`, for the quiet rows that were left out.
    shift: f64,
    calibration: Calibration,
    learnt: Learnt,
    failures: usize,
}

impl Model {
    /// Learns from landmarks.
    pub fn fit(features: &Matrix, followed: &[Followed], settings: &Settings) -> Result<Self, HazardError> {
        check(features, followed, settings)?;
        let rows = Rows::new(followed, settings);
        if rows.failures == 0 || rows.quiet() == 0 {
            return Err(HazardError::OneSided { failures: rows.failures, quiet: rows.quiet() });
        }
        let matrix = rows.matrix(features, settings.periods);
        let target: Vec<f64> = rows.failed.iter().map(|failed| f64::from(*failed)).collect();
        let shift = rows.kept.ln();
        let (learnt, calibration) = learn(&matrix, &target, &rows, settings)?;
        let (horizon, periods, failures) = (settings.horizon, settings.periods, rows.failures);
        Ok(Self { horizon, periods, shift, calibration, learnt, failures })
    }

    /// How far ahead the probabilities look, in the unit they were learnt in.
    pub fn horizon(&self) -> f64 {
        self.horizon
    }

    /// Periods with a failure the model was learnt from.
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// How margins become hazards.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Names of the indicators, in the order of the columns.
    pub fn names(&self) -> &[String] {
        let names = self.learnt.names();
        &names[..names.len() - usize::from(self.periods > 1)]
    }

    /// Per row, the calibrated probability of failing within the horizon.
    pub fn probability(&self, features: &Matrix) -> Result<Vec<f64>, BoostError> {
        let mut alive = vec![1.0; features.rows()];
        for period in 0..self.periods {
            for (alive, hazard) in alive.iter_mut().zip(self.hazard(features, period)?) {
                *alive *= 1.0 - hazard;
            }
        }
        Ok(alive.into_iter().map(|alive| 1.0 - alive).collect())
    }

    /// Per row, the calibrated probability of failing in one period, if the device enters it in working order.
    pub fn hazard(&self, features: &Matrix, period: usize) -> Result<Vec<f64>, BoostError> {
        let margins = self.learnt.margin(&self.at(features, period))?;
        Ok(margins.into_iter().map(|margin| self.calibration.probability(margin + self.shift)).collect())
    }

    /// The indicators with the period's number, where there is more than one.
    fn at(&self, features: &Matrix, period: usize) -> Matrix {
        if self.periods == 1 { features.clone() } else { numbered(features, vec![period as f64; features.rows()]) }
    }
}

fn check(features: &Matrix, followed: &[Followed], settings: &Settings) -> Result<(), HazardError> {
    let refuse = |field, value, legal| Err(HazardError::Setting { field, value, legal });
    let trees = &settings.trees;
    match settings {
        _ if features.rows() != followed.len() => {
            Err(HazardError::Length { features: features.rows(), followed: followed.len() })
        }
        _ if features.names().iter().any(|name| name == PERIOD) => Err(HazardError::Period),
        _ if settings.horizon <= 0.0 || !settings.horizon.is_finite() => {
            refuse("horizon", settings.horizon, "more than 0")
        }
        _ if !(1..=MAX_PERIODS).contains(&settings.periods) => refuse("periods", settings.periods as f64, "1 to 64"),
        _ if settings.quiet_per_failure.is_nan() || settings.quiet_per_failure <= 0.0 => {
            refuse("quiet_per_failure", settings.quiet_per_failure, "more than 0")
        }
        _ if settings.folds < 2 => refuse("folds", settings.folds as f64, "2 or more"),
        _ if !(1..=MAX_TREES).contains(&trees.trees) => refuse("trees", trees.trees as f64, "1 to 500"),
        _ if !(1..=MAX_DEPTH).contains(&trees.max_depth) => refuse("max_depth", trees.max_depth as f64, "1 to 6"),
        _ => Ok(()),
    }
}

/// Indicators with a column of period numbers behind them.
fn numbered(features: &Matrix, periods: Vec<f64>) -> Matrix {
    let names = features.names().iter().enumerate();
    let mut columns: Vec<(String, Vec<f64>)> =
        names.map(|(place, name)| (name.clone(), features.column(place).to_vec())).collect();
    columns.push((PERIOD.into(), periods));
    Matrix::from_columns(columns)
}
