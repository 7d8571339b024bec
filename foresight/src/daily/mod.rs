//! What is kept of a device's days, so that an indicator over any whole number of days is a merge and not a scan.
//!
//! In: points `(instant, value)` of one metric, or what a table engine has already summed up of a day. Out: the
//! statistics of [`crate::indicator`] over the days before a landmark. Promise: merging the days of a window gives what the
//! points of the window give, to 1e-9 of their spread; a point that was not known at the landmark is in no window that
//! ends there. Never: the points themselves.
//!
//! **Days and landmarks.** Day `d` (counted from 1970, as Arrow's Date32 does) holds the instants after midnight `d` up to
//! and with midnight `d + 1`; the landmark `l` is midnight `l`, so the newest day before it is `l - 1`. A window of `w`
//! days before the landmark `l` is `l - w < instant <= l` in days: exactly the window `Time` of [`crate::indicator`] with
//! the landmark as now.
//!
//! **Known.** A point belongs to the first landmark at which it had both happened and arrived. Points of one day that
//! became known at different landmarks are kept apart.
//!
//! Merging: Chan, Golub and LeVeque 1979 for the second moments, Pébay 2008 for the products.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

const DAY_MICROS: i64 = 86_400_000_000;

/// The day that holds an instant, in microseconds since 1970: the day ends with its midnight.
pub fn day_of(micros: i64) -> i32 {
    i32::try_from((micros - 1).div_euclid(DAY_MICROS)).unwrap_or(i32::MAX)
}

/// The first landmark at or after an instant.
pub fn landmark_after(micros: i64) -> i32 {
    day_of(micros).saturating_add(1)
}

/// Midnight of a landmark, in microseconds since 1970.
pub fn landmark_micros(landmark: i32) -> i64 {
    i64::from(landmark) * DAY_MICROS
}

/// Points of one metric over one stretch of time, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// How many points.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sum of squares about the mean.
    pub squares: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The oldest: microseconds since 1970, value.
    pub first: (i64, f64),
    /// The newest: microseconds since 1970, value.
    pub last: (i64, f64),
    /// Mean instant, in hours since 1970.
    pub time_mean: f64,
    /// Sum of squares of the instants about their mean.
    pub time_squares: f64,
    /// Sum of products about both means.
    pub products: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            count: 0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            first: (i64::MAX, f64::NAN),
            last: (i64::MIN, f64::NAN),
            time_mean: 0.0,
            time_squares: 0.0,
            products: 0.0,
        }
    }
}

impl Sum {
    /// One point.
    pub fn point(micros: i64, value: f64) -> Self {
        Self {
            count: 1,
            mean: value,
            min: value,
            max: value,
            first: (micros, value),
            last: (micros, value),
            time_mean: micros as f64 / 3.6e9,
            ..Self::default()
        }
    }

    /// Takes in another stretch.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let all = mine + theirs;
        let (apart, time_apart) = (other.mean - self.mean, other.time_mean - self.time_mean);
        let share = theirs / all;
        self.mean += apart * share;
        self.time_mean += time_apart * share;
        self.squares += other.squares + apart * apart * mine * share;
        self.time_squares += other.time_squares + time_apart * time_apart * mine * share;
        self.products += other.products + apart * time_apart * mine * share;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.count += other.count;
    }

    /// Arithmetic mean; NaN without points.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.mean }
    }

    /// Standard deviation with n - 1; NaN with fewer than two points.
    pub fn std(&self) -> f64 {
        if self.count < 2 { f64::NAN } else { (self.squares / (self.count - 1) as f64).sqrt() }
    }

    /// Least-squares trend per hour; NaN with fewer than two instants.
    pub fn slope(&self) -> f64 {
        if self.count < 2 || self.time_squares <= 0.0 { f64::NAN } else { self.products / self.time_squares }
    }
}

/// What one device's metrics were over one day, as far as it was known at one landmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// Which day.
    pub day: i32,
    /// The first landmark at which these points had arrived; never at or before `day`.
    pub known: i32,
    /// By metric.
    pub sums: Box<[Sum]>,
}

/// One device's days, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Days(Vec<Day>);

impl Days {
    /// Adds what became known of a day; of the same day and landmark it is merged.
    pub fn add(&mut self, day: Day) {
        let place = self.0.partition_point(|other| (other.day, other.known) < (day.day, day.known));
        match self.0.get_mut(place) {
            Some(same) if (same.day, same.known) == (day.day, day.known) => {
                same.sums.iter_mut().zip(&day.sums).for_each(|(mine, theirs)| mine.merge(theirs));
            }
            _ => self.0.insert(place, day),
        }
    }

    /// Adds a row that happened and arrived at these instants; NaN values are missing.
    pub fn push(&mut self, happened: i64, arrived: i64, values: &[f64]) {
        let (day, known) = (day_of(happened), landmark_after(happened.max(arrived)));
        let place = self.0.partition_point(|other| (other.day, other.known) < (day, known));
        if self.0.get(place).is_none_or(|same| (same.day, same.known) != (day, known)) {
            let sums = vec![Sum::default(); values.len()].into();
            self.0.insert(place, Day { day, known, sums });
        }
        for (sum, value) in self.0[place].sums.iter_mut().zip(values).filter(|(_, value)| !value.is_nan()) {
            sum.merge(&Sum::point(happened, *value));
        }
    }

    /// Days in memory.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// First and last day.
    pub fn extent(&self) -> Option<(i32, i32)> {
        Some((self.0.first()?.day, self.0.last()?.day))
    }

    /// Each day known at `landmark` from day `since` on, oldest first.
    pub fn known(&self, landmark: i32, since: i32) -> impl DoubleEndedIterator<Item = &Day> {
        let (begin, end) =
            (self.0.partition_point(|day| day.day < since), self.0.partition_point(|day| day.day < landmark));
        self.0[begin.min(end)..end].iter().filter(move |day| day.known <= landmark)
    }

    /// Windows of `spans` days (ascending) before `landmark`, days before `since` left out: `spans.len()` sums for each of
    /// `metrics` metrics, metric by metric.
    pub fn windows(&self, landmark: i32, since: i32, spans: &[u32], metrics: usize) -> Vec<Sum> {
        let mut windows = vec![Sum::default(); metrics * spans.len()];
        let begin = |span: u32| landmark.saturating_sub(i32::try_from(span).unwrap_or(i32::MAX));
        let oldest = spans.last().map_or(landmark, |span| begin(*span)).max(since);
        let mut running = vec![Sum::default(); metrics];
        // From the newest day back; a window is complete when the next day lies before it.
        let mut open = 0;
        let mut keep = |running: &[Sum], place: usize| {
            for (metric, sum) in running.iter().enumerate() {
                windows[metric * spans.len() + place] = *sum;
            }
        };
        for day in self.known(landmark, oldest).rev() {
            while open < spans.len() && day.day < begin(spans[open]) {
                keep(&running, open);
                open += 1;
            }
            running.iter_mut().zip(&day.sums).for_each(|(sum, more)| sum.merge(more));
        }
        (open..spans.len()).for_each(|place| keep(&running, place));
        windows
    }
}
