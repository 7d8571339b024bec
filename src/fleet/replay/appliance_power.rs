//! One-minute active power of real appliances with labelled faults: each appliance under each kind of fault is a
//! device, each hour a message in columns.
//!
//! The files are read by `foresight::evaluate`, as they were published. A device's days are put one after another in the
//! order of their numbers, since the recordings of one kind are separate days.

use std::{collections::BTreeMap, path::Path, time::Duration};

use foresight::evaluate::appliance_power::{Day, Minute, days};
use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::json;

use super::recording::{Failure, Recording, Step, Steps, Turn, device_id};
use crate::fleet::device::Message;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) struct AppliancePower {
    steps: BTreeMap<Instant, Vec<Turn>>,
    messages: u64,
    failures: Vec<Failure>,
}

pub(super) fn open(path: &Path, tenant: &TenantId) -> anyhow::Result<AppliancePower> {
    let mut devices: BTreeMap<DeviceId, (String, BTreeMap<u32, Vec<Minute>>)> = BTreeMap::new();
    for Day { appliance, unit, kind, number, minutes } in days(path)? {
        let device = device_id(&format!("{unit}.{kind}"))?;
        devices.entry(device).or_insert_with(|| (appliance, BTreeMap::new())).1.insert(number, minutes);
    }
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
            let Some(first) = minutes.first().map(|minute| minute.at) else { continue };
            // Two days' room for each recorded day: some run a little over midnight.
            let day = origin.plus(Duration::from_secs(2 * 86_400) * number as u32);
            let shift = |minute: &Minute| Minute { at: day.plus(minute.at.since(first)), ..*minute };
            let shifted: Vec<Minute> = minutes.iter().map(shift).collect();
            for hour in shifted.chunks(60) {
                labelled.extend(hour.iter().filter(|minute| minute.labelled).map(|minute| minute.at));
                let payload = json!({
                    "profile": "power_monitor", "boot": 1, "seq": seq,
                    "ts": hour.iter().map(|minute| minute.at.micros() / 1000).collect::<Vec<_>>(),
                    "m": {
                        "active_power_w": hour.iter().map(|minute| minute.power_w).collect::<Vec<_>>(),
                        "appliance": vec![appliance; hour.len()],
                    },
                });
                seq += hour.len();
                self.messages += 1;
                let message = Message { topic: topic.clone(), payload: payload.to_string().into(), retain: false };
                let hour_of = hour[0].at.micros().div_euclid(HOUR.as_micros() as i64) * HOUR.as_micros() as i64;
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
