//! One model: P(this component of this kind of device fails within the horizon), what it was learnt from, and how good it
//! was on later data (pure).
//!
//! In: a [`History`] and an instant. Out: a [`Model`] and its [`Card`], or the reason why there is none. Promise: nothing
//! after the cut is learnt from: what followed is followed to the cut and no further; figures are of landmarks whose horizon
//! is known. Never: a model from fewer failures than [`Settings::min_failures`].

use std::time::Duration;

use foresight::{
    boost::{BoostError, Matrix},
    daily,
    drift::{Calibrated, Calibration},
    hazard::{self, Explanation, HazardError},
    measure,
};
use schemas::{
    id::{FaultKey, ProfileName},
    profile::Indicator,
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::{
    Settings, common_mode, drift,
    feature::Features,
    history::{History, Target},
};

/// Bins of the calibration error.
const BINS: usize = 10;
/// Periods a horizon is cut into: what was followed for a part of it counts in steps of a few days.
const PERIODS: usize = 4;

/// A model, ready to score.
#[derive(Debug, Serialize, Deserialize)]
pub struct Model {
    /// Of which kind of device.
    pub profile: ProfileName,
    /// What fails.
    pub component: String,
    /// Under which key it is spoken of.
    pub fault_key: FaultKey,
    /// The definitions behind its features; a profile that defines them otherwise cannot be scored with it, nor one that
    /// asks for another horizon.
    pub indicators: Vec<Indicator>,
    hazard: hazard::Model,
}

/// How good probabilities were on landmarks they were not learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The first landmark and the last, as midnights.
    pub from: Instant,
    /// The last landmark.
    pub to: Instant,
    /// Landmarks whose horizon is known.
    pub rows: u64,
    /// Of these, those with a failure within the horizon.
    pub positives: u64,
    /// Failures behind those.
    pub failures: u64,
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Mean square of told minus happened.
    pub brier: Option<f64>,
    /// The same of one who always tells the rate of the training rows.
    pub brier_of_rate: Option<f64>,
    /// Expected calibration error over ten bins of equal size.
    pub calibration_error: Option<f64>,
    /// What that error would be by chance alone, were every probability right: landmarks of one device within one horizon
    /// speak of the same failure, so these are fewer cases than rows.
    #[serde(default)]
    pub calibration_error_by_chance: Option<f64>,
}

/// What is known of a model, beside it in the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Such as `v3`.
    pub version: String,
    /// Of which kind of device.
    pub profile: ProfileName,
    /// What fails.
    pub component: String,
    /// Under which key it is spoken of.
    pub fault_key: FaultKey,
    /// The probability is that of a failure within so many hours.
    pub horizon_hours: f64,
    /// When it was made.
    pub made: Instant,
    /// The first reading it was learnt from.
    pub from: Instant,
    /// Nothing after this was learnt from.
    pub until: Instant,
    /// Landmarks it was learnt from.
    pub rows: u64,
    /// Devices behind them.
    pub devices: u64,
    /// Failures behind them.
    pub failures: u64,
    /// Names of the features it uses.
    pub features: Vec<String>,
    /// Names of those that were left out, since they tell the day and not the device ([`common_mode`]).
    #[serde(default)]
    pub left_out: Vec<String>,
    /// How margins become probabilities.
    pub calibration: String,
    /// Where what judged it begins; none in cards from before 2026-11-28, which were judged after [`Self::until`].
    #[serde(default)]
    pub judged_from: Option<Instant>,
    /// On later data: what a model of the same settings, learnt to `judged_from` and no further, said of what followed.
    pub later: Option<Figures>,
    /// What the features were like when it was learnt, to tell drift.
    pub reference: drift::Reference,
    /// Of the chance it used.
    pub seed: u64,
    /// What it was learnt with.
    pub settings: Settings,
    /// SHA-256 of the model's file.
    pub sha256: String,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum NoModel {
    /// Too little to learn from.
    #[error(
        "{failures} failures of {fault_key} before {cut}: at least {least} are needed (prognosis.min_failures), since with \
         fewer each fifth of the devices, which judges the others, has less than two"
    )]
    Failures {
        /// Of what.
        fault_key: FaultKey,
        /// There were.
        failures: u64,
        /// Needed.
        least: u64,
        /// Counted to here.
        cut: Instant,
    },
    /// The trees refused.
    #[error("learn {fault_key}")]
    Fit {
        /// What.
        fault_key: FaultKey,
        /// Why not.
        source: HazardError,
    },
}

impl Model {
    /// Learns from everything before `cut`; the card has no version and no hash yet.
    pub fn fit(
        history: &History,
        target: &Target,
        cut: Instant,
        made: Instant,
        settings: &Settings,
    ) -> Result<(Self, Card), NoModel> {
        let end = cut.micros().min(history.end.micros());
        let failures =
            history.targets(end).into_iter().find(|(it, _)| it == target).map_or(0, |(_, failures)| failures);
        if failures < settings.min_failures {
            let (fault_key, least) = (target.fault_key.clone(), settings.min_failures);
            return Err(NoModel::Failures { fault_key, failures, least, cut });
        }
        let rows = history.rows(i32::MIN..daily::landmark_after(end));
        let (rows, followed) = history.followed(&rows, target, end);
        let whole = history.matrix(&rows);
        let landmarks: Vec<i32> = rows.iter().map(|row| history.places[*row].landmark).collect();
        let apart = common_mode::apart(&whole, &landmarks);
        let (used, left_out): (Vec<usize>, Vec<usize>) =
            (0..whole.names().len()).partition(|place| apart.contains(place));
        let names = |places: Vec<usize>| places.into_iter().map(|place| whole.names()[place].clone()).collect();
        let (features, left_out): (Vec<String>, Vec<String>) = (names(used), names(left_out));
        let matrix = whole.named(&features).unwrap_or_else(|| whole.clone());
        let how = hazard::Settings::new(days(target.horizon), PERIODS, settings.seed);
        let fit = |source| NoModel::Fit { fault_key: target.fault_key.clone(), source };
        let hazard = hazard::Model::fit(&matrix, &followed, &how).map_err(fit)?;
        let mut devices: Vec<u32> = rows.iter().map(|row| history.places[*row].device).collect();
        devices.dedup();
        let calibration = format!("{:?}", hazard.calibration());
        let card = Card {
            version: String::new(),
            profile: history.profile.name.clone(),
            component: target.component.clone(),
            fault_key: target.fault_key.clone(),
            horizon_hours: target.horizon.as_secs_f64() / 3600.0,
            made,
            from: history.begin,
            until: Instant::from_micros(end),
            rows: rows.len() as u64,
            devices: devices.len() as u64,
            failures,
            features,
            left_out,
            calibration: calibration.split(['(', ' ']).next().unwrap_or_default().to_lowercase(),
            judged_from: None,
            later: None,
            reference: drift::Reference::of(&matrix),
            seed: settings.seed,
            settings: settings.clone(),
            sha256: String::new(),
        };
        let model = Self {
            profile: history.profile.name.clone(),
            component: target.component.clone(),
            fault_key: target.fault_key.clone(),
            indicators: history.features.indicators().to_vec(),
            hazard,
        };
        Ok((model, card))
    }

    /// How far ahead it looks.
    pub fn horizon(&self) -> Duration {
        Duration::from_secs_f64(self.hazard.horizon() * 86_400.0)
    }

    /// Whether it tells what a profile asks for: of the same indicators, as far ahead.
    pub fn answers(&self, features: &Features, horizon: Duration) -> bool {
        self.indicators == features.indicators() && self.horizon().abs_diff(horizon) < Duration::from_secs(1)
    }

    /// Calibrated probabilities, one per row.
    pub fn probability(&self, matrix: &Matrix) -> Result<Vec<f64>, BoostError> {
        self.hazard.probability(&self.used(matrix)?)
    }

    /// Probabilities with the features that weigh most.
    pub fn explain(&self, matrix: &Matrix, most: usize) -> Result<Vec<Explanation>, BoostError> {
        self.hazard.explain(&self.used(matrix)?, most)
    }

    /// The features it uses, of all that there are.
    fn used(&self, matrix: &Matrix) -> Result<Matrix, BoostError> {
        let grown = self.hazard.names();
        let given = || BoostError::Features { given: matrix.names().to_vec(), grown: grown.to_vec() };
        matrix.named(grown).ok_or_else(given)
    }

    /// How good it is on the landmarks of a range, with what is known by `end`.
    pub fn judge(
        &self,
        history: &History,
        target: &Target,
        landmarks: std::ops::Range<i32>,
        rate: f64,
        end: i64,
    ) -> Result<Option<Figures>, BoostError> {
        let (rows, came) = history.labels(&history.rows(landmarks), target, end);
        let ends = rows.iter().map(|row| history.places[*row].landmark);
        let (Some(first), Some(last)) = (ends.clone().min(), ends.max()) else { return Ok(None) };
        let said = self.probability(&history.matrix(&rows))?;
        Ok(Some(figures(history, target, &rows, &said, &came, rate, (first, last))))
    }
}

/// Whether as many failed as a model said, on landmarks of a range. Every device is asked once a horizon: its landmarks in
/// between speak of the same failure, and the tests want cases that do not.
pub fn calibrated(
    model: &Model,
    history: &History,
    target: &Target,
    landmarks: std::ops::Range<i32>,
    end: i64,
) -> Result<Calibrated, BoostError> {
    let step = i32::try_from(super::label::days(target.horizon)).unwrap_or(i32::MAX);
    let mut rows = history.rows(landmarks);
    rows.retain(|row| history.places[*row].landmark.rem_euclid(step) == 0);
    let (rows, came) = history.labels(&rows, target, end);
    let mut sums = Calibration::default();
    for (said, came) in model.probability(&history.matrix(&rows))?.into_iter().zip(came) {
        sums.add(said, came);
    }
    Ok(sums.judge())
}

/// The figures of what was said of some rows.
fn figures(
    history: &History,
    target: &Target,
    rows: &[usize],
    said: &[f64],
    came: &[bool],
    rate: f64,
    (first, last): (i32, i32),
) -> Figures {
    let mut failed: Vec<(u32, i64)> = Vec::new();
    for (row, _) in rows.iter().zip(came).filter(|(_, came)| **came) {
        let place = history.places[*row];
        let midnight = daily::landmark_micros(place.landmark);
        let past = history.past(place.device as usize, &target.component);
        failed.extend(past.and_then(|past| past.failures().find(|at| *at > midnight)).map(|at| (place.device, at)));
    }
    failed.sort_unstable();
    failed.dedup();
    let at = |landmark| Instant::from_micros(daily::landmark_micros(landmark));
    Figures {
        from: at(first),
        to: at(last),
        rows: rows.len() as u64,
        positives: came.iter().filter(|came| **came).count() as u64,
        failures: failed.len() as u64,
        auroc: measure::auroc(said, came),
        average_precision: measure::average_precision(said, came),
        brier: measure::brier(said, came),
        brier_of_rate: measure::brier(&vec![rate; came.len()], came),
        calibration_error: measure::calibration_error(said, came, BINS),
        calibration_error_by_chance: measure::chance_error(said, BINS, days(target.horizon)),
    }
}

/// The share of a target's landmarks before `end` that were followed by a failure within the horizon.
pub fn rate(history: &History, target: &Target, end: i64) -> f64 {
    let (_, came) = history.labels(&history.rows(i32::MIN..daily::landmark_after(end)), target, end);
    let positives = came.iter().filter(|came| **came).count();
    // One failure more and one row more than were seen, so that nothing is ever certain.
    (positives as f64 + 1.0) / (came.len() as f64 + 2.0)
}

fn days(span: Duration) -> f64 {
    span.as_secs_f64() / 86_400.0
}
