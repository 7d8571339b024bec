//! Readings summed up by day, row by row: the streaming side of indicators, used where devices are scored.
//!
//! In: Arrow batches of readings, in any order. Out: each device's [`Days`]. Promise: the same as [`super::frame`] makes
//! of the same rows. Never: a copy of a batch.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use foresight::daily::Days;

use super::{PrognosisError, feature::Channel, frame::Known, store};

/// A channel's columns in one batch.
struct Columns {
    value: Float64Array,
    regime: Option<(Float64Array, f64)>,
}

impl Columns {
    fn of(batch: &RecordBatch, channel: &Channel) -> Result<Self, PrognosisError> {
        let numbers = |name: &str| -> Result<Float64Array, PrognosisError> {
            let missing = || PrognosisError::Column { column: name.into() };
            let column: &ArrayRef = batch.column_by_name(name).ok_or_else(missing)?;
            Ok(cast(column, &DataType::Float64).map_err(|_| missing())?.as_primitive::<Float64Type>().clone())
        };
        let regime = match &channel.when {
            Some(when) => Some((numbers(&when.metric)?, when.at_least)),
            None => None,
        };
        Ok(Self { value: numbers(&channel.metric)?, regime })
    }

    /// NaN where it was not measured, or in another regime.
    fn at(&self, row: usize) -> f64 {
        let holds =
            self.regime.as_ref().is_none_or(|(metric, least)| metric.is_valid(row) && metric.value(row) >= *least);
        if holds && self.value.is_valid(row) { self.value.value(row) } else { f64::NAN }
    }
}

/// Sums the readings up.
pub fn days(
    batches: &[RecordBatch],
    channels: &[Channel],
    known: Known,
) -> Result<BTreeMap<String, Days>, PrognosisError> {
    let mut all: BTreeMap<String, Days> = BTreeMap::new();
    let mut values = vec![f64::NAN; channels.len()];
    for batch in batches {
        let columns: Vec<Columns> =
            channels.iter().map(|channel| Columns::of(batch, channel)).collect::<Result<_, _>>()?;
        let (devices, happened) = (store::texts(batch, "device_id")?, store::integers(batch, "event_time")?);
        let (devices, happened) = (devices.as_string::<i32>(), happened.as_primitive::<Int64Type>());
        let (arrived, late) =
            (store::integers(batch, "arrival_time")?, store::typed(batch, "late", &DataType::Boolean)?);
        let (arrived, late): (_, &BooleanArray) = (arrived.as_primitive::<Int64Type>(), late.as_boolean());
        for row in 0..batch.num_rows() {
            let at = happened.value(row);
            let arrived = match known {
                Known::Arrival => arrived.value(row),
                Known::Event if late.value(row) => continue,
                Known::Event => at,
            };
            values.iter_mut().zip(&columns).for_each(|(value, columns)| *value = columns.at(row));
            let device = devices.value(row);
            match all.get_mut(device) {
                Some(days) => days.push(at, arrived, &values),
                None => all.entry(device.to_owned()).or_default().push(at, arrived, &values),
            }
        }
    }
    Ok(all)
}
