//! A trend's rows as bars.

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::SchemaRef, error::ArrowError};
use foresight::plot::{
    Series,
    chart::{Bars, bars},
};
use schemas::trend::Bounds;

use super::definition::Definition;
use crate::plot::{DrawError, numbers, texts};

/// Draws the rows within the bounds.
pub(super) fn draw(
    definition: &Definition,
    bounds: &Bounds,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<String, DrawError> {
    let rows = concat_batches(schema, batches)?;
    let column = |name: &str| {
        let found = rows.column_by_name(name);
        found.ok_or_else(|| ArrowError::SchemaError(format!("trend {} has no {name}", definition.trend.name)))
    };
    let drawn = &definition.drawn;
    let series = |&(name, words): &(&str, &str)| {
        Ok::<_, ArrowError>(Series { name: words.to_owned(), values: numbers(column(name)?)? })
    };
    // Of one profile its name would only be repeated.
    let named =
        drawn.names.iter().filter(|name| **name != "profile" || bounds.profile.is_none() || drawn.names.len() == 1);
    let parts = named.map(|name| texts(column(name)?)).collect::<Result<Vec<_>, ArrowError>>()?;
    let name = |row: usize| parts.iter().map(|part| part[row].as_str()).collect::<Vec<_>>().join(" · ");
    let limits = match drawn.limits {
        true => numbers(column("lower")?)?.into_iter().zip(numbers(column("upper")?)?).collect(),
        false => Vec::new(),
    };
    Ok(bars(&Bars {
        title: definition.trend.title.to_owned(),
        note: note(bounds),
        axis: drawn.axis.to_owned(),
        names: (0..rows.num_rows()).map(name).collect(),
        series: drawn.bars.iter().map(series).collect::<Result<_, _>>()?,
        limits,
        mark: drawn.mark.as_ref().map(series).transpose()?,
    })?)
}

/// The bounds in words.
fn note(bounds: &Bounds) -> String {
    let parts = [
        bounds.level.map(|level| format!("by {level}")),
        bounds.profile.as_ref().map(|profile| format!("of {profile}")),
        bounds.from.map(|from| format!("from {from}")),
        bounds.until.map(|until| format!("until {until}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
