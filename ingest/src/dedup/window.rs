//! The sequence numbers seen in one boot, as a set of intervals.

use super::{MAX_INTERVALS, Verdict};
use crate::packed::{Corrupt, Reader, Writer};

/// Sequence numbers seen, as closed intervals that do not touch. The newest lies apart: a device that sends in order
/// costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// Nothing is known of numbers below it.
    floor: i64,
    /// Ascending; at most [`MAX_INTERVALS`] less one.
    older: Vec<(i64, i64)>,
    newest: (i64, i64),
}

impl Window {
    /// With one number seen.
    pub(super) fn of(seq: i64) -> Self {
        Self { floor: i64::MIN, older: Vec::new(), newest: (seq, seq) }
    }

    /// Asks for a number, and remembers it.
    pub(super) fn take(&mut self, seq: i64) -> Verdict {
        let (start, end) = self.newest;
        if seq > end {
            if seq == end + 1 {
                self.newest.1 = seq;
            } else {
                self.older.push(self.newest);
                self.newest = (seq, seq);
                self.forget();
            }
            return Verdict::New;
        }
        if seq >= start {
            return Verdict::Duplicate;
        }
        if seq < self.floor {
            return Verdict::Forgotten;
        }
        let after = self.older.partition_point(|(start, _)| *start <= seq);
        if after > 0 && seq <= self.older[after - 1].1 {
            return Verdict::Duplicate;
        }
        let joins_before = after > 0 && self.older[after - 1].1 + 1 == seq;
        let joins_newest = after == self.older.len() && seq + 1 == start;
        let joins_after = !joins_newest && self.older.get(after).is_some_and(|(start, _)| seq + 1 == *start);
        match (joins_before, joins_after, joins_newest) {
            (true, false, false) => self.older[after - 1].1 = seq,
            (true, true, _) => {
                self.older[after - 1].1 = self.older[after].1;
                self.older.remove(after);
            }
            (true, false, true) => {
                self.newest.0 = self.older[after - 1].0;
                self.older.pop();
            }
            (false, true, _) => self.older[after].0 = seq,
            (false, false, true) => self.newest.0 = seq,
            (false, false, false) => {
                self.older.insert(after, (seq, seq));
                self.forget();
            }
        }
        Verdict::New
    }

    /// Too many intervals: the lowest goes, and with it the gap above it.
    fn forget(&mut self) {
        if self.older.len() >= MAX_INTERVALS {
            self.older.remove(0);
            self.floor = self.older.first().unwrap_or(&self.newest).0;
        }
    }

    /// The stretches between numbers that were seen, highest first. What lies below the floor is not known.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (i64, i64)> {
        let seen = || self.older.iter().chain([&self.newest]);
        seen().rev().skip(1).zip(seen().rev()).map(|(below, above)| (below.1 + 1, above.0 - 1))
    }

    pub(super) fn save(&self, to: &mut Writer) {
        to.signed(self.floor);
        to.number(self.older.len() as u64);
        for (start, end) in self.older.iter().chain([&self.newest]) {
            to.signed(*start);
            to.number(end.wrapping_sub(*start) as u64);
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let floor = from.signed()?;
        let count = from.count()?;
        let mut older = (0..=count)
            .map(|_| {
                let start = from.signed()?;
                Ok((start, start.wrapping_add(from.number()? as i64)))
            })
            .collect::<Result<Vec<(i64, i64)>, Corrupt>>()?;
        let apart = older.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0));
        let upright = older.iter().all(|(start, end)| start <= end);
        match older.pop() {
            Some(newest) if apart && upright && older.len() < MAX_INTERVALS => Ok(Self { floor, older, newest }),
            _ => Err(Corrupt("intervals of a window overlap or are too many")),
        }
    }
}
