//! The scoring function of the Numenta Anomaly Benchmark.
//!
//! In: per stream one score per row and the row ranges of the labelled windows. Out: the corpus score under a profile, at
//! a threshold or at the best one. Promise: the numbers of the published sweeper and runner (Lavin and Ahmad 2015;
//! numenta/NAB `nab/sweeper.py`, `nab/runner.py`, `config/profiles.json`). Never: a file, a detector.
//!
//! A row in a window is worth `sigma(-(right - row + 1) / width) / sigma(-1)`, the best row of a window counts, once; a
//! window without a row costs the weight of a miss. A row outside costs `sigma((row - right) / (width - 1))`, counted from
//! the window before it, or the full weight where there is none. Rows of the probationary period do not count.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use serde::Serialize;

/// Share of a stream's rows in which nothing counts.
const PROBATION_SHARE: f64 = 0.15;
/// Rows of which that share is taken at most.
const PROBATION_ROWS: usize = 5000;
/// The threshold above every score: no row is an alarm.
const NONE: f64 = 1.1;

/// What a hit, a false alarm and a miss weigh.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Profile {
    /// Its published name.
    pub name: &'static str,
    /// Worth of a window that was hit at once.
    pub hit: f64,
    /// Cost of a false alarm far from any window.
    pub false_alarm: f64,
    /// Cost of a window that was missed.
    pub miss: f64,
}

/// The profile figures are usually quoted for.
pub const STANDARD: Profile = Profile { name: "standard", hit: 1.0, false_alarm: 0.11, miss: 1.0 };
/// False alarms cost double.
pub const LOW_FP: Profile = Profile { name: "reward_low_FP_rate", hit: 1.0, false_alarm: 0.22, miss: 1.0 };
/// Misses cost double.
pub const LOW_FN: Profile = Profile { name: "reward_low_FN_rate", hit: 1.0, false_alarm: 0.11, miss: 2.0 };

/// What a detector said of one stream, and where its anomalies are.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// One score per row.
    pub scores: Vec<f64>,
    /// First and last row of each window, in order, not overlapping.
    pub windows: Vec<RangeInclusive<usize>>,
}

/// What a threshold gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// Rows at or above it are alarms.
    pub threshold: f64,
    /// Sum over windows and false alarms.
    pub raw: f64,
    /// 100 is perfect, 0 is silence; nothing without a window.
    pub normalised: Option<f64>,
    /// Windows that can be hit.
    pub windows: usize,
    /// Windows that were.
    pub hits: usize,
    /// Rows outside any window at or above the threshold.
    pub false_alarms: usize,
}

/// Rows at the start of a stream that do not count.
pub fn probation(rows: usize) -> usize {
    let rows = rows.min(PROBATION_ROWS);
    (PROBATION_SHARE * rows as f64).floor() as usize
}

/// 2/(1+e^5x) - 1, and -1 far behind a window: near 1 at a window's left edge (x = -1), 0 at its right.
pub fn sigma(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// The best any threshold gives over all streams together, as the published runner chooses it; the higher of equals.
pub fn best(streams: &[Stream], profile: &Profile) -> Outcome {
    let mut rows = rows(streams, profile);
    rows.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut tally = Tally::new(streams, profile);
    let mut best = tally.outcome(NONE);
    for (place, row) in rows.iter().enumerate() {
        tally.add(row);
        if rows.get(place + 1).is_none_or(|next| next.score != row.score) && tally.raw() > best.raw {
            best = tally.outcome(row.score);
        }
    }
    best
}

/// What one threshold, chosen beforehand, gives.
pub fn at(streams: &[Stream], profile: &Profile, threshold: f64) -> Outcome {
    let mut tally = Tally::new(streams, profile);
    rows(streams, profile).iter().filter(|row| row.score >= threshold).for_each(|row| tally.add(row));
    tally.outcome(threshold)
}

/// A row that counts.
#[derive(Debug, Clone, Copy)]
struct Row {
    score: f64,
    worth: f64,
    /// Which window of the corpus it lies in.
    window: Option<usize>,
}

fn rows(streams: &[Stream], profile: &Profile) -> Vec<Row> {
    let (mut rows, mut windows) = (Vec::new(), 0);
    for stream in streams {
        rows.extend(stream_rows(stream, profile, windows));
        windows += stream.windows.len();
    }
    rows
}

fn stream_rows(stream: &Stream, profile: &Profile, windows_before: usize) -> Vec<Row> {
    let mut rows = Vec::with_capacity(stream.scores.len());
    let mut next = 0;
    for (row, score) in stream.scores.iter().enumerate() {
        while stream.windows.get(next).is_some_and(|window| *window.end() < row) {
            next += 1;
        }
        let inside = stream.windows.get(next).filter(|window| window.contains(&row));
        let worth = match (inside, next.checked_sub(1).map(|before| &stream.windows[before])) {
            (Some(window), _) => {
                let width = (window.end() - window.start() + 1) as f64;
                profile.hit * sigma(-((window.end() - row + 1) as f64) / width) / sigma(-1.0)
            }
            (None, Some(before)) => {
                let width = (before.end() - before.start()) as f64;
                profile.false_alarm * sigma((row - before.end()) as f64 / width)
            }
            (None, None) => -profile.false_alarm,
        };
        if row >= probation(stream.scores.len()) {
            rows.push(Row { score: *score, worth, window: inside.map(|_| windows_before + next) });
        }
    }
    rows
}

/// What the alarms so far are worth.
struct Tally<'a> {
    profile: &'a Profile,
    /// Per window of the corpus: can it be hit, and the best worth so far.
    windows: Vec<(bool, Option<f64>)>,
    outside: f64,
    false_alarms: usize,
}

impl<'a> Tally<'a> {
    fn new(streams: &[Stream], profile: &'a Profile) -> Self {
        let windows = streams.iter().flat_map(|stream| {
            let counted = probation(stream.scores.len());
            stream.windows.iter().map(move |window| (*window.end() >= counted, None))
        });
        Self { profile, windows: windows.collect(), outside: 0.0, false_alarms: 0 }
    }

    fn add(&mut self, row: &Row) {
        match row.window {
            Some(window) => {
                let best = &mut self.windows[window].1;
                *best = Some(best.map_or(row.worth, |best| best.max(row.worth)));
            }
            None => {
                self.outside += row.worth;
                self.false_alarms += 1;
            }
        }
    }

    fn raw(&self) -> f64 {
        let missed = -self.profile.miss;
        let inside = self.windows.iter().filter(|(counts, _)| *counts);
        self.outside + inside.map(|(_, best)| best.map_or(missed, |best| best.max(missed))).sum::<f64>()
    }

    fn outcome(&self, threshold: f64) -> Outcome {
        let windows = self.windows.iter().filter(|(counts, _)| *counts).count();
        let (perfect, silent) = (windows as f64 * self.profile.hit, -(windows as f64) * self.profile.miss);
        Outcome {
            threshold,
            raw: self.raw(),
            normalised: (windows > 0).then(|| 100.0 * (self.raw() - silent) / (perfect - silent)),
            windows,
            hits: self.windows.iter().filter(|(_, best)| best.is_some()).count(),
            false_alarms: self.false_alarms,
        }
    }
}
