//! Operating regimes: what the settings alone do to the metrics is taken out, so that what wear does can be seen.
//!
//! In: rows of settings (speed, programme, altitude) and of metrics. Out: per metric the residual
//! `(value - mean of its regime) / standard deviation of its regime` (ddof 1), both learnt from training rows. Regimes are
//! found, not declared: a setting is cut wherever its sorted training values leave a gap wider than [`GAP_SHARE`] of their
//! range, and a regime is one combination of pieces. They are kept only if they explain something: noise in a setting
//! makes gaps too. Promise: a row's residual depends on that row and on training rows only. Never: a regime of fewer than
//! [`LEAST_ROWS`] training rows; such rows, and settings never seen, are measured against all training rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A gap between neighbouring values of a setting wider than this share of their range parts two regimes: up to 20
/// regimes a setting if evenly spaced, far above the jitter within one.
pub const GAP_SHARE: f64 = 0.05;
/// Regimes stay if they explain at least this share of the metrics' variance, averaged over metrics. True regimes
/// explain nearly all of it; gaps of noise explain about (regimes / rows).
pub const LEAST_EXPLAINED: f64 = 0.25;
/// Rows a regime needs for its mean and deviation: the deviation is then known to about a tenth.
pub const LEAST_ROWS: usize = 50;

/// Regimes, and what the metrics do in each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regimes {
    /// Per setting: where it is cut.
    cuts: Vec<Vec<f64>>,
    /// Piece of each setting -> place in `levels`.
    regimes: Vec<(Vec<usize>, usize)>,
    /// Per regime, per metric; the first is that of all rows.
    levels: Vec<Vec<Level>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Level {
    mean: f64,
    /// 0 where the metric never moved.
    deviation: f64,
}

impl Regimes {
    /// From training rows: `settings` and `metrics` by column, NaN is missing.
    ///
    /// # Panics
    /// If columns differ in length.
    pub fn learn(settings: &[Vec<f64>], metrics: &[Vec<f64>]) -> Self {
        let rows = metrics.first().map_or(0, Vec::len);
        assert!(settings.iter().chain(metrics).all(|column| column.len() == rows), "columns differ in length");
        let cuts: Vec<Vec<f64>> = settings.iter().map(|column| gaps(column)).collect();
        let everything: Vec<usize> = (0..rows).collect();
        let overall: Vec<Level> = metrics.iter().map(|metric| level(metric, &everything)).collect();
        let mut found: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for row in 0..rows {
            let pieces = settings.iter().zip(&cuts).map(|(setting, cuts)| piece(cuts, setting[row])).collect();
            found.entry(pieces).or_default().push(row);
        }
        found.retain(|_, rows| rows.len() >= LEAST_ROWS);
        let mut levels = vec![overall];
        let mut regimes = Vec::new();
        for (pieces, rows) in &found {
            regimes.push((pieces.clone(), levels.len()));
            levels.push(metrics.iter().map(|metric| level(metric, rows)).collect());
        }
        let rows: Vec<usize> = found.values().map(Vec::len).collect();
        if explained(&levels, &rows) < LEAST_EXPLAINED {
            return Self {
                cuts: vec![Vec::new(); settings.len()],
                regimes: Vec::new(),
                levels: vec![levels.remove(0)],
            };
        }
        Self { cuts, regimes, levels }
    }

    /// How many regimes were found; 1 where the settings explain nothing.
    pub fn count(&self) -> usize {
        self.regimes.len().max(1)
    }

    /// The residuals of one row's metrics; NaN where a metric is missing or never moved in training.
    pub fn residuals(&self, settings: &[f64], metrics: &[f64]) -> Vec<f64> {
        let levels = &self.levels[self.of(settings)];
        metrics.iter().zip(levels).map(|(value, level)| level.residual(*value)).collect()
    }

    /// Which metrics moved in some regime: the others say nothing.
    pub fn moving(&self) -> Vec<bool> {
        let metrics = self.levels[0].len();
        let levels = if self.levels.len() > 1 { &self.levels[1..] } else { &self.levels[..] };
        (0..metrics).map(|metric| levels.iter().any(|level| level[metric].deviation > 0.0)).collect()
    }

    fn of(&self, settings: &[f64]) -> usize {
        let pieces: Vec<usize> = settings.iter().zip(&self.cuts).map(|(value, cuts)| piece(cuts, *value)).collect();
        self.regimes.iter().find(|(known, _)| *known == pieces).map_or(0, |(_, level)| *level)
    }
}

impl Level {
    fn residual(self, value: f64) -> f64 {
        if self.deviation > 0.0 { (value - self.mean) / self.deviation } else { f64::NAN }
    }
}

/// Middles of the gaps of a setting.
fn gaps(column: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    let wide = (greatest - least) * GAP_SHARE;
    sorted
        .windows(2)
        .filter(|pair| wide > 0.0 && pair[1] - pair[0] > wide)
        .map(|pair| f64::midpoint(pair[0], pair[1]))
        .collect()
}

/// Which piece a value lies in; a missing setting is a piece of its own.
fn piece(cuts: &[f64], value: f64) -> usize {
    if value.is_nan() { usize::MAX } else { cuts.partition_point(|cut| *cut < value) }
}

fn level(metric: &[f64], rows: &[usize]) -> Level {
    let known: Vec<f64> = rows.iter().map(|row| metric[*row]).filter(|value| value.is_finite()).collect();
    let count = known.len() as f64;
    if known.len() < 2 {
        return Level { mean: known.first().copied().unwrap_or(f64::NAN), deviation: 0.0 };
    }
    let mean = known.iter().sum::<f64>() / count;
    let deviation = (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    // What is left of a constant after rounding is no movement.
    Level { mean, deviation: if deviation > 1e-9 * (1.0 + mean.abs()) { deviation } else { 0.0 } }
}

/// Share of variance that the regimes explain, averaged over the metrics that move.
fn explained(levels: &[Vec<Level>], rows: &[usize]) -> f64 {
    let total: usize = rows.iter().sum();
    let mut shares = Vec::new();
    for (metric, overall) in levels[0].iter().enumerate() {
        if overall.deviation > 0.0 && total > 0 {
            let within =
                levels[1..].iter().zip(rows).map(|(level, rows)| level[metric].deviation.powi(2) * *rows as f64);
            shares.push(1.0 - within.sum::<f64>() / total as f64 / overall.deviation.powi(2));
        }
    }
    if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A spin speed of three programmes with jitter, and a vibration that follows it and a slow wear.
    fn washer(jitter_only: bool) -> (Vec<f64>, Vec<f64>) {
        let mut chance = ChaCha8Rng::seed_from_u64(5);
        (0..3000)
            .map(|row| {
                let programme = if jitter_only { 0.0 } else { f64::from(chance.random_range(0..3)) };
                let speed = 400.0 + 400.0 * programme + chance.random_range(-3.0..3.0);
                let wear = f64::from(row) / 3000.0;
                (speed, 2.0 + 5.0 * programme + (1.0 + programme) * (wear + chance.random_range(-0.1..0.1)))
            })
            .unzip()
    }

    #[test]
    fn residuals_show_the_wear_that_the_programme_hides() {
        let (speed, vibration) = washer(false);
        let regimes = Regimes::learn(std::slice::from_ref(&speed), std::slice::from_ref(&vibration));
        assert_eq!(regimes.count(), 3);
        let residual = |row: usize| regimes.residuals(&[speed[row]], &[vibration[row]])[0];
        let mean = |rows: std::ops::Range<usize>| rows.clone().map(residual).sum::<f64>() / rows.len() as f64;
        assert!(mean(0..300) < -1.2 && mean(2700..3000) > 1.2);
    }

    #[test]
    fn jitter_alone_makes_no_regimes() {
        let (speed, vibration) = washer(true);
        // Steps of the display make 7 distinct values with gaps of a sixth of the range.
        let steps: Vec<f64> = speed.iter().map(|speed| speed.round()).collect();
        assert_eq!(Regimes::learn(&[steps], &[vibration]).count(), 1);
    }

    #[test]
    fn a_setting_never_seen_is_measured_against_all_and_a_constant_metric_says_nothing() {
        let (speed, vibration) = washer(false);
        let regimes = Regimes::learn(&[speed], &[vibration, vec![7.0; 3000]]);
        assert_eq!(regimes.moving(), [true, false]);
        let odd = regimes.residuals(&[f64::NAN], &[7.0, 7.0]);
        assert!(odd[0].is_finite() && odd[1].is_nan());
    }
}
