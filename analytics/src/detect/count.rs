//! How many events lie in a span of time that ends now.
//!
//! In: event times, in any order, and moments at which to count, in order. Out: counts. Promise: bounded: at most as
//! many instants as the rule raises at; an event that comes late is counted where it belongs. Never: an event that lies
//! after the moment asked for.

use std::time::Duration;

use schemas::time::Instant;
use serde::{Deserialize, Serialize};

/// The latest events of a rule on a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Oldest first.
    events: Vec<Instant>,
    /// The last moment at which was counted.
    counted: Option<Instant>,
}

impl Recent {
    /// Takes an event; with more than `most` the oldest goes, for `most` of them raise anyway.
    pub fn push(&mut self, at: Instant, most: usize) {
        let place = self.events.partition_point(|event| *event <= at);
        self.events.insert(place, at);
        if self.events.len() > most {
            self.events.remove(0);
        }
    }

    /// Events after `at - within`, up to `at`; none where a later moment was counted already.
    pub fn count(&mut self, at: Instant, within: Duration) -> Option<u32> {
        if self.counted.is_some_and(|counted| counted >= at) {
            return None;
        }
        self.counted = Some(at);
        let begin = at.minus(within);
        self.events.retain(|event| *event > begin);
        let count = self.events.iter().filter(|event| **event <= at).count();
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Whether nothing is remembered but when was counted last.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: u64) -> Instant {
        Instant::EPOCH.plus(Duration::from_secs(minute * 60))
    }

    #[test]
    fn a_window_counts_what_lies_in_it_whatever_the_order() {
        let mut recent = Recent::default();
        for at in [5, 1, 9, 7] {
            recent.push(minute(at), 10);
        }
        let counts = [6, 10, 11, 15, 30].map(|at| recent.count(minute(at), Duration::from_secs(600)));
        assert_eq!(counts, [Some(2), Some(4), Some(3), Some(2), Some(0)]);
        assert!(recent.is_empty());
    }

    #[test]
    fn no_more_is_kept_than_raises() {
        let mut recent = Recent::default();
        for at in 0..1000 {
            recent.push(minute(at), 3);
        }
        assert_eq!(recent.events, [997, 998, 999].map(minute));
    }

    #[test]
    fn a_moment_is_counted_once_and_never_backwards() {
        let mut recent = Recent::default();
        recent.push(minute(1), 3);
        assert_eq!(recent.count(minute(2), Duration::from_secs(600)), Some(1));
        assert_eq!(recent.count(minute(2), Duration::from_secs(600)), None);
        assert_eq!(recent.count(minute(1), Duration::from_secs(600)), None);
    }
}
