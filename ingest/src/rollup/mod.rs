//! Telemetry rows into rollup rows: count, extremes, sums or last value of each metric by minute, hour or day.
//!
//! In: decoded, deduplicated telemetry rows in any order; rollup rows. Out: rollup rows, which are increments.
//! Promise: whatever the order of the rows, and however they are parted, the increments of the parts merge to the
//! same counts, extremes, whole sums and last values; sums of floating-point numbers may differ in their last digits.
//! Never: a duplicate noticed, which is dedup's work ahead of it.
//!
//! Of each device, neighbouring rows with equal keys make one increment, so rows sorted by device and time give the fewest;
//! unsorted ones are right as well, only more. Of a whole fleet a bucket's rows lie apart, and make one increment all the same.

#[cfg(test)]
mod tests;

use std::{cmp::Ordering, collections::HashMap, ops::Range, sync::Arc};

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
    rollup::{Measure, ROWS, Span, schema, singles},
    table::PARTITION,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The increments that telemetry rows add to the buckets of `span`.
pub fn increments(rows: &RecordBatch, span: Span) -> Result<RecordBatch, ArrowError> {
    let to = schema(&rows.schema(), span);
    let runs = Runs::of(rows, span)?;
    if runs.len() == rows.num_rows() {
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

/// Rows of a rollup as rows of one with wider buckets and the same keys and measures, with their own if `span` is theirs: each
/// key once, sorted by it.
pub fn merge(rows: &RecordBatch, span: Span) -> Result<RecordBatch, ArrowError> {
    let starts = starts(rows, span)?;
    let mut by = Vec::new();
    for key in span.keys() {
        let values = if *key == "event_time" { Arc::clone(&starts) } else { Arc::clone(column(rows, key)?) };
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

/// Rows with equal keys: of each key the stretches in which they lie.
struct Runs {
    starts: ArrayRef,
    /// Those of one key are neighbours here.
    ranges: Vec<Range<usize>>,
    /// Of each key, where its ranges are.
    keys: Vec<Range<usize>>,
}

impl Runs {
    fn of(rows: &RecordBatch, span: Span) -> Result<Self, ArrowError> {
        let starts = starts(rows, span)?;
        let mut keys = Vec::new();
        for key in span.keys() {
            keys.push(if *key == "event_time" { Arc::clone(&starts) } else { Arc::clone(column(rows, key)?) });
        }
        let ranges = partition(&keys)?.ranges();
        if span.by_device() {
            // Sorted by device, those of a key are one stretch; where they are not, several increments are right as well.
            let keys = (0..ranges.len()).map(|at| at..at + 1).collect();
            return Ok(Self { starts, ranges, keys });
        }
        let times = starts.as_primitive::<TimestampMicrosecondType>();
        let texts = |name: &str| {
            let values = column(rows, name)?.as_string_opt::<i32>();
            values.ok_or_else(|| ArrowError::SchemaError(format!("{name} is not text")))
        };
        let (tenants, firmware) = (texts("tenant")?, texts("firmware")?);
        let (mut known, mut gathered) = (HashMap::new(), Vec::<Vec<Range<usize>>>::new());
        for range in ranges {
            let at = range.start;
            let key = (times.value(at), tenants.value(at), firmware.is_valid(at).then(|| firmware.value(at)));
            let place = *known.entry(key).or_insert(gathered.len());
            if place == gathered.len() {
                gathered.push(Vec::new());
            }
            gathered[place].push(range);
        }
        let (mut ranges, mut keys) = (Vec::new(), Vec::new());
        for of_key in gathered {
            keys.push(ranges.len()..ranges.len() + of_key.len());
            ranges.extend(of_key);
        }
        Ok(Self { starts, ranges, keys })
    }

    /// How many keys.
    fn len(&self) -> usize {
        self.keys.len()
    }

    /// For each key the stretches of its rows.
    fn stretches(&self) -> impl Iterator<Item = &[Range<usize>]> {
        self.keys.iter().map(|key| &self.ranges[key.clone()])
    }

    /// For each key its rows.
    fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone + '_> {
        self.stretches().map(|of_key| of_key.iter().flat_map(Range::clone))
    }

    /// The value of a key column, or of the date, for each key.
    fn key(&self, rows: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
        let firsts: UInt32Array = self.keys.iter().map(|key| Some(self.ranges[key.start].start as u32)).collect();
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
        let length = |of_key: &[Range<usize>]| of_key.iter().map(|range| range.len() as i64).sum::<i64>();
        Arc::new(Int64Array::from_iter_values(self.stretches().map(length)))
    }

    fn counts(&self, values: &ArrayRef) -> ArrayRef {
        let nulls = |range: &Range<usize>| match values.nulls() {
            Some(nulls) => nulls.slice(range.start, range.len()).null_count(),
            None => 0,
        };
        let there =
            |of_key: &[Range<usize>]| of_key.iter().map(|range| (range.len() - nulls(range)) as i64).sum::<i64>();
        Arc::new(Int64Array::from_iter_values(self.stretches().map(there)))
    }

    /// One number for each key from those that are there; null if none is.
    fn fold<T: ArrowPrimitiveType, To: ArrowPrimitiveType>(
        &self,
        values: &PrimitiveArray<T>,
        first: impl Fn(T::Native) -> To::Native,
        then: impl Fn(To::Native, T::Native) -> To::Native,
    ) -> PrimitiveArray<To> {
        let add = |sum: Option<To::Native>, value| Some(sum.map_or_else(|| first(value), |sum| then(sum, value)));
        let raw = values.values();
        let run = |so_far, range: &Range<usize>| match values.nulls() {
            None => raw[range.clone()].iter().copied().fold(so_far, add),
            Some(nulls) => range.clone().filter(|at| nulls.is_valid(*at)).map(|at| raw[at]).fold(so_far, add),
        };
        self.stretches().map(|of_key| of_key.iter().fold(None, run)).collect()
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
            other => new_null_array(other, self.len()),
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
                let sum = |sum: Option<i64>, at: usize| match values.is_valid(at) {
                    true => Some(sum.unwrap_or(0) + i64::from(values.value(at))),
                    false => sum,
                };
                Arc::new(self.rows().map(|mut rows| rows.by_ref().fold(None, sum)).collect::<Int64Array>())
            }
            _ => {
                let values = values.as_primitive::<Int64Type>();
                Arc::new(self.fold::<_, Int64Type>(values, |value| value, i64::wrapping_add))
            }
        }
    }

    /// Of the distances from the mean of the key.
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
        let squares = self.rows().map(|rows| {
            let (mut count, mut sum) = (0.0, 0.0);
            for at in rows.clone().filter(there) {
                count += 1.0;
                sum += value(at);
            }
            let mean = sum / count;
            (count > 0.0).then(|| rows.filter(there).map(|at| (value(at) - mean).powi(2)).sum::<f64>())
        });
        Arc::new(squares.collect::<Float64Array>())
    }

    /// The same of runs of increments (Chan, Golub and LeVeque 1979): what each has, and its mean's distance from the
    /// mean of all.
    fn joined_squares(&self, squares: &ArrayRef, counts: &ArrayRef, sums: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let sums = cast(sums, &DataType::Float64)?;
        let (counts, sums) = (counts.as_primitive::<Int64Type>(), sums.as_primitive::<Float64Type>());
        let squares = squares.as_primitive::<Float64Type>();
        let there = |at: &usize| counts.is_valid(*at) && counts.value(*at) > 0 && squares.is_valid(*at);
        let joined = self.rows().map(|rows| {
            let (mut count, mut sum) = (0.0, 0.0);
            for at in rows.clone().filter(there) {
                count += counts.value(at) as f64;
                sum += sums.value(at);
            }
            let mean = sum / count;
            let one = |at: usize| {
                let count = counts.value(at) as f64;
                squares.value(at) + count * (sums.value(at) / count - mean).powi(2)
            };
            (count > 0.0).then(|| rows.filter(there).map(one).sum::<f64>())
        });
        Ok(Arc::new(joined.collect::<Float64Array>()))
    }

    /// Where the last value of each key stands; null if there is none.
    fn last(&self, values: &ArrayRef, times: &ArrayRef) -> Result<UInt32Array, ArrowError> {
        let greater = make_comparator(values, values, SortOptions::default())?;
        let when = times.as_primitive::<TimestampMicrosecondType>().values();
        let later = |a: &usize, b: &usize| when[*a].cmp(&when[*b]).then_with(|| greater(*a, *b));
        let last = self.rows().map(|rows| rows.filter(|at| values.is_valid(*at)).max_by(later).map(|at| at as u32));
        Ok(last.collect())
    }
}
