//! One message of each channel: taken apart, checked, looked up, appended.

use std::{collections::HashMap, sync::Arc};

use schemas::{
    advisory::Advisory,
    alarm::Alarm,
    door::{Frame, Rows},
    id::{LogOffset, ProfileName},
    outcome::Outcome,
    payload::{Payload, Reading, StatusReport},
    profile::{Profile, Profiles},
    reject::{Reject, RejectReason},
    table::TableName,
    time::{ClockKind, Instant},
    topic::Channel,
};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    MAX_LETTER_BYTES, MAX_LETTERS, Settings,
    device::Device,
    ledger::{self, Counts, Entry},
    rows::{
        AdvisoryRows, AlarmRows, DeadLetterRows, FaultRows, LedgerRows, Origin, OutcomeRows, ReplyRows, StatusRows,
    },
    tally::{Ending, Tally, Totals},
    telemetry::{self, TelemetryRows},
};
use crate::dedup::Verdict;

/// The builders of every table, and what decoding knows beside its devices.
pub(super) struct Tables {
    pub(super) settings: Settings,
    pub(super) telemetry: Vec<TelemetryRows>,
    by_name: HashMap<ProfileName, u16>,
    fault: FaultRows,
    status: StatusRows,
    reply: ReplyRows,
    ledger: LedgerRows,
    dead_letter: DeadLetterRows,
    alarm: AlarmRows,
    advisory: AdvisoryRows,
    outcome: OutcomeRows,
    /// Greatest event time that was not refused: now, under an event clock.
    pub(super) greatest: Instant,
    /// Arrival of the last frame: now, under any other clock.
    pub(super) arrival: Instant,
    pub(super) totals: Totals,
    pub(super) tally: Tally,
    /// Rejects of the message at hand.
    rejects: Vec<Reject>,
    scratch: Vec<u8>,
}

/// What became of the parts of one message.
#[derive(Default)]
pub(super) struct Parts {
    new: u64,
    duplicate: u64,
    late: u64,
}

impl Parts {
    /// One more.
    pub(super) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::New => self.new += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Forgotten => {}
        }
    }

    /// Neither a row nor a repeat of one.
    pub(super) fn is_nothing(&self) -> bool {
        self.new + self.duplicate == 0
    }
}

impl Tables {
    pub(super) fn new(profiles: &Profiles, settings: Settings) -> Self {
        let telemetry: Vec<TelemetryRows> =
            profiles.iter().take(usize::from(u16::MAX)).map(|profile| TelemetryRows::new(profile.clone())).collect();
        Self {
            settings,
            by_name: telemetry.iter().zip(0..).map(|(rows, at)| (rows.name().clone(), at)).collect(),
            telemetry,
            fault: FaultRows::new(),
            status: StatusRows::new(),
            reply: ReplyRows::new(),
            ledger: LedgerRows::new(),
            dead_letter: DeadLetterRows::new(),
            alarm: AlarmRows::new(),
            advisory: AdvisoryRows::new(),
            outcome: OutcomeRows::new(),
            greatest: Instant::EPOCH,
            arrival: Instant::EPOCH,
            totals: Totals::default(),
            tally: Tally::default(),
            rejects: Vec::new(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn index(&self, profile: &str) -> Option<u16> {
        self.by_name.get(profile).copied()
    }

    /// A message that becomes a dead letter whole.
    pub(super) fn bury(&mut self, tenant: &str, device: Option<&str>, frame: &Frame, reject: Reject, ending: Ending) {
        self.rejects.push(reject);
        self.write_letters(tenant, device, frame);
        self.count(ending);
    }

    /// One row of what a device, named `tenant/device`, sent in an hour.
    pub(super) fn ledger(&mut self, key: &str, device: &Device, entry: &Entry, at: LogOffset) {
        let (tenant, name) = key.split_once('/').unwrap_or((key, ""));
        let gaps = ledger::gaps(entry.channel.and_then(|channel| device.seen(channel)));
        self.ledger.append(tenant, name, entry, gaps, at);
    }

    /// A message on a legal topic, and what is to stand of it in the ledger: nothing where it is Forewarn's own.
    pub(super) fn message(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        channel: Channel,
        frame: &Frame,
    ) -> Counts {
        let mut parts = Parts::default();
        let result = match channel {
            Channel::Telemetry => self.telemetry(device, origin, frame, &mut parts),
            Channel::Fault => self.fault(device, origin, frame, &mut parts),
            Channel::Status => self.status(device, origin, frame, &mut parts),
            Channel::Reply => self.reply(device, origin, frame, &mut parts),
            Channel::Alarm => self.alarm(device, origin, frame),
            Channel::Outcome => self.outcome(device, origin, frame),
            Channel::Advisory => self.advisory(device, origin, frame),
            Channel::Command => {
                Err(Reject::new(RejectReason::BadTopic, "channel command is to devices, not from them"))
            }
        };
        self.end(result, channel, origin, frame, &parts)
    }

    /// Counts a message, and writes its dead letters.
    pub(super) fn end(
        &mut self,
        result: Result<(), Reject>,
        channel: Channel,
        origin: &Origin<'_>,
        frame: &Frame,
        parts: &Parts,
    ) -> Counts {
        if let Err(reject) = result {
            self.rejects.push(reject);
        }
        let ending = match (channel, parts) {
            (own, _) if own.is_internal() => Ending::Internal,
            (_, Parts { new: 1.., .. }) => Ending::Stored,
            (_, Parts { duplicate: 1.., .. }) if self.rejects.is_empty() => Ending::Duplicate,
            _ => Ending::DeadLetter,
        };
        let rejected = self.rejects.len() as u64;
        if !self.rejects.is_empty() {
            self.write_letters(origin.tenant, Some(origin.device), frame);
        }
        self.tally.stored += parts.new;
        self.tally.duplicates += parts.duplicate;
        self.tally.messages.rows += parts.new;
        self.totals.rows += parts.new;
        self.count(ending);
        match ending {
            Ending::Internal => Counts::default(),
            _ => Counts { stored: parts.new, duplicate: parts.duplicate, rejected, late: parts.late },
        }
    }

    fn count(&mut self, ending: Ending) {
        self.totals.count(ending);
        self.tally.messages.count(ending);
    }

    /// One row per reject, bounded; the last one tells of those that have none.
    fn write_letters(&mut self, tenant: &str, device: Option<&str>, frame: &Frame) {
        for reject in &self.rejects {
            self.tally.reject(reject.reason);
        }
        let room = (MAX_LETTER_BYTES / frame.payload.len().max(1)).clamp(1, MAX_LETTERS);
        if let Some(beyond) = self.rejects.get(room..).filter(|beyond| !beyond.is_empty()) {
            let mut detail = format!("; and {} more of this message:", beyond.len());
            for reason in RejectReason::ALL {
                let count = beyond.iter().filter(|reject| reject.reason == *reason).count();
                if count > 0 {
                    detail.push_str(&format!(" {reason} {count}"));
                }
            }
            self.rejects[room - 1].detail.push_str(&detail);
        }
        for reject in self.rejects.iter().take(room) {
            self.dead_letter.append(tenant, device, frame, reject);
        }
        self.rejects.clear();
    }

    /// The profile that a message names, or that the device told before.
    fn profile(&self, device: &Device, named: Option<&str>) -> Result<u16, Reject> {
        let unknown = |detail: String| Reject::new(RejectReason::UnknownProfile, detail);
        match (named, device.profile) {
            (Some(name), Some(known)) if self.telemetry[usize::from(known)].name().as_str() == name => Ok(known),
            (Some(name), _) => self.index(name).ok_or_else(|| {
                let start: String = name.chars().take(ProfileName::MAX_LEN).collect();
                unknown(format!("profile {start:?} is not loaded"))
            }),
            (None, Some(known)) => Ok(known),
            (None, None) => Err(unknown("no profile is named, and no birth has told one that is loaded".into())),
        }
    }

    /// Event time against the clock: seen, and whether it is late.
    fn late(&mut self, event_time: Instant, arrival: Instant, profile: u16) -> bool {
        self.greatest = self.greatest.max(event_time);
        let now = if self.settings.clock == ClockKind::Event { self.greatest } else { arrival };
        let profile: &Arc<Profile> = &self.telemetry[usize::from(profile)].profile;
        event_time < now.minus(profile.late_after)
    }

    fn telemetry(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        frame: &Frame,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let payload = Payload::open(frame.content_type.as_deref(), &frame.payload)?;
        let mut rejects = std::mem::take(&mut self.rejects);
        let result = payload.readings(&mut rejects, |reading| self.reading(device, origin, reading, parts));
        self.rejects = rejects;
        result
    }

    /// One reading, of whatever form.
    pub(super) fn reading(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        reading: &Reading<'_>,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let profile = self.profile(device, reading.profile.as_deref())?;
        telemetry::future(reading.event_time, origin.arrival, self.settings.future_tolerance)?;
        self.telemetry[usize::from(profile)].check(reading)?;
        device.profile = Some(profile);
        let stream = device.stream(Channel::Telemetry);
        let verdict = match reading.seq {
            Some(seq) => stream.number(reading.boot, seq),
            None => {
                let name = self.telemetry[usize::from(profile)].name();
                stream.hash(telemetry::content(&mut self.scratch, reading, name))
            }
        };
        match verdict {
            Verdict::New => {
                let late = self.late(reading.event_time, origin.arrival, profile);
                parts.late += u64::from(late);
                self.telemetry[usize::from(profile)].append(origin, reading, late);
            }
            Verdict::Duplicate => {}
            Verdict::Forgotten => return Err(forgotten(reading.boot, reading.seq)),
        }
        parts.count(verdict);
        Ok(())
    }

    /// One more reject of the message at hand.
    pub(super) fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }

    /// How many rejects the message at hand has.
    pub(super) fn rejected(&self) -> usize {
        self.rejects.len()
    }

    /// A row of `status`.
    pub(super) fn append_status(&mut self, origin: &Origin<'_>, status: &StatusReport<'_>) {
        self.status.append(origin, status);
    }

    fn fault(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        frame: &Frame,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let payload = Payload::open(frame.content_type.as_deref(), &frame.payload)?;
        let fault = payload.fault()?;
        let profile = self.profile(device, fault.profile.as_deref())?;
        telemetry::future(fault.event_time, origin.arrival, self.settings.future_tolerance)?;
        device.profile = Some(profile);
        let stream = device.stream(Channel::Fault);
        let verdict = match fault.seq {
            Some(seq) => stream.number(fault.boot, seq),
            None => stream.hash(xxh3_128(&frame.payload)),
        };
        match verdict {
            Verdict::New => {
                let late = self.late(fault.event_time, origin.arrival, profile);
                parts.late += u64::from(late);
                self.fault.append(origin, &fault, self.telemetry[usize::from(profile)].name().as_str(), late);
            }
            Verdict::Duplicate => {}
            Verdict::Forgotten => return Err(forgotten(fault.boot, fault.seq)),
        }
        parts.count(verdict);
        Ok(())
    }

    /// A report with a time is the same message wherever it comes again. One without, usually a will, happens when it
    /// arrives: it repeats another only if nothing else was told in between.
    fn status(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        frame: &Frame,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let payload = Payload::open(frame.content_type.as_deref(), &frame.payload)?;
        let status = payload.status()?;
        if let Some(event_time) = status.event_time {
            telemetry::future(event_time, origin.arrival, self.settings.future_tolerance)?;
        }
        if let Some(named) = &status.profile {
            device.profile = self.index(named);
        }
        let stream = device.stream(Channel::Status);
        let hash = xxh3_128(&frame.payload);
        let verdict = if status.event_time.is_some() { stream.hash(hash) } else { stream.hash_again(hash) };
        if verdict == Verdict::New {
            self.greatest = status.event_time.map_or(self.greatest, |told| told.max(self.greatest));
            self.status.append(origin, &status);
        }
        parts.count(verdict);
        Ok(())
    }

    fn reply(
        &mut self,
        device: &mut Device,
        origin: &Origin<'_>,
        frame: &Frame,
        parts: &mut Parts,
    ) -> Result<(), Reject> {
        let payload = Payload::open(frame.content_type.as_deref(), &frame.payload)?;
        let reply = payload.reply()?;
        let verdict = device.stream(Channel::Reply).hash(xxh3_128(&frame.payload));
        if verdict == Verdict::New {
            self.reply.append(origin, &reply);
        }
        parts.count(verdict);
        Ok(())
    }

    fn alarm(&mut self, device: &mut Device, origin: &Origin<'_>, frame: &Frame) -> Result<(), Reject> {
        let alarm: Alarm = own(&frame.payload)?;
        same_device(origin, alarm.tenant.as_str(), alarm.device_id.as_str())?;
        let identity = format!("{} {}", alarm.alarm_id, alarm.state.as_str());
        if device.stream(Channel::Alarm).hash(xxh3_128(identity.as_bytes())) == Verdict::New {
            self.alarm.append(&alarm);
        }
        Ok(())
    }

    fn outcome(&mut self, device: &mut Device, origin: &Origin<'_>, frame: &Frame) -> Result<(), Reject> {
        let outcome: Outcome = own(&frame.payload)?;
        same_device(origin, outcome.tenant.as_str(), outcome.device_id.as_str())?;
        if device.stream(Channel::Outcome).hash(xxh3_128(outcome.outcome_id.as_bytes())) == Verdict::New {
            self.outcome.append(&outcome);
        }
        Ok(())
    }

    fn advisory(&mut self, device: &mut Device, origin: &Origin<'_>, frame: &Frame) -> Result<(), Reject> {
        let advisory: Advisory = own(&frame.payload)?;
        same_device(origin, advisory.tenant.as_str(), advisory.device_id.as_str())?;
        if device.stream(Channel::Advisory).hash(xxh3_128(advisory.advisory_id.as_bytes())) == Verdict::New {
            self.advisory.append(&advisory);
        }
        Ok(())
    }

    /// Rows that wait, of all tables.
    pub(super) fn waiting(&self) -> usize {
        let telemetry: usize = self.telemetry.iter().map(TelemetryRows::len).sum();
        telemetry
            + self.fault.len()
            + self.status.len()
            + self.reply.len()
            + self.ledger.len()
            + self.dead_letter.len()
            + self.alarm.len()
            + self.advisory.len()
            + self.outcome.len()
    }

    /// Bytes of dead letters that wait.
    pub(super) fn letter_bytes(&self) -> usize {
        self.dead_letter.payload_bytes()
    }

    /// The rows that wait, at most one entry per table, always in the same order.
    pub(super) fn take(&mut self) -> Vec<Rows> {
        let mut taken = Vec::new();
        for rows in self.telemetry.iter_mut().filter(|rows| rows.len() > 0) {
            taken.push(Rows { table: TableName::Telemetry(rows.name().clone()), batch: rows.finish() });
        }
        macro_rules! take {
            ($($field:ident: $type:ident),*) => {$(
                if self.$field.len() > 0 {
                    taken.push(Rows { table: $type::TABLE, batch: self.$field.finish() });
                }
            )*};
        }
        take!(fault: FaultRows, status: StatusRows, reply: ReplyRows, dead_letter: DeadLetterRows);
        take!(alarm: AlarmRows, advisory: AdvisoryRows, outcome: OutcomeRows, ledger: LedgerRows);
        taken
    }
}

fn forgotten(boot: i64, seq: Option<i64>) -> Reject {
    let seq = seq.map_or_else(String::new, |seq| seq.to_string());
    let detail = format!("boot {boot}, seq {seq} lies too far back to tell whether it was stored before");
    Reject::new(RejectReason::OutsideDedupWindow, detail)
}

fn own<'a, T: serde::Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Reject> {
    serde_json::from_slice(payload)
        .map_err(|error| Reject::new(RejectReason::MalformedPayload, format!("JSON: {error}")))
}

fn same_device(origin: &Origin<'_>, tenant: &str, device: &str) -> Result<(), Reject> {
    if (origin.tenant, origin.device) == (tenant, device) {
        return Ok(());
    }
    let detail = format!("the payload is about {tenant}/{device}, the topic about {}/{}", origin.tenant, origin.device);
    Err(Reject::new(RejectReason::ForeignTopic, detail))
}
