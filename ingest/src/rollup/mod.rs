//! Telemetry rows into rollup rows: count, extremes, sums and last value of each metric by minute, hour or day.
//!
//! In: decoded, deduplicated telemetry rows in any order; rollup rows. Out: rollup rows, which are increments.
//! Promise: whatever the order of the rows, and however they are parted, the increments of the parts merge to the
//! same counts, extremes, whole sums and last values; sums of floating-point numbers may differ in their last digits.
//! Never: a duplicate noticed, which is dedup's work ahead of it.
//!
//! Neighbouring rows with equal keys make one increment, so rows sorted by device and time give the fewest; unsorted
//! ones are right as well, only more.

#[cfg(test)]
mod tests;

use std::{cmp::Ordering, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray as _, Float64Array, Int64Array,
        PrimitiveArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, make_comparator, new_null_array,
    },
    compute::{SortColumn, SortOptions, cast, lexsort_to_indices, partition, take, take_record_batch},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use schemas::{
    rollup::{KEYS, Measure, ROWS, Span, schema, singles},
    table::PARTITION,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The increments that telemetry rows add to the buckets of `span`.
pub fn increments(rows: &RecordBatch, span: Span) -> Result<RecordBatch, ArrowError> {
    let to = schema(&rows.schema());
    let runs = Runs::of(rows, span)?;
    if runs.ranges.len() == rows.num_rows() {
        let names = to.fields().iter().map(|field| field.name().as_str());
        return RecordBatch::try_new(to.clone(), singles(rows, names, span)?.columns().to_vec());
    }
    let times = column(rows, "event_time")?;
    let mut columns = Vec::new();
    for field in to.fields() {
        let measured =
            Measure::of(field.name()).and_then(|(metric, measure)| Some((column(rows, metric).ok()?, measure)));
        columns.push(match (field.name().as_str(), measured) {
            (ROWS, _) => runs.lengths(),
            (_, Some((metric, measure))) => match measure {
                Measure::Count => runs.counts(metric),
                Measure::Min => runs.extreme(metric, Ordering::Less),
                Measure::Max => runs.extreme(metric, Ordering::Greater),
                Measure::Sum => runs.sum(metric),
                Measure::SumSquares => runs.sum_squares(metric),
                Measure::Last => take(metric, &runs.last(metric, times)?, None)?,
                Measure::LastTime => take(times, &runs.last(metric, times)?, None)?,
            },
            (key, None) => runs.key(rows, key)?,
        });
    }
    RecordBatch::try_new(to, columns)
}

/// Rows of a rollup as rows of one with wider buckets, with their own if `span` is theirs: each key once, sorted by it.
pub fn merge(rows: &RecordBatch, span: Span) -> Result<RecordBatch, ArrowError> {
    let starts = starts(rows, span)?;
    let mut by = Vec::new();
    for key in KEYS {
        let values = if key == "event_time" { Arc::clone(&starts) } else { Arc::clone(column(rows, key)?) };
        by.push(SortColumn { values, options: None });
    }
    let rows = take_record_batch(rows, &lexsort_to_indices(&by, None)?)?;
    let runs = Runs::of(&rows, span)?;
    let mut columns = Vec::new();
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        columns.push(match Measure::of(field.name()) {
            Some((metric, Measure::SumSquares)) => {
                let counts = column(&rows, &Measure::Count.column(metric))?;
                runs.joined_squares(values, counts, column(&rows, &Measure::Sum.column(metric))?)?
            }
            Some((_, Measure::Count | Measure::Sum)) => runs.sum(values),
            Some((_, Measure::Min)) => runs.extreme(values, Ordering::Less),
            Some((_, Measure::Max)) => runs.extreme(values, Ordering::Greater),
            Some((metric, Measure::Last | Measure::LastTime)) => {
                let last = column(&rows, &Measure::Last.column(metric))?;
                let times = column(&rows, &Measure::LastTime.column(metric))?;
                take(values, &runs.last(last, times)?, None)?
            }
            None if field.name() == ROWS => runs.sum(values),
            None => runs.key(&rows, field.name())?,
        });
    }
    RecordBatch::try_new(rows.schema(), columns)
}

/// A column by its name.
fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    rows.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("rows for a rollup have no column {name}")))
}

/// The start of each row's bucket.
fn starts(rows: &RecordBatch, span: Span) -> Result<ArrayRef, ArrowError> {
    let times = column(rows, "event_time")?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| ArrowError::SchemaError("event_time is not in microseconds".to_owned()))?;
    let starts: TimestampMicrosecondArray = times.unary(|micros| span.start(micros));
    Ok(Arc::new(starts.with_timezone("UTC")))
}

/// Stretches of rows with equal keys.
struct Runs {
    starts: ArrayRef,
    ranges: Vec<Range<usize>>,
}

impl Runs {
    fn of(rows: &RecordBatch, span: Span) -> Result<Self, ArrowError> {
        let starts = starts(rows, span)?;
        let mut keys = Vec::new();
        for key in KEYS {
            keys.push(if key == "event_time" { Arc::clone(&starts) } else { Arc::clone(column(rows, key)?) });
        }
        let ranges = partition(&keys)?.ranges();
        Ok(Self { starts, ranges })
    }

    /// The value of a key column, or of the date, for each run.
    fn key(&self, rows: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
        let firsts: UInt32Array = self.ranges.iter().map(|range| Some(range.start as u32)).collect();
        match name {
            "event_time" => take(&self.starts, &firsts, None),
            PARTITION => {
                let starts = take(&self.starts, &firsts, None)?;
                // A day of the calendar has no more than 32 bits: 64 bits of microseconds are fewer days.
                let date = |micros: i64| micros.div_euclid(DAY) as i32;
                Ok(Arc::new(starts.as_primitive::<TimestampMicrosecondType>().unary::<_, Date32Type>(date)))
            }
            _ => take(column(rows, name)?, &firsts, None),
        }
    }

    fn lengths(&self) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(self.ranges.iter().map(|range| range.len() as i64)))
    }

    fn counts(&self, values: &ArrayRef) -> ArrayRef {
        let nulls = |range: &Range<usize>| match values.nulls() {
            Some(nulls) => nulls.slice(range.start, range.len()).null_count(),
            None => 0,
        };
        Arc::new(Int64Array::from_iter_values(self.ranges.iter().map(|range| (range.len() - nulls(range)) as i64)))
    }

    /// One number for each run from those that are there; null if none is.
    fn fold<T: ArrowPrimitiveType, To: ArrowPrimitiveType>(
        &self,
        values: &PrimitiveArray<T>,
        first: impl Fn(T::Native) -> To::Native,
        then: impl Fn(To::Native, T::Native) -> To::Native,
    ) -> PrimitiveArray<To> {
        let add = |sum: Option<To::Native>, value| Some(sum.map_or_else(|| first(value), |sum| then(sum, value)));
        let raw = values.values();
        let run = |range: &Range<usize>| match values.nulls() {
            None => raw[range.clone()].iter().copied().fold(None, add),
            Some(nulls) => range.clone().filter(|at| nulls.is_valid(*at)).map(|at| raw[at]).fold(None, add),
        };
        self.ranges.iter().map(run).collect()
    }

    fn extreme(&self, values: &ArrayRef, side: Ordering) -> ArrayRef {
        fn pick<T: ArrowPrimitiveType>(runs: &Runs, values: &ArrayRef, side: Ordering) -> ArrayRef {
            let better = |a: T::Native, b: T::Native| if b.compare(a) == side { b } else { a };
            Arc::new(runs.fold::<T, T>(values.as_primitive(), |value| value, better))
        }
        match values.data_type() {
            DataType::Float64 => pick::<Float64Type>(self, values, side),
            DataType::Int64 => pick::<Int64Type>(self, values, side),
            DataType::Timestamp(..) => {
                let picked = pick::<TimestampMicrosecondType>(self, values, side);
                Arc::new(picked.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"))
            }
            other => new_null_array(other, self.ranges.len()),
        }
    }

    fn sum(&self, values: &ArrayRef) -> ArrayRef {
        match values.data_type() {
            DataType::Float64 => {
                let values = values.as_primitive::<Float64Type>();
                Arc::new(self.fold::<_, Float64Type>(values, |value| value, |sum, value| sum + value))
            }
            DataType::Boolean => {
                let values = values.as_boolean();
                let run = |range: &Range<usize>| {
                    let there = range.clone().filter(|at| values.is_valid(*at));
                    there.map(|at| i64::from(values.value(at))).fold(None, |sum, one| Some(sum.unwrap_or(0) + one))
                };
                Arc::new(self.ranges.iter().map(run).collect::<Int64Array>())
            }
            _ => {
                let values = values.as_primitive::<Int64Type>();
                Arc::new(self.fold::<_, Int64Type>(values, |value| value, i64::wrapping_add))
            }
        }
    }

    /// Of the distances from the mean of the run.
    fn sum_squares(&self, values: &ArrayRef) -> ArrayRef {
        match values.data_type() {
            DataType::Float64 => {
                let raw = values.as_primitive::<Float64Type>().values();
                self.squares(values, |at| raw[at])
            }
            _ => {
                let raw = values.as_primitive::<Int64Type>().values();
                self.squares(values, |at| raw[at] as f64)
            }
        }
    }

    fn squares(&self, values: &ArrayRef, value: impl Fn(usize) -> f64) -> ArrayRef {
        let there = |at: &usize| values.is_valid(*at);
        let run = |range: &Range<usize>| {
            let (mut count, mut sum) = (0.0, 0.0);
            for at in range.clone().filter(there) {
                count += 1.0;
                sum += value(at);
            }
            let mean = sum / count;
            (count > 0.0).then(|| range.clone().filter(there).map(|at| (value(at) - mean).powi(2)).sum::<f64>())
        };
        Arc::new(self.ranges.iter().map(run).collect::<Float64Array>())
    }

    /// The same of runs of increments (Chan, Golub and LeVeque 1979): what each has, and its mean's distance from the
    /// mean of all.
    fn joined_squares(&self, squares: &ArrayRef, counts: &ArrayRef, sums: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let sums = cast(sums, &DataType::Float64)?;
        let (counts, sums) = (counts.as_primitive::<Int64Type>(), sums.as_primitive::<Float64Type>());
        let squares = squares.as_primitive::<Float64Type>();
        let there = |at: &usize| counts.is_valid(*at) && counts.value(*at) > 0 && squares.is_valid(*at);
        let run = |range: &Range<usize>| {
            let (mut count, mut sum) = (0.0, 0.0);
            for at in range.clone().filter(there) {
                count += counts.value(at) as f64;
                sum += sums.value(at);
            }
            let mean = sum / count;
            let one = |at: usize| {
                let count = counts.value(at) as f64;
                squares.value(at) + count * (sums.value(at) / count - mean).powi(2)
            };
            (count > 0.0).then(|| range.clone().filter(there).map(one).sum::<f64>())
        };
        Ok(Arc::new(self.ranges.iter().map(run).collect::<Float64Array>()))
    }

    /// Where the last value of each run stands; null if there is none.
    fn last(&self, values: &ArrayRef, times: &ArrayRef) -> Result<UInt32Array, ArrowError> {
        let greater = make_comparator(values, values, SortOptions::default())?;
        let when = times.as_primitive::<TimestampMicrosecondType>().values();
        let later = |a: &usize, b: &usize| when[*a].cmp(&when[*b]).then_with(|| greater(*a, *b));
        let run =
            |range: &Range<usize>| range.clone().filter(|at| values.is_valid(*at)).max_by(later).map(|at| at as u32);
        Ok(self.ranges.iter().map(run).collect())
    }
}
