//! Cycles of an appliance: a wash, a compressor run, a heating phase, found in its power while it comes in.
//!
//! In: readings of one device in order of time. Out: for each reading how long the cycle has been going on, and each
//! cycle when it has ended. Promise: nothing depends on what comes later; the state is one cycle, whatever its length.
//! Never: a second cycle at the same time; the same power watched at two levels is two detectors.
//!
//! A cycle begins when power reaches [`Settings::on_w`] and ends when it has stayed below for longer than
//! [`Settings::merge`], so that a pause (soaking, a valve) does not part it. Its end is the last reading at or above.

#[cfg(test)]
mod tests;

use std::time::Duration;

use schemas::time::Instant;
use serde::{Deserialize, Serialize};

/// What counts as one cycle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Power from which the appliance counts as working.
    pub on_w: f64,
    /// Pauses up to this long are part of the cycle.
    pub merge: Duration,
}

/// One cycle, ended or going on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    /// First reading at or above the level.
    pub start: Instant,
    /// Last reading at or above the level.
    pub end: Instant,
    /// Greatest power.
    pub peak_w: f64,
    /// Energy by the trapezoid rule, pauses included.
    pub energy_wh: f64,
    /// Readings at or above the level.
    pub readings: u32,
}

impl Cycle {
    /// From the first reading at or above the level to the last.
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }
}

/// Watches one device at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    settings: Settings,
    cycle: Option<Cycle>,
    last: Option<(Instant, f64)>,
}

impl Detector {
    /// Watches nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, cycle: None, last: None }
    }

    /// Takes one reading; gives the cycle that it shows to be over. A reading that is no number, or not later than the
    /// one before, says nothing.
    pub fn push(&mut self, at: Instant, power_w: f64) -> Option<Cycle> {
        if !power_w.is_finite() || self.last.is_some_and(|(last, _)| at <= last) {
            return None;
        }
        let over =
            self.cycle.filter(|cycle| at.since(cycle.end) > self.settings.merge && self.paused(cycle, power_w, at));
        if over.is_some() {
            self.cycle = None;
        }
        let on = power_w >= self.settings.on_w;
        match &mut self.cycle {
            Some(cycle) => {
                if let Some((before, was_w)) = self.last {
                    cycle.energy_wh += (was_w + power_w) / 2.0 * at.since(before).as_secs_f64() / 3600.0;
                }
                if on {
                    cycle.end = at;
                    cycle.peak_w = cycle.peak_w.max(power_w);
                    cycle.readings = cycle.readings.saturating_add(1);
                }
            }
            None if on => self.cycle = Some(Cycle { start: at, end: at, peak_w: power_w, energy_wh: 0.0, readings: 1 }),
            None => {}
        }
        self.last = Some((at, power_w));
        over
    }

    /// Whether the cycle is not simply going on: either power is below the level, or nothing was heard for too long.
    fn paused(&self, cycle: &Cycle, power_w: f64, at: Instant) -> bool {
        let silent = self.last.is_some_and(|(last, _)| at.since(last) > self.settings.merge.max(MAX_SILENCE));
        power_w < self.settings.on_w || silent || self.last.is_some_and(|(last, _)| last > cycle.end)
    }

    /// The cycle that is going on, as far as it was seen.
    pub fn current(&self) -> Option<&Cycle> {
        self.cycle.as_ref()
    }

    /// Whether the last reading was at or above the level.
    pub fn working(&self) -> bool {
        self.last.is_some_and(|(at, _)| self.cycle.is_some_and(|cycle| cycle.end == at))
    }

    /// Ends the recording: the cycle that was going on.
    pub fn finish(&mut self) -> Option<Cycle> {
        self.last = None;
        self.cycle.take()
    }
}

/// Readings further apart than this are of two cycles: what was between is not known.
const MAX_SILENCE: Duration = Duration::from_secs(300);
