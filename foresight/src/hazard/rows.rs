//! Person-period rows: which are kept, and in which part a device is judged.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{Followed, Settings, numbered};
use crate::boost::Matrix;

/// Rows that are kept.
#[derive(Debug)]
pub(super) struct Rows {
    /// Which landmark each row is of.
    landmark: Vec<usize>,
    /// Which period.
    period: Vec<usize>,
    /// Whether the failure fell into it.
    pub(super) failed: Vec<bool>,
    /// Devices with a failure.
    pub(super) failing: usize,
    /// Rows with a failure.
    pub(super) failures: usize,
    /// Share of the quiet rows that were kept.
    pub(super) kept: f64,
    /// Place of each row's device in a random order that deals failing devices out evenly.
    place: Vec<usize>,
}

impl Rows {
    /// Cuts what followed into periods and keeps every failure and a share of the quiet rows.
    pub(super) fn new(followed: &[Followed], settings: &Settings) -> Self {
        let length = settings.horizon / settings.periods as f64;
        let (mut failures, mut quiet) = (0usize, 0usize);
        for one in followed {
            let (seen, failure) = seen(one, length, settings.periods);
            quiet += seen;
            failures += usize::from(failure.is_some());
        }
        let wanted = (settings.quiet_per_failure * failures as f64).max(settings.quiet_least as f64);
        let kept = (wanted / quiet as f64).min(1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let (places, failing) = places(followed, settings, length, &mut rng);
        let mut rows = Self {
            landmark: Vec::new(),
            period: Vec::new(),
            failed: Vec::new(),
            failing,
            failures,
            kept,
            place: Vec::new(),
        };
        for (landmark, one) in followed.iter().enumerate() {
            let (seen, failure) = seen(one, length, settings.periods);
            let place = places[&one.group];
            let mut push = |period, failed| {
                rows.landmark.push(landmark);
                rows.period.push(period);
                rows.failed.push(failed);
                rows.place.push(place);
            };
            (0..seen).filter(|_| kept >= 1.0 || rng.random::<f64>() < kept).for_each(|period| push(period, false));
            if let Some(period) = failure {
                push(period, true);
            }
        }
        rows
    }

    /// How many quiet rows there are.
    pub(super) fn quiet(&self) -> usize {
        self.failed.len() - self.failures
    }

    /// Features of the kept rows.
    pub(super) fn matrix(&self, features: &Matrix, periods: usize) -> Matrix {
        let selected = features.select(&self.landmark);
        if periods == 1 {
            return selected;
        }
        numbered(&selected, self.period.iter().map(|period| *period as f64).collect())
    }

    /// The device of a row.
    #[cfg(test)]
    pub(super) fn group(&self, row: usize, followed: &[Followed]) -> u64 {
        followed[self.landmark[row]].group
    }

    /// In which of `folds` parts a row's device is judged.
    pub(super) fn fold(&self, row: usize, folds: usize) -> usize {
        self.place[row] % folds
    }
}

/// How many periods were seen to their end without a failure, and in which one the failure fell.
fn seen(one: &Followed, length: f64, periods: usize) -> (usize, Option<usize>) {
    // A failure at exactly the end of a period is in that period.
    let whole = if one.failed { (one.time / length).ceil() - 1.0 } else { (one.time / length).floor() };
    let whole = whole.max(0.0) as usize;
    (whole.min(periods), (one.failed && whole < periods).then_some(whole))
}

/// Devices in a random order, those that fail first: dealt out by place they are spread evenly over the parts.
fn places(
    followed: &[Followed],
    settings: &Settings,
    length: f64,
    rng: &mut ChaCha8Rng,
) -> (BTreeMap<u64, usize>, usize) {
    let mut fails: BTreeMap<u64, bool> = BTreeMap::new();
    for one in followed {
        *fails.entry(one.group).or_default() |= seen(one, length, settings.periods).1.is_some();
    }
    let mut order: Vec<(u64, bool)> = fails.into_iter().collect();
    order.shuffle(rng);
    order.sort_by_key(|(_, fails)| !fails);
    let failing = order.partition_point(|(_, fails)| *fails);
    (order.into_iter().enumerate().map(|(place, (group, _))| (group, place)).collect(), failing)
}
