//! How long a phase has been going on, against how long it takes when all is well.

use std::time::Duration;

use super::read::Day;
use crate::cycle::{Detector, Settings};

/// Levels a cycle is looked for at, as shares of the greatest power seen: anything beyond standby, a motor or pump, a
/// heater. The steps are a factor of five and of five, since an appliance's parts differ by that much.
const LEVELS: [f64; 3] = [0.02, 0.1, 0.5];

/// One missed or low minute does not end a phase.
const MERGE: Duration = Duration::from_secs(60);

/// How often power is read.
const MINUTE: f64 = 60.0;

/// What a healthy unit needs.
pub(super) struct Baseline {
    /// Per level: the power, and the longest cycle in minutes. A phase of the same length may touch one minute more.
    levels: Vec<(f64, f64)>,
}

impl Baseline {
    /// From healthy days; nothing where there is no power in them.
    pub(super) fn learn(days: &[&Day]) -> Option<Self> {
        let powers = days.iter().flat_map(|day| day.minutes.iter().filter_map(|minute| minute.power_w));
        let peak = powers.fold(0.0, f64::max);
        let longest = |on_w: f64| {
            let lengths = days.iter().flat_map(|day| lengths(day, on_w));
            lengths.fold(0.0, f64::max)
        };
        (peak > 0.0).then(|| Self { levels: LEVELS.map(|share| (share * peak, longest(share * peak))).to_vec() })
    }

    /// A score per minute of a day.
    pub(super) fn score(&self, day: &Day) -> Vec<f64> {
        let mut scores = vec![0.0f64; day.minutes.len()];
        for (on_w, longest) in &self.levels {
            for (score, length) in scores.iter_mut().zip(lengths(day, *on_w)) {
                *score = score.max(length / (longest + 1.0));
            }
        }
        scores
    }
}

/// Per minute of a day, how many minutes the cycle has been going on; 0 where there is none.
fn lengths(day: &Day, on_w: f64) -> Vec<f64> {
    let mut detector = Detector::new(Settings { on_w, merge: MERGE });
    let one = |minute: &super::Minute| {
        if let Some(power_w) = minute.power_w {
            detector.push(minute.at, power_w);
        }
        let cycle = detector.current().filter(|_| detector.working());
        cycle.map_or(0.0, |cycle| cycle.duration().as_secs_f64() / MINUTE + 1.0)
    };
    day.minutes.iter().map(one).collect()
}

/// The score of a day: its greatest minute.
pub(super) fn day(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(0.0, f64::max)
}

/// The chance of at least `hits` among `cases`, where `hits + others` of all are dealt out blindly (hypergeometric).
pub(super) fn fisher(hits: usize, cases: usize, others: usize, controls: usize) -> f64 {
    let choose = |all: usize, some: usize| -> f64 {
        if some > all { 0.0 } else { (0..some).map(|place| (all - place) as f64 / (some - place) as f64).product() }
    };
    let flagged = hits + others;
    let at_least = (hits..=flagged.min(cases)).map(|hits| choose(cases, hits) * choose(controls, flagged - hits));
    (at_least.sum::<f64>() / choose(cases + controls, flagged)).min(1.0)
}
