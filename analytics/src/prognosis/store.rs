//! What prognosis asks of the tables: the only SQL of this folder.
//!
//! In: a tenant, a profile, days. Out: rows as Arrow batches, and what was told of components. Promise: the tenant's rows
//! only, hot and cold, each once (the engine's promise); memory is bounded by what is asked: days and a range of device
//! ids. Never: a write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use foresight::daily;
use futures::StreamExt;
use schemas::{
    door::{SqlEngine, SqlError},
    id::TenantId,
    outcome::Disposition,
    profile::Profile,
    time::Instant,
};
use tracing::trace;

use super::{PrognosisError, feature::Channel, label::Told};

/// One tenant's tables.
#[derive(Clone)]
pub struct Tables {
    engine: Arc<dyn SqlEngine>,
    tenant: TenantId,
}

/// Which rows: days of event time, first and last, and device ids from the first up to but not with the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first day.
    pub first: i32,
    /// The last day.
    pub last: i32,
    /// Device ids; none means all.
    pub devices: Option<(String, Option<String>)>,
}

/// Readings of some devices in some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The oldest event time.
    pub first: Instant,
    /// The newest event time.
    pub last: Instant,
    /// How many readings.
    pub rows: u64,
}

/// What was told of a device, by component.
pub type ToldByDevice = HashMap<String, BTreeMap<String, Vec<Told>>>;

/// What visits found, by component: when, and whether the fault was there.
pub type FoundByComponent = BTreeMap<String, Vec<(i64, bool)>>;

/// Fault reports and outcomes, as the tables have them.
#[derive(Debug, Clone)]
pub struct Reports {
    faults: Vec<RecordBatch>,
    outcomes: Vec<RecordBatch>,
    /// Nothing later counts.
    until: Instant,
}

/// How often each fault key of a component was told.
pub type KeyCounts = BTreeMap<String, BTreeMap<String, u64>>;

impl Tables {
    /// Those of `tenant`, asked through `engine`, whose limits must fit a batch job.
    pub fn new(engine: Arc<dyn SqlEngine>, tenant: TenantId) -> Self {
        Self { engine, tenant }
    }

    /// Whose they are.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// When a profile's readings begin and end; none without any.
    pub async fn extent(&self, profile: &Profile) -> Result<Option<Extent>, PrognosisError> {
        let sql = format!(
            "select count(*) as n, min(event_time) as first, max(event_time) as last from telemetry_{}",
            profile.name
        );
        let batches = self.ask(&sql).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() == 1) else { return Ok(None) };
        let (rows, first, last) = (integers(batch, "n")?, integers(batch, "first")?, integers(batch, "last")?);
        let (rows, first, last) = (rows.as_primitive::<Int64Type>(), first.as_primitive(), last.as_primitive());
        let (first, last): (&arrow::array::Int64Array, &arrow::array::Int64Array) = (first, last);
        if rows.value(0) == 0 || first.is_null(0) {
            return Ok(None);
        }
        Ok(Some(Extent {
            first: Instant::from_micros(first.value(0)),
            last: Instant::from_micros(last.value(0)),
            rows: rows.value(0).unsigned_abs(),
        }))
    }

    /// The devices with readings that arrived from `arrived` on in some days, in order of their ids.
    pub async fn devices(
        &self,
        profile: &Profile,
        range: &Range,
        arrived: Option<Instant>,
    ) -> Result<Vec<String>, PrognosisError> {
        let since = arrived.map_or(String::new(), |at| format!(" and arrival_time >= timestamp '{at}'"));
        let sql = format!(
            "select distinct device_id from telemetry_{} where {}{since} order by device_id",
            profile.name,
            range.sql()
        );
        let mut devices = Vec::new();
        for batch in self.ask(&sql).await? {
            devices.extend(texts(&batch, "device_id")?.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(devices)
    }

    /// Readings: `device_id`, `event_time` and `arrival_time` in microseconds, `late`, and the metrics of the channels.
    pub async fn readings(
        &self,
        profile: &Profile,
        channels: &[Channel],
        range: &Range,
    ) -> Result<Vec<RecordBatch>, PrognosisError> {
        let mut columns: Vec<&str> = channels.iter().flat_map(Channel::metrics).collect();
        columns.sort_unstable();
        columns.dedup();
        let sql = format!(
            "select device_id, event_time, arrival_time, late, {} from telemetry_{} where {}",
            columns.join(", "),
            profile.name,
            range.sql()
        );
        self.ask(&sql).await
    }

    /// What fault reports and outcomes tell of components up to `until`: of one profile, or of all at once.
    pub async fn reports(&self, profile: Option<&Profile>, until: Instant) -> Result<Reports, PrognosisError> {
        let end = date(daily::landmark_after(until.micros()));
        let (of_faults, of_outcomes) = match profile {
            Some(Profile { name, .. }) => {
                (format!("profile = '{name}' and "), format!("(profile = '{name}' or profile is null) and "))
            }
            None => Default::default(),
        };
        let faults =
            format!("select profile, device_id, event_time, code, active from fault where {of_faults}date <= {end}");
        let outcomes = format!(
            "select profile, device_id, event_time, failure_time, fault_key, disposition, confirms_fault from outcome \
             where {of_outcomes}date <= {end}"
        );
        let (faults, outcomes) = tokio::try_join!(self.ask(&faults), self.ask(&outcomes))?;
        Ok(Reports { faults, outcomes, until })
    }

    /// Alarms that rules raised, as they were recorded: device, component, when.
    pub async fn rule_alarms(
        &self,
        profile: &Profile,
        until: Instant,
    ) -> Result<Vec<(String, String, Instant)>, PrognosisError> {
        let sql = format!(
            "select device_id, fault_key, min(alarm_raised_time) as raised from alarm \
             where profile = '{}' and source = 'rule' and alarm_raised_time <= timestamp '{until}' \
             group by device_id, fault_key, alarm_id",
            profile.name
        );
        let mut alarms = Vec::new();
        for batch in self.ask(&sql).await? {
            let (devices, keys, raised) =
                (texts(&batch, "device_id")?, texts(&batch, "fault_key")?, integers(&batch, "raised")?);
            let (devices, keys) = (devices.as_string::<i32>(), keys.as_string::<i32>());
            let raised = raised.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let key = keys.value(row);
                let component = key.split_once('/').map_or(key, |(component, _)| component);
                let at = Instant::from_micros(raised.value(row));
                alarms.push((devices.value(row).to_owned(), component.to_owned(), at));
            }
        }
        Ok(alarms)
    }

    async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, PrognosisError> {
        let failed = |source: SqlError| PrognosisError::Query { sql: sql.to_owned(), source };
        let from = tokio::time::Instant::now();
        let mut answer = self.engine.query(&self.tenant, sql).await.map_err(failed)?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.batches.next().await {
            batches.push(batch.map_err(failed)?);
        }
        trace!(seconds = from.elapsed().as_secs_f64(), "asked: {sql}");
        Ok(batches)
    }
}

impl Reports {
    /// What they tell of a profile's components, under which fault keys, and how often visits found what tickets spoke of.
    pub fn told(&self, profile: &Profile) -> Result<(ToldByDevice, KeyCounts, FoundByComponent), PrognosisError> {
        let (mut told, mut keys, mut found) = (ToldByDevice::new(), KeyCounts::new(), FoundByComponent::new());
        let mut tell = |device: &str, component: &str, key: &str, what: Told| {
            told.entry(device.into()).or_default().entry(component.into()).or_default().push(what);
            if matches!(what, Told::Reported { .. } | Told::Confirmed { .. }) {
                *keys.entry(component.into()).or_default().entry(key.into()).or_default() += 1;
            }
        };
        let until = self.until.micros();
        for batch in &self.faults {
            let (profiles, devices, codes) =
                (texts(batch, "profile")?, texts(batch, "device_id")?, texts(batch, "code")?);
            let (at, active) = (integers(batch, "event_time")?, typed(batch, "active", &DataType::Boolean)?);
            let (profiles, devices) = (profiles.as_string::<i32>(), devices.as_string::<i32>());
            let (codes, at, active) = (codes.as_string::<i32>(), at.as_primitive::<Int64Type>(), active.as_boolean());
            for row in (0..batch.num_rows()).filter(|row| profiles.value(*row) == profile.name.as_str()) {
                let (at, Some(fault)) = (at.value(row), profile.fault(codes.value(row))) else { continue };
                if at > until {
                    continue;
                }
                let what = if active.value(row) { Told::Reported { at } } else { Told::Ended { at } };
                tell(devices.value(row), fault.fault_key.component(), fault.fault_key.as_str(), what);
            }
        }
        for batch in &self.outcomes {
            let (profiles, devices, keys) =
                (texts(batch, "profile")?, texts(batch, "device_id")?, texts(batch, "fault_key")?);
            let (ended, confirms) = (texts(batch, "disposition")?, typed(batch, "confirms_fault", &DataType::Boolean)?);
            let (at, failed) = (integers(batch, "event_time")?, integers(batch, "failure_time")?);
            let (profiles, failed) = (profiles.as_string::<i32>(), failed.as_primitive::<Int64Type>());
            let (devices, keys, ended) =
                (devices.as_string::<i32>(), keys.as_string::<i32>(), ended.as_string::<i32>());
            let (at, confirms) = (at.as_primitive::<Int64Type>(), confirms.as_boolean());
            // An outcome may not know the profile: then the component's name has to do.
            let of = |row: &usize| profiles.is_null(*row) || profiles.value(*row) == profile.name.as_str();
            for row in (0..batch.num_rows()).filter(of) {
                let (at, key) = (at.value(row), keys.value(row));
                let component = key.split_once('/').map_or(key, |(component, _)| component);
                if at > until || profile.component(component).is_none() {
                    continue;
                }
                if confirms.is_valid(row) {
                    found.entry(component.to_owned()).or_default().push((at, confirms.value(row)));
                }
                let renewed = Disposition::parse(ended.value(row)) == Some(Disposition::ScheduledReplacement);
                let what = match (confirms.is_valid(row) && confirms.value(row), renewed) {
                    (true, _) if failed.is_valid(row) => Told::Confirmed { at: failed.value(row).min(at), mended: at },
                    (true, _) => Told::Confirmed { at, mended: at },
                    (false, true) => Told::Renewed { at },
                    (false, false) => continue,
                };
                tell(devices.value(row), component, key, what);
            }
        }
        Ok((told, keys, found))
    }
}

impl Range {
    /// All devices.
    pub fn days(first: i32, last: i32) -> Self {
        Self { first, last, devices: None }
    }

    fn sql(&self) -> String {
        let mut sql = format!("date >= {} and date <= {}", date(self.first), date(self.last));
        if let Some((first, end)) = &self.devices {
            // Device ids have no quotes.
            sql += &format!(" and device_id >= '{first}'");
            if let Some(end) = end {
                sql += &format!(" and device_id < '{end}'");
            }
        }
        sql
    }
}

fn date(day: i32) -> String {
    let at = Instant::from_micros(daily::landmark_micros(day)).to_string();
    format!("date '{}'", at.split('T').next().unwrap_or_default())
}

pub(super) fn typed(batch: &RecordBatch, name: &'static str, r#type: &DataType) -> Result<ArrayRef, PrognosisError> {
    let column = batch.column_by_name(name).ok_or(PrognosisError::Column { column: name.into() })?;
    cast(column, r#type).map_err(|_| PrognosisError::Column { column: name.into() })
}

/// Counts and instants as 64-bit integers; an instant is its microseconds.
pub(super) fn integers(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, PrognosisError> {
    typed(batch, name, &DataType::Int64)
}

pub(super) fn texts(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, PrognosisError> {
    typed(batch, name, &DataType::Utf8)
}
