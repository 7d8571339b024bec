//! Rollups against a recomputation from the raw rows, one by one, over rows that come late, in any order and twice.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{BooleanArray, Date32Array, Float64Array, StringArray},
    compute::concat_batches,
    datatypes::{Field, SchemaRef},
};
use proptest::prelude::*;
use schemas::table::instant;

use super::*;

/// A row as a device sent it. Floating-point values are multiples of a quarter: their sums are exact in any order.
#[derive(Debug, Clone)]
struct Reading {
    device: u8,
    seq: i64,
    firmware: Option<bool>,
    micros: i64,
    power: Option<i8>,
    cycles: Option<i64>,
    open: Option<bool>,
    program: Option<u8>,
}

fn telemetry() -> SchemaRef {
    let metric = |name: &str, r#type| Field::new(name, r#type, true);
    Arc::new(arrow::datatypes::Schema::new(vec![
        Field::new("tenant", DataType::Utf8, false),
        Field::new("device_id", DataType::Utf8, false),
        Field::new("event_time", instant(), false),
        metric("firmware", DataType::Utf8),
        metric("power_w", DataType::Float64),
        metric("cycles", DataType::Int64),
        metric("open", DataType::Boolean),
        metric("program", DataType::Utf8),
        Field::new("date", DataType::Date32, false),
    ]))
}

impl Reading {
    fn tenant(&self) -> &'static str {
        if self.device < 2 { "acme" } else { "globex" }
    }

    fn device(&self) -> String {
        // The same name at two tenants is two devices.
        format!("d{}", self.device % 2)
    }

    fn firmware(&self) -> Option<&'static str> {
        self.firmware.map(|new| if new { "2.0" } else { "1.0" })
    }

    fn power(&self) -> Option<f64> {
        self.power.map(|quarters| f64::from(quarters) / 4.0)
    }

    fn program(&self) -> Option<String> {
        self.program.map(|program| format!("p{program}"))
    }
}

fn batch(readings: &[&Reading]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(readings.iter().map(|r| r.micros)).with_timezone("UTC");
    let dates = readings.iter().map(|r| r.micros.div_euclid(DAY) as i32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(readings.iter().map(|r| r.tenant()))),
        Arc::new(StringArray::from_iter_values(readings.iter().map(|r| r.device()))),
        Arc::new(times),
        Arc::new(readings.iter().map(|r| r.firmware()).collect::<StringArray>()),
        Arc::new(readings.iter().map(|r| r.power()).collect::<Float64Array>()),
        Arc::new(readings.iter().map(|r| r.cycles).collect::<Int64Array>()),
        Arc::new(readings.iter().map(|r| r.open).collect::<BooleanArray>()),
        Arc::new(readings.iter().map(|r| r.program()).collect::<StringArray>()),
        Arc::new(Date32Array::from_iter_values(dates)),
    ];
    RecordBatch::try_new(telemetry(), columns).unwrap()
}

/// A bucket: tenant, device unless it is that of all, firmware, start.
type Key = (String, Option<String>, Option<String>, i64);

/// What a bucket says, as text, in an order of our own.
fn recomputed(readings: &[&Reading], span: Span) -> BTreeMap<Key, Vec<String>> {
    let mut buckets: BTreeMap<Key, Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        let start = span.micros().map_or(0, |width| reading.micros.div_euclid(width) * width);
        let device = span.by_device().then(|| reading.device());
        let key = (reading.tenant().into(), device, reading.firmware().map(Into::into), start);
        buckets.entry(key).or_default().push(reading);
    }
    let said = |readings: Vec<&Reading>, start: i64| {
        let floats: Vec<f64> = readings.iter().filter_map(|r| r.power()).collect();
        let wholes: Vec<i64> = readings.iter().filter_map(|r| r.cycles).collect();
        let least = floats.iter().copied().reduce(f64::min);
        let greatest = floats.iter().copied().reduce(f64::max);
        let sum = floats.iter().copied().reduce(|a, b| a + b);
        let mean = sum.map(|sum| sum / floats.len() as f64);
        let squares = mean.map(|mean| floats.iter().map(|v| (v - mean).powi(2)).sum::<f64>());
        // A little more, so that none lies half-way between two texts.
        let squares = squares.map(|squares| format!("{:.6}", squares + 1e-8));
        let times = (readings.iter().map(|r| r.micros).min(), readings.iter().map(|r| r.micros).max());
        let last_power = readings.iter().filter_map(|r| Some((r.micros, r.power?))).max();
        let last_program = readings.iter().filter_map(|r| Some((r.micros, r.program()?))).max();
        let opens: Vec<bool> = readings.iter().filter_map(|r| r.open).collect();
        let open = (!opens.is_empty()).then(|| opens.iter().filter(|open| **open).count() as i64);
        let rows = format!("{} {:?} {:?} {}", readings.len(), times.0, times.1, start.div_euclid(DAY));
        let last_power = last_power.map(|(time, quarters)| (time, f64::from(quarters) / 4.0));
        if span == Span::All {
            return vec![rows, format!("{last_power:?}"), format!("{last_program:?}")];
        }
        vec![
            rows,
            format!("{} {least:?} {greatest:?} {sum:?} {squares:?}", floats.len()),
            format!("{} {:?} {:?}", wholes.len(), wholes.iter().min(), wholes.iter().max()),
            format!("{:?}", wholes.iter().copied().reduce(i64::wrapping_add)),
            format!("{} {open:?}", opens.len()),
        ]
    };
    buckets.into_iter().map(|(key, readings)| (key.clone(), said(readings, key.3))).collect()
}

/// The same from rollup rows, of which no two may have one key.
fn told(rollup: &RecordBatch, span: Span) -> BTreeMap<Key, Vec<String>> {
    let text = |name: &str, at: usize| {
        let values = rollup.column_by_name(name).unwrap().as_string::<i32>();
        values.is_valid(at).then(|| values.value(at).to_owned())
    };
    let whole = |name: &str, at: usize| {
        let values = rollup.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        values.is_valid(at).then(|| values.value(at))
    };
    let float = |name: &str, at: usize| {
        let values = rollup.column_by_name(name).unwrap().as_primitive::<Float64Type>();
        values.is_valid(at).then(|| values.value(at))
    };
    let time = |name: &str, at: usize| {
        let values = rollup.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
        values.is_valid(at).then(|| values.value(at))
    };
    let mut buckets = BTreeMap::new();
    for at in 0..rollup.num_rows() {
        let key = (
            text("tenant", at).unwrap(),
            span.by_device().then(|| text("device_id", at).unwrap()),
            text("firmware", at),
            time("event_time", at).unwrap(),
        );
        let date = rollup.column_by_name("date").unwrap().as_primitive::<Date32Type>().value(at);
        let times = (time("event_time_min", at), time("event_time_max", at));
        let rows = format!("{} {:?} {:?} {date}", whole("rows", at).unwrap(), times.0, times.1);
        let said = if span == Span::All {
            vec![
                rows,
                format!("{:?}", time("power_w_last_time", at).zip(float("power_w_last", at))),
                format!("{:?}", time("program_last_time", at).zip(text("program_last", at))),
            ]
        } else {
            let (least, greatest) = (float("power_w_min", at), float("power_w_max", at));
            let squares = float("power_w_sum_squares", at).map(|squares| format!("{:.6}", squares.abs() + 1e-8));
            let sum = float("power_w_sum", at);
            vec![
                rows,
                format!("{} {least:?} {greatest:?} {sum:?} {squares:?}", whole("power_w_count", at).unwrap()),
                format!(
                    "{} {:?} {:?}",
                    whole("cycles_count", at).unwrap(),
                    whole("cycles_min", at),
                    whole("cycles_max", at)
                ),
                format!("{:?}", whole("cycles_sum", at)),
                format!("{} {:?}", whole("open_count", at).unwrap(), whole("open_sum", at)),
            ]
        };
        assert!(buckets.insert(key, said).is_none(), "a key twice");
    }
    buckets
}

fn reading() -> impl Strategy<Value = Reading> {
    // Three days around 1970, mostly within one hour, on seconds, so that buckets fill and times meet.
    let micros = prop_oneof![
        3 => (0..3600i64).prop_map(|second| second * 1_000_000),
        1 => -2 * DAY..DAY,
    ];
    let metrics = (
        proptest::option::of(any::<i8>()),
        proptest::option::of(prop_oneof![8 => -9..9i64, 1 => any::<i64>()]),
        proptest::option::of(any::<bool>()),
        proptest::option::of(0..3u8),
    );
    (0..4u8, 0..60i64, proptest::option::of(any::<bool>()), micros, metrics).prop_map(
        |(device, seq, firmware, micros, (power, cycles, open, program))| Reading {
            device,
            seq,
            firmware,
            micros,
            power,
            cycles,
            open,
            program,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Rows come in any order, some of them twice, and are parted anywhere. What was stored before is dropped ahead of
    /// the rollup, as dedup does.
    #[test]
    fn rollups_equal_the_recomputation_from_raw_rows(
        sent in prop::collection::vec(reading(), 1..80),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        part in 1..20usize,
        sorted in any::<bool>(),
    ) {
        let repeated = again.iter().map(|index| index.get(&sent).clone());
        let mut seen = BTreeSet::new();
        let arrived = sent.iter().cloned().chain(repeated);
        let stored: Vec<Reading> = arrived.filter(|reading| seen.insert((reading.device, reading.seq))).collect();
        let all: Vec<&Reading> = stored.iter().collect();
        for span in Span::ALL {
            let mut parts = Vec::new();
            for commit in all.chunks(part) {
                let mut commit = commit.to_vec();
                if sorted {
                    commit.sort_by_key(|reading| (reading.device, reading.micros));
                }
                parts.push(increments(&batch(&commit), span).unwrap());
            }
            let together = concat_batches(&parts[0].schema(), &parts).unwrap();
            let merged = merge(&together, span).unwrap();
            prop_assert_eq!(told(&merged, span), recomputed(&all, span));
            // Merging again, as compaction does, changes nothing.
            prop_assert_eq!(&merge(&merged, span).unwrap(), &merged);
            // Hours come from minutes, and of a fleet a commit makes one increment of each bucket, however its rows lie.
            if span == Span::Minute {
                prop_assert_eq!(told(&merge(&together, Span::Hour).unwrap(), Span::Hour), recomputed(&all, Span::Hour));
            }
            if !span.by_device() {
                prop_assert_eq!(told(&increments(&batch(&all), span).unwrap(), span), recomputed(&all, span));
            }
        }
    }
}

#[test]
fn no_rows_make_no_increments() {
    let none = increments(&batch(&[]), Span::Minute).unwrap();
    assert_eq!(none.num_rows(), 0);
    assert_eq!(merge(&none, Span::Hour).unwrap().num_rows(), 0);
}

#[test]
fn rows_without_an_event_time_are_refused() {
    let rows = batch(&[]).project(&[0, 1]).unwrap();
    let error = increments(&rows, Span::Minute).unwrap_err();
    assert_eq!(error.to_string(), "Schema error: rows for a rollup have no column event_time");
}
