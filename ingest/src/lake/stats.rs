//! File statistics as Delta keeps them: how many rows, and of each column least, greatest and how many nulls.
//!
//! In: the rows of one file. Out: the JSON of an add action's `stats`. Promise: a bound that is given is exact; where
//! none can be (not a number, long text) it is left out, and the reader keeps the file. Never: a cut text, whose bounds
//! a reader could take for values.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute,
    datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use schemas::{
    rollup::{Measure, ROWS},
    time::Instant,
};
use serde_json::{Map, Value, json};

/// Longest text that serves as a bound: a device id. Longer texts (evidence, details) are no filter anyway.
const TEXT_BOUND: usize = 128;

/// The statistics of one file; the partition column must be gone already.
pub(super) fn stats(rows: &RecordBatch) -> String {
    let mut tally = Tally::new(&rows.schema());
    tally.add(rows);
    tally.stats()
}

/// The statistics of a file that comes in batches.
#[derive(Debug)]
pub(super) struct Tally {
    schema: SchemaRef,
    rows: usize,
    columns: Vec<Column>,
}

/// What is known of a column so far.
#[derive(Debug, Default, Clone)]
struct Column {
    /// Whether anybody filters by it.
    told: bool,
    nulls: usize,
    bounds: Option<(Value, Value)>,
    /// Some batch had values and no bounds.
    unbounded: bool,
}

impl Tally {
    /// Of no rows yet.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        // Rollups are filtered by their keys and have a column for each measure of each metric.
        let rollup = schema.column_with_name(ROWS).is_some();
        let keys = |name: &str| Measure::of(name).is_none_or(|(metric, _)| metric == "event_time");
        let told = |field: &Field| !field.data_type().is_nested() && (!rollup || keys(field.name()));
        let columns = schema.fields().iter().map(|field| Column { told: told(field), ..Column::default() });
        Self { schema: schema.clone(), rows: 0, columns: columns.collect() }
    }

    /// Counts a batch of the same schema.
    pub(super) fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        for (known, column) in self.columns.iter_mut().zip(rows.columns()) {
            if !known.told {
                continue;
            }
            known.nulls += column.null_count();
            match (bounds(column), known.bounds.take()) {
                (Some((min, max)), Some((least, greatest))) => {
                    let least = if before(column.data_type(), &min, &least) { min } else { least };
                    let greatest = if before(column.data_type(), &greatest, &max) { max } else { greatest };
                    known.bounds = Some((least, greatest));
                }
                (Some(first), None) => known.bounds = Some(first),
                (None, kept) => {
                    known.bounds = kept;
                    known.unbounded |= column.null_count() < column.len();
                }
            }
        }
    }

    /// As JSON.
    pub(super) fn stats(&self) -> String {
        let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            if !column.told {
                continue;
            }
            nulls.insert(field.name().clone(), json!(column.nulls));
            if let (Some((min, max)), false) = (&column.bounds, column.unbounded) {
                least.insert(field.name().clone(), min.clone());
                greatest.insert(field.name().clone(), max.clone());
            }
        }
        json!({ "numRecords": self.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
    }
}

/// Whether `a` is less than `b`, both bounds of a column of this type.
fn before(r#type: &DataType, a: &Value, b: &Value) -> bool {
    match (r#type, a, b) {
        (DataType::Timestamp(..), Value::String(a), Value::String(b)) => {
            a.parse::<Instant>().ok() < b.parse::<Instant>().ok()
        }
        (_, Value::String(a), Value::String(b)) => a < b,
        (DataType::Int64, a, b) => a.as_i64() < b.as_i64(),
        (_, a, b) => a.as_f64() < b.as_f64(),
    }
}

fn bounds(column: &ArrayRef) -> Option<(Value, Value)> {
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            if texts.iter().flatten().any(|text| text.len() > TEXT_BOUND) {
                return None;
            }
            Some((json!(compute::min_string(texts)?), json!(compute::max_string(texts)?)))
        }
        DataType::Int64 => {
            let numbers = column.as_primitive::<Int64Type>();
            Some((json!(compute::min(numbers)?), json!(compute::max(numbers)?)))
        }
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>();
            if numbers.iter().flatten().any(|number| !number.is_finite()) {
                return None;
            }
            Some((json!(compute::min(numbers)?), json!(compute::max(numbers)?)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let instants = column.as_primitive::<TimestampMicrosecondType>();
            let text = |micros| json!(Instant::from_micros(micros).to_string());
            Some((text(compute::min(instants)?), text(compute::max(instants)?)))
        }
        _ => None,
    }
}
