//! How many devices are scored in a second, and in how much memory?
//!
//! In: a number of devices and a seed. Out: a [`Report`]. Trees are grown on made indicator vectors of the width and depth
//! of a component model, then that many other vectors, made block by block, are scored. Only scoring counts as `seconds`.
//! Promise: memory does not grow with the number of devices.

use std::{fs, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::EvaluateError;
use crate::boost::{self, Booster, Matrix, Objective};

/// Indicators a device: those of some ten metrics.
pub const FEATURES: usize = 64;
/// Devices made and scored at a time: 32 MiB of indicators.
const BLOCK: usize = 65_536;
/// Devices made by one seed.
const ROWS_A_SEED: usize = 4096;
/// Rows that the trees are grown on, if there are as many devices.
const TRAINING: usize = 20_000;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Devices to score.
    pub devices: usize,
    /// Chance.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Devices scored.
    pub devices: usize,
    /// Indicators of each.
    pub features: usize,
    /// Trees walked per device.
    pub trees: usize,
    /// Growing the trees.
    pub fit_seconds: f64,
    /// Scoring all devices.
    pub seconds: f64,
    /// Devices by seconds.
    pub devices_per_second: f64,
    /// Most memory the process ever had, in MiB; none where `/proc` does not tell.
    pub peak_rss_mib: Option<f64>,
    /// Mean probability: the same seed gives the same.
    pub mean_probability: f64,
}

/// Grows trees and scores; `now` tells elapsed time.
pub fn run(options: &Options, now: &dyn Fn() -> Duration) -> Result<Report, EvaluateError> {
    if options.devices == 0 {
        return Err(EvaluateError::Argument { field: "devices", value: "0".into(), legal: "at least 1" });
    }
    let training = TRAINING.min(options.devices);
    let rows = devices(training, 1 << 40, options.seed);
    let names = (0..FEATURES).map(|place| format!("indicator_{place}")).collect();
    let matrix = Matrix::from_rows(names, rows.chunks_exact(FEATURES));
    let target: Vec<f64> = rows.chunks_exact(FEATURES).map(fails).collect();
    let settings = boost::Settings::new(Objective::Logistic, options.seed);
    let began = now();
    let booster = Booster::fit(&matrix, &target, &vec![1.0; target.len()], &settings)
        .map_err(|source| EvaluateError::Learn { what: "made devices".into(), source })?;
    let fit_seconds = now().saturating_sub(began).as_secs_f64();
    let forest = booster.forest();
    let (mut spent, mut sum, mut done) = (Duration::ZERO, 0.0, 0);
    while done < options.devices {
        let count = BLOCK.min(options.devices - done);
        let rows = devices(count, (done / ROWS_A_SEED) as u64, options.seed);
        let began = now();
        let probabilities = forest.probabilities(&rows);
        spent += now().saturating_sub(began);
        sum += probabilities.iter().sum::<f64>();
        done += count;
    }
    let seconds = spent.as_secs_f64();
    Ok(Report {
        devices: done,
        features: FEATURES,
        trees: settings.trees,
        fit_seconds,
        seconds,
        devices_per_second: if seconds > 0.0 { done as f64 / seconds } else { 0.0 },
        peak_rss_mib: peak_rss_mib(),
        mean_probability: sum / done as f64,
    })
}

/// Indicators of devices, row after row; one in twenty is missing.
fn devices(count: usize, first: u64, seed: u64) -> Vec<f64> {
    let mut rows = vec![0.0; count * FEATURES];
    rows.par_chunks_mut(ROWS_A_SEED * FEATURES).enumerate().for_each(|(part, rows)| {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(first.wrapping_add(part as u64));
        for value in rows {
            let drawn: f64 = chance.random();
            *value = if drawn < 0.05 { f64::NAN } else { drawn };
        }
    });
    rows
}

/// Whether a made device fails: two indicators high together.
fn fails(row: &[f64]) -> f64 {
    if row[0] + row[1] > 1.6 { 1.0 } else { 0.0 }
}

fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_devices_are_scored_and_a_seed_repeats() {
        let of = |devices| run(&Options { devices, seed: 3 }, &|| Duration::ZERO);
        let report = of(5000).unwrap();
        assert_eq!(report.devices, 5000);
        // P(x + y > 1.6) is 0.08; a missing one fails less often.
        assert!((0.05..0.10).contains(&report.mean_probability), "{report:?}");
        assert_eq!(of(5000).unwrap().mean_probability, report.mean_probability);
        assert_eq!(of(0).unwrap_err().to_string(), "devices = 0: at least 1");
    }
}
