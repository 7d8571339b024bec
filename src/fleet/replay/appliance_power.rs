//! One-minute active power of real appliances with labelled faults: each appliance under each kind of fault is a
//! device, each hour a message in columns.
//!
//! The files are as they were published: some carry an index column, a byte order mark or US dates. A device's days
//! are put one after another in the order of their numbers, since the recordings of one kind are separate days.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::json;

use super::recording::{Failure, Recording, Step, Steps, Turn, column, csv, device_id, reader};
use crate::fleet::device::Message;

const HOUR: Duration = Duration::from_secs(3600);

/// One minute: power, if it was readable, and the label.
type Minute = (Instant, Option<f64>, bool);

pub(super) struct AppliancePower {
    steps: BTreeMap<Instant, Vec<Turn>>,
    messages: u64,
    failures: Vec<Failure>,
}

pub(super) fn open(path: &Path, tenant: &TenantId) -> anyhow::Result<AppliancePower> {
    let mut devices: BTreeMap<DeviceId, (String, BTreeMap<u32, Vec<Minute>>)> = BTreeMap::new();
    for (name, text) in files(path)? {
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let [.., category, unit, kind, day_file] = parts[..] else { continue };
        let Some(day) = day_number(day_file) else { continue };
        let device = device_id(&format!("{unit}.{kind}"))?;
        let minutes = minutes(&text).with_context(|| format!("read {name}"))?;
        let entry = devices.entry(device).or_insert_with(|| (category.to_lowercase(), BTreeMap::new()));
        entry.1.insert(day, minutes);
    }
    anyhow::ensure!(!devices.is_empty(), "no APPLIANCE/UNIT/KIND/…dayN.csv in a folder or a tar");
    let mut set = AppliancePower { steps: BTreeMap::new(), messages: 0, failures: Vec::new() };
    let origin: Instant = "2020-01-01T00:00:00Z".parse()?;
    for (device_id, (appliance, days)) in devices {
        let labelled: Vec<Instant> = set.device(tenant, &device_id, &appliance, days, origin);
        if let Some(last) = labelled.last() {
            set.failures.push(Failure { device_id, component: None, at: last.plus(Duration::from_secs(60)) });
        }
    }
    Ok(set)
}

impl AppliancePower {
    /// Adds a device's messages; gives the labelled minutes.
    fn device(
        &mut self,
        tenant: &TenantId,
        device_id: &DeviceId,
        appliance: &str,
        days: BTreeMap<u32, Vec<Minute>>,
        origin: Instant,
    ) -> Vec<Instant> {
        let topic = Topic::new(tenant.clone(), device_id.clone(), Channel::Telemetry);
        let (mut labelled, mut seq) = (Vec::new(), 0usize);
        for (number, minutes) in days.into_values().enumerate() {
            let Some(first) = minutes.first().map(|minute| minute.0) else { continue };
            // Two days' room for each recorded day: some run a little over midnight.
            let day = origin.plus(Duration::from_secs(2 * 86_400) * number as u32);
            let shifted: Vec<Minute> =
                minutes.iter().map(|(at, power, label)| (day.plus(at.since(first)), *power, *label)).collect();
            for hour in shifted.chunks(60) {
                labelled.extend(hour.iter().filter(|(_, _, label)| *label).map(|(at, _, _)| *at));
                let payload = json!({
                    "profile": "power_monitor", "boot": 1, "seq": seq,
                    "ts": hour.iter().map(|(at, _, _)| at.micros() / 1000).collect::<Vec<_>>(),
                    "m": {
                        "active_power_w": hour.iter().map(|(_, power, _)| *power).collect::<Vec<_>>(),
                        "appliance": vec![appliance; hour.len()],
                    },
                });
                seq += hour.len();
                self.messages += 1;
                let message = Message { topic: topic.clone(), payload: payload.to_string().into(), retain: false };
                let hour_of = hour[0].0.micros().div_euclid(HOUR.as_micros() as i64) * HOUR.as_micros() as i64;
                self.steps
                    .entry(Instant::from_micros(hour_of))
                    .or_default()
                    .push(Turn { device_id: device_id.clone(), messages: vec![message] });
            }
        }
        labelled
    }
}

impl Recording for AppliancePower {
    fn messages(&self) -> Option<u64> {
        Some(self.messages)
    }

    fn failures(&self) -> &[Failure] {
        &self.failures
    }

    fn steps(&self) -> anyhow::Result<Steps> {
        Ok(Box::new(self.steps.clone().into_iter().map(|(at, turns)| Ok(Step { at, turns }))))
    }
}

/// Every CSV under a folder, or in the tars of it: name and text.
fn files(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    if path.is_file() {
        unpack(path, &mut found)?;
        folders.clear();
    }
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        entries.sort();
        for entry in entries {
            let name = entry.display().to_string();
            if entry.is_dir() {
                folders.push(entry);
            } else if name.ends_with(".tar") || name.ends_with(".tar.zst") {
                unpack(&entry, &mut found)?;
            } else if name.ends_with(".csv") || name.ends_with(".csv.zst") {
                let mut text = String::new();
                reader(&entry)?.read_to_string(&mut text).with_context(|| format!("read {name}"))?;
                found.push((name.trim_end_matches(".zst").to_owned(), text));
            }
        }
    }
    Ok(found)
}

fn unpack(tar: &Path, found: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(reader(tar)?);
    for entry in archive.entries().with_context(|| format!("read {}", tar.display()))? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        if name.ends_with(".csv") {
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(|| format!("read {name}"))?;
            found.push((name, text));
        }
    }
    Ok(())
}

/// `dishwasher_1_day10_ANOMALIES.csv` is day 10.
fn day_number(file: &str) -> Option<u32> {
    let rest = file.split("day").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

pub(super) fn minutes(text: &str) -> anyhow::Result<Vec<Minute>> {
    let (head, mut rows) = csv(text.as_bytes())?;
    let (time, power) = (column(&head, "ctime")?, column(&head, "activePower")?);
    let label = head.iter().position(|name| name == "label");
    let mut found = Vec::new();
    for row in rows.records() {
        let row = row?;
        let Some(at) = row.get(time).filter(|text| !text.is_empty()) else { continue };
        let labelled = label.and_then(|label| row.get(label)).is_some_and(|text| text.starts_with('1'));
        found.push((instant(at)?, row.get(power).and_then(|text| text.parse().ok()), labelled));
    }
    found.sort_by_key(|minute| minute.0);
    found.dedup_by_key(|minute| minute.0);
    Ok(found)
}

/// `2020-03-16 10:00:00`, or as Americans write it, `3/16/2020 10:00`.
fn instant(text: &str) -> anyhow::Result<Instant> {
    if let Some((date, clock)) = text.split_once(' ')
        && date.contains('/')
    {
        let parts: Vec<u32> = date.split('/').map(str::parse).collect::<Result<_, _>>()?;
        let [month, day, year] = parts[..] else { anyhow::bail!("{text:?} is no date") };
        let (hour, rest) = clock.split_once(':').with_context(|| format!("{text:?} is no time"))?;
        let hour: u32 = hour.parse()?;
        let seconds = if rest.contains(':') { "" } else { ":00" };
        return Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{rest}{seconds}Z").parse()?);
    }
    Ok(format!("{}Z", text.replacen(' ', "T", 1)).parse()?)
}
