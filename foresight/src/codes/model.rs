//! The next-code model: boosted trees over (window, candidate code) pairs.
//!
//! In: windows with their next ones. Out: probabilities and sets. Promise: same windows and seed, same model; the
//! threshold was chosen on devices that the trees of that step had not seen.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    Code, Counts, Window,
    features::{DEVICE_SHARE, NAMES, rows},
    score::{SetScore, best_threshold},
};
use crate::boost::{self, BoostError, Booster, Matrix, Objective};

/// How the model is learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Of the trees.
    pub boost: boost::Settings,
    /// Most windows the trees see, evenly taken: windows overlap, so that a quarter of them says nearly all.
    pub windows: usize,
    /// Share of windows whose device is hidden, so that the trees serve new devices as well as known ones.
    pub hidden: f64,
    /// Every n-th device is kept for the threshold.
    pub threshold_every: usize,
}

impl Settings {
    /// Shallow trees with heavy leaves: on machines left out of the training (four groups, `docs/foresight.md`) they
    /// gave more than deep ones, which learn the machines.
    pub fn new(seed: u64) -> Self {
        let boost = boost::Settings {
            trees: 150,
            learning_rate: 0.06,
            max_depth: 4,
            l2: 10.0,
            min_leaf_weight: 30.0,
            bins: 64,
            ..boost::Settings::new(Objective::Logistic, seed)
        };
        Self { boost, windows: 8_000, hidden: 0.5, threshold_every: 4 }
    }
}

/// A learnt model.
#[derive(Debug, Serialize, Deserialize)]
pub struct NextCodes {
    counts: Counts,
    trees: Booster,
    threshold: f64,
}

impl NextCodes {
    /// Learns from windows over a vocabulary of `codes`.
    pub fn fit(windows: &[&Window], codes: usize, settings: &Settings) -> Result<Self, BoostError> {
        let mut devices: Vec<&str> = windows.iter().map(|window| window.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        let mut chance = ChaCha8Rng::seed_from_u64(settings.boost.seed);
        devices.shuffle(&mut chance);
        let mut kept: Vec<&str> = devices.iter().copied().step_by(settings.threshold_every.max(2)).collect();
        kept.sort_unstable();
        // With one device alone its last quarter is kept.
        let alone = devices.len() < 2;
        let is_kept = |place: usize, window: &Window| {
            if alone { place * 4 >= windows.len() * 3 } else { kept.binary_search(&window.device.as_str()).is_ok() }
        };
        let mut parts = (Vec::new(), Vec::new());
        for (place, window) in windows.iter().enumerate() {
            if is_kept(place, window) { parts.1.push(*window) } else { parts.0.push(*window) }
        }
        let first = Self::grow(&parts.0, codes, settings)?;
        let step = parts.1.len().div_ceil(settings.windows.max(1)).max(1);
        let (mut pairs, mut unasked) = (Vec::new(), 0);
        let kept: Vec<&Window> = parts.1.into_iter().step_by(step).collect();
        let asked: Vec<_> = kept.iter().map(|window| (window.device.as_str(), window.codes.as_slice())).collect();
        for (said, window) in first.probabilities_of(&asked)?.iter().zip(&kept) {
            let asked = said.iter().filter(|(code, _)| window.next.binary_search(code).is_ok()).count();
            unasked += (window.next.len() - asked) as u64;
            pairs.extend(said.iter().map(|(code, p)| (*p, window.next.binary_search(code).is_ok())));
        }
        let (threshold, _) = best_threshold(&pairs, unasked);
        Ok(Self { threshold, ..Self::grow(windows, codes, settings)? })
    }

    fn grow(windows: &[&Window], codes: usize, settings: &Settings) -> Result<Self, BoostError> {
        let mut counts = Counts::new(codes);
        windows.iter().for_each(|window| counts.add(window));
        let mut chance = ChaCha8Rng::seed_from_u64(settings.boost.seed);
        let (mut cells, mut target) = (Vec::new(), Vec::new());
        let step = windows.len().div_ceil(settings.windows.max(1)).max(1);
        for window in windows.iter().step_by(step) {
            let hide = chance.random_bool(settings.hidden);
            for (code, mut row) in rows(&counts, &window.device, &window.codes) {
                if hide {
                    row[DEVICE_SHARE] = f64::NAN;
                }
                cells.push(row);
                target.push(f64::from(u8::from(window.next.binary_search(&code).is_ok())));
            }
        }
        let matrix = matrix(&cells);
        let trees = Booster::fit(&matrix, &target, &vec![1.0; target.len()], &settings.boost)?;
        Ok(Self { counts, trees, threshold: 0.5 })
    }

    /// Per candidate code, in order of place, the probability that the next window holds it; others are below what
    /// could be said.
    pub fn probabilities(&self, device: &str, codes: &[Code]) -> Result<Vec<(Code, f64)>, BoostError> {
        Ok(self.probabilities_of(&[(device, codes)])?.pop().unwrap_or_default())
    }

    /// The same for many windows at once, which is faster.
    pub fn probabilities_of(&self, windows: &[(&str, &[Code])]) -> Result<Vec<Vec<(Code, f64)>>, BoostError> {
        let asked: Vec<_> = windows.iter().map(|(device, codes)| rows(&self.counts, device, codes)).collect();
        let cells: Vec<_> = asked.iter().flatten().map(|(_, row)| *row).collect();
        if cells.is_empty() {
            return Ok(vec![Vec::new(); windows.len()]);
        }
        let mut said = self.trees.probability(&matrix(&cells))?.into_iter();
        Ok(asked.iter().map(|rows| rows.iter().map(|(code, _)| *code).zip(said.by_ref()).collect()).collect())
    }

    /// The set that is said: codes at or above the threshold.
    pub fn set(&self, probabilities: &[(Code, f64)]) -> Vec<Code> {
        probabilities.iter().filter(|(_, p)| *p >= self.threshold).map(|(code, _)| *code).collect()
    }

    /// The threshold.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// How good the sets are on windows whose next ones are known.
    pub fn score(&self, windows: &[&Window]) -> Result<SetScore, BoostError> {
        let mut score = SetScore::default();
        // A thousand windows are some 30,000 rows: a few megabytes.
        for some in windows.chunks(1000) {
            let asked: Vec<_> = some.iter().map(|window| (window.device.as_str(), window.codes.as_slice())).collect();
            for (said, window) in self.probabilities_of(&asked)?.iter().zip(some) {
                score.add(&self.set(said), &window.next);
            }
        }
        Ok(score)
    }
}

fn matrix(cells: &[[f64; NAMES.len()]]) -> Matrix {
    Matrix::from_rows(NAMES.map(str::to_owned).to_vec(), cells.iter().map(<[f64; NAMES.len()]>::as_slice))
}
