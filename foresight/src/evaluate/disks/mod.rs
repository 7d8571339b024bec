//! Drives that report their own SMART values: which fail within days, against the plain rule of SMART 5 and 197.
//!
//! In: two folders of daily snapshots (Backblaze's form, `.csv` or `.csv.zst`, columns found by name, missing ones are
//! missing values). Out: a [`Report`]. Promise: a feature uses nothing from after its day; the test days' failures are
//! used to judge, never to learn; a drive that is in both folders keeps what was seen of it in the first. Never: a
//! model or a vendor treated apart.
//!
//! | convention | |
//! |---|---|
//! | a drive fails | `failure` = 1 on one of the test days |
//! | its score | the greatest probability of its test days, each told from that day and those before |
//! | an alarm | the first test day on which the score reaches the threshold |
//! | lead | days from the alarm to the snapshot with `failure` = 1, which is the last one of the drive |
//! | the rule's score | raw SMART 5 plus raw SMART 197, the greatest of the test days |

mod features;
mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::Serialize;

use self::features::{Landmark, Past};
use super::EvaluateError;
use crate::{
    boost::Matrix,
    hazard::{Followed, MAX_PERIODS, Model, Settings},
    measure::{auroc, average_precision, recall_at},
};

const DAY: f64 = 86_400.0;

/// Share of healthy drives that may be alarmed.
const FALSE_ALARM_RATE: f64 = 0.01;

/// Chance; another seed changes which quiet rows are kept.
const SEED: u64 = 1;

/// What to learn from and what to judge on.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of days to learn from.
    pub train: PathBuf,
    /// Folder of later days to judge on.
    pub test: PathBuf,
    /// How far ahead; whole days.
    pub horizon: Duration,
}

/// How good one ranking of drives is.
#[derive(Debug, Clone, Serialize)]
pub struct Ranking {
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Share of failing drives alarmed, where at most 1 % of the others are.
    pub recall_at_1_percent_false_alarms: Option<f64>,
    /// Failing drives alarmed at that threshold.
    pub alarmed: usize,
    /// Median days from the first alarm to the failure, over the alarmed.
    pub median_lead_days: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Days ahead.
    pub horizon_days: f64,
    /// Drives on the train days, and how many of them failed.
    pub train_drives: usize,
    /// Failed on the train days.
    pub train_failures: usize,
    /// Drives on the test days.
    pub test_drives: usize,
    /// Failed on the test days.
    pub test_failures: usize,
    /// Rows that were no snapshot of a drive.
    pub rejected_rows: usize,
    /// The model.
    #[serde(flatten)]
    pub model: Ranking,
    /// Raw SMART 5 plus raw SMART 197.
    pub smart_rule: Ranking,
    /// Sum of the probabilities told on each drive's first test day.
    pub told_failures: f64,
    /// Failures within the horizon of each drive's first test day, as far as the test days reach.
    pub came_failures: usize,
}

/// Learns on one folder and judges on the other.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let horizon = options.horizon.as_secs_f64() / DAY;
    let refuse = |value: f64| EvaluateError::Argument {
        field: "horizon",
        value: format!("{value} d"),
        legal: "whole days, 1 to 64",
    };
    if horizon.fract() != 0.0 || !(1.0..=MAX_PERIODS as f64).contains(&horizon) {
        return Err(refuse(horizon));
    }
    let mut past = Past::default();
    let train = read::folder(&options.train, &mut past, true)?;
    // One period a day: that is how often a drive is looked at, and drives followed for less than the horizon count.
    let settings = Settings::new(horizon, horizon as usize, SEED);
    let model = Model::fit(&matrix(&train.landmarks), &followed(&train.landmarks), &settings)
        .map_err(|error| EvaluateError::form(&options.train, error.to_string()))?;
    let test = read::folder(&options.test, &mut past, false)?;
    let said = model
        .probability(&matrix(&test.landmarks))
        .map_err(|source| EvaluateError::Learn { what: options.test.display().to_string(), source })?;
    let rule: Vec<f64> = test.landmarks.iter().map(|landmark| landmark.rule).collect();
    let first = first_days(&test.landmarks, &said, horizon);
    Ok(Report {
        horizon_days: horizon,
        train_drives: drives(&train.landmarks).len(),
        train_failures: drives(&train.landmarks).values().filter(|failed| **failed).count(),
        test_drives: drives(&test.landmarks).len(),
        test_failures: drives(&test.landmarks).values().filter(|failed| **failed).count(),
        rejected_rows: train.rejected + test.rejected,
        model: rank(&test.landmarks, &said),
        smart_rule: rank(&test.landmarks, &rule),
        told_failures: first.0,
        came_failures: first.1,
    })
}

fn matrix(landmarks: &[Landmark]) -> Matrix {
    Matrix::from_rows(features::names(), landmarks.iter().map(|landmark| landmark.features.as_slice()))
}

/// Which drives there are, and whether each fails.
fn drives(landmarks: &[Landmark]) -> BTreeMap<u32, bool> {
    let mut drives = BTreeMap::new();
    for landmark in landmarks {
        *drives.entry(landmark.drive).or_default() |= landmark.failed;
    }
    drives
}

/// What followed each landmark. A snapshot without `failure` = 1 tells that the drive lived to the next day; one with it
/// that it did not.
fn followed(landmarks: &[Landmark]) -> Vec<Followed> {
    let mut ends: BTreeMap<u32, (i64, bool)> = BTreeMap::new();
    for landmark in landmarks {
        let end = ends.entry(landmark.drive).or_insert((landmark.day, false));
        *end = (end.0.max(landmark.day), end.1 | landmark.failed);
    }
    let one = |landmark: &Landmark| {
        let (last, failed) = ends[&landmark.drive];
        Followed { group: u64::from(landmark.drive), time: (last - landmark.day + 1) as f64, failed }
    };
    landmarks.iter().map(one).collect()
}

/// Told and happened, from each drive's first test day on.
fn first_days(landmarks: &[Landmark], said: &[f64], horizon: f64) -> (f64, usize) {
    let followed = followed(landmarks);
    let mut first: BTreeMap<u32, usize> = BTreeMap::new();
    for (row, landmark) in landmarks.iter().enumerate() {
        first.entry(landmark.drive).or_insert(row);
    }
    let told = first.values().map(|row| said[*row]).sum();
    let came = first.values().filter(|row| followed[**row].failed && followed[**row].time <= horizon).count();
    (told, came)
}

fn rank(landmarks: &[Landmark], scores: &[f64]) -> Ranking {
    let mut drives: BTreeMap<u32, (f64, bool)> = BTreeMap::new();
    for (landmark, score) in landmarks.iter().zip(scores) {
        let drive = drives.entry(landmark.drive).or_insert((f64::NEG_INFINITY, false));
        *drive = (drive.0.max(*score), drive.1 | landmark.failed);
    }
    let (greatest, failed): (Vec<f64>, Vec<bool>) = drives.values().copied().unzip();
    let alarms = recall_at(FALSE_ALARM_RATE, &greatest, &failed);
    let mut leads: Vec<f64> = Vec::new();
    if let Some(alarms) = alarms {
        let mut first: BTreeMap<u32, i64> = BTreeMap::new();
        for (landmark, score) in landmarks.iter().zip(scores) {
            if *score >= alarms.threshold {
                first.entry(landmark.drive).or_insert(landmark.day);
            }
        }
        let ends = landmarks.iter().filter(|landmark| landmark.failed);
        leads = ends.filter_map(|end| first.get(&end.drive).map(|first| (end.day - first) as f64)).collect();
        leads.sort_by(f64::total_cmp);
    }
    let middle = leads.len() / 2;
    let median = match leads.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(leads[middle]),
        _ => Some((leads[middle - 1] + leads[middle]) / 2.0),
    };
    Ranking {
        auroc: auroc(&greatest, &failed),
        average_precision: average_precision(&greatest, &failed),
        recall_at_1_percent_false_alarms: alarms.map(|alarms| alarms.recall),
        alarmed: leads.len(),
        median_lead_days: median,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "learnt from {} drives ({} failed), judged on {} drives ({} failed); {} rows rejected; horizon {} days",
            self.train_drives,
            self.train_failures,
            self.test_drives,
            self.test_failures,
            self.rejected_rows,
            self.horizon_days
        )?;
        writeln!(f, "{:<12} {:>7} {:>7} {:>22} {:>10}", "", "AUROC", "AP", "recall at 1 % false", "lead days")?;
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        for (name, ranking) in [("model", &self.model), ("SMART 5+197", &self.smart_rule)] {
            let recall = figure(ranking.recall_at_1_percent_false_alarms);
            let recall = format!("{recall} ({}/{})", ranking.alarmed, self.test_failures);
            let (area, precision) = (figure(ranking.auroc), figure(ranking.average_precision));
            writeln!(f, "{name:<12} {area:>7} {precision:>7} {recall:>22} {:>10}", figure(ranking.median_lead_days))?;
        }
        write!(f, "told on the first test day: {:.1} failures; came: {}", self.told_failures, self.came_failures)
    }
}
