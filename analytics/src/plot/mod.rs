//! Pictures of answers.
//!
//! In: columns and batches of a query. Out: an SVG: the first column is the place (time, number or name), columns of
//! numbers after it are lines over time and numbers, bars beside names. Promise: rows and columns that are not drawn are
//! told in the picture; what cannot be drawn at all is an error that says why. Never: a file, a query of its own.

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::{cast, concat_batches},
    datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use foresight::plot::{
    PlotError, Series,
    chart::{Bars, Lines, MOST_BARS, Place, bars, lines},
};

/// Why an answer has no picture.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// Nothing in it is a number.
    #[error("there is nothing to draw: {0}; the first column is the place, those after it are numbers")]
    Nothing(&'static str),
    /// Columns that are not what they say.
    #[error("read the answer's columns")]
    Arrow(#[from] ArrowError),
    /// The picture does not come about.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

/// Draws an answer.
pub fn answer(title: &str, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, DrawError> {
    let rows = concat_batches(schema, batches)?;
    let Some(first) = schema.fields().first() else { return Err(DrawError::Nothing("the answer has no columns")) };
    let fields = schema.fields().iter().zip(rows.columns()).skip(1);
    let numeric = fields.filter(|(field, _)| field.data_type().is_numeric());
    let series = numeric.map(|(field, column)| Ok(Series { name: field.name().clone(), values: numbers(column)? }));
    let series = series.collect::<Result<Vec<_>, ArrowError>>()?;
    if series.is_empty() {
        return Err(DrawError::Nothing("no column after the first is a number"));
    }
    let axis = series.iter().map(|series| series.name.as_str()).collect::<Vec<_>>().join(", ");
    let (title, note) = (title.to_owned(), format!("{} rows", rows.num_rows()));
    let place = match first.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Place::Time,
        r#type if r#type.is_numeric() => Place::Number,
        _ => {
            let drawn = rows.slice(0, rows.num_rows().min(MOST_BARS + 1));
            let mut names = texts(drawn.column(0))?;
            // How many there are is told, not what they are called.
            names.resize(rows.num_rows(), String::new());
            return Ok(bars(&Bars { title, note, axis, names, series, ..Bars::default() })?);
        }
    };
    let (places, order) = ascending(&self::places(rows.column(0), place)?);
    let sorted = |series: Series| {
        let values = order.iter().map(|row| series.values[*row]).collect();
        Series { values, ..series }
    };
    let series = series.into_iter().map(sorted).collect();
    let across = match place {
        Place::Time => format!("{} (UTC)", first.name()),
        Place::Number => first.name().clone(),
    };
    Ok(lines(&Lines { title, note, across, place, axis, places, series })?)
}

/// Places in order, and which row each is of; rows without one are left out.
fn ascending(places: &[Option<f64>]) -> (Vec<f64>, Vec<usize>) {
    let known = places.iter().enumerate().filter_map(|(row, place)| Some(((*place)?, row)));
    let mut known: Vec<(f64, usize)> = known.collect();
    known.sort_by(|one, other| one.0.total_cmp(&other.0));
    known.into_iter().unzip()
}

fn places(column: &ArrayRef, place: Place) -> Result<Vec<Option<f64>>, ArrowError> {
    if place == Place::Number {
        return numbers(column);
    }
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let micros = cast(&micros, &DataType::Int64)?;
    Ok(micros.as_primitive::<Int64Type>().iter().map(|micros| Some(micros? as f64 / 1e6)).collect())
}

/// A column as numbers.
pub(crate) fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, ArrowError> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().iter().collect())
}

/// A column as texts.
pub(crate) fn texts(column: &ArrayRef) -> Result<Vec<String>, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    (0..column.len()).map(|row| formatter.value(row).try_to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn drawn(columns: Vec<(&str, ArrayRef)>) -> Result<String, DrawError> {
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        answer("of a test", &batch.schema(), &[batch])
    }

    fn values() -> ArrayRef {
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(4.0)]))
    }

    #[test]
    fn the_first_column_decides_what_is_drawn() {
        let codes: ArrayRef = Arc::new(StringArray::from(vec![Some("E21"), Some("<E22>"), None]));
        let names = drawn(vec![("code", codes.clone()), ("n", values()), ("why", codes)]).unwrap();
        assert!(names.contains("E21") && names.contains("&lt;E22&gt;") && names.contains("3 rows"), "{names}");
        let days =
            TimestampMicrosecondArray::from(vec![1_795_219_200_000_000, 1_795_305_600_000_000, 1_795_400_000_000_000]);
        for places in
            [Arc::new(days.with_timezone("UTC")) as ArrayRef, Arc::new(Date32Array::from(vec![20_778, 20_779, 20_780]))]
        {
            let lines = drawn(vec![("day", places), ("x", values())]).unwrap();
            assert!(lines.contains("day (UTC)") && lines.contains("<circle") && lines.contains("of a test"), "{lines}");
        }
        let lines = drawn(vec![("age", Arc::new(Int64Array::from(vec![3, 2, 1]))), ("x", values())]).unwrap();
        assert!(lines.contains("age"), "{lines}");
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let error = drawn(vec![("code", words.clone()), ("words", words)]).unwrap_err().to_string();
        assert!(error.contains("no column after the first is a number"), "{error}");
    }

    #[test]
    fn lines_go_from_left_to_right_whatever_the_rows_order() {
        assert_eq!(ascending(&[Some(3.0), None, Some(1.0)]), (vec![1.0, 3.0], vec![2, 0]));
    }
}
