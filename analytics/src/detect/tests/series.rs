//! Readings and fault reports of pumps, made into chunks as the decoder makes them.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::SchemaRef,
};
use schemas::{
    door::{Chunk, Rows},
    id::LogOffset,
    profile::{Profile, Profiles},
    table::{self, TableName},
    time::Instant,
};

/// What a pump says.
#[derive(Debug, Clone)]
pub(super) enum What {
    Reading { vibration: Option<f64>, speed: Option<i64>, level: Option<f64>, restarts: Option<i64> },
    Fault { code: &'static str, active: bool },
}

/// Which pump says it, and when.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) device: String,
    pub(super) minute: u64,
    pub(super) late: bool,
    pub(super) what: What,
}

impl Event {
    pub(super) fn at(&self) -> i64 {
        i64::try_from(self.minute).unwrap() * 60_000_000
    }
}

pub(super) fn pump() -> Profiles {
    let mut profiles = Profiles::default();
    profiles.insert(Profile::parse(super::PUMP).unwrap());
    profiles
}

/// One frame per event from `start` on; arrival times count the frames.
pub(super) fn chunk(profiles: &Profiles, start: u64, events: &[Event]) -> Chunk {
    arriving(profiles, start, events, |_, place| place)
}

/// As [`chunk`], arriving when `arrival` says, in microseconds.
pub(super) fn arriving(
    profiles: &Profiles,
    start: u64,
    events: &[Event],
    arrival: impl Fn(&Event, i64) -> i64,
) -> Chunk {
    let placed = || {
        let places = events.iter().zip(i64::try_from(start).unwrap()..);
        places.map(|(event, place)| (event, arrival(event, place)))
    };
    let readings: Vec<_> = placed().filter(|(event, _)| matches!(event.what, What::Reading { .. })).collect();
    let faults: Vec<_> = placed().filter(|(event, _)| matches!(event.what, What::Fault { .. })).collect();
    let mut rows = Vec::new();
    if !readings.is_empty() {
        let metric = |pick: fn(&What) -> Option<f64>| -> ArrayRef {
            Arc::new(readings.iter().map(|(event, _)| pick(&event.what)).collect::<Float64Array>())
        };
        let count = |pick: fn(&What) -> Option<i64>| -> ArrayRef {
            Arc::new(readings.iter().map(|(event, _)| pick(&event.what)).collect::<Int64Array>())
        };
        let mut columns = common(&readings);
        columns.extend([
            ("vibration_mm_s", metric(|w| if let What::Reading { vibration, .. } = w { *vibration } else { None })),
            ("speed_rpm", count(|w| if let What::Reading { speed, .. } = w { *speed } else { None })),
            ("level_l", metric(|w| if let What::Reading { level, .. } = w { *level } else { None })),
            ("restarts", count(|w| if let What::Reading { restarts, .. } = w { *restarts } else { None })),
        ]);
        let schema = table::telemetry(profiles.get("pump").unwrap());
        rows.push(Rows { table: TableName::Telemetry("pump".parse().unwrap()), batch: batch(schema, &columns) });
    }
    if !faults.is_empty() {
        let (codes, active): (Vec<_>, Vec<_>) = faults
            .iter()
            .map(|(event, _)| if let What::Fault { code, active } = event.what { (code, active) } else { ("", false) })
            .unzip();
        let mut columns = common(&faults);
        columns.extend([
            ("profile", Arc::new(StringArray::from(vec!["pump"; faults.len()])) as ArrayRef),
            ("code", Arc::new(StringArray::from(codes))),
            ("active", Arc::new(BooleanArray::from(active))),
        ]);
        rows.push(Rows { table: TableName::Fault, batch: batch(table::fixed(&TableName::Fault).unwrap(), &columns) });
    }
    let end = LogOffset(start).plus(events.len() as u64);
    Chunk { start: LogOffset(start), end, now: Instant::EPOCH, rows }
}

fn common(events: &[(&Event, i64)]) -> HashMap<&'static str, ArrayRef> {
    let text = |of: &dyn Fn(&Event) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(|(event, _)| of(event))))
    };
    let instants = |of: &dyn Fn(&(&Event, i64)) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(of)).with_timezone("UTC"))
    };
    HashMap::from([
        ("tenant", text(&|_| "acme".to_owned())),
        ("device_id", text(&|event| event.device.clone())),
        ("boot", Arc::new(Int64Array::from(vec![0; events.len()])) as ArrayRef),
        ("event_time", instants(&|(event, _)| event.at())),
        ("arrival_time", instants(&|(_, place)| *place)),
        ("late", Arc::new(events.iter().map(|(event, _)| Some(event.late)).collect::<BooleanArray>())),
        ("date", Arc::new(Date32Array::from(vec![0; events.len()]))),
    ])
}

/// Columns that are not given are null.
fn batch(schema: SchemaRef, columns: &HashMap<&'static str, ArrayRef>) -> RecordBatch {
    let rows = columns["tenant"].len();
    let arrays = schema.fields().iter().map(|field| {
        columns.get(field.name().as_str()).cloned().unwrap_or_else(|| new_null_array(field.data_type(), rows))
    });
    RecordBatch::try_new(schema.clone(), arrays.collect()).unwrap()
}
