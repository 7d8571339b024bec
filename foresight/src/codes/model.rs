//! The next-code model: boosted trees over (window, candidate code) pairs.
//!
//! In: windows with their next ones. Out: probabilities and sets. Promise: same windows and seed, same model; the
//! threshold was chosen on probabilities of trees that had not seen the window's device: the devices are halved, each
//! half is said by trees of the other. The best threshold differs from device to device, so all of them have a say.

use std::collections::BTreeMap;

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
        Self { boost, windows: 8_000, hidden: 0.5 }
    }

    /// Evenly taken, at most as many as are wanted.
    fn some<'a>(&self, windows: &[&'a Window]) -> Vec<&'a Window> {
        windows.iter().copied().step_by(windows.len().div_ceil(self.windows.max(1)).max(1)).collect()
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
        devices.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.boost.seed));
        let half: BTreeMap<&str, usize> =
            (devices.iter().enumerate()).map(|(place, device)| (*device, place % 2)).collect();
        // With one device alone its windows are halved.
        let in_half = |place: usize, window: &Window| match devices.len() {
            0 | 1 => place * 2 / windows.len(),
            _ => half[window.device.as_str()],
        };
        let (mut pairs, mut unasked) = (Vec::new(), 0);
        for held in 0..2 {
            let (mut seen, mut unseen) = (Vec::new(), Vec::new());
            for (place, window) in windows.iter().enumerate() {
                if in_half(place, window) == held { unseen.push(*window) } else { seen.push(*window) }
            }
            let unseen: Vec<&Window> = settings.some(&unseen);
            let asked: Vec<_> = unseen.iter().map(|window| (window.device.as_str(), window.codes.as_slice())).collect();
            let said = Self::grow(&seen, codes, settings)?.probabilities_of(&asked)?;
            for (said, window) in said.iter().zip(&unseen) {
                let came = |code: &Code| window.next.binary_search(code).is_ok();
                unasked += (window.next.len() - said.iter().filter(|(code, _)| came(code)).count()) as u64;
                pairs.extend(said.iter().map(|(code, p)| (*p, came(code))));
            }
        }
        let (threshold, _) = best_threshold(&pairs, unasked);
        Ok(Self { threshold, ..Self::grow(windows, codes, settings)? })
    }

    fn grow(windows: &[&Window], codes: usize, settings: &Settings) -> Result<Self, BoostError> {
        let mut counts = Counts::new(codes);
        windows.iter().for_each(|window| counts.add(window));
        let mut chance = ChaCha8Rng::seed_from_u64(settings.boost.seed);
        let (mut cells, mut target) = (Vec::new(), Vec::new());
        for window in settings.some(windows) {
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
