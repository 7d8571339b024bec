//! What each device sent, hour by hour: the rows of `ledger`, by which a missing message is noticed.
//!
//! In: what became of each message, in log order. Out: one row per device, channel and hour once the hour is over.
//! Promise: the sums over a table's rows are the sums over the log's messages; the same log gives the same rows. Never:
//! a clock of its own, memory beyond one open hour (two around the full hour) per device.
//!
//! The hour is that of arrival: a ledger says when something was received, a refused message has no other time, and a
//! device that sends a year's buffer opens one hour instead of thousands. It is over when a frame arrives
//! [`CLOSE_AFTER`] past it, or as long before it after the clock was set back; so the last hour of a fleet that fell
//! silent waits for the next frame of anybody.
//!
//! Counts are of readings, faults, births and replies; what was refused whole counts as one. An hour may have several
//! rows: after the clock was set back, and where a row had to be written early (see [`MAX_OPEN`]). They are increments:
//! **counts add up over the rows of an hour**, and nothing is remembered of an hour that was written. `missing` and
//! `gaps` tell of the whole of what is remembered of the channel, as of the row's writing: **of them the row with the
//! greatest `revision`**, the log place at which it was written, is the valid one, also for gaps of earlier hours that
//! were filled since.

use std::collections::{BTreeMap, VecDeque};

use schemas::{time::Instant, topic::Channel};

use crate::{
    dedup::Stream,
    packed::{Corrupt, Reader, Writer},
};

/// After the end of an hour until its rows are written: frames that came in at the same moment may stand in the log
/// a little out of order.
pub(super) const CLOSE_AFTER: i64 = 60 * 1_000_000;
/// Counts kept open per device: its channels, and what came on none, for two hours. Beyond it the oldest is written
/// early.
pub(super) const MAX_OPEN: usize = 12;
/// Devices whose hour is closed with one frame at most, so that no frame pays for a fleet. Every one of them sent a
/// frame in the hour, so they are done early in the next.
pub(super) const CLOSED_PER_FRAME: usize = 64;
/// Gaps that a row lists, the newest; `missing` counts those of all.
pub(super) const MAX_GAPS: usize = 64;

#[cfg(test)]
mod tests;

const HOUR: i64 = 3_600 * 1_000_000;

/// What became of some readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    /// Of those that were stored.
    pub(super) late: u64,
}

impl Counts {
    pub(super) fn received(&self) -> u64 {
        self.stored + self.duplicate + self.rejected
    }
}

/// What came on one channel, or on none that is one, in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Hours since 1970.
    hour: i64,
    pub(super) channel: Option<Channel>,
    pub(super) counts: Counts,
}

impl Entry {
    /// The first instant of the hour.
    pub(super) fn hour(&self) -> Instant {
        Instant::from_micros(self.hour.saturating_mul(HOUR))
    }
}

/// One device's open hours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account(Vec<Entry>);

/// What follows from counting.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The device had nothing open in this hour, which has this number.
    pub(super) opened: Option<i64>,
    /// Had to make room.
    pub(super) early: Option<Entry>,
}

impl Account {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&mut self, arrival: Instant, channel: Option<Channel>, counts: Counts) -> Counted {
        if counts.received() == 0 {
            return Counted::default();
        }
        let hour = arrival.micros().div_euclid(HOUR);
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.hour == hour && entry.channel == channel) {
            let sum = &mut entry.counts;
            sum.stored += counts.stored;
            sum.duplicate += counts.duplicate;
            sum.rejected += counts.rejected;
            sum.late += counts.late;
            return Counted::default();
        }
        let opened = self.0.iter().all(|entry| entry.hour != hour).then_some(hour);
        let early = (self.0.len() >= MAX_OPEN).then(|| self.0.remove(0));
        self.0.push(Entry { hour, channel, counts });
        Counted { opened, early }
    }

    /// The counts of one hour; it is closed by that.
    pub(super) fn close(&mut self, hour: i64) -> Vec<Entry> {
        self.0.extract_if(.., |entry| entry.hour == hour).collect()
    }

    /// All counts, for a device that is about to be forgotten.
    pub(super) fn close_all(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn save(&self, to: &mut Writer) {
        to.number(self.0.len() as u64);
        for Entry { hour, channel, counts } in &self.0 {
            to.signed(*hour);
            to.number(channel.map_or(0, |channel| channel as u64 + 1));
            for number in [counts.stored, counts.duplicate, counts.rejected, counts.late] {
                to.number(number);
            }
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let count = from.count()?;
        if count > MAX_OPEN {
            return Err(Corrupt("a device has more hours open than are kept"));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let hour = from.signed()?;
            let channel = match from.number()?.checked_sub(1) {
                None => None,
                Some(number) => Some(
                    Channel::ALL
                        .into_iter()
                        .find(|channel| *channel as u64 == number)
                        .ok_or(Corrupt("an hour is of no channel"))?,
                ),
            };
            let (stored, duplicate) = (from.number()?, from.number()?);
            let (rejected, late) = (from.number()?, from.number()?);
            entries.push(Entry { hour, channel, counts: Counts { stored, duplicate, rejected, late } });
        }
        Ok(Self(entries))
    }
}

/// Which devices have an hour open, in the order in which they opened it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hours {
    open: BTreeMap<i64, VecDeque<Box<str>>>,
    len: usize,
}

impl Hours {
    pub(super) fn open(&mut self, hour: i64, key: &str) {
        self.open.entry(hour).or_default().push_back(key.into());
        self.len += 1;
    }

    /// The next hour of a device that is over; beyond `max` that of the device which opened the oldest one first, and
    /// true.
    pub(super) fn next_over(&mut self, arrival: Instant, max: usize) -> Option<(i64, Box<str>, bool)> {
        let now = arrival.micros();
        let passed = |hour: i64| now >= (hour + 1).saturating_mul(HOUR).saturating_add(CLOSE_AFTER);
        let ahead = |hour: i64| now < hour.saturating_mul(HOUR).saturating_sub(CLOSE_AFTER);
        let (first, last) = (*self.open.first_key_value()?.0, *self.open.last_key_value()?.0);
        let (hour, early) = match () {
            () if passed(first) => (first, false),
            () if ahead(last) => (last, false),
            () if self.len > max => (first, true),
            () => return None,
        };
        let mut entry = match self.open.entry(hour) {
            std::collections::btree_map::Entry::Occupied(entry) => entry,
            std::collections::btree_map::Entry::Vacant(_) => return None,
        };
        let key = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        self.len -= 1;
        key.map(|key| (hour, key, early))
    }

    pub(super) fn save(&self, to: &mut Writer) {
        to.number(self.open.len() as u64);
        for (hour, keys) in &self.open {
            to.signed(*hour);
            to.number(keys.len() as u64);
            keys.iter().for_each(|key| to.text(key));
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut hours = Self::default();
        for _ in 0..from.count()? {
            let hour = from.signed()?;
            let count = from.count()?;
            if count == 0 || !(i64::MIN / HOUR..i64::MAX / HOUR).contains(&hour) {
                return Err(Corrupt("an hour is open for nobody"));
            }
            for _ in 0..count {
                hours.open(hour, from.text()?);
            }
        }
        Ok(hours)
    }
}

/// Numbers that a channel misses between those that were stored: how many, and the newest [`MAX_GAPS`] stretches as
/// JSON, `[[boot, from, to], …]`, ascending. A reading that was rejected is missing too, until it is sent again.
pub(super) fn gaps(stream: Option<&Stream>) -> (i64, String) {
    let (mut missing, mut listed) = (0i64, Vec::new());
    for (boot, from, to) in stream.into_iter().flat_map(Stream::gaps) {
        missing = missing.saturating_add(to.saturating_sub(from).saturating_add(1));
        if listed.len() < MAX_GAPS {
            listed.push(format!("[{boot},{from},{to}]"));
        }
    }
    listed.reverse();
    (missing, format!("[{}]", listed.join(",")))
}
