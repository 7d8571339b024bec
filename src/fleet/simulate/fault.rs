//! A fault as it is planted: what nobody outside the simulator knows.
//!
//! In: chance. Out: when wear begins, how it grows, how far it goes and when the device fails; how a
//! component is at an instant. Promise: nothing here is
//! the same for two faults, so that no threshold and no curve fits all. Never: read by whatever is to be judged.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use schemas::{
    id::{DeviceId, FaultKey},
    time::Instant,
};
use serde::Serialize;

use super::{DAY, Kind, fault_key};

/// Mean time a device stays whole, after the start and after a repair. A real appliance takes years for it: this fleet
/// lives fast, so that weeks teach something.
const WHOLE_DAYS: f64 = 60.0;
/// Of a hundred faults so many come suddenly.
const SUDDEN_PERCENT: u32 = 20;
/// Of a hundred devices so many wear already when the simulation begins.
const WORN_AT_START_PERCENT: u32 = 12;
/// Median time from onset to failure; the spread is wide on purpose (see [`WEAR_SPREAD`]).
const WEAR_MEDIAN_DAYS: f64 = 15.0;
/// Standard deviation of the logarithm of that time: two in three take 7 to 31 days.
const WEAR_SPREAD: f64 = 0.75;
/// Shortest and longest time from onset to failure.
const WEAR_DAYS: (f64, f64) = (2.0, 60.0);
/// How far wear has gone when the device fails. 1 is what a profile's rules were written for; they raise at about the
/// half, so some devices fail before a rule sees them and others go on for long.
const LEVEL: std::ops::Range<f64> = 0.4..1.3;
/// A failure comes at least this long after the start, so that somebody could have seen it.
const SOONEST: Duration = Duration::from_secs(3 * 86_400);
/// Where no visit comes before, somebody mends a device this long after its failure.
const REPAIR: Duration = Duration::from_secs(3 * 86_400);

/// How a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Slowly, and it can be seen.
    Wear,
    /// At once: nobody can foresee it.
    Sudden,
}

/// How wear grows from its onset to the failure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// The same every day.
    Linear,
    /// Slowly first: the share of the time to this power.
    Accelerating(f64),
    /// In so many steps, with rests between them.
    Steps(u8),
}

impl Curve {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..3) {
            0 => Self::Linear,
            1 => Self::Accelerating(rng.random_range(1.3..3.0)),
            _ => Self::Steps(rng.random_range(2..=4)),
        }
    }

    /// 0 at 0, 1 at 1, never falls.
    fn at(self, share: f64) -> f64 {
        match self {
            Self::Linear => share,
            Self::Accelerating(power) => share.powf(power),
            Self::Steps(steps) => {
                let turns = f64::from(steps) * std::f64::consts::TAU;
                share - (share * turns).sin() / turns
            }
        }
    }
}

/// A fault that the simulator planted: the truth that no device tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planted {
    /// In which device.
    pub device_id: DeviceId,
    /// Component and failure mode.
    pub fault_key: FaultKey,
    /// How it comes.
    pub course: Course,
    /// When wear begins; for a sudden fault the failure itself.
    pub onset: Instant,
    /// When the device fails, if nobody mends it before.
    pub failure: Instant,
    /// How wear grows.
    pub curve: Curve,
    /// How far it has gone when the device fails.
    pub level: f64,
    /// The code the device reports when it fails, if it notices.
    pub code: Option<&'static str>,
    /// When somebody mended it, before its failure or after; none as long as nobody did.
    pub mended: Option<Instant>,
}

/// How a component is at an instant: the truth, for whoever opens the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition<'a> {
    /// Nothing is the matter.
    Sound {
        /// When it was mended last, if it ever was.
        mended: Option<Instant>,
    },
    /// It wears and still works.
    Worn {
        /// By what.
        planted: &'a Planted,
        /// How far; 1 is what the profiles' rules were written for.
        wear: f64,
    },
    /// It has failed.
    Failed(&'a Planted),
}

impl<'a> Condition<'a> {
    /// Of a component, from all faults of its device so far.
    pub fn of(faults: &'a [Planted], component: &str, at: Instant) -> Self {
        let mut last = None;
        for planted in faults.iter().filter(|it| it.fault_key.component() == component) {
            match (planted.renewed(), planted.wear(at)) {
                (renewed, _) if renewed <= at => last = last.max(Some(renewed)),
                _ if planted.failure <= at => return Self::Failed(planted),
                (_, wear) if wear > 0.0 => return Self::Worn { planted, wear },
                _ => {}
            }
        }
        Self::Sound { mended: last }
    }
}

impl Planted {
    /// When the component is as new again: when it was mended, or will have been if no visit comes before.
    pub fn renewed(&self) -> Instant {
        self.mended.unwrap_or(self.failure.plus(REPAIR))
    }

    /// Whether somebody mended it before it failed, so that the failure never came.
    pub fn averted(&self) -> bool {
        self.mended.is_some_and(|mended| mended <= self.failure)
    }

    /// Whether wear is under way: begun, not failed, not mended.
    pub fn wearing(&self, at: Instant) -> bool {
        self.onset <= at && at < self.failure && self.mended.is_none_or(|mended| at < mended)
    }

    /// Whether the component stands failed: nobody has mended it yet.
    pub fn stands_failed(&self, at: Instant) -> bool {
        self.failure <= at && self.mended.is_none_or(|mended| mended > at)
    }

    /// Whether it fails after `at` and by `until`, if nobody comes before.
    pub fn fails_within(&self, at: Instant, until: Instant) -> bool {
        self.failure > at && self.failure <= until && self.mended.is_none_or(|mended| mended > at)
    }

    /// 0 before the onset, `level` at the failure, a little more after it.
    pub fn wear(&self, at: Instant) -> f64 {
        if self.course == Course::Sudden || at <= self.onset {
            return 0.0;
        }
        let share = at.since(self.onset).as_secs_f64() / self.failure.since(self.onset).as_secs_f64();
        self.level * self.curve.at(share.min(1.1))
    }

    /// Draws the next fault of a device that is whole at `from`, or perhaps worn already where it is its `first`.
    pub(super) fn draw(kind: &Kind, device_id: &DeviceId, from: Instant, first: bool, rng: &mut ChaCha8Rng) -> Self {
        // Every draw is made whatever comes of it, so that one device's chance does not shift with its kind.
        let whole = DAY.mul_f64(exponential(rng, WHOLE_DAYS));
        let wear_days = log_normal(rng, WEAR_MEDIAN_DAYS, WEAR_SPREAD).clamp(WEAR_DAYS.0, WEAR_DAYS.1);
        let (curve, level) = (Curve::draw(rng), rng.random_range(LEVEL));
        let (which, gone) = (rng.random_range(0..usize::MAX), rng.random_range(0.0..1.0));
        let worn_already = rng.random_range(0..100) < WORN_AT_START_PERCENT;
        let sudden = rng.random_range(0..100) < SUDDEN_PERCENT;
        let device_id = device_id.clone();
        if sudden {
            let (key, code) = kind.sudden[which % kind.sudden.len()];
            let failure = from.plus(whole.max(SOONEST));
            let fault_key = fault_key(key);
            return Self {
                device_id,
                fault_key,
                course: Course::Sudden,
                onset: failure,
                failure,
                curve,
                level,
                code: Some(code),
                mended: None,
            };
        }
        let (key, code) = kind.wear[which % kind.wear.len()];
        let lasts = DAY.mul_f64(wear_days);
        let onset = if first && worn_already { from.minus(lasts.mul_f64(gone)) } else { from.plus(whole) };
        let failure = onset.plus(lasts).max(from.plus(SOONEST));
        let (fault_key, course) = (fault_key(key), Course::Wear);
        Self { device_id, fault_key, course, onset, failure, curve, level, code, mended: None }
    }
}

/// Draws a waiting time of this mean.
pub(super) fn exponential(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    -(1.0 - rng.random_range(0.0..1.0_f64)).ln() * mean
}

/// Draws around a median; the spread is that of the logarithm.
pub(super) fn log_normal(rng: &mut ChaCha8Rng, median: f64, spread: f64) -> f64 {
    LogNormal::new(median.ln(), spread).map_or(median, |law| law.sample(rng))
}
