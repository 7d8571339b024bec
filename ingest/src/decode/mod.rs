//! Logged frames into Arrow rows. Pure: no clock, no channel, no file.
//!
//! In: frames, in the order of the log. Out: rows of every table, at most one batch per table, and counts. Promise: the
//! same frames give the same rows, wherever decoding was stopped, saved and loaded in between; every frame ends as
//! rows, as a counted duplicate, or as dead letters. Never: an error, for bad data is a row in `dead_letter`.
//!
//! | a frame of | becomes |
//! |---|---|
//! | `telemetry` | rows of its profile's table; metrics that the profile does not know stand in `extra` |
//! | `fault`, `status`, `reply` | a row of the table of that name |
//! | `alarm`, `outcome` | the same: these are Forewarn's own, logged so that they are replayed with the rest |
//! | anything refused | rows in `dead_letter`, with the whole payload, a reason and a detail |
//!
//! A reading is checked first and looked up second: what was refused is not remembered, so it can be sent again after
//! the profile was mended. A device without a named profile has that of its last birth or telemetry.

mod device;
mod message;
mod rows;
mod tally;
mod telemetry;
#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use schemas::{
    door::{Frame, Rows},
    id::LogOffset,
    profile::Profiles,
    reject::{Reject, RejectReason},
    time::{ClockKind, Instant},
    topic::{Channel, PREFIX, Topic},
};

pub use self::tally::{Tally, Totals};
use self::{
    device::{Device, Devices},
    message::Tables,
    rows::Origin,
    tally::Ending,
};
use crate::packed::{Corrupt, Reader, Writer};

/// Dead letters that one message makes at most; the last tells of the rest.
pub const MAX_LETTERS: usize = 100;
/// Bytes of payload that the dead letters of one message repeat at most, beyond the first.
pub const MAX_LETTER_BYTES: usize = 1 << 20;
/// Rows after which [`Decoder::is_full`]: a message of columns holds many readings in few bytes.
pub const FULL_ROWS: usize = 65_536;
/// Bytes of dead letters after which [`Decoder::is_full`].
pub const FULL_LETTER_BYTES: usize = 16 << 20;

/// How strictly to decode, and what to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How far event time may lie ahead of arrival.
    pub future_tolerance: Duration,
    /// Devices remembered at most; beyond it those that were silent longest are forgotten.
    pub max_devices: usize,
    /// Which clock tells what is late.
    pub clock: ClockKind,
}

/// Turns frames into rows. Remembers devices, for duplicates and profiles.
pub struct Decoder {
    devices: Devices,
    tables: Tables,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("devices", &self.devices.len()).field("totals", &self.totals()).finish()
    }
}

impl Decoder {
    /// Knows no device yet.
    pub fn new(profiles: &Arc<Profiles>, settings: Settings) -> Self {
        Self { devices: Devices::new(settings.max_devices), tables: Tables::new(profiles, settings) }
    }

    /// Takes the frame at a place of the log; places only grow.
    pub fn frame(&mut self, at: LogOffset, frame: &Frame) {
        self.tables.arrival = frame.arrival;
        if let Some(reason) = frame.refused {
            // The topic may name another tenant's device: the letter is the sender's.
            let (tenant, device) = match &frame.sender {
                Some(sender) => (sender.tenant.as_str(), Some(sender.device_id.as_str())),
                None => names(&frame.topic),
            };
            return self.tables.bury(tenant, device, frame, refused(reason, &frame.topic), Ending::Refused);
        }
        let Some((key, channel)) = split(&frame.topic) else { return self.bad_topic(frame) };
        let mut stranger = Device::default();
        let (device, is_known) = match self.devices.get_mut(key) {
            Some(device) => (device, true),
            // Only the name of a device that is not known needs a check.
            None if frame.topic.parse::<Topic>().is_ok() => (&mut stranger, false),
            None => return self.bad_topic(frame),
        };
        device.heard = at;
        let (tenant, name) = key.split_once('/').unwrap_or((key, ""));
        let origin = Origin { tenant, device: name, arrival: frame.arrival };
        self.tables.message(device, &origin, channel, frame);
        if !is_known {
            self.devices.insert(key, stranger);
        }
    }

    fn bad_topic(&mut self, frame: &Frame) {
        let (tenant, device) = names(&frame.topic);
        let reject = refused(RejectReason::BadTopic, &frame.topic);
        self.tables.bury(tenant, device, frame, reject, Ending::DeadLetter);
    }

    /// Whether the rows that wait are so many that they should be taken before the next frame.
    pub fn is_full(&self) -> bool {
        self.tables.waiting() >= FULL_ROWS || self.tables.letter_bytes() >= FULL_LETTER_BYTES
    }

    /// The rows since this was last called, at most one entry per table.
    pub fn take(&mut self) -> Vec<Rows> {
        self.tables.take()
    }

    /// What was counted since this was last called.
    pub fn take_tally(&mut self) -> Tally {
        let devices_forgotten = std::mem::take(&mut self.devices.forgotten);
        Tally { devices_forgotten, ..std::mem::take(&mut self.tables.tally) }
    }

    /// What was counted since the log began.
    pub fn totals(&self) -> Totals {
        self.tables.totals
    }

    /// Devices remembered.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Now, as the log tells it: the greatest event time under an event clock, else the last arrival.
    pub fn now(&self) -> Instant {
        match self.tables.settings.clock {
            ClockKind::Event => self.tables.greatest,
            _ => self.tables.arrival,
        }
    }

    /// All that is remembered, for a checkpoint. Rows that wait are not part of it.
    pub fn save(&self) -> Vec<u8> {
        let mut to = Writer::default();
        self.tables.totals.save(&mut to);
        to.signed(self.tables.greatest.micros());
        to.signed(self.tables.arrival.micros());
        to.number(self.tables.telemetry.len() as u64);
        for rows in &self.tables.telemetry {
            to.text(rows.name().as_str());
        }
        self.devices.save(&mut to);
        to.bytes()
    }

    /// Goes on where [`Self::save`] left off. Profiles may have come, gone or changed since.
    pub fn load(profiles: &Arc<Profiles>, settings: Settings, bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Reader::new(bytes);
        let mut tables = Tables::new(profiles, settings);
        tables.totals = Totals::load(&mut from)?;
        tables.greatest = Instant::from_micros(from.signed()?);
        tables.arrival = Instant::from_micros(from.signed()?);
        let known = (0..from.count()?).map(|_| Ok(tables.index(from.text()?))).collect::<Result<Vec<_>, Corrupt>>()?;
        let devices = Devices::load(&mut from, settings.max_devices, &known)?;
        from.end()?;
        Ok(Self { devices, tables })
    }
}

/// `tenant/device` and the channel.
fn split(topic: &str) -> Option<(&str, Channel)> {
    let (key, last) = topic.strip_prefix(PREFIX)?.rsplit_once('/')?;
    Some((key, Channel::ALL.into_iter().find(|channel| channel.as_str() == last)?))
}

/// Tenant and device of a topic that need not be legal: whose dead letter it is. No tenant has an empty name.
fn names(topic: &str) -> (&str, Option<&str>) {
    let mut levels = topic.strip_prefix(PREFIX).unwrap_or_default().split('/');
    let tenant = levels.next().filter(|name| schemas::id::TenantId::parse(name).is_ok());
    let device = levels.next().filter(|name| schemas::id::DeviceId::parse(name).is_ok());
    match tenant {
        Some(tenant) => (tenant, device),
        None => ("", None),
    }
}

/// Why the gateway refused it, in words.
fn refused(reason: RejectReason, topic: &str) -> Reject {
    let detail = match (reason, topic.parse::<Topic>()) {
        (RejectReason::BadTopic, Err(error)) => error.to_string(),
        (RejectReason::BadTopic, Ok(topic)) => format!("channel {} is not for devices", topic.channel),
        (RejectReason::ForeignTopic, _) => "the topic names another tenant or device than the credential".into(),
        (reason, _) => format!("refused on arrival: {reason}"),
    };
    Reject::new(reason, detail)
}
