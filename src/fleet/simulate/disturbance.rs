//! What happens to a device beside wear: silence, and disturbances that look like wear and go away.
//!
//! In: chance. Out: for any instant, whether the device is silent and how strong a disturbance is. Promise: both come and
//! go by chance of their own, whatever wears. Never: a failure.
//!
//! | profile | disturbance | looks like | how it could be told apart |
//! |---|---|---|---|
//! | `washing_machine` | an uneven floor, a blanket | bearing | motor current stays |
//! | `washing_machine` | a filter that the user cleans at last | pump | comes at once |
//! | `refrigerator` | a door left ajar, a hot kitchen | compressor | door and ambient say so |
//! | `refrigerator` | frozen food against the sensor | sensor | comes at once, and stays |
//! | `air_conditioner` | a dirty filter until it is cleaned | leak | filter pressure rises |
//! | `air_conditioner` | a curtain before the outdoor unit | compressor | cooling stays |
//! | `smartphone` | a cold week | capacity | resistance stays |
//! | `smartphone` | a tight case | swelling | temperature stays |

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemas::time::Instant;

use super::{
    DAY,
    fault::{exponential, log_normal},
};

/// Mean time between two disturbances.
const BETWEEN_DAYS: f64 = 35.0;
/// Median of how long one lasts; the rules wait half a day to a day.
const LASTS_DAYS: f64 = 1.2;
/// Standard deviation of the logarithm of that time.
const LASTS_SPREAD: f64 = 0.8;
/// Shortest and longest.
const LASTS: (f64, f64) = (0.2, 8.0);
/// How strong, as wear of that level looks: some stay below what rules raise at, some do not.
const STRENGTH: std::ops::Range<f64> = 0.2..0.9;
/// Share of its time in which it comes, and goes again.
const RAMP: f64 = 0.1;
/// Mean time between two silences: somebody travels, the network is down.
const SILENCE_BETWEEN_DAYS: f64 = 30.0;
/// Median of how long a silence lasts.
const SILENCE_DAYS: f64 = 1.0;
/// Standard deviation of the logarithm of that time.
const SILENCE_SPREAD: f64 = 0.9;
/// Shortest and longest silence.
const SILENCE: (f64, f64) = (0.25, 10.0);

/// One stretch of time with a strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbance {
    begin: Instant,
    end: Instant,
    strength: f64,
    /// Which of the two that its kind knows.
    which: usize,
}

impl Disturbance {
    /// Draws the one after `from`.
    pub(super) fn draw(from: Instant, rng: &mut ChaCha8Rng) -> Self {
        let begin = from.plus(DAY.mul_f64(exponential(rng, BETWEEN_DAYS)));
        let lasts = log_normal(rng, LASTS_DAYS, LASTS_SPREAD).clamp(LASTS.0, LASTS.1);
        Self {
            begin,
            end: begin.plus(DAY.mul_f64(lasts)),
            strength: rng.random_range(STRENGTH),
            which: rng.random_range(0..2),
        }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self, at: Instant) -> bool {
        at > self.end
    }

    /// When it ends.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// How strong the disturbance of this number is; 0 outside of it.
    pub fn strength(&self, which: usize, at: Instant) -> f64 {
        if which != self.which || at <= self.begin || at >= self.end {
            return 0.0;
        }
        let share = at.since(self.begin).as_secs_f64() / self.end.since(self.begin).as_secs_f64();
        self.strength * (share / RAMP).min((1.0 - share) / RAMP).min(1.0)
    }
}

/// A stretch of time in which nothing is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Silence {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

impl Silence {
    /// Draws the one after `from`.
    pub(super) fn draw(from: Instant, rng: &mut ChaCha8Rng) -> Self {
        let begin = from.plus(DAY.mul_f64(exponential(rng, SILENCE_BETWEEN_DAYS)));
        let lasts = log_normal(rng, SILENCE_DAYS, SILENCE_SPREAD).clamp(SILENCE.0, SILENCE.1);
        Self { begin, end: begin.plus(DAY.mul_f64(lasts)) }
    }
}
