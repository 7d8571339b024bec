//! Every device that was heard of, and what detection knows of it: the pure core of the detector.
//!
//! In: chunks of the decoded log. Out: the alarms and the devices seen in each. Promise: the same rows in the same
//! order give the same alarms with the same ids, however the log is cut into chunks. Never: I/O, a clock.
//!
//! Per device and profile, readings move the rules' states in the order of their event times; a reading at or before
//! the last one that moved them is passed over: it is stored and never pages anyone. All rules look at each reading.
//! After each row it is asked which devices have been silent for too long by the log's own time ([`super::absence`]).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    mem,
    time::Duration,
};

use schemas::{
    alarm::Alarm,
    door::{Chunk, DeviceSeen},
    id::{DeviceId, IdError, ProfileName, TenantId},
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::{
    absence::LogTime,
    fault,
    rows::{self, ColumnError, Kind, Row, Watch},
    rule::{Reading, Subject},
    rulebook::{Page, Rulebook},
    standing::Standings,
};

/// How long a device goes unreported to the service desk while nothing about it changes.
const REPORT_EVERY: Duration = Duration::from_secs(3600);
/// Share of the devices forgotten at once when there are too many: one in this many, so that the search for the least
/// recently heard is paid once per many new devices.
const FORGET_SHARE: usize = 64;

/// What `alarm_reporting_time` is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reporting {
    /// The event time of the row that moved the state: replays.
    EventTime,
    /// The present.
    At(Instant),
}

/// What a row's handling fills.
struct Turn<'a> {
    reported: Instant,
    found: &'a mut Found,
}

/// What a chunk brought.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) alarms: Vec<Alarm>,
    pub(super) seen: Vec<DeviceSeen>,
    pub(super) tally: Tally,
}

/// What was looked at and what was passed over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) readings: u64,
    pub(super) out_of_order: u64,
    pub(super) unknown_profile: u64,
    pub(super) unknown_fault: u64,
    pub(super) forgotten: u64,
    pub(super) expression_failed: u64,
}

/// Rows that the decoder must not make.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    #[error(transparent)]
    Column(#[from] ColumnError),
    #[error(transparent)]
    Name(#[from] IdError),
}

/// What the service desk was told of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Presence {
    profile: ProfileName,
    firmware: Option<String>,
    last_seen: Instant,
    reported: Instant,
}

/// A device under the rules of one profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Watched {
    profile: ProfileName,
    /// Event time of the last reading that moved the rules.
    moved: Option<Instant>,
    /// By rule, those of which something is remembered.
    #[serde(default, skip_serializing_if = "Standings::is_empty")]
    rules: Standings,
    /// By code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    faults: BTreeMap<String, fault::State>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Device {
    tenant: TenantId,
    device_id: DeviceId,
    /// Rows looked at, over all devices, when it was last heard.
    heard: u64,
    presence: Presence,
    /// When it was heard last, by the log's own time; none before it sent a row that was not late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alive: Option<Instant>,
    /// Whether it stands in the queue of those that may be silent for too long.
    #[serde(skip)]
    queued: bool,
    /// Nearly always one.
    watched: Vec<Watched>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Devices {
    all: Vec<Device>,
    /// Places in `all`.
    index: HashMap<TenantId, HashMap<DeviceId, usize>>,
    heard: u64,
    time: LogTime,
    /// When a place in `all` is to be looked at again, by the log's own time, earliest first: at most once each, and
    /// never too late.
    queue: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Devices {
    /// From a checkpoint.
    pub(super) fn restore(heard: u64, time: LogTime, all: Vec<Device>) -> Self {
        let mut devices = Self { all, heard, time, ..Self::default() };
        devices.reindex();
        devices
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Rows looked at since the beginning.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// The log's own time.
    pub(super) fn time(&self) -> LogTime {
        self.time
    }

    /// Each of them, for a checkpoint.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Device> {
        self.all.iter()
    }

    /// Looks at a chunk. `max` bounds the devices kept.
    pub(super) fn look(
        &mut self,
        book: &Rulebook,
        chunk: &Chunk,
        reporting: Reporting,
        max: usize,
    ) -> Result<Found, RowsError> {
        let mut found = Found::default();
        let batches = rows::batches(chunk, book)?;
        found.tally.expression_failed = batches.iter().map(rows::Batch::failed).sum();
        for (batch, place) in rows::order(&batches) {
            let batch = &batches[batch];
            let row = batch.row(place);
            self.heard += 1;
            found.tally.readings += 1;
            let reported = match reporting {
                Reporting::EventTime => row.at,
                Reporting::At(now) => now,
            };
            if let Some(step) = book.step() {
                let to = match reporting {
                    Reporting::EventTime => row.at,
                    Reporting::At(_) => row.arrival,
                };
                self.time.advance(to, step);
            }
            let (name, page) = match &batch.kind {
                Kind::Telemetry { name, page, .. } => ((*name).clone(), *page),
                Kind::Fault { profile, .. } => (profile.value(place).parse()?, book.page(profile.value(place))),
            };
            let heard = self.hear(&row, &name, &mut found, max)?;
            if let Some(page) = page {
                let turn = &mut Turn { reported, found: &mut found };
                let device = &mut self.all[heard];
                match &batch.kind {
                    Kind::Telemetry { watches, .. } => device.reading(page, watches, place, &row, turn),
                    Kind::Fault { code, active, .. } => {
                        device.report(page, code.value(place), active.value(place), &row, turn);
                    }
                }
            } else {
                found.tally.unknown_profile += 1;
            }
            if book.step().is_some() {
                self.came(book, heard, &row, &mut found);
                self.overdue(book, &mut Turn { reported, found: &mut found });
            }
        }
        // A device that came several times in the chunk is told once, as it was last.
        let mut last = HashSet::new();
        let mut seen: Vec<DeviceSeen> = found.seen.into_iter().rev().collect();
        seen.retain(|device| last.insert((device.tenant.clone(), device.device_id.clone())));
        seen.reverse();
        found.seen = seen;
        Ok(found)
    }

    /// A row ends its device's silence, and shows that it is alive.
    fn came(&mut self, book: &Rulebook, place: usize, row: &Row<'_>, found: &mut Found) {
        let device = &mut self.all[place];
        let Some(page) = book.page(device.presence.profile.as_str()) else { return };
        if page.absences().next().is_none() {
            return;
        }
        let watched = Watched::under(&mut device.watched, &page.profile.name);
        found.alarms.extend(page.absences().filter_map(|(rule, _)| watched.rules.report(rule, row.at)));
        // Of a device of which only late data is known nobody knows whether it should report.
        if row.late && device.alive.is_none() {
            return;
        }
        let now = self.time.at();
        device.alive = Some(now);
        if !mem::replace(&mut device.queued, true) {
            self.queue.push(Reverse((now, place)));
        }
    }

    /// Finds those that have been silent for too long.
    fn overdue(&mut self, book: &Rulebook, turn: &mut Turn<'_>) {
        let now = self.time.at();
        while let Some(Reverse((due, place))) = self.queue.peek().copied() {
            if due > now {
                return;
            }
            self.queue.pop();
            let device = &mut self.all[place];
            // Whoever was heard meanwhile, or is there since a restart, is looked at again when it is due.
            let next = device.overdue(book, now, turn);
            device.queued = next.is_some();
            self.queue.extend(next.map(|due| Reverse((due, place))));
        }
    }

    /// The place of a row's device, known from now on.
    fn hear(
        &mut self,
        row: &Row<'_>,
        profile: &ProfileName,
        found: &mut Found,
        max: usize,
    ) -> Result<usize, RowsError> {
        let place = self.index.get(row.tenant).and_then(|devices| devices.get(row.device));
        let place = match place {
            Some(place) => {
                let device = &mut self.all[*place];
                device.heard = self.heard;
                found.seen.extend(device.hear(row, profile));
                *place
            }
            None => {
                if self.all.len() >= max {
                    found.tally.forgotten += self.forget(max);
                }
                let device = Device::new(row, profile, self.heard)?;
                found.seen.push(device.told());
                let devices = self.index.entry(device.tenant.clone()).or_default();
                devices.insert(device.device_id.clone(), self.all.len());
                self.all.push(device);
                self.all.len() - 1
            }
        };
        Ok(place)
    }

    /// Forgets the least recently heard, so that at least one more has room; tells how many.
    fn forget(&mut self, max: usize) -> u64 {
        let before = self.all.len();
        let surplus = (before + 1).saturating_sub(max).max(max / FORGET_SHARE).min(before);
        if surplus == 0 {
            return 0;
        }
        let mut heard: Vec<u64> = self.all.iter().map(|device| device.heard).collect();
        let (_, limit, _) = heard.select_nth_unstable(surplus - 1);
        let limit = *limit;
        self.all.retain(|device| device.heard > limit);
        self.reindex();
        (before - self.all.len()) as u64
    }

    fn reindex(&mut self) {
        self.index.clear();
        self.queue.clear();
        for (place, device) in self.all.iter_mut().enumerate() {
            device.queued = device.alive.is_some();
            self.queue.extend(device.alive.map(|alive| Reverse((alive, place))));
            let devices = self.index.entry(device.tenant.clone()).or_default();
            devices.insert(device.device_id.clone(), place);
        }
    }
}

impl Device {
    fn new(row: &Row<'_>, profile: &ProfileName, heard: u64) -> Result<Self, IdError> {
        Ok(Self {
            tenant: row.tenant.parse()?,
            device_id: row.device.parse()?,
            heard,
            presence: Presence {
                profile: profile.clone(),
                firmware: row.firmware.map(str::to_owned),
                last_seen: row.at,
                reported: row.at,
            },
            alive: None,
            queued: false,
            watched: Vec::new(),
        })
    }

    /// Takes note of a row; tells the device where the service desk should hear of it.
    fn hear(&mut self, row: &Row<'_>, profile: &ProfileName) -> Option<DeviceSeen> {
        let presence = &mut self.presence;
        if row.at < presence.last_seen {
            return None;
        }
        presence.last_seen = row.at;
        let mut due = row.at.since(presence.reported) >= REPORT_EVERY;
        if presence.profile != *profile {
            presence.profile = profile.clone();
            due = true;
        }
        if row.firmware.is_some() && row.firmware != presence.firmware.as_deref() {
            presence.firmware = row.firmware.map(str::to_owned);
            due = true;
        }
        if due {
            presence.reported = row.at;
        }
        due.then(|| self.told())
    }

    fn told(&self) -> DeviceSeen {
        DeviceSeen {
            tenant: self.tenant.clone(),
            device_id: self.device_id.clone(),
            profile: self.presence.profile.clone(),
            firmware: self.presence.firmware.clone(),
            last_seen: self.presence.last_seen,
        }
    }

    /// Raises what its silence raises; tells when it is to be looked at again.
    fn overdue(&mut self, book: &Rulebook, now: Instant, turn: &mut Turn<'_>) -> Option<Instant> {
        let alive = self.alive?;
        let page = book.page(self.presence.profile.as_str())?;
        let subject = Subject {
            tenant: &self.tenant,
            device_id: &self.device_id,
            profile: &page.profile.name,
            firmware: self.presence.firmware.as_deref(),
            reported: turn.reported,
        };
        let watched = Watched::under(&mut self.watched, &page.profile.name);
        let mut next = None;
        for (rule, after) in page.absences() {
            let due = alive.plus(after);
            if watched.rules.is_absent(rule) {
                continue;
            }
            if due <= now {
                turn.found.alarms.extend(watched.rules.overdue(rule, self.presence.last_seen, &subject));
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        next
    }

    /// Takes a telemetry row: it releases pending faults, and moves the rules if it comes in order.
    fn reading(&mut self, page: &Page, watches: &[Watch<'_>], place: usize, row: &Row<'_>, turn: &mut Turn<'_>) {
        let subject = Subject {
            tenant: &self.tenant,
            device_id: &self.device_id,
            profile: &page.profile.name,
            firmware: row.firmware.or(self.presence.firmware.as_deref()),
            reported: turn.reported,
        };
        let watched = Watched::under(&mut self.watched, &page.profile.name);
        watched.release(page, row, &subject, turn);
        let previous = watched.moved;
        if previous.is_some_and(|previous| row.at <= previous) {
            turn.found.tally.out_of_order += 1;
            return;
        }
        watched.moved = Some(row.at);
        for watch in watches {
            let reading = Reading { at: row.at, previous, value: watch.value(place), late: row.late };
            turn.found.alarms.extend(watched.rules.reading(&watch.terms, &reading, &subject));
        }
    }

    /// Takes a fault row: it releases what else is pending, moves the state of its code, and is counted.
    fn report(&mut self, page: &Page, code: &str, active: bool, row: &Row<'_>, turn: &mut Turn<'_>) {
        let subject = Subject {
            tenant: &self.tenant,
            device_id: &self.device_id,
            profile: &page.profile.name,
            firmware: row.firmware.or(self.presence.firmware.as_deref()),
            reported: turn.reported,
        };
        let watched = Watched::under(&mut self.watched, &page.profile.name);
        // The report itself first: it may be the end of what is pending.
        if let Some(fault) = page.profile.fault(code) {
            let report = fault::Report { at: row.at, active, late: row.late };
            let state = watched.faults.entry(code.to_owned()).or_default();
            turn.found.tally.out_of_order += u64::from(state.passes_over(&report));
            let alarm;
            (*state, alarm) = mem::take(state).step(fault, &report, &subject);
            turn.found.alarms.extend(alarm);
        } else {
            turn.found.tally.unknown_fault += 1;
        }
        if active {
            let report = Reading { at: row.at, previous: watched.moved, value: None, late: row.late };
            for entry in page.entries.iter().filter(|entry| entry.counts(code)) {
                let Some(terms) = entry.terms() else { continue };
                turn.found.alarms.extend(watched.rules.fault(&terms, &report, &subject));
            }
        }
        watched.release(page, row, &subject, turn);
    }
}

impl Watched {
    /// The one of a profile, new if need be.
    fn under<'a>(all: &'a mut Vec<Self>, profile: &ProfileName) -> &'a mut Self {
        let place = all.iter().position(|watched| watched.profile == *profile).unwrap_or_else(|| {
            let new =
                Self { profile: profile.clone(), moved: None, rules: Standings::default(), faults: BTreeMap::new() };
            all.reserve_exact(1);
            all.push(new);
            all.len() - 1
        });
        &mut all[place]
    }

    /// A row that is not late shows that the device has caught up.
    fn release(&mut self, page: &Page, row: &Row<'_>, subject: &Subject<'_>, turn: &mut Turn<'_>) {
        if row.late {
            return;
        }
        for (code, state) in self.faults.iter_mut().filter(|(_, state)| state.is_pending()) {
            let Some(fault) = page.profile.fault(code) else { continue };
            let alarm;
            (*state, alarm) = mem::take(state).release(fault, row.at, subject);
            turn.found.alarms.extend(alarm);
        }
    }
}
