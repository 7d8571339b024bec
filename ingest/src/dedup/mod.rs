//! Was this reading stored before? Exact within a bounded window.
//!
//! In: sequence numbers or content hashes of one device's channel, in log order. Out: a [`Verdict`]. Promise: a
//! [`Verdict::New`] was never new before, a [`Verdict::Duplicate`] was; what can no longer be told is said to be so and
//! becomes a dead letter. Never: a new sequence number passed over, memory without bound.
//!
//! ```
//! use ingest::dedup::{Stream, Verdict};
//! let mut pump = Stream::default();
//! assert_eq!(pump.number(3, 1041), Verdict::New);
//! assert_eq!(pump.number(3, 1042), Verdict::New);
//! assert_eq!(pump.number(3, 1041), Verdict::Duplicate);
//! ```

#[cfg(test)]
mod tests;
mod window;

use window::Window;

use crate::packed::{Corrupt, Reader, Writer};

/// Stretches of sequence numbers kept per boot. A device that sends in order has one; 512 leave room for a flash
/// buffer that is sent backwards in batches, at 8 KiB.
pub const MAX_INTERVALS: usize = 512;
/// Boots kept per device and channel. Repeats come from the last boots; eight cover a device that restarts while its
/// buffer is being sent.
pub const KEPT_BOOTS: usize = 8;
/// Content hashes kept per device and channel: more than any client holds in flight, at 4 KiB.
pub const KEPT_HASHES: usize = 256;

/// What is known of a sequence number or a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before; from now on it is.
    New,
    /// Seen before.
    Duplicate,
    /// Below what is remembered: it cannot be told.
    Forgotten,
}

/// What was seen on one channel of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Oldest boot first; at most [`KEPT_BOOTS`].
    boots: Vec<(i64, Window)>,
    /// At most [`KEPT_HASHES`].
    hashes: Vec<u128>,
    /// Which hash is forgotten next, once they are as many as are kept.
    oldest_hash: usize,
}

impl Stream {
    /// Asks for a sequence number of a boot, and remembers it.
    pub fn number(&mut self, boot: i64, seq: i64) -> Verdict {
        let at = match self.boots.last() {
            Some((last, _)) if *last == boot => Ok(self.boots.len() - 1),
            _ => self.boots.binary_search_by_key(&boot, |(boot, _)| *boot),
        };
        match at {
            Ok(at) => self.boots[at].1.take(seq),
            Err(at) if self.boots.len() < KEPT_BOOTS => {
                self.boots.insert(at, (boot, Window::of(seq)));
                Verdict::New
            }
            // Older than every kept boot: perhaps one that was forgotten.
            Err(0) => Verdict::Forgotten,
            Err(at) => {
                self.boots.remove(0);
                self.boots.insert(at - 1, (boot, Window::of(seq)));
                Verdict::New
            }
        }
    }

    /// Asks for a content hash, and remembers it. A hash that was forgotten is new again.
    pub fn hash(&mut self, hash: u128) -> Verdict {
        if self.hashes.contains(&hash) {
            return Verdict::Duplicate;
        }
        if self.hashes.len() < KEPT_HASHES {
            self.hashes.push(hash);
        } else {
            self.hashes[self.oldest_hash] = hash;
            self.oldest_hash = (self.oldest_hash + 1) % KEPT_HASHES;
        }
        Verdict::New
    }

    /// Asks only whether the newest hash is this one, and remembers it: for what repeats legally, but not at once.
    pub fn hash_again(&mut self, hash: u128) -> Verdict {
        let newest = match self.hashes.len() {
            KEPT_HASHES => self.hashes.get((self.oldest_hash + KEPT_HASHES - 1) % KEPT_HASHES),
            _ => self.hashes.last(),
        };
        if newest == Some(&hash) {
            return Verdict::Duplicate;
        }
        // An equal older one goes, so that this one becomes the newest.
        self.hashes.rotate_left(self.oldest_hash);
        self.oldest_hash = 0;
        self.hashes.retain(|kept| *kept != hash);
        self.hash(hash)
    }

    /// The stretches `(boot, from, to)` of numbers that were not seen between two that were, highest first.
    pub fn gaps(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        self.boots.iter().rev().flat_map(|(boot, window)| window.gaps().map(move |(from, to)| (*boot, from, to)))
    }

    /// Into a checkpoint.
    pub fn save(&self, to: &mut Writer) {
        to.number(self.boots.len() as u64);
        for (boot, window) in &self.boots {
            to.signed(*boot);
            window.save(to);
        }
        to.number(self.hashes.len() as u64);
        for hash in &self.hashes {
            to.hash(*hash);
        }
        to.number(self.oldest_hash as u64);
    }

    /// Out of a checkpoint.
    pub fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let boots = (0..from.count()?)
            .map(|_| Ok((from.signed()?, Window::load(from)?)))
            .collect::<Result<Vec<_>, Corrupt>>()?;
        let hashes = (0..from.count()?).map(|_| from.hash()).collect::<Result<Vec<_>, Corrupt>>()?;
        let oldest_hash = usize::try_from(from.number()?).unwrap_or(usize::MAX);
        let ordered = boots.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ordered || boots.len() > KEPT_BOOTS || hashes.len() > KEPT_HASHES || oldest_hash >= KEPT_HASHES {
            return Err(Corrupt("a stream has more boots or hashes than are kept"));
        }
        Ok(Self { boots, hashes, oldest_hash })
    }
}
