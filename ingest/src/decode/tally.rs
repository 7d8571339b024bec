//! What became of messages and readings, in numbers.

use schemas::reject::RejectReason;
use serde::{Deserialize, Serialize};

use crate::packed::{Corrupt, Reader, Writer};

/// What became of a message: exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// At least one row outside `dead_letter`.
    Stored,
    /// Every reading was stored before.
    Duplicate,
    /// Not one row, and not all were duplicates.
    DeadLetter,
    /// The gateway had answered with an error.
    Refused,
    /// Forewarn's own: an alarm, an advisory or an outcome.
    Internal,
}

/// Messages by what became of them, since the log began. `stored + duplicates + dead_letters` are the messages that
/// devices had acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages that made at least one row outside `dead_letter`.
    pub stored: u64,
    /// Messages of which every reading was stored before.
    pub duplicates: u64,
    /// Messages that made rows in `dead_letter` only.
    pub dead_letters: u64,
    /// Messages that the gateway answered with an error; each has a row in `dead_letter`.
    pub refused: u64,
    /// Alarms, advisories and outcomes, which Forewarn itself writes.
    pub internal: u64,
    /// Rows of device messages outside `dead_letter`.
    pub rows: u64,
}

impl Totals {
    pub(super) fn count(&mut self, ending: Ending) {
        let counter = match ending {
            Ending::Stored => &mut self.stored,
            Ending::Duplicate => &mut self.duplicates,
            Ending::DeadLetter => &mut self.dead_letters,
            Ending::Refused => &mut self.refused,
            Ending::Internal => &mut self.internal,
        };
        *counter += 1;
    }

    pub(super) fn save(&self, to: &mut Writer) {
        let Self { stored, duplicates, dead_letters, refused, internal, rows } = *self;
        for number in [stored, duplicates, dead_letters, refused, internal, rows] {
            to.number(number);
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut number = || from.number();
        Ok(Self {
            stored: number()?,
            duplicates: number()?,
            dead_letters: number()?,
            refused: number()?,
            internal: number()?,
            rows: number()?,
        })
    }
}

/// What was counted since it was last taken: for metrics, which begin at zero with each process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: Totals,
    /// Readings, faults, births and replies that became rows.
    pub stored: u64,
    /// The same, seen before.
    pub duplicates: u64,
    /// Rejects by reason, in the order of [`RejectReason::ALL`]: of readings, of whole messages, and those by which the
    /// gateway refused.
    pub rejects: [u64; RejectReason::ALL.len()],
    /// Sparkplug sequence numbers that were left out.
    pub sparkplug_missing: u64,
    /// Devices that gave way because of `max_devices`.
    pub devices_forgotten: u64,
    /// Rows of the ledger that were written before their hour was over, for want of room.
    pub ledger_early: u64,
}

impl Tally {
    pub(super) fn reject(&mut self, reason: RejectReason) {
        self.rejects[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_in_their_order() {
        for (at, reason) in RejectReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }
}
