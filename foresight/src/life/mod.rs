//! Remaining useful life: how long a unit has left, an 80 % interval, and why.
//!
//! In: histories of units that ran to failure, row by row (settings, metrics); then rows of a unit that still runs. Out: a
//! [`Prediction`] in rows (cycles, reports), never above the cap: before wear shows, all that can be said is "at least that
//! much". Promise: a prediction uses its row, those before it and the training units; the interval comes from units that
//! the model it was measured on had not seen. Never: regimes, weights or settings chosen with the unit that is predicted.
//!
//! The way of a row: residuals against its operating regime ([`crate::indicator::regime`]), a health index (the linear
//! combination of residuals that follows life best, by ridge regression), condition indicators of all of them over several
//! windows ([`features`]), trees grown on the squared error of the capped life ([`crate::boost`]), several seeds averaged.
//! The interval is cross-conformal by unit ([`interval`]).

pub mod features;
pub mod interval;
pub mod nested;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::{
    features::{Preparation, Watcher},
    interval::{FORM, Held, Interval},
};
use crate::boost::{self, BoostError, Booster, Matrix, Objective};

/// Folds of whole units for the interval: each model sees four in five of them.
pub const FOLDS: usize = 5;

/// One row of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Operating settings; NaN is missing.
    pub settings: Vec<f64>,
    /// Metrics; NaN is missing.
    pub metrics: Vec<f64>,
}

/// A unit's rows, oldest first; of a training unit the last is that of its failure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// All of them.
    pub rows: Vec<Row>,
}

/// What is learnt, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Names of the metrics in a row.
    pub metrics: Vec<String>,
    /// Most that is ever predicted, in rows.
    pub cap: f64,
    /// Models that are averaged.
    pub models: u32,
    /// How trees are grown.
    pub trees: boost::Settings,
}

impl Settings {
    /// Values chosen by cross-validation over training units; `docs/foresight.md` tells what was left out.
    pub fn new(metrics: Vec<String>, cap: f64, seed: u64) -> Self {
        let trees = boost::Settings {
            trees: 250,
            learning_rate: 0.05,
            max_depth: 5,
            l2: 5.0,
            min_leaf_weight: 20.0,
            row_share: 0.8,
            // Indicators of one metric say nearly the same, so trees may see other ones each time; with fewer than half they
            // often miss the few that matter.
            column_share: 0.6,
            ..boost::Settings::new(Objective::Squared, seed)
        };
        Self { metrics, cap, models: 3, trees }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// Too few units that failed.
    #[error("{units} units: at least {least} are needed, so that every fold has some")]
    Few {
        /// As given.
        units: usize,
        /// Needed.
        least: usize,
    },
    /// No metric ever moved.
    #[error("no metric of the training units ever moved")]
    Still,
    /// No trees.
    #[error("grow trees")]
    Boost(#[from] BoostError),
}

/// How long a unit has left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Expected, in rows.
    pub life: f64,
    /// Lower end of the 80 % interval.
    pub low: f64,
    /// Upper end; at the cap it means "or more".
    pub high: f64,
}

/// What one indicator added to a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The indicator's name.
    pub feature: String,
    /// Its value; `None` is missing.
    pub value: Option<f64>,
    /// Rows of life it added, below zero where it shortens life.
    pub contribution: f64,
}

/// A learnt model.
#[derive(Debug, Serialize, Deserialize)]
pub struct Model {
    settings: Settings,
    preparation: Preparation,
    boosters: Vec<Booster>,
    interval: Interval,
    cross_rmse: f64,
}

impl Model {
    /// Learns from units that ran to failure.
    pub fn fit(histories: &[History], settings: &Settings) -> Result<Self, LifeError> {
        if histories.len() < FOLDS {
            return Err(LifeError::Few { units: histories.len(), least: FOLDS });
        }
        let all: Vec<&History> = histories.iter().collect();
        let folds: Vec<Fold> =
            (0..FOLDS).into_par_iter().map(|fold| Fold::of(&all, settings, fold)).collect::<Result<_, _>>()?;
        let held: Vec<Held> = folds.into_iter().flat_map(|fold| fold.held).collect();
        let error = held.iter().map(|row| (row.said - row.is).powi(2)).sum::<f64>() / held.len().max(1) as f64;
        let (preparation, boosters) = learn(&all, settings, settings.models)?;
        let interval = Interval::of(&held, settings.cap, FORM);
        Ok(Self { settings: settings.clone(), preparation, boosters, interval, cross_rmse: error.sqrt() })
    }

    /// For the rows of one unit, as they come.
    pub fn watch(&self) -> Watcher<'_> {
        self.preparation.watch()
    }

    /// How rows become features.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Root mean square error on held-out training units, at rows that have no more than the cap and a fifth left.
    pub fn cross_rmse(&self) -> f64 {
        self.cross_rmse
    }

    /// Predictions for rows of features, as [`Watcher::features`] gives them.
    pub fn predict(&self, features: &Matrix) -> Result<Vec<Prediction>, LifeError> {
        let lives = mean_margin(&self.boosters, features)?;
        Ok(lives.into_iter().map(|life| self.interval.around(life.clamp(0.0, self.settings.cap))).collect())
    }

    /// The reasons of each row's prediction, the weightiest first, and the base they start from: base and contributions
    /// add up to the life before it is cut to `0..=cap`.
    pub fn explain(&self, features: &Matrix) -> Result<Vec<(f64, Vec<Reason>)>, LifeError> {
        let width = features.names().len();
        let mut sums = vec![vec![0.0; width + 1]; features.rows()];
        for booster in &self.boosters {
            for (sum, parts) in sums.iter_mut().zip(booster.contributions(features)?) {
                sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part / self.boosters.len() as f64);
            }
        }
        let explained = sums.into_iter().enumerate().map(|(row, parts)| {
            let reason = |place: usize| Reason {
                feature: features.names()[place].clone(),
                value: Some(features.column(place)[row]).filter(|value| value.is_finite()),
                contribution: parts[place],
            };
            let mut reasons: Vec<Reason> = (0..width).map(reason).collect();
            reasons.sort_by(|one, other| other.contribution.abs().total_cmp(&one.contribution.abs()));
            (parts[width], reasons)
        });
        Ok(explained.collect())
    }
}

/// One fold: a model that has not seen its units, and what it says of them.
struct Fold {
    held: Vec<Held>,
    preparation: Preparation,
    boosters: Vec<Booster>,
}

impl Fold {
    fn of(histories: &[&History], settings: &Settings, fold: usize) -> Result<Self, LifeError> {
        let part = |wanted: bool| -> Vec<(usize, &History)> {
            let units = histories.iter().copied().enumerate();
            units.filter(|(unit, _)| (unit % FOLDS == fold) == wanted).collect()
        };
        let others: Vec<&History> = part(false).into_iter().map(|(_, history)| history).collect();
        let (units, mine): (Vec<usize>, Vec<&History>) = part(true).into_iter().unzip();
        let (preparation, boosters) = learn(&others, settings, 1)?;
        let (said, lives) = said(&preparation, &boosters, &mine, settings.cap)?;
        let units = units.iter().zip(&mine).flat_map(|(unit, history)| history.rows.iter().map(|_| *unit));
        let rows = units.zip(said).zip(lives).filter(|(_, life)| near(*life, settings.cap));
        let held = rows.map(|((unit, said), life)| Held { unit, said, is: life.min(settings.cap) }).collect();
        Ok(Self { held, preparation, boosters })
    }
}

/// What is said of every row of some units, within `0..=cap`, and the life that was left.
fn said(
    preparation: &Preparation,
    boosters: &[Booster],
    histories: &[&History],
    cap: f64,
) -> Result<(Vec<f64>, Vec<f64>), LifeError> {
    let (features, lives) = table(preparation, histories);
    let said = mean_margin(boosters, &features)?.into_iter().map(|said| said.clamp(0.0, cap)).collect();
    Ok((said, lives))
}

fn learn(histories: &[&History], settings: &Settings, models: u32) -> Result<(Preparation, Vec<Booster>), LifeError> {
    let preparation = Preparation::learn(histories, &settings.metrics, settings.cap).ok_or(LifeError::Still)?;
    let (features, lives) = table(&preparation, histories);
    let target: Vec<f64> = lives.iter().map(|life| life.min(settings.cap)).collect();
    let weights: Vec<f64> = lives.iter().map(|life| weight(*life, settings.cap)).collect();
    let boosters = (0..models)
        .into_par_iter()
        .map(|model| {
            let trees = boost::Settings { seed: settings.trees.seed + u64::from(model), ..settings.trees.clone() };
            Booster::fit(&features, &target, &weights, &trees)
        })
        .collect::<Result<_, _>>()?;
    Ok((preparation, boosters))
}

/// Whether a row is of the kind that predictions are judged on: wear may show, or is about to.
fn near(life: f64, cap: f64) -> bool {
    life <= 1.2 * cap
}

/// Rows long before wear shows are many and all say the cap: they weigh a quarter.
fn weight(life: f64, cap: f64) -> f64 {
    if near(life, cap) { 1.0 } else { 0.25 }
}

/// Features and lives left of every row of the given units.
pub fn table(preparation: &Preparation, histories: &[&History]) -> (Matrix, Vec<f64>) {
    let parts: Vec<Vec<Vec<f64>>> = histories.par_iter().map(|history| preparation.features(history)).collect();
    let lives = histories.iter().flat_map(|history| (0..history.rows.len()).rev().map(|left| left as f64)).collect();
    let rows: Vec<&[f64]> = parts.iter().flatten().map(Vec::as_slice).collect();
    (Matrix::from_rows(preparation.names(), rows.into_iter()), lives)
}

fn mean_margin(boosters: &[Booster], features: &Matrix) -> Result<Vec<f64>, BoostError> {
    let mut mean = vec![0.0; features.rows()];
    for booster in boosters {
        let margins = booster.margin(features)?;
        mean.iter_mut().zip(margins).for_each(|(mean, margin)| *mean += margin / boosters.len() as f64);
    }
    Ok(mean)
}
