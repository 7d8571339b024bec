//! Microsoft's fleet of machines: hourly telemetry, self-reported error codes as faults, maintenance as outcomes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use schemas::{
    id::{DeviceId, TenantId},
    outcome::{Disposition, Outcome},
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::json;

use super::recording::{Failure, Recording, Step, Steps, Turn, column, csv, file, reader};
use crate::fleet::device::Message;

/// Event time of one step.
const STEP: Duration = Duration::from_secs(6 * 3600);

pub(super) struct AzurePdm {
    telemetry: PathBuf,
    messages: u64,
    steps: BTreeMap<Instant, BTreeMap<u32, Vec<(Instant, Message)>>>,
    failures: Vec<Failure>,
    outcomes: Vec<Outcome>,
}

fn machine_id(machine: u32) -> anyhow::Result<DeviceId> {
    Ok(format!("machine-{machine:03}").parse()?)
}

fn instant(text: &str) -> anyhow::Result<Instant> {
    Ok(format!("{}Z", text.replacen(' ', "T", 1)).parse()?)
}

fn step_of(at: Instant) -> Instant {
    let step = STEP.as_micros() as i64;
    Instant::from_micros(at.micros().div_euclid(step) * step)
}

/// Rows of a file: time, machine, and the other columns by name.
fn rows(path: &Path, columns: &[&str]) -> anyhow::Result<Vec<(Instant, u32, Vec<String>)>> {
    let attempt = || -> anyhow::Result<_> {
        let (head, mut rows) = csv(reader(path)?)?;
        let (time, machine) = (column(&head, "datetime")?, column(&head, "machineID")?);
        let columns = columns.iter().map(|name| column(&head, name)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut found = Vec::new();
        for row in rows.records() {
            let row = row?;
            let text = |index: usize| row.get(index).unwrap_or_default();
            let values = columns.iter().map(|index| text(*index).to_owned()).collect();
            found.push((instant(text(time))?, text(machine).parse()?, values));
        }
        Ok(found)
    };
    attempt().with_context(|| format!("read {}", path.display()))
}

pub(super) fn open(folder: &Path, tenant: &TenantId) -> anyhow::Result<AzurePdm> {
    let telemetry = file(folder, "telemetry_hourly_20machines_90days.csv")?;
    let mut set =
        AzurePdm { telemetry, messages: 0, steps: BTreeMap::new(), failures: Vec::new(), outcomes: Vec::new() };
    let machines = models(&file(folder, "PdM_machines.csv")?)?;
    let readings = rows(&set.telemetry, &["volt", "rotate", "pressure", "vibration"])?;
    let (first, last) = match (readings.iter().map(|r| r.0).min(), readings.iter().map(|r| r.0).max()) {
        (Some(first), Some(last)) => (first, last),
        _ => anyhow::bail!("{} is empty", set.telemetry.display()),
    };
    let known: BTreeSet<u32> = readings.iter().map(|reading| reading.1).collect();
    let recorded = |at: &Instant, machine: &u32| known.contains(machine) && (first..=last).contains(at);

    for (at, machine, values) in &readings {
        let number = |index: usize| values[index].parse::<f64>().context("a measured value");
        let (model, age) = machines.get(machine).cloned().unwrap_or_default();
        let payload = json!({
            "profile": "industrial_machine", "boot": 1, "seq": at.since(first).as_secs() / 3600, "ts": at.to_string(),
            "m": {
                "volt_v": number(0)?, "rotate_rpm": number(1)?, "pressure_bar": number(2)?,
                "vibration_mm_s": number(3)?, "model": model, "age_years": age,
            },
        });
        set.push(tenant, *machine, *at, Channel::Telemetry, payload.to_string())?;
    }
    let mut fault_seq: BTreeMap<u32, i64> = BTreeMap::new();
    let mut errors = rows(&file(folder, "PdM_errors.csv")?, &["errorID"])?;
    errors.sort();
    for (at, machine, values) in errors.iter().filter(|(at, machine, _)| recorded(at, machine)) {
        let seq = fault_seq.entry(*machine).or_default();
        // An error code of this fleet is an instant, not a state: it comes, and is gone a second later.
        for (active, at) in [(true, *at), (false, at.plus(Duration::from_secs(1)))] {
            let payload = json!({
                "profile": "industrial_machine", "boot": 1, "seq": *seq, "ts": at.to_string(),
                "code": values[0], "active": active,
            });
            *seq += 1;
            set.push(tenant, *machine, at, Channel::Fault, payload.to_string())?;
        }
    }
    let failures = rows(&file(folder, "PdM_failures.csv")?, &["failure"])?;
    for (at, machine, values) in failures.iter().filter(|(at, machine, _)| recorded(at, machine)) {
        let component = Some(values[0].clone());
        set.failures.push(Failure { device_id: machine_id(*machine)?, component, at: *at });
    }
    let failed: BTreeSet<(Instant, u32, &str)> = failures.iter().map(|(at, m, v)| (*at, *m, v[0].as_str())).collect();
    for (at, machine, values) in rows(&file(folder, "PdM_maint.csv")?, &["comp"])? {
        if !recorded(&at, &machine) {
            continue;
        }
        let component = &values[0];
        let corrective = failed.contains(&(at, machine, component.as_str()));
        let disposition = if corrective { Disposition::PartReplaced } else { Disposition::ScheduledReplacement };
        set.outcomes.push(Outcome {
            outcome_id: format!("azure-pdm-{machine}-{}-{component}", at.micros() / 1_000_000),
            tenant: tenant.clone(),
            device_id: machine_id(machine)?,
            profile: Some("industrial_machine".parse()?),
            ticket_id: None,
            advisory_id: None,
            fault_key: format!("{component}/breakdown").parse()?,
            event_time: at,
            failure_time: corrective.then_some(at),
            disposition,
            failure_mode: corrective.then(|| "breakdown".to_owned()),
            failure_mechanism: None,
            failure_cause: None,
            detection_method: None,
            maintenance_activity: Some("replace".to_owned()),
            part_replaced: Some(component.clone()),
        });
    }
    Ok(set)
}

/// Model and age of each machine.
fn models(path: &Path) -> anyhow::Result<BTreeMap<u32, (String, i64)>> {
    let (head, mut rows) = csv(reader(path)?)?;
    let (machine, model, age) = (column(&head, "machineID")?, column(&head, "model")?, column(&head, "age")?);
    let mut found = BTreeMap::new();
    for row in rows.records() {
        let row = row.with_context(|| format!("read {}", path.display()))?;
        let text = |index: usize| row.get(index).unwrap_or_default();
        found.insert(text(machine).parse()?, (text(model).to_owned(), text(age).parse()?));
    }
    Ok(found)
}

impl AzurePdm {
    fn push(
        &mut self,
        tenant: &TenantId,
        machine: u32,
        at: Instant,
        channel: Channel,
        payload: String,
    ) -> anyhow::Result<()> {
        let topic = Topic::new(tenant.clone(), machine_id(machine)?, channel);
        let message = Message { topic, payload: payload.into(), retain: false };
        self.messages += 1;
        self.steps.entry(step_of(at)).or_default().entry(machine).or_default().push((at, message));
        Ok(())
    }
}

impl Recording for AzurePdm {
    fn messages(&self) -> Option<u64> {
        Some(self.messages)
    }

    fn failures(&self) -> &[Failure] {
        &self.failures
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.clone()
    }

    fn steps(&self) -> anyhow::Result<Steps> {
        let steps = self.steps.clone().into_iter().map(|(at, machines)| {
            let turn = |(machine, mut messages): (u32, Vec<(Instant, Message)>)| {
                // What was measured at an instant comes before the error that was reported at it.
                messages.sort_by_key(|(at, _)| *at);
                Ok(Turn { device_id: machine_id(machine)?, messages: messages.into_iter().map(|(_, m)| m).collect() })
            };
            Ok(Step { at, turns: machines.into_iter().map(turn).collect::<anyhow::Result<_>>()? })
        });
        Ok(Box::new(steps))
    }
}
