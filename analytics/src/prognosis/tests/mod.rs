//! A small fleet of washing machines in hot tables: some bearings wear over ten days, fail and are replaced.

mod agreement;
mod learning;
mod past;
mod serving;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::SchemaRef,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{
    door::{TableSnapshot, TableSource},
    profile::{Profile, Profiles},
    table::{self, TableName},
    time::{Clock, Instant, ManualClock},
};

use super::store::Tables;

const DAY: Duration = Duration::from_secs(86_400);

/// Tables of hot rows only.
#[derive(Default)]
struct Hot(Mutex<BTreeMap<TableName, (SchemaRef, Vec<RecordBatch>)>>);

impl TableSource for Hot {
    fn names(&self) -> Vec<TableName> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        let (schema, hot) = self.0.lock().unwrap().get(table)?.clone();
        let location = "file:///nowhere/".parse().unwrap();
        Some(TableSnapshot { location, version: None, schema, hot, raw: Vec::new() })
    }
}

/// One reading of a washing machine.
#[derive(Debug, Clone)]
struct Reading {
    device: String,
    at: Instant,
    arrived: Instant,
    speed: Option<f64>,
    vibration: Option<f64>,
}

fn profile() -> Arc<Profile> {
    Profiles::builtin().get("washing_machine").unwrap().clone()
}

fn begin() -> Instant {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn instants(of: impl Iterator<Item = Instant>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(of.map(Instant::micros)).with_timezone("UTC"))
}

/// Columns by name; what is not given is null.
fn batch(schema: &SchemaRef, rows: usize, columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| {
        let given = columns.iter().find(|(name, _)| name == field.name()).map(|(_, column)| column.clone());
        given.unwrap_or_else(|| new_null_array(field.data_type(), rows))
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn readings(rows: &[Reading]) -> RecordBatch {
    let text =
        |of: &dyn Fn(&Reading) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
    batch(
        &table::telemetry(&profile()),
        rows.len(),
        vec![
            ("tenant", text(&|_| "dev")),
            ("device_id", text(&|row| &row.device)),
            ("boot", Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 1)))),
            ("event_time", instants(rows.iter().map(|row| row.at))),
            ("arrival_time", instants(rows.iter().map(|row| row.arrived))),
            ("late", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.arrived.since(row.at) > DAY))))),
            ("drum_speed_rpm", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.speed)))),
            ("vibration_mm_s", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.vibration)))),
            ("date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.at.days())))),
        ],
    )
}

/// Visits that found a worn bearing: device and when.
fn outcomes(rows: &[(String, Instant)]) -> RecordBatch {
    let all = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|_| text))) };
    let devices: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(device, _)| device)));
    let date = Date32Array::from_iter_values(rows.iter().map(|(_, at)| at.days()));
    batch(
        &table::fixed(&TableName::Outcome).unwrap(),
        rows.len(),
        vec![
            ("tenant", all("dev")),
            ("device_id", devices.clone()),
            ("profile", all("washing_machine")),
            ("outcome_id", devices),
            ("fault_key", all("drum_bearing/wear")),
            ("event_time", instants(rows.iter().map(|(_, at)| *at))),
            ("disposition", all("part_replaced")),
            ("confirms_fault", Arc::new(BooleanArray::from_iter(rows.iter().map(|_| Some(true))))),
            ("date", Arc::new(date)),
        ],
    )
}

/// The fleet's rows, and when which bearing failed.
struct Fleet {
    hot: Arc<Hot>,
    readings: Vec<Reading>,
    failures: Vec<(String, Instant)>,
}

impl Fleet {
    /// `devices` washing machines over `days`; every second one wears out at some time, four readings a day.
    fn new(seed: u64, devices: usize, days: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut readings, mut failures) = (Vec::new(), Vec::new());
        for device in 0..devices {
            let name = format!("wm-{device:04}");
            let (level, fails) = (2.2 + rng.random_range(-0.3..0.3), rng.random_range(8.0..days as f64 + 10.0));
            let worn = device % 2 == 0;
            let failure = begin().plus(DAY.mul_f64(fails));
            let mended = failure.plus(DAY);
            if worn && failure < begin().plus(DAY * days as u32) {
                failures.push((name.clone(), failure));
            }
            for hour in (1..days * 24).step_by(6) {
                let at = begin().plus(Duration::from_secs(hour * 3600 + 60 * device as u64 % 3000));
                let share = 1.0 + at.hours_since(failure) / 240.0;
                let wear = if worn && at < mended { share.clamp(0.0, 1.2).powf(1.6) } else { 0.0 };
                readings.push(Reading {
                    device: name.clone(),
                    at,
                    arrived: at.plus(Duration::from_secs(rng.random_range(1..7200))),
                    speed: Some(1000.0),
                    vibration: Some(level + 10.0 * wear + rng.random_range(-0.3..0.3)),
                });
            }
        }
        let fleet = Self { hot: Arc::default(), readings, failures };
        fleet.show(|_| true);
        fleet
    }

    /// Shows the readings that `seen` lets through, and everything visits found.
    fn show(&self, seen: impl Fn(&Reading) -> bool) {
        let rows: Vec<Reading> = self.readings.iter().filter(|row| seen(row)).cloned().collect();
        let found: Vec<(String, Instant)> =
            self.failures.iter().map(|(device, at)| (device.clone(), at.plus(DAY))).collect();
        let mut tables = self.hot.0.lock().unwrap();
        let name = TableName::Telemetry("washing_machine".parse().unwrap());
        tables.insert(name, (table::telemetry(&profile()), vec![readings(&rows)]));
        let (outcome, fault) = (table::fixed(&TableName::Outcome).unwrap(), table::fixed(&TableName::Fault).unwrap());
        tables.insert(TableName::Outcome, (outcome, vec![outcomes(&found)]));
        tables.insert(TableName::Fault, (fault, Vec::new()));
        let alarm = table::fixed(&TableName::Alarm).unwrap();
        tables.insert(TableName::Alarm, (alarm, Vec::new()));
    }

    fn tables(&self) -> Tables {
        Tables::new(super::engine(self.hot.clone(), clock_at(begin())).unwrap(), "dev".parse().unwrap())
    }
}

fn clock_at(at: Instant) -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(at))
}
