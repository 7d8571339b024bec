//! How fast a value changes: a robust slope over the last readings of one device.
//!
//! In: readings in the order of their event times. Out: the slope, once the window holds enough. Promise: bounded: at
//! most `BUCKETS` means of 32 bytes, whatever the cadence. Never: a slope from a moment's noise.
//!
//! The window is cut into buckets of event time, each the mean of its readings; the slope is the median of the slopes
//! between all pairs of buckets (Theil 1950, Sen 1968). Up to 29 of 100 buckets may be wild and do not move it, which a
//! difference of two readings or a least-squares line cannot say.

use std::time::Duration;

use schemas::time::Instant;
use serde::{Deserialize, Serialize};

/// Means kept: their 120 pairs are a microsecond of work, and more would hardly be more exact.
const BUCKETS: i64 = 16;
/// Fewer means than this give no slope: of five, one may be wild.
const LEAST: usize = 5;

/// The mean of the readings in one part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bucket {
    /// Its event time divided by the bucket's width.
    number: i64,
    readings: u32,
    /// Mean event time, in microseconds.
    at: f64,
    /// Mean value.
    value: f64,
}

/// The last readings of one metric of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(Vec<Bucket>);

impl Window {
    /// Takes the next reading; the window ends with it and is `over` long.
    pub fn push(&mut self, at: Instant, value: f64, over: Duration) {
        let width = (i64::try_from(over.as_micros()).unwrap_or(i64::MAX) / BUCKETS).max(1);
        let number = at.micros().div_euclid(width);
        let micros = at.micros() as f64;
        // A profile that was changed may count otherwise.
        if self.0.last().is_some_and(|last| last.number > number) {
            self.0.clear();
        }
        match self.0.last_mut().filter(|last| last.number == number) {
            Some(bucket) => {
                bucket.readings = bucket.readings.saturating_add(1);
                bucket.at += (micros - bucket.at) / f64::from(bucket.readings);
                bucket.value += (value - bucket.value) / f64::from(bucket.readings);
            }
            None => {
                self.0.retain(|bucket| bucket.number > number - BUCKETS);
                self.0.push(Bucket { number, readings: 1, at: micros, value });
            }
        }
    }

    /// Change per `per`; none before the readings reach back half of `over`.
    pub fn slope(&self, per: Duration, over: Duration) -> Option<f64> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        if self.0.len() < LEAST || last.at - first.at < over.as_micros() as f64 / 2.0 {
            return None;
        }
        let pairs = self.0.iter().enumerate().flat_map(|(nth, left)| {
            self.0[nth + 1..].iter().map(move |right| (right.value - left.value) / (right.at - left.at))
        });
        let mut slopes: Vec<f64> = pairs.collect();
        let (count, middle) = (slopes.len(), slopes.len() / 2);
        let (below, upper, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
        let median = match count % 2 {
            0 => (below.iter().copied().fold(f64::NEG_INFINITY, f64::max) + *upper) / 2.0,
            _ => *upper,
        };
        Some(median * per.as_micros() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    /// The slope per day over a day, from hourly readings.
    fn slope(values: impl IntoIterator<Item = f64>) -> Option<f64> {
        let mut window = Window::default();
        for (hour, value) in (0..).zip(values) {
            window.push(Instant::EPOCH.plus(HOUR * hour), value, DAY);
        }
        window.slope(DAY, DAY).map(|slope| (slope * 1e6).round() / 1e6)
    }

    #[test]
    fn a_line_has_its_slope_however_long_it_goes_on() {
        for hours in [14, 24, 48, 500] {
            assert_eq!(slope((0..hours).map(|hour| 10.0 + f64::from(hour) / 12.0)), Some(2.0), "{hours}");
        }
    }

    #[test]
    fn half_a_window_is_the_least() {
        assert_eq!(slope((0..12).map(f64::from)), None);
        assert_eq!(slope([]), None);
    }

    #[test]
    fn a_wild_reading_does_not_move_it() {
        let line = |hour: i32| if hour % 7 == 3 { 900.0 } else { f64::from(hour) / 12.0 };
        let slope = slope((0..24).map(line)).unwrap();
        assert!((slope - 2.0).abs() < 0.5, "{slope}");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let bend = |hour: i32| if hour < 50 { -f64::from(hour) } else { f64::from(hour) };
        assert_eq!(slope((0..100).map(bend)), Some(24.0));
    }

    #[test]
    fn the_window_is_bounded_and_survives_being_written_down() {
        let mut window = Window::default();
        for minute in 0..10_000u32 {
            window.push(Instant::EPOCH.plus(Duration::from_secs(60) * minute), f64::from(minute).sin(), DAY);
        }
        assert!(window.0.len() <= 16);
        let text = serde_json::to_string(&window).unwrap();
        assert_eq!(serde_json::from_str::<Window>(&text).unwrap(), window);
    }
}
