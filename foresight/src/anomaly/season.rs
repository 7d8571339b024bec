//! What is usual at this time of the day and of the week.
//!
//! Three profiles side by side, because a device may follow the clock, the week, or working days: 96 quarters of an hour,
//! 168 hours of the week, 48 half hours of a working day or a weekend. Which of them tells something is for the forecast
//! that takes them as features. Time is UTC; a whole-hour zone only turns the profiles.

use serde::{Deserialize, Serialize};

const QUARTERS: usize = 96;
const HOURS_OF_WEEK: usize = 168;
const HALF_HOURS: usize = 48;
/// Days a place of the day remembers. Halved or doubled changes little: docs/foresight.md.
const DAYS: f64 = 8.0;
/// Weeks an hour of the week remembers.
const WEEKS: f64 = 4.0;

/// Running means by place in the day and the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Season {
    quarters: Vec<Place>,
    hours_of_week: Vec<Place>,
    half_hours: Vec<Place>,
}

/// A running mean; the memory is its profile's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Place(f64, f64);

impl Place {
    fn add(&mut self, value: f64, memory: f64) {
        self.1 = (self.1 + 1.0).min(memory);
        self.0 += (value - self.0) / self.1;
    }

    fn mean(self) -> Option<f64> {
        (self.1 > 0.0).then_some(self.0)
    }
}

impl Default for Season {
    fn default() -> Self {
        Self {
            quarters: vec![Place::default(); QUARTERS],
            hours_of_week: vec![Place::default(); HOURS_OF_WEEK],
            half_hours: vec![Place::default(); 2 * HALF_HOURS],
        }
    }
}

impl Season {
    /// The usual value in each of the three profiles, where there is one.
    pub fn usual(&self, at_ms: i64) -> [Option<f64>; 3] {
        let [quarter, hour, half_hour] = places(at_ms);
        [self.quarters[quarter].mean(), self.hours_of_week[hour].mean(), self.half_hours[half_hour].mean()]
    }

    /// Takes one value in.
    pub fn add(&mut self, at_ms: i64, value: f64) {
        let [quarter, hour, half_hour] = places(at_ms);
        self.quarters[quarter].add(value, DAYS);
        self.hours_of_week[hour].add(value, WEEKS);
        self.half_hours[half_hour].add(value, DAYS);
    }
}

fn places(at_ms: i64) -> [usize; 3] {
    let place = |length_ms: i64, count: usize| at_ms.div_euclid(length_ms).rem_euclid(count as i64) as usize;
    // 1970-01-01 was a Thursday; Monday is 0.
    let weekday = (at_ms.div_euclid(86_400_000) + 3).rem_euclid(7);
    let weekend = if weekday >= 5 { HALF_HOURS } else { 0 };
    [place(900_000, QUARTERS), place(3_600_000, HOURS_OF_WEEK), weekend + place(1_800_000, HALF_HOURS)]
}
