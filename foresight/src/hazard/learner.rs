//! What tells the hazards: trees where there are failures enough, otherwise a weighted sum.

use serde::{Deserialize, Serialize};

use super::{HazardError, Settings, rows::Rows};
use crate::{
    boost::{BoostError, Booster, Matrix},
    calibrate::Calibration,
    logit::Logit,
};

/// Failing devices from which trees are grown. With 18 to 28 failing drives the weighted sum had the greater AUROC and
/// average precision on three splits of the disks by day (`docs/foresight.md`); where between those and hundreds of
/// failures trees begin to win was not measured.
pub const TREES_DEVICES: usize = 50;

/// Ridges that are tried; the one whose probabilities of held-out devices are best (log loss) is kept.
const RIDGES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// Which method tells the hazards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learner {
    /// Trees from [`TREES_DEVICES`] failing devices on, otherwise the sum.
    Auto,
    /// Gradient-boosted trees.
    Trees,
    /// Logistic regression with a ridge.
    Sum,
}

/// What was learnt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Learnt {
    /// Trees.
    Trees(Box<Booster>),
    /// Weights.
    Sum(Logit),
}

impl Learnt {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::Trees(trees) => trees.names(),
            Self::Sum(sum) => sum.names(),
        }
    }

    pub(super) fn margin(&self, matrix: &Matrix) -> Result<Vec<f64>, BoostError> {
        match self {
            Self::Trees(trees) => trees.margin(matrix),
            Self::Sum(sum) => sum.margin(matrix),
        }
    }

    pub(super) fn contributions(&self, matrix: &Matrix) -> Result<Vec<Vec<f64>>, BoostError> {
        match self {
            Self::Trees(trees) => trees.contributions(matrix),
            Self::Sum(sum) => sum.contributions(matrix),
        }
    }
}

/// One way of learning.
#[derive(Debug, Clone, Copy)]
enum Way {
    Trees,
    Sum { ridge: f64 },
}

impl Way {
    fn learn(self, matrix: &Matrix, target: &[f64], settings: &Settings) -> Result<Learnt, BoostError> {
        Ok(match self {
            Self::Trees => {
                Learnt::Trees(Box::new(Booster::fit(matrix, target, &vec![1.0; target.len()], &settings.trees)?))
            }
            Self::Sum { ridge } => Learnt::Sum(Logit::fit(matrix, target, ridge)?),
        })
    }
}

/// Learns on all rows, and the calibration on devices that were held out.
pub(super) fn learn(
    matrix: &Matrix,
    target: &[f64],
    rows: &Rows,
    settings: &Settings,
) -> Result<(Learnt, Calibration), HazardError> {
    let trees = match settings.learner {
        Learner::Auto => rows.failing >= TREES_DEVICES,
        Learner::Trees => true,
        Learner::Sum => false,
    };
    let ways: Vec<Way> = if trees { vec![Way::Trees] } else { RIDGES.map(|ridge| Way::Sum { ridge }).to_vec() };
    let mut best: Option<(f64, Way, Calibration)> = None;
    for way in ways {
        let held = held_out(way, matrix, target, rows, settings)?;
        let loss = held.loss();
        if best.as_ref().is_none_or(|best| loss < best.0) {
            best = Some((loss, way, Calibration::fit(&held.margins, &held.failed, &held.weights)));
        }
    }
    let (_, way, calibration) = best.unwrap_or((0.0, Way::Trees, Calibration::fit(&[], &[], &[])));
    Ok((way.learn(matrix, target, settings)?, calibration))
}

/// Margins of devices by what was learnt on the others, against what happened.
#[derive(Debug, Default)]
struct HeldOut {
    margins: Vec<f64>,
    failed: Vec<bool>,
    /// Quiet rows stand for those that were left out.
    weights: Vec<f64>,
}

impl HeldOut {
    fn loss(&self) -> f64 {
        let one =
            |margin: f64, failed: bool| margin.max(0.0) - f64::from(failed) * margin + (-margin.abs()).exp().ln_1p();
        let cases = self.margins.iter().zip(&self.failed).zip(&self.weights);
        cases.map(|((margin, failed), weight)| weight * one(*margin, *failed)).sum()
    }
}

fn held_out(
    way: Way,
    matrix: &Matrix,
    target: &[f64],
    rows: &Rows,
    settings: &Settings,
) -> Result<HeldOut, HazardError> {
    let (mut found, shift) = (HeldOut::default(), rows.kept.ln());
    for fold in 0..settings.folds {
        let (held, others): (Vec<usize>, Vec<usize>) =
            (0..target.len()).partition(|row| rows.fold(*row, settings.folds) == fold);
        let targets: Vec<f64> = others.iter().map(|row| target[*row]).collect();
        // Without a failure among the others or without anything held there is nothing to judge.
        if held.is_empty() || !targets.contains(&1.0) || !targets.contains(&0.0) {
            continue;
        }
        let learnt = way.learn(&matrix.select(&others), &targets, settings)?;
        found.margins.extend(learnt.margin(&matrix.select(&held))?.into_iter().map(|margin| margin + shift));
        found.failed.extend(held.iter().map(|row| rows.failed[*row]));
        found.weights.extend(held.iter().map(|row| if rows.failed[*row] { 1.0 } else { 1.0 / rows.kept }));
    }
    Ok(found)
}
