//! File statistics as Delta keeps them: how many rows, and of each column least, greatest and how many nulls.
//!
//! In: the rows of one file. Out: the JSON of an add action's `stats`. Promise: a bound that is given is exact; where
//! none can be (not a number, long text) it is left out, and the reader keeps the file. Never: a cut text, whose bounds
//! a reader could take for values.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use schemas::time::Instant;
use serde_json::{Map, Value, json};

/// Longest text that serves as a bound: a device id. Longer texts (evidence, details) are no filter anyway.
const TEXT_BOUND: usize = 128;

/// The statistics of one file; the partition column must be gone already.
pub(super) fn stats(rows: &RecordBatch) -> String {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if field.data_type().is_nested() {
            continue;
        }
        nulls.insert(field.name().clone(), json!(column.null_count()));
        if let Some((min, max)) = bounds(column) {
            least.insert(field.name().clone(), min);
            greatest.insert(field.name().clone(), max);
        }
    }
    json!({ "numRecords": rows.num_rows(), "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
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
