//! Backblaze's daily SMART snapshots: each drive a device, each day's row a message.
//!
//! `failure` = 1 stands on the last day before a drive failed: the failure is taken to be at the end of that day.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use schemas::{
    id::TenantId,
    profile::{MetricType, Profile, Profiles},
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::{Map, Value, json};

use super::recording::{Failure, Recording, Step, Steps, Turn, column, csv, device_id, reader};
use crate::fleet::device::Message;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Backblaze {
    days: Vec<(Instant, PathBuf)>,
    messages: u64,
    failures: Vec<Failure>,
    tenant: TenantId,
}

/// Reads the folder's days once for what failed; the rows themselves are read again day by day.
pub(super) fn open(folder: &Path, tenant: &TenantId) -> anyhow::Result<Backblaze> {
    let mut days = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(day) = name.strip_suffix(".csv.zst").or(name.strip_suffix(".csv"))
            && let Ok(at) = format!("{day}T00:00:00Z").parse::<Instant>()
        {
            days.insert(at, path);
        }
    }
    anyhow::ensure!(!days.is_empty(), "no files named YYYY-MM-DD.csv or .csv.zst");
    let mut set =
        Backblaze { days: days.into_iter().collect(), messages: 0, failures: Vec::new(), tenant: tenant.clone() };
    for (at, path) in &set.days {
        let (head, mut rows) = csv(reader(path)?)?;
        let (serial, failure) = (column(&head, "serial_number")?, column(&head, "failure")?);
        for row in rows.records() {
            let row = row.with_context(|| format!("read {}", path.display()))?;
            set.messages += 1;
            if row.get(failure) == Some("1") {
                let device_id = device_id(row.get(serial).unwrap_or_default())?;
                set.failures.push(Failure { device_id, component: None, at: at.plus(DAY) });
            }
        }
    }
    Ok(set)
}

impl Recording for Backblaze {
    fn messages(&self) -> Option<u64> {
        Some(self.messages)
    }

    fn failures(&self) -> &[Failure] {
        &self.failures
    }

    fn steps(&self) -> anyhow::Result<Steps> {
        let profile = Profiles::builtin().get("disk_drive").cloned().context("profile disk_drive")?;
        let tenant = self.tenant.clone();
        Ok(Box::new(self.days.clone().into_iter().map(move |(at, path)| {
            day(at, &path, &tenant, &profile).with_context(|| format!("read {}", path.display()))
        })))
    }
}

fn day(at: Instant, path: &Path, tenant: &TenantId, profile: &Profile) -> anyhow::Result<Step> {
    let (head, mut rows) = csv(reader(path)?)?;
    let serial = column(&head, "serial_number")?;
    // Columns that the profile knows, and the others that hold something: they go to `extra`.
    let skip = ["date", "serial_number", "failure"];
    let columns: Vec<(usize, &str)> = head.iter().enumerate().filter(|(_, name)| !skip.contains(name)).collect();
    let mut turns = Vec::new();
    for row in rows.records() {
        let row = row?;
        let device_id = device_id(row.get(serial).unwrap_or_default())?;
        let mut metrics = Map::new();
        for (index, name) in &columns {
            let text = row.get(*index).unwrap_or_default();
            if !text.is_empty() {
                metrics.insert((*name).to_owned(), value(profile, name, text));
            }
        }
        let message = json!({
            "profile": profile.name.as_str(), "boot": 1, "seq": i64::from(at.days()), "ts": at.to_string(),
            "m": metrics,
        });
        let topic = Topic::new(tenant.clone(), device_id.clone(), Channel::Telemetry);
        turns.push(Turn {
            device_id,
            messages: vec![Message { topic, payload: message.to_string().into(), retain: false }],
        });
    }
    Ok(Step { at, turns })
}

fn value(profile: &Profile, name: &str, text: &str) -> Value {
    let whole = profile.metric(name).is_none_or(|metric| metric.r#type == MetricType::Integer);
    match text.parse::<i64>() {
        Ok(number) if whole => number.into(),
        _ => text.into(),
    }
}
