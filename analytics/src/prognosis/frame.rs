//! Readings summed up by day with lazy Polars: the batch side of indicators, and a door to polars.
//!
//! In: Arrow batches of readings, as the tables gave them. Out: one [`Day`] per device, day and landmark at which its
//! points were known. Promise: columns pass to Polars through the Arrow C Data Interface, numbers without a copy; what
//! comes out is what [`Days::push`] makes of the same rows (a test holds both against each other). Never: CSV, JSON, a
//! reading after its landmark.
//!
//! Polars has its own Arrow (pitfalls 1.8): both sides have the two structs of the C Data Interface, so a column is
//! exported by one and imported by the other. Text is the exception: Polars keeps views and makes them when it imports.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    datatypes::Int64Type,
    error::ArrowError,
};
use foresight::daily::{self, Day, Days, Sum};
use polars::prelude::{
    ChunkedArray, Column, DataFrame, DataType, Expr, Float64Type, IntoLazy, PlSmallStr, PolarsError, PolarsNumericType,
    PolarsResult, Series, SortMultipleOptions, StringChunked, col, lit, when,
};

use super::{PrognosisError, feature::Channel, store};

/// When a reading counts as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// When it arrived: live data.
    #[default]
    Arrival,
    /// When it happened, late readings left out: recorded years, whose arrival is that of the replay.
    Event,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A column cannot be exported.
    #[error("export column {column}")]
    Export {
        /// Which.
        column: String,
        /// Why not.
        source: ArrowError,
    },
    /// Polars refused.
    #[error("sum up readings by day")]
    Polars(#[from] PolarsError),
}

/// Sums the readings up.
pub fn days(
    batches: &[RecordBatch],
    channels: &[Channel],
    known: Known,
) -> Result<BTreeMap<String, Days>, PrognosisError> {
    let mut frame: Option<DataFrame> = None;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let next = import(batch, channels, known)?;
        match &mut frame {
            Some(frame) => {
                frame.vstack_mut(&next).map_err(FrameError::from)?;
            }
            None => frame = Some(next),
        }
    }
    let Some(frame) = frame else { return Ok(BTreeMap::new()) };
    Ok(summed(frame, channels, known).map_err(FrameError::from)?)
}

/// A batch as Polars sees it, with the day of each reading and the landmark at which it was known; instants become
/// integers.
fn import(batch: &RecordBatch, channels: &[Channel], known: Known) -> Result<DataFrame, PrognosisError> {
    let (event, arrival) = (store::integers(batch, "event_time")?, store::integers(batch, "arrival_time")?);
    let (event, arrival) = (event.as_primitive::<Int64Type>(), arrival.as_primitive::<Int64Type>());
    let known_at = |(event, arrival): (&i64, &i64)| match known {
        Known::Arrival => daily::landmark_after(*event.max(arrival)),
        Known::Event => daily::landmark_after(*event),
    };
    let day: Vec<i64> = event.values().iter().map(|at| daily::day_of(*at).into()).collect();
    let known: Vec<i64> = event.values().iter().zip(arrival.values()).map(|both| known_at(both).into()).collect();
    let mut columns = Vec::with_capacity(batch.num_columns() + 2);
    columns.push(Column::new("day".into(), &day));
    columns.push(Column::new("known".into(), &known));
    let needed: BTreeSet<&str> = channels.iter().flat_map(Channel::metrics).chain(["device_id", "late"]).collect();
    for name in needed {
        let column = batch.column_by_name(name).ok_or_else(|| PrognosisError::Column { column: name.into() })?;
        columns.push(Column::from(handed_over(name, column)?));
    }
    columns.push(Column::from(handed_over("event_time", &store::integers(batch, "event_time")?)?));
    Ok(DataFrame::new(batch.num_rows(), columns).map_err(FrameError::from)?)
}

/// One column through the C Data Interface.
#[allow(unsafe_code, reason = "the C Data Interface is a pair of structs that the importer has to trust")]
fn handed_over(name: &str, column: &ArrayRef) -> Result<Series, FrameError> {
    let exported = arrow::ffi::to_ffi(&column.to_data());
    let (array, schema) = exported.map_err(|source| FrameError::Export { column: name.into(), source })?;
    // SAFETY: both are the `struct ArrowSchema` of the specification, `repr(C)`, moved and not copied, so that the
    // release callback runs once: by the importer's drop.
    let schema: polars_arrow::ffi::ArrowSchema = unsafe { std::mem::transmute(schema) };
    // SAFETY: as above, for `struct ArrowArray`.
    let array: polars_arrow::ffi::ArrowArray = unsafe { std::mem::transmute(array) };
    // SAFETY: exported by arrow-rs one line above, so valid and of one another.
    let (field, array) = unsafe {
        let field = polars_arrow::ffi::import_field_from_c(&schema)?;
        let array = polars_arrow::ffi::import_array_from_c(array, field.dtype.clone())?;
        (field, array)
    };
    drop(field);
    Ok(Series::try_from((PlSmallStr::from_str(name), vec![array]))?)
}

/// Per channel: count, mean, squares, min, max, first and last with their instants, and the sums with time.
const PARTS: usize = 12;

fn summed(frame: DataFrame, channels: &[Channel], known: Known) -> PolarsResult<BTreeMap<String, Days>> {
    let mut rows = frame.lazy();
    if known == Known::Event {
        rows = rows.filter(col("late").eq(lit(false)));
    }
    let mut values: Vec<Expr> = Vec::with_capacity(channels.len());
    values.extend(channels.iter().enumerate().map(|(place, channel)| {
        let value = col(channel.metric.as_str()).cast(DataType::Float64);
        let value = match &channel.when {
            Some(regime) => {
                let holds = col(regime.metric.as_str()).cast(DataType::Float64).gt_eq(lit(regime.at_least));
                when(holds).then(value).otherwise(lit(f64::NAN))
            }
            None => value,
        };
        value.fill_null(lit(f64::NAN)).alias(format!("c{place}"))
    }));
    let parts = (0..channels.len()).flat_map(parts).collect::<Vec<Expr>>();
    let summed = rows
        .with_columns(values)
        .sort(["event_time"], SortMultipleOptions::default())
        .group_by([col("device_id"), col("day"), col("known")])
        .agg(parts)
        .sort(["device_id", "day", "known"], SortMultipleOptions::default())
        .collect()?;
    read(&summed, channels.len())
}

fn parts(place: usize) -> [Expr; PARTS] {
    let value = col(format!("c{place}"));
    let is = value.clone().is_not_nan();
    let value = value.filter(is.clone());
    let at = col("event_time").filter(is);
    let hours = at.clone().cast(DataType::Float64) / lit(3.6e9);
    let from_mean = value.clone() - value.clone().mean();
    let from_time = hours.clone() - hours.clone().mean();
    let named = |expression: Expr, part: &str| expression.alias(format!("{part}{place}"));
    [
        named(value.clone().count().cast(DataType::Int64), "count"),
        named(value.clone().mean(), "mean"),
        named((from_mean.clone() * from_mean.clone()).sum(), "squares"),
        named(value.clone().min(), "min"),
        named(value.clone().max(), "max"),
        named(value.clone().first(), "first"),
        named(value.last(), "last"),
        named(at.clone().first(), "first_at"),
        named(at.last(), "last_at"),
        named(hours.mean(), "time_mean"),
        named((from_time.clone() * from_time.clone()).sum(), "time_squares"),
        named((from_time * from_mean).sum(), "products"),
    ]
}

fn numbers<'a, T: PolarsNumericType>(
    frame: &'a DataFrame,
    name: &str,
    read: fn(&'a Column) -> PolarsResult<&'a ChunkedArray<T>>,
) -> PolarsResult<Vec<Option<T::Native>>> {
    Ok(read(frame.column(name)?)?.iter().collect())
}

fn floats(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<f64>>> {
    numbers::<Float64Type>(frame, name, |column| column.f64())
}

fn integers(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<i64>>> {
    numbers::<polars::prelude::Int64Type>(frame, name, |column| column.i64())
}

fn read(summed: &DataFrame, channels: usize) -> PolarsResult<BTreeMap<String, Days>> {
    let devices: &StringChunked = summed.column("device_id")?.str()?;
    let (day, known) = (integers(summed, "day")?, integers(summed, "known")?);
    let mut sums: Vec<Vec<Sum>> = vec![Vec::with_capacity(channels); summed.height()];
    for place in 0..channels {
        let float = |part: &str| floats(summed, &format!("{part}{place}"));
        let integer = |part: &str| integers(summed, &format!("{part}{place}"));
        let (count, first_at, last_at) = (integer("count")?, integer("first_at")?, integer("last_at")?);
        let (mean, squares, min, max) = (float("mean")?, float("squares")?, float("min")?, float("max")?);
        let (first, last) = (float("first")?, float("last")?);
        let (times, products) = (float("time_squares")?, float("products")?);
        let time_mean = floats(summed, &format!("time_mean{place}"))?;
        for (row, sums) in sums.iter_mut().enumerate() {
            let number = |column: &[Option<f64>]| column[row].unwrap_or(f64::NAN);
            let count = count[row].unwrap_or(0).unsigned_abs();
            sums.push(match count {
                0 => Sum::default(),
                _ => Sum {
                    count,
                    mean: number(&mean),
                    squares: number(&squares),
                    min: number(&min),
                    max: number(&max),
                    first: (first_at[row].unwrap_or(i64::MAX), number(&first)),
                    last: (last_at[row].unwrap_or(i64::MIN), number(&last)),
                    time_mean: number(&time_mean),
                    time_squares: number(&times),
                    products: number(&products),
                },
            });
        }
    }
    let mut all: BTreeMap<String, Days> = BTreeMap::new();
    for ((device, sums), (day, known)) in devices.iter().zip(sums).zip(day.into_iter().zip(known)) {
        let (Some(device), Some(day), Some(known)) = (device, day, known) else { continue };
        let [day, known] = [day, known].map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        if !all.contains_key(device) {
            all.insert(device.to_owned(), Days::default());
        }
        if let Some(days) = all.get_mut(device) {
            days.add(Day { day, known, sums: sums.into() });
        }
    }
    Ok(all)
}
