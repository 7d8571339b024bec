//! Every device that was heard of, and what detection knows of it: the pure core of the detector.
//!
//! In: chunks of the decoded log. Out: the alarms and the devices seen in each. Promise: the same rows in the same
//! order give the same alarms with the same ids, however the log is cut into chunks. Never: I/O, a clock.
//!
//! Per device and profile, readings move the rules' states in the order of their event times; a reading at or before
//! the last one that moved them is passed over: it is stored and never pages anyone. All rules look at each reading.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
    time::Duration,
};

use schemas::{
    alarm::Alarm,
    door::{Chunk, DeviceSeen},
    id::{DeviceId, IdError, ProfileName, TenantId},
    profile::{Profile, Profiles},
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::{
    fault,
    rows::{self, ColumnError, Kind, Row, Watch},
    rule::{self, Reading, Subject},
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
    /// By rule, those that are not normal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, rule::State>,
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
}

impl Devices {
    /// From a checkpoint.
    pub(super) fn restore(heard: u64, all: Vec<Device>) -> Self {
        let mut devices = Self { all, heard, ..Self::default() };
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

    /// Each of them, for a checkpoint.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Device> {
        self.all.iter()
    }

    /// Looks at a chunk. `max` bounds the devices kept.
    pub(super) fn look(
        &mut self,
        profiles: &Profiles,
        chunk: &Chunk,
        reporting: Reporting,
        max: usize,
    ) -> Result<Found, RowsError> {
        let mut found = Found::default();
        let batches = rows::batches(chunk, profiles)?;
        for (batch, place) in rows::order(&batches) {
            let batch = &batches[batch];
            let row = batch.row(place);
            self.heard += 1;
            found.tally.readings += 1;
            let reported = match reporting {
                Reporting::EventTime => row.at,
                Reporting::At(now) => now,
            };
            match &batch.kind {
                Kind::Telemetry { name, profile: Some(profile), watches } => {
                    let device = self.hear(&row, name, &mut found, max)?;
                    device.reading(profile, watches, place, &row, &mut Turn { reported, found: &mut found });
                }
                Kind::Telemetry { name, profile: None, .. } => {
                    self.hear(&row, name, &mut found, max)?;
                    found.tally.unknown_profile += 1;
                }
                Kind::Fault { profile, code, active } => {
                    let (name, code, active) = (profile.value(place), code.value(place), active.value(place));
                    if let Some(profile) = profiles.get(name) {
                        let device = self.hear(&row, &profile.name, &mut found, max)?;
                        device.report(profile, code, active, &row, &mut Turn { reported, found: &mut found });
                    } else {
                        self.hear(&row, &name.parse()?, &mut found, max)?;
                        found.tally.unknown_profile += 1;
                    }
                }
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

    /// The device of a row, known from now on.
    fn hear(
        &mut self,
        row: &Row<'_>,
        profile: &ProfileName,
        found: &mut Found,
        max: usize,
    ) -> Result<&mut Device, RowsError> {
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
        Ok(&mut self.all[place])
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
        for (place, device) in self.all.iter().enumerate() {
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

    /// Takes a telemetry row: it releases pending faults, and moves the rules if it comes in order.
    fn reading(&mut self, profile: &Profile, watches: &[Watch<'_>], place: usize, row: &Row<'_>, turn: &mut Turn<'_>) {
        let subject = Subject {
            tenant: &self.tenant,
            device_id: &self.device_id,
            profile: &profile.name,
            firmware: row.firmware.or(self.presence.firmware.as_deref()),
            reported: turn.reported,
        };
        let watched = Watched::under(&mut self.watched, &profile.name);
        watched.release(profile, row, &subject, turn);
        let previous = watched.moved;
        if previous.is_some_and(|previous| row.at <= previous) {
            turn.found.tally.out_of_order += 1;
            return;
        }
        watched.moved = Some(row.at);
        for watch in watches {
            let reading = Reading { at: row.at, previous, value: watch.value(place), late: row.late };
            let state = match watched.rules.get_mut(&watch.rule.name) {
                Some(state) => state,
                // Most readings are normal: they cost no entry.
                None if reading.value.is_some_and(|value| rule::reached(watch.rule, value)) => {
                    watched.rules.entry(watch.rule.name.clone()).or_default()
                }
                None => continue,
            };
            let alarm;
            (*state, alarm) = mem::take(state).step(watch.rule, watch.unit, &reading, &subject);
            turn.found.alarms.extend(alarm);
            if *state == rule::State::Normal {
                watched.rules.remove(&watch.rule.name);
            }
        }
    }

    /// Takes a fault row: it releases what else is pending, and moves the state of its code.
    fn report(&mut self, profile: &Profile, code: &str, active: bool, row: &Row<'_>, turn: &mut Turn<'_>) {
        let subject = Subject {
            tenant: &self.tenant,
            device_id: &self.device_id,
            profile: &profile.name,
            firmware: row.firmware.or(self.presence.firmware.as_deref()),
            reported: turn.reported,
        };
        let watched = Watched::under(&mut self.watched, &profile.name);
        // The report itself first: it may be the end of what is pending.
        if let Some(fault) = profile.fault(code) {
            let report = fault::Report { at: row.at, active, late: row.late };
            let state = watched.faults.entry(code.to_owned()).or_default();
            turn.found.tally.out_of_order += u64::from(state.passes_over(&report));
            let alarm;
            (*state, alarm) = mem::take(state).step(fault, &report, &subject);
            turn.found.alarms.extend(alarm);
        } else {
            turn.found.tally.unknown_fault += 1;
        }
        watched.release(profile, row, &subject, turn);
    }
}

impl Watched {
    /// The one of a profile, new if need be.
    fn under<'a>(all: &'a mut Vec<Self>, profile: &ProfileName) -> &'a mut Self {
        let place = all.iter().position(|watched| watched.profile == *profile).unwrap_or_else(|| {
            let new = Self { profile: profile.clone(), moved: None, rules: BTreeMap::new(), faults: BTreeMap::new() };
            all.reserve_exact(1);
            all.push(new);
            all.len() - 1
        });
        &mut all[place]
    }

    /// A row that is not late shows that the device has caught up.
    fn release(&mut self, profile: &Profile, row: &Row<'_>, subject: &Subject<'_>, turn: &mut Turn<'_>) {
        if row.late {
            return;
        }
        for (code, state) in self.faults.iter_mut().filter(|(_, state)| state.is_pending()) {
            let Some(fault) = profile.fault(code) else { continue };
            let alarm;
            (*state, alarm) = mem::take(state).release(fault, row.at, subject);
            turn.found.alarms.extend(alarm);
        }
    }
}
