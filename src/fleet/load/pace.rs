//! When the next message of a connection is due.
//!
//! In: now. Out: the moment from which the message counts, or how long to wait. Promise: at a rate the moments are
//! fixed when the load begins and do not move however late the sender is. Never: a clock of its own.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// How often a connection that has nothing to say looks whether the load was ended.
const LOOK: Duration = Duration::from_secs(1);

/// What the pace says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A message, due since that moment.
    Since(Instant),
    /// None before that moment.
    At(Instant),
    /// No more.
    Over,
}

/// One connection's share of the load.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    start: Instant,
    end: Instant,
    /// When it was ended before its time.
    ended: watch::Receiver<Option<Instant>>,
    /// From one message to the next; none as fast as it goes.
    interval: Option<Interval>,
    most: u64,
    begun: u64,
}

#[derive(Debug, Clone, Copy)]
enum Interval {
    /// Connects and says nothing.
    Never,
    /// First offset, then seconds from one to the next.
    Every { offset: f64, seconds: f64 },
}

impl Pace {
    /// `rate` is that of all connections, which take turns.
    pub(super) fn new(
        rate: Option<f64>,
        connections: u32,
        index: u32,
        start: Instant,
        end: Instant,
        most: Option<u64>,
        ended: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let interval = rate.map(|rate| match rate > 0.0 {
            true => Interval::Every { offset: f64::from(index) / rate, seconds: f64::from(connections) / rate },
            false => Interval::Never,
        });
        Self { start, end, ended, interval, most: most.unwrap_or(u64::MAX), begun: 0 }
    }

    fn end(&self) -> Instant {
        self.ended.borrow().map_or(self.end, |ended| ended.min(self.end))
    }

    fn due(&self, number: u64) -> Option<Instant> {
        match self.interval {
            Some(Interval::Every { offset, seconds }) => {
                Some(self.start + Duration::from_secs_f64(offset + seconds * number as f64))
            }
            _ => None,
        }
    }

    /// Asks for a message; one that is due is taken.
    pub(super) fn next(&mut self, now: Instant) -> Due {
        let end = self.end();
        if now >= end || self.begun >= self.most {
            return Due::Over;
        }
        if let Some(Interval::Never) = self.interval {
            return Due::At(end.min(now + LOOK));
        }
        let due = self.due(self.begun).unwrap_or(now);
        if due > now {
            return Due::At(due.min(end));
        }
        self.begun += 1;
        Due::Since(due)
    }

    /// Messages that were due before the end and never begun.
    pub(super) fn missed(&self) -> u64 {
        let end = self.end();
        let mut missed = 0;
        while self.begun + missed < self.most && self.due(self.begun + missed).is_some_and(|due| due < end) {
            missed += 1;
        }
        missed
    }
}
