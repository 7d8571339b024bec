//! The tables that hold telemetry by the minute, hour and day, and the last of it.
//!
//! In: a telemetry table's schema. Out: the schema of its rollups, the names of their columns, and telemetry rows as rows
//! of a rollup. Promise: a row is an increment: rows with equal keys add up to one, in any order, so a late row of a
//! device is one row more. Never: a column of one metric that has the name of another's.
//!
//! What is fine in time is coarse in devices: minutes and hours are those of all devices of a firmware together, and only a
//! day is kept of each device. An hour of one device is hardly fewer rows than what it reported, and each of them wider.
//!
//! ```
//! use schemas::rollup::{Measure, Span};
//! assert_eq!(Span::Hour.to_string(), "1h");
//! assert_eq!(Measure::LastTime.column("power_w"), "power_w_last_time");
//! assert_eq!(Measure::of("power_w_last_time"), Some(("power_w", Measure::LastTime)));
//! ```

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
        TimestampMicrosecondArray, new_null_array,
    },
    compute::{cast, is_not_null},
    datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};

use crate::{
    id::IdError,
    table::{PARTITION, TELEMETRY_COLUMNS, instant},
};

/// The columns by which rows of a rollup may belong together, in the order of the rows; `event_time` is the start of the
/// bucket, and tells `date`. See [`Span::keys`].
pub const KEYS: [&str; 4] = ["tenant", "device_id", "event_time", "firmware"];

/// Those of a rollup that does not tell devices apart.
const FLEET_KEYS: [&str; 3] = ["tenant", "event_time", "firmware"];

/// What has a least and a greatest value beside the metrics: when the rows of a bucket were measured.
const TIME: &str = "event_time";

/// Readings of a device that a bucket of its own has to hold, at a profile's cadence, for its rollup to be kept: a row of a
/// rollup is about five times as wide as a reading, so that with fewer it takes more room than what it sums up.
const WORTH_OF_DEVICE: u32 = 6;

/// The same where a bucket is that of many devices.
const WORTH_OF_FLEET: u32 = 1;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// How many telemetry rows a row stands for, whether they had a metric or not.
pub const ROWS: &str = "rows";

/// The width of a bucket. Buckets begin at multiples of it since 1970, in UTC; each lies within one `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// One minute of all devices of a firmware.
    Minute,
    /// One hour of all devices of a firmware.
    Hour,
    /// One day of a device.
    Day,
    /// All time of a device: one bucket, at 1970, with the last values alone.
    All,
}

impl Span {
    /// From the finest.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::All];

    /// The spans by which telemetry of this cadence is worth summing up.
    pub fn worth(cadence: Duration) -> impl Iterator<Item = Self> {
        let worth = move |span: &Self| {
            let readings = if span.by_device() { WORTH_OF_DEVICE } else { WORTH_OF_FLEET };
            let least = u128::from(readings) * cadence.as_micros();
            span.micros().is_none_or(|micros| least <= micros.unsigned_abs().into())
        };
        Self::ALL.into_iter().filter(worth)
    }

    /// Whether its rows tell devices apart.
    pub fn by_device(self) -> bool {
        matches!(self, Self::Day | Self::All)
    }

    /// The columns by which its rows belong together, in the order of the rows.
    pub fn keys(self) -> &'static [&'static str] {
        if self.by_device() { &KEYS } else { &FLEET_KEYS }
    }

    /// What it keeps of a metric.
    pub fn measures(self) -> &'static [Measure] {
        const SUMS: [Measure; 5] = [Measure::Count, Measure::Min, Measure::Max, Measure::Sum, Measure::SumSquares];
        if self == Self::All { &[Measure::Last, Measure::LastTime] } else { &SUMS }
    }

    /// Its length in microseconds, if it has one.
    pub fn micros(self) -> Option<i64> {
        let seconds = match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::All => return None,
        };
        Some(1_000_000 * seconds)
    }

    /// The start of the bucket of an instant, both in microseconds since 1970.
    pub fn start(self, micros: i64) -> i64 {
        self.micros().map_or(0, |width| micros.saturating_sub(micros.rem_euclid(width)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::All => "all",
        })
    }
}

impl FromStr for Span {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL.into_iter().find(|span| span.to_string() == text).ok_or_else(|| IdError {
            kind: "span",
            text: text.chars().take(200).collect(),
            rule: "1m, 1h, 1d or all",
        })
    }
}

/// What is kept of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Values that are there.
    Count,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The sum; of a boolean, how often it was true. Whole numbers wrap around as DataFusion's `sum` does.
    Sum,
    /// The sum of the squared distances from the row's own mean, for the variance: unlike the sum of the squares it
    /// loses no digits where the mean is far from zero.
    SumSquares,
    /// The value with the greatest event time; of several at that time the greatest.
    Last,
    /// The event time of the last value.
    LastTime,
}

impl Measure {
    /// In the order of the columns.
    pub const ALL: [Self; 7] =
        [Self::Count, Self::Min, Self::Max, Self::Sum, Self::SumSquares, Self::Last, Self::LastTime];

    // No ending ends with another one, so two metrics never meet in one column.
    fn ending(self) -> &'static str {
        match self {
            Self::Count => "_count",
            Self::Min => "_min",
            Self::Max => "_max",
            Self::Sum => "_sum",
            Self::SumSquares => "_sum_squares",
            Self::Last => "_last",
            Self::LastTime => "_last_time",
        }
    }

    /// The column in which it is kept.
    pub fn column(self, metric: &str) -> String {
        format!("{metric}{}", self.ending())
    }

    /// Metric and measure of a column, `event_time` among the metrics; none for [`KEYS`], [`ROWS`] and `date`.
    pub fn of(column: &str) -> Option<(&str, Self)> {
        if KEYS.contains(&column) {
            return None;
        }
        Self::ALL.into_iter().find_map(|measure| Some((column.strip_suffix(measure.ending())?, measure)))
    }

    /// Its type for a metric of type `metric`; none where it has no meaning.
    pub fn r#type(self, metric: &DataType) -> Option<DataType> {
        let number = matches!(metric, DataType::Float64 | DataType::Int64);
        match self {
            Self::Count => Some(DataType::Int64),
            Self::Last => Some(metric.clone()),
            Self::LastTime => Some(instant()),
            Self::Min | Self::Max | Self::Sum if number => Some(metric.clone()),
            Self::SumSquares if number => Some(DataType::Float64),
            Self::Sum if *metric == DataType::Boolean => Some(DataType::Int64),
            _ => None,
        }
    }
}

/// The rollup of a telemetry table: [`Span::keys`], [`ROWS`], the least and the greatest event time, the measures of each
/// metric ([`Span::measures`]), `date`.
pub fn schema(telemetry: &Schema, span: Span) -> SchemaRef {
    let mut fields = vec![Field::new("tenant", DataType::Utf8, false)];
    fields.extend(span.by_device().then(|| Field::new("device_id", DataType::Utf8, false)));
    fields.extend([
        Field::new("firmware", DataType::Utf8, true),
        Field::new("event_time", instant(), false),
        Field::new(ROWS, DataType::Int64, false),
        Field::new(Measure::Min.column(TIME), instant(), false),
        Field::new(Measure::Max.column(TIME), instant(), false),
    ]);
    for metric in telemetry.fields().iter().filter(|field| !TELEMETRY_COLUMNS.contains(&field.name().as_str())) {
        let measured = span.measures().iter().filter_map(|measure| {
            // Null also where the metric came later than the row.
            Some(Field::new(measure.column(metric.name()), measure.r#type(metric.data_type())?, true))
        });
        fields.extend(measured);
    }
    fields.push(Field::new(PARTITION, DataType::Date32, false));
    Arc::new(Schema::new(fields))
}

/// Telemetry rows as rows of a rollup, each of them an increment of its own; of the rollup's columns only these. A metric
/// that the rows lack is null.
pub fn singles<'a>(
    rows: &RecordBatch,
    columns: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Result<RecordBatch, ArrowError> {
    let lacks = |name: &str| ArrowError::SchemaError(format!("rows for a rollup have no column {name}"));
    let times = rows.column_by_name(TIME).ok_or_else(|| lacks(TIME))?;
    let instants = times.as_primitive_opt::<TimestampMicrosecondType>();
    let instants = instants.ok_or_else(|| ArrowError::SchemaError("event_time is not in microseconds".to_owned()))?;
    let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
    for name in columns {
        let (array, nullable): (ArrayRef, bool) = match (name, Measure::of(name)) {
            (TIME, _) => {
                let starts: TimestampMicrosecondArray = instants.unary(|micros| span.start(micros));
                (Arc::new(starts.with_timezone("UTC")), false)
            }
            (PARTITION, _) => {
                // A day of the calendar has no more than 32 bits: 64 bits of microseconds are fewer days.
                let date = |micros| span.start(micros).div_euclid(DAY) as i32;
                (Arc::new(instants.unary::<_, Date32Type>(date)), false)
            }
            (ROWS, _) => (Arc::new(Int64Array::from_value(1, rows.num_rows())), false),
            (_, Some((TIME, _))) => (Arc::clone(times), false),
            (_, Some((metric, measure))) => {
                let Some(values) = rows.column_by_name(metric) else { continue };
                let (one, wanted) = (single(values, measure, instants)?, measure.r#type(values.data_type()));
                if wanted.as_ref() != Some(one.data_type()) {
                    return Err(ArrowError::SchemaError(format!("a {} has no {name}", values.data_type())));
                }
                (one, true)
            }
            (key, None) => (Arc::clone(rows.column_by_name(key).ok_or_else(|| lacks(key))?), key == "firmware"),
        };
        fields.push(Field::new(name, array.data_type().clone(), nullable));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

/// A measure of each value alone.
fn single(values: &ArrayRef, measure: Measure, times: &TimestampMicrosecondArray) -> Result<ArrayRef, ArrowError> {
    Ok(match measure {
        Measure::Count => cast(&is_not_null(values)?, &DataType::Int64)?,
        Measure::Sum if *values.data_type() == DataType::Boolean => cast(values, &DataType::Int64)?,
        Measure::Min | Measure::Max | Measure::Sum | Measure::Last => Arc::clone(values),
        Measure::SumSquares if values.null_count() == values.len() => new_null_array(&DataType::Float64, values.len()),
        Measure::SumSquares => Arc::new(Float64Array::new(vec![0.0; values.len()].into(), values.nulls().cloned())),
        Measure::LastTime => Arc::new(
            TimestampMicrosecondArray::new(times.values().clone(), values.nulls().cloned()).with_timezone("UTC"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{profile::Profiles, table};

    #[test]
    fn a_span_prints_what_it_parsed() {
        for span in Span::ALL {
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert!("1w".parse::<Span>().is_err());
    }

    #[test]
    fn buckets_begin_before_their_instants_also_before_1970() {
        for (micros, hour) in [(0, 0), (3_600_000_000, 3_600_000_000), (-1, -3_600_000_000), (3_599_999_999, 0)] {
            assert_eq!(Span::Hour.start(micros), hour);
        }
    }

    #[test]
    fn a_rollup_is_kept_where_its_buckets_hold_some_readings() {
        let kept = |seconds| Vec::from_iter(Span::worth(Duration::from_secs(seconds)).map(|span| span.to_string()));
        assert_eq!(kept(60), ["1m", "1h", "1d", "all"]);
        assert_eq!(kept(61), ["1h", "1d", "all"]);
        assert_eq!(kept(3600), ["1h", "1d", "all"]);
        assert_eq!(kept(3601), ["1d", "all"]);
        assert_eq!(kept(4 * 3600 + 1), ["all"]);
    }

    #[test]
    fn every_column_tells_its_metric_and_no_two_are_named_alike() {
        let spans = Span::ALL;
        for (profile, span) in Profiles::builtin().iter().flat_map(|profile| spans.map(|span| (profile, span))) {
            let schema = schema(&table::telemetry(profile), span);
            assert_eq!(schema.index_of("device_id").is_ok(), span.keys().contains(&"device_id"));
            let names: BTreeSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names.len(), schema.fields().len());
            for field in schema.fields() {
                let fixed = KEYS.contains(&field.name().as_str()) || [ROWS, PARTITION].contains(&field.name().as_str());
                match Measure::of(field.name()) {
                    Some((metric, measure)) => assert_eq!(measure.column(metric), *field.name()),
                    None => assert!(fixed, "{field}"),
                }
            }
        }
    }

    #[test]
    fn no_ending_ends_with_another() {
        for one in Measure::ALL {
            for other in Measure::ALL {
                assert!(one == other || !one.ending().ends_with(other.ending()));
            }
        }
    }
}
