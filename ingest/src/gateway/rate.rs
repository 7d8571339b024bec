//! How fast a device may publish, and anybody may connect.
//!
//! In: what was taken, and when. Out: how long to wait. Promise: over any time a device gets its rate and one second's
//! worth in advance; what is too fast waits unread at the device's own end, whatever its protocol version, and nothing
//! of it is lost. Connections that are too fast are closed before they cost a handshake. Never: an address remembered
//! for longer than its bucket takes to fill.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Addresses and devices remembered; above it those whose bucket is full are forgotten, which changes nothing for them.
const REMEMBERED: usize = 65_536;

/// Fills by `rate` a second, up to one second's worth, and may be overdrawn.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self { rate, level: rate, at: now }
    }

    fn level(&mut self, now: Instant) -> f64 {
        self.level = (self.level + self.rate * now.duration_since(self.at).as_secs_f64()).min(self.rate);
        self.at = now;
        self.level
    }

    /// Until it is not overdrawn.
    fn wait(&mut self, now: Instant) -> Duration {
        let level = self.level(now);
        if level >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-level / self.rate) }
    }
}

/// Buckets of one rate, by key. A rate of 0 limits nothing.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: f64,
    of: Mutex<HashMap<K, Bucket>>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, of: Mutex::default() }
    }

    pub(super) fn limits(&self) -> bool {
        self.rate > 0.0
    }

    fn with<T>(&self, key: &K, now: Instant, does: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if !of.contains_key(key) {
            if of.len() >= REMEMBERED {
                of.retain(|_, bucket| bucket.level(now) < bucket.rate);
            }
            if of.len() >= REMEMBERED {
                // So many at once, each below its rate or over it: whoever comes now is judged by this moment alone.
                return does(&mut Bucket::full(self.rate, now));
            }
        }
        does(of.entry(key.clone()).or_insert_with(|| Bucket::full(self.rate, now)))
    }

    /// Takes what was used, perhaps more than there is.
    pub(super) fn take(&self, key: &K, amount: f64, now: Instant) {
        if self.limits() {
            self.with(key, now, |bucket| {
                bucket.level(now);
                bucket.level -= amount;
            });
        }
    }

    /// Until `key` may go on.
    pub(super) fn wait(&self, key: &K, now: Instant) -> Duration {
        if self.limits() { self.with(key, now, |bucket| bucket.wait(now)) } else { Duration::ZERO }
    }

    /// Takes one where there is a whole one.
    pub(super) fn admit(&self, key: &K, now: Instant) -> bool {
        !self.limits()
            || self.with(key, now, |bucket| {
                let admitted = bucket.level(now) >= 1.0;
                if admitted {
                    bucket.level -= 1.0;
                }
                admitted
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_fast_waits_for_as_long_as_it_was() {
        let (buckets, start) = (Buckets::new(10.0), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(buckets.wait(&"a", start), Duration::ZERO);
        buckets.take(&"a", 25.0, start);
        assert_eq!(buckets.wait(&"a", start), Duration::from_millis(1500), "one second's worth was there");
        assert_eq!(buckets.wait(&"a", after(1000)), Duration::from_millis(500));
        assert_eq!(buckets.wait(&"a", after(1500)), Duration::ZERO);
        assert_eq!(buckets.wait(&"b", start), Duration::ZERO, "another is not slowed");
        // However long it rested, no more than one second's worth.
        buckets.take(&"a", 11.0, after(60_000));
        assert_eq!(buckets.wait(&"a", after(60_000)), Duration::from_millis(100));
        let free = Buckets::new(0.0);
        free.take(&"a", 1e9, start);
        assert_eq!(free.wait(&"a", start), Duration::ZERO);
    }

    #[test]
    fn so_many_are_admitted_a_second() {
        let (buckets, start) = (Buckets::new(3.0), Instant::now());
        let admitted = |at| (0..10).filter(|_| buckets.admit(&(), at)).count();
        assert_eq!(admitted(start), 3);
        assert_eq!(admitted(start + Duration::from_millis(400)), 1);
        assert_eq!(admitted(start + Duration::from_secs(9)), 3);
    }
}
