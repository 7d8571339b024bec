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
//! | `alarm`, `advisory`, `outcome` | the same: these are Forewarn's own, logged so that they are replayed with the rest |
//! | each device's hour | a row of `ledger` per channel, once the hour is over: see the module's page |
//! | Sparkplug B (`spBv1.0/…`) | rows of telemetry and `status`: see the table in `sparkplug.rs` |
//! | anything refused | rows in `dead_letter`, with the whole payload, a reason and a detail |
//!
//! A reading is checked first and looked up second: what was refused is not remembered, so it can be sent again after
//! the profile was mended. A device without a named profile has that of its last birth or telemetry.

mod device;
#[cfg(test)]
mod fuzz;
mod ledger;
mod message;
mod rows;
mod sparkplug;
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
    topic::{Channel, PREFIX, SPARKPLUG_PREFIX, SparkplugTopic, Topic, is_sparkplug},
};

pub use self::tally::{Tally, Totals};
use self::{
    device::{Device, Devices},
    ledger::{CLOSED_PER_FRAME, Counted, Counts, Hours},
    message::Tables,
    rows::Origin,
    sparkplug::Heard,
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
    hours: Hours,
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
        let devices = Devices::new(settings.max_devices);
        Self { devices, hours: Hours::default(), tables: Tables::new(profiles, settings) }
    }

    /// Takes the frame at a place of the log; places only grow.
    pub fn frame(&mut self, at: LogOffset, frame: &Frame) {
        self.tables.arrival = frame.arrival;
        self.close_hours(at);
        if let Some(reason) = frame.refused {
            return self.refused(at, frame, reason);
        }
        if is_sparkplug(&frame.topic) {
            return self.sparkplug(at, frame);
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
        let counts = self.tables.message(device, &origin, channel, frame);
        let counted = device.account.count(frame.arrival, Some(channel), counts);
        self.counted(at, key, is_known, stranger, counted);
    }

    /// A message that the gateway answered with an error. The topic may name another tenant's device: the letter is the
    /// sender's, and so is the place in the ledger. Where nobody knows the sender, the ledger is silent.
    fn refused(&mut self, at: LogOffset, frame: &Frame, reason: RejectReason) {
        let reject = refused(reason, &frame.topic);
        let Some(sender) = &frame.sender else {
            let (tenant, device) = names(&frame.topic);
            return self.tables.bury(tenant, device, frame, reject, Ending::Refused);
        };
        let (tenant, name) = (sender.tenant.as_str(), sender.device_id.as_str());
        self.tables.bury(tenant, Some(name), frame, reject, Ending::Refused);
        let key = format!("{tenant}/{name}");
        let mut stranger = Device::default();
        let (device, is_known) = match self.devices.get_mut(&key) {
            Some(device) => (device, true),
            None => (&mut stranger, false),
        };
        device.heard = at;
        let counted = device.account.count(frame.arrival, None, Counts { rejected: 1, ..Counts::default() });
        self.counted(at, &key, is_known, stranger, counted);
    }

    /// After a frame of a device was counted.
    fn counted(&mut self, at: LogOffset, key: &str, is_known: bool, stranger: Device, counted: Counted) {
        if let Some(hour) = counted.opened {
            self.hours.open(hour, key);
        }
        if let (Some(early), Some(device)) = (&counted.early, self.devices.get_mut(key)) {
            self.tables.ledger(key, device, early, at);
            self.tables.tally.ledger_early += 1;
        }
        if !is_known {
            self.devices.insert(key, stranger);
            self.write_gone(at);
        }
    }

    /// Devices that gave way leave the counts of their open hours.
    fn write_gone(&mut self, at: LogOffset) {
        for (key, mut device) in self.devices.take_gone() {
            for entry in device.account.close_all() {
                self.tables.ledger(&key, &device, &entry, at);
                self.tables.tally.ledger_early += 1;
            }
        }
    }

    /// Writes the rows of hours that are over, of a bounded number of devices.
    fn close_hours(&mut self, at: LogOffset) {
        for _ in 0..CLOSED_PER_FRAME {
            let over = self.hours.next_over(self.tables.arrival, self.devices.max());
            let Some((hour, key, early)) = over else { return };
            // One that gave way has left its counts.
            let Some(device) = self.devices.get_mut(&key) else { continue };
            for entry in device.account.close(hour) {
                self.tables.ledger(&key, device, &entry, at);
                self.tables.tally.ledger_early += u64::from(early);
            }
            self.devices.tidy(&key);
        }
    }

    /// A message of Sparkplug is about a node, and perhaps about a device behind it.
    fn sparkplug(&mut self, at: LogOffset, frame: &Frame) {
        let Ok(topic) = frame.topic.parse::<SparkplugTopic>() else { return self.bad_topic(frame) };
        let (tenant, device) = (topic.tenant.as_str(), topic.device_id.as_str());
        let origin = Origin { tenant, device, arrival: frame.arrival };
        let channel = topic.r#type.channel();
        let heard = Heard { topic: &topic, origin, frame };
        let key = format!("{tenant}/{device}");
        let mut about = self.devices.lend(&key, at);
        let counts = if topic.r#type.of_device() {
            let node_key = format!("{tenant}/{}", topic.node);
            let mut node = self.devices.lend(&node_key, at);
            let counts = self.tables.sparkplug(&mut node, Some(&mut about), &heard);
            self.devices.put(&node_key, node);
            counts
        } else {
            self.tables.sparkplug(&mut about, None, &heard)
        };
        let counted = about.account.count(frame.arrival, Some(channel), counts);
        self.devices.put(&key, about);
        self.write_gone(at);
        self.counted(at, &key, true, Device::default(), counted);
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
        self.hours.save(&mut to);
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
        let hours = Hours::load(&mut from)?;
        from.end()?;
        let mut decoder = Self { devices, hours, tables };
        // Fewer devices may be remembered than at that time.
        let last = decoder.devices.last_heard();
        decoder.write_gone(last);
        Ok(decoder)
    }
}

/// `tenant/device` and the channel.
fn split(topic: &str) -> Option<(&str, Channel)> {
    let (key, last) = topic.strip_prefix(PREFIX)?.rsplit_once('/')?;
    Some((key, Channel::ALL.into_iter().find(|channel| channel.as_str() == last)?))
}

/// Tenant and device, or edge node, of a topic that need not be legal: whose dead letter it is. No tenant has an empty
/// name.
fn names(topic: &str) -> (&str, Option<&str>) {
    let sparkplug = topic.strip_prefix(SPARKPLUG_PREFIX);
    let mut levels = sparkplug.or(topic.strip_prefix(PREFIX)).unwrap_or_default().split('/');
    let tenant = levels.next().filter(|name| schemas::id::TenantId::parse(name).is_ok());
    if sparkplug.is_some() {
        levels.next();
    }
    let device = levels.next().filter(|name| schemas::id::DeviceId::parse(name).is_ok());
    match tenant {
        Some(tenant) => (tenant, device),
        None => ("", None),
    }
}

/// Why the gateway refused it, in words.
fn refused(reason: RejectReason, topic: &str) -> Reject {
    if let (RejectReason::BadTopic, true) = (reason, is_sparkplug(topic)) {
        let detail = match topic.parse::<SparkplugTopic>() {
            Err(error) => error.to_string(),
            Ok(topic) => format!("{} is not for devices", topic.r#type.as_str()),
        };
        return Reject::new(reason, detail);
    }
    let detail = match (reason, topic.parse::<Topic>()) {
        (RejectReason::BadTopic, Err(error)) => error.to_string(),
        (RejectReason::BadTopic, Ok(topic)) => format!("channel {} is not for devices", topic.channel),
        (RejectReason::ForeignTopic, _) => "the topic names another tenant or device than the credential".into(),
        (reason, _) => format!("refused on arrival: {reason}"),
    };
    Reject::new(reason, detail)
}
