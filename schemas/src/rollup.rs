//! The tables that hold telemetry by the minute, hour and day.
//!
//! In: a telemetry table's schema. Out: the schema of its rollups, and the names of their columns. Promise: a row is an
//! increment: rows with equal keys add up to one, in any order, so a late row of a device is one row more. Never: a
//! column of one metric that has the name of another's.
//!
//! ```
//! use schemas::rollup::{Measure, Span};
//! assert_eq!(Span::Hour.to_string(), "1h");
//! assert_eq!(Measure::LastTime.column("power_w"), "power_w_last_time");
//! assert_eq!(Measure::of("power_w_last_time"), Some(("power_w", Measure::LastTime)));
//! ```

use std::{fmt, str::FromStr, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::{
    id::IdError,
    table::{PARTITION, TELEMETRY_COLUMNS, instant},
};

/// The columns by which rows of a rollup belong together; `event_time` is the start of the bucket, and tells `date`.
pub const KEYS: [&str; 4] = ["tenant", "device_id", "firmware", "event_time"];

/// How many telemetry rows a row stands for, whether they had a metric or not.
pub const ROWS: &str = "rows";

/// The width of a bucket. Buckets begin at multiples of it since 1970, in UTC; each lies within one `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
}

impl Span {
    /// From the finest.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length in microseconds.
    pub fn micros(self) -> i64 {
        1_000_000
            * match self {
                Self::Minute => 60,
                Self::Hour => 3600,
                Self::Day => 86_400,
            }
    }

    /// The start of the bucket of an instant, both in microseconds since 1970.
    pub fn start(self, micros: i64) -> i64 {
        micros.saturating_sub(micros.rem_euclid(self.micros()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        })
    }
}

impl FromStr for Span {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL.into_iter().find(|span| span.to_string() == text).ok_or_else(|| IdError {
            kind: "span",
            text: text.chars().take(200).collect(),
            rule: "1m, 1h or 1d",
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
    /// The sum of the squares, for the variance.
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

    /// Metric and measure of a column; none for [`KEYS`], [`ROWS`] and `date`.
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

/// The rollup of a telemetry table, whatever its span: [`KEYS`], [`ROWS`], the measures of each metric, `date`.
pub fn schema(telemetry: &Schema) -> SchemaRef {
    let mut fields = vec![
        Field::new("tenant", DataType::Utf8, false),
        Field::new("device_id", DataType::Utf8, false),
        Field::new("firmware", DataType::Utf8, true),
        Field::new("event_time", instant(), false),
        Field::new(ROWS, DataType::Int64, false),
    ];
    for metric in telemetry.fields().iter().filter(|field| !TELEMETRY_COLUMNS.contains(&field.name().as_str())) {
        let measured = Measure::ALL.into_iter().filter_map(|measure| {
            // Null also where the metric came later than the row.
            Some(Field::new(measure.column(metric.name()), measure.r#type(metric.data_type())?, true))
        });
        fields.extend(measured);
    }
    fields.push(Field::new(PARTITION, DataType::Date32, false));
    Arc::new(Schema::new(fields))
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
    fn every_column_tells_its_metric_and_no_two_are_named_alike() {
        for profile in Profiles::builtin().iter() {
            let schema = schema(&table::telemetry(profile));
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
