//! Sparkplug B: what births define is remembered per device, and data are told by it.
//!
//! | message | becomes |
//! |---|---|
//! | NBIRTH, DBIRTH | a `status` row `online`, and a reading of the values that it tells |
//! | NDATA, DDATA | readings: one for each time that its metrics name |
//! | NDEATH, DDEATH | a `status` row `offline`; a node takes its devices along |
//!
//! The profile stands in the birth, as a text metric `profile` or as a property `profile` of any metric; without it the
//! remembered one holds. A metric or property `firmware` likewise. `bdSeq` is the boot. Metrics under `Node Control/`
//! and `Device Control/` are no data. Sequence numbers go round at 256 and count all messages of a node, so they tell
//! what is missing (counted), and not what is a duplicate: that is told by content.

mod session;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use schemas::{
    payload::{
        MAX_METRIC_NAME, MAX_METRICS, Presence, Reading, StatusReport, Value,
        sparkplug::{Message, Metric},
    },
    reject::{Reject, RejectReason},
    time::Instant,
    topic::{Channel, SparkplugTopic, SparkplugType},
};
use xxhash_rust::xxh3::xxh3_128;

pub(super) use self::session::Session;
use self::session::{Known, MAX_ONLINE};
use super::{
    device::Device,
    ledger::Counts,
    message::{Parts, Tables},
    rows::Origin,
    telemetry,
};
use crate::dedup::Verdict;

/// A message, and those it is about.
pub(super) struct Heard<'a> {
    pub(super) topic: &'a SparkplugTopic,
    pub(super) origin: Origin<'a>,
    pub(super) frame: &'a schemas::door::Frame,
}

/// What a birth tells beside its metrics' values.
#[derive(Default)]
struct Birth {
    boot: Option<i64>,
    profile: Option<String>,
    firmware: Option<String>,
    metrics: Vec<Known>,
}

fn no_birth(detail: String) -> Reject {
    Reject::new(RejectReason::NoBirth, detail)
}

fn instant(millis: Option<u64>) -> Result<Instant, Reject> {
    let millis = millis.and_then(|millis| i64::try_from(millis).ok());
    millis
        .map(Instant::from_millis)
        .ok_or_else(|| Reject::new(RejectReason::MissingField, "timestamp is missing: whole milliseconds since 1970"))
}

/// Whether a metric is a word between node and host, and no measurement.
fn is_control(name: &str) -> bool {
    matches!(name, "bdSeq" | "profile" | "firmware")
        || name.starts_with("Node Control/")
        || name.starts_with("Device Control/")
}

fn boot(message: &Message) -> Result<Option<i64>, Reject> {
    for metric in &message.metrics {
        if metric.name()? == Some("bdSeq") {
            return Ok(match metric.value(0)? {
                Value::Integer(boot) if boot >= 0 => Some(boot),
                _ => None,
            });
        }
    }
    Ok(None)
}

impl Birth {
    fn read(message: &Message) -> Result<Self, Reject> {
        let mut birth = Self { boot: boot(message)?, ..Self::default() };
        for metric in &message.metrics {
            let name = metric.name()?.unwrap_or_default();
            if !(1..=MAX_METRIC_NAME).contains(&name.len()) {
                let start: String = name.chars().take(20).collect();
                let detail = format!("metric name {start:?} has {} bytes: 1 to {MAX_METRIC_NAME}", name.len());
                return Err(Reject::new(RejectReason::MissingField, detail));
            }
            match (name, metric.value(0)?) {
                ("profile", Value::Text(text)) => birth.profile = Some(text.into_owned()),
                ("firmware", Value::Text(text)) => birth.firmware = Some(text.into_owned()),
                _ => {}
            }
            birth.profile = birth.profile.take().or_else(|| metric.property("profile"));
            birth.firmware = birth.firmware.take().or_else(|| metric.property("firmware"));
            let datatype = metric.datatype.unwrap_or(0);
            birth.metrics.push(Known { name: name.into(), alias: metric.alias, datatype });
        }
        if birth.metrics.len() > MAX_METRICS {
            let detail = format!("a birth defines {} metrics: at most {MAX_METRICS}", birth.metrics.len());
            return Err(Reject::new(RejectReason::TooManyReadings, detail));
        }
        birth.firmware = birth.firmware.filter(|text| text.len() <= MAX_METRIC_NAME);
        Ok(birth)
    }
}

impl Tables {
    /// A message on a legal topic. `node` is the edge node, `device` the one behind it that the topic names, if any.
    pub(super) fn sparkplug(&mut self, node: &mut Device, device: Option<&mut Device>, heard: &Heard<'_>) -> Counts {
        let mut parts = Parts::default();
        let result = match heard.topic.r#type {
            SparkplugType::NodeBirth | SparkplugType::DeviceBirth => self.birth(node, device, heard, &mut parts),
            SparkplugType::NodeData | SparkplugType::DeviceData => self.data(node, device, heard, &mut parts),
            SparkplugType::NodeDeath | SparkplugType::DeviceDeath => self.death(node, device, heard, &mut parts),
            SparkplugType::NodeCommand | SparkplugType::DeviceCommand => {
                Err(Reject::new(RejectReason::BadTopic, "a command is to devices, not from them"))
            }
        };
        self.end(result, heard.topic.r#type.channel(), &heard.origin, heard.frame, &parts)
    }

    fn birth(
        &mut self,
        node: &mut Device,
        device: Option<&mut Device>,
        heard: &Heard<'_>,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let message = Message::open(&heard.frame.payload)?;
        let birth = Birth::read(&message)?;
        let event_time = instant(message.timestamp)?;
        telemetry::future(event_time, heard.origin.arrival, self.settings.future_tolerance)?;
        let of_node = device.is_none();
        let node_session = node.sparkplug.get_or_insert_default();
        let boot = birth.boot.unwrap_or(node_session.boot);
        let (about, missing) = match device {
            None => (node, 0),
            Some(device) => {
                let missing = node_session.follow(message.seq);
                let id = heard.origin.device;
                if node_session.online.len() < MAX_ONLINE && !node_session.online.contains(id) {
                    node_session.online.insert(id.into());
                }
                (device, missing)
            }
        };
        self.tally.sparkplug_missing += missing;
        let verdict = about.stream(Channel::Status).hash(xxh3_128(&heard.frame.payload));
        parts.count(verdict);
        if verdict != Verdict::New {
            return Ok(());
        }
        let mut session = Box::<Session>::default();
        session.boot = boot;
        if of_node {
            session.follow(message.seq);
        }
        session.firmware = birth.firmware.as_deref().map(Into::into);
        session.define(birth.metrics);
        if let Some(named) = &birth.profile {
            about.profile = self.index(named);
        }
        let status = StatusReport {
            boot,
            event_time: Some(event_time),
            state: Presence::Online,
            profile: birth.profile.as_deref().map(Cow::Borrowed),
            firmware: birth.firmware.as_deref().map(Cow::Borrowed),
        };
        self.greatest = self.greatest.max(event_time);
        self.append_status(&heard.origin, &status);
        // A birth without values is no reading.
        let result = self.read(about, &session, &message, birth.profile.as_deref(), heard, parts);
        about.sparkplug = Some(session);
        result
    }

    fn data(
        &mut self,
        node: &mut Device,
        device: Option<&mut Device>,
        heard: &Heard<'_>,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let message = Message::open(&heard.frame.payload)?;
        if let Some(session) = &mut node.sparkplug {
            self.tally.sparkplug_missing += session.follow(message.seq);
        }
        let about = device.unwrap_or(node);
        let session = about.sparkplug.take();
        let stranger = Session::default();
        let before = self.rejected();
        let known = session.as_deref().unwrap_or(&stranger);
        let result = self.read(about, known, &message, None, heard, parts);
        about.sparkplug = session;
        if result.is_ok() && parts.is_nothing() && self.rejected() == before {
            return Err(Reject::new(RejectReason::MissingField, "metric is missing: data need at least one"));
        }
        result
    }

    /// Metrics of one time are one reading.
    fn read(
        &mut self,
        device: &mut Device,
        session: &Session,
        message: &Message,
        profile: Option<&str>,
        heard: &Heard<'_>,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let mut metrics: Vec<(Option<u64>, &Metric)> =
            message.metrics.iter().map(|metric| (metric.timestamp.or(message.timestamp), metric)).collect();
        metrics.sort_by_key(|(time, _)| *time);
        let mut reading = Reading {
            profile: profile.map(Cow::Borrowed),
            boot: session.boot,
            seq: None,
            event_time: Instant::EPOCH,
            firmware: session.firmware.as_deref().map(Cow::Borrowed),
            metrics: Vec::with_capacity(metrics.len().min(MAX_METRICS)),
        };
        for same_time in metrics.chunk_by(|a, b| a.0 == b.0) {
            reading.metrics.clear();
            let read =
                same_time.iter().try_for_each(|(_, metric)| named(session, metric, &mut reading)).and_then(|()| {
                    reading.event_time = instant(same_time[0].0)?;
                    Ok(())
                });
            if read.is_ok() && reading.metrics.is_empty() {
                continue;
            }
            if let Err(reject) = read.and_then(|()| self.reading(device, &heard.origin, &reading, parts)) {
                self.reject(reject);
            }
        }
        Ok(())
    }

    fn death(
        &mut self,
        node: &mut Device,
        device: Option<&mut Device>,
        heard: &Heard<'_>,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let message = Message::open(&heard.frame.payload)?;
        let event_time = message.timestamp.map(|millis| instant(Some(millis))).transpose()?;
        if let Some(event_time) = event_time {
            telemetry::future(event_time, heard.origin.arrival, self.settings.future_tolerance)?;
        }
        let session = node.sparkplug.get_or_insert_default();
        let told = boot(&message)?;
        let mut gone = Vec::new();
        let (about, boot, event_time) = match device {
            None => {
                if let Some(told) = told.filter(|told| *told != session.boot && session.seq.is_some()) {
                    let at_hand = session.boot;
                    return Err(no_birth(format!("the death is of bdSeq {told}, the birth at hand of {at_hand}")));
                }
                let boot = told.unwrap_or(session.boot);
                gone.extend(std::mem::take(&mut session.online));
                // A will's time is when its connection began.
                (node, boot, None)
            }
            Some(device) => {
                self.tally.sparkplug_missing += session.follow(message.seq);
                session.online.remove(heard.origin.device);
                (device, session.boot, event_time)
            }
        };
        let stream = about.stream(Channel::Status);
        let hash = xxh3_128(&heard.frame.payload);
        let verdict = if event_time.is_some() { stream.hash(hash) } else { stream.hash_again(hash) };
        parts.count(verdict);
        if verdict != Verdict::New {
            return Ok(());
        }
        self.greatest = event_time.map_or(self.greatest, |told| told.max(self.greatest));
        let offline = StatusReport { boot, event_time, state: Presence::Offline, profile: None, firmware: None };
        self.append_status(&heard.origin, &offline);
        for id in &gone {
            let Origin { tenant, arrival, .. } = heard.origin;
            self.append_status(&Origin { tenant, device: id, arrival }, &offline);
            parts.count(Verdict::New);
        }
        Ok(())
    }
}

/// A metric's name and value, by what the birth told; nothing where it is no measurement.
fn named<'a>(session: &'a Session, metric: &'a Metric, reading: &mut Reading<'a>) -> Result<(), Reject> {
    let told = metric.name()?;
    let known = session.known(told, metric.alias);
    let name = match (told, known) {
        (Some(name), _) => name,
        (None, Some(known)) => known.name.as_ref(),
        (None, None) => {
            let alias = metric.alias.map_or_else(|| "none".into(), |alias| alias.to_string());
            return Err(no_birth(format!("a metric has no name and alias {alias}, which no birth at hand defines")));
        }
    };
    if is_control(name) {
        return Ok(());
    }
    if !(1..=MAX_METRIC_NAME).contains(&name.len()) {
        let start: String = name.chars().take(20).collect();
        let detail = format!("metric name {start:?} has {} bytes: 1 to {MAX_METRIC_NAME}", name.len());
        return Err(Reject::new(RejectReason::MissingField, detail));
    }
    if reading.metrics.len() == MAX_METRICS {
        let detail = format!("a reading has more than {MAX_METRICS} metrics");
        return Err(Reject::new(RejectReason::TooManyReadings, detail));
    }
    let value = metric.value(known.map_or(0, |known| known.datatype))?;
    reading.metrics.push((Cow::Borrowed(name), value));
    Ok(())
}
