//! `delta(value)`, `increase(value)` and `rate(value, time)`: from one reading to the next of the same device.
//!
//! In: rows of `OVER (PARTITION BY device_id ORDER BY event_time)`. Out: per row what was added since the last reading
//! that was one. Promise: one pass, one reading kept; a row without a reading (NULL, NaN) gives NULL and is passed over;
//! a counter that fell was reset, and counts from zero. Never: a look ahead, a rate over no time.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, Field, FieldRef, Float64Type, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::plan_err,
    error::Result,
    logical_expr::{
        PartitionEvaluator, Signature, Volatility, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
    scalar::ScalarValue,
};

/// Of a time's unit in a second.
const MICROS: f64 = 1e6;

/// What is told of two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The difference, of a gauge.
    Delta,
    /// What a counter added.
    Increase,
    /// What a counter added per second.
    Rate,
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    kind: Kind,
    signature: Signature,
}

/// All three.
pub(super) fn all() -> [Step; 3] {
    let signature = Signature::user_defined(Volatility::Immutable);
    [Kind::Delta, Kind::Increase, Kind::Rate].map(|kind| Step { kind, signature: signature.clone() })
}

impl WindowUDFImpl for Step {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Delta => "delta",
            Kind::Increase => "increase",
            Kind::Rate => "rate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (value, time) = match (self.kind, types) {
            (Kind::Rate, [value, time]) => (value, Some(time)),
            (Kind::Rate, _) => return plan_err!("rate takes 2 arguments: value and time"),
            (_, [value]) => (value, None),
            _ => return plan_err!("{name} takes 1 argument: value"),
        };
        if !value.is_numeric() && !value.is_null() {
            return plan_err!("{name}: value is {value}; legal is a number");
        }
        let mut coerced = vec![DataType::Float64];
        match time {
            Some(DataType::Timestamp(_, zone)) => {
                coerced.push(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()));
            }
            Some(other) => return plan_err!("{name}: time is {other}; legal is a timestamp"),
            None => {}
        }
        Ok(coerced)
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Last { kind: self.kind, reading: None }))
    }
}

/// The last reading of a device.
#[derive(Debug)]
struct Last {
    kind: Kind,
    /// Value and, for a rate, time.
    reading: Option<(f64, i64)>,
}

impl Last {
    fn next(&mut self, value: Option<f64>, time_micros: Option<i64>) -> Option<f64> {
        let value = value.filter(|value| !value.is_nan())?;
        let time = match self.kind {
            Kind::Rate => time_micros?,
            _ => 0,
        };
        let (before, then) = self.reading.replace((value, time))?;
        let added = if value < before { value } else { value - before };
        match self.kind {
            Kind::Delta => Some(value - before),
            Kind::Increase => Some(added),
            Kind::Rate => (time > then).then(|| added / (time.saturating_sub(then) as f64 / MICROS)),
        }
    }
}

impl PartitionEvaluator for Last {
    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }

    fn evaluate(&mut self, columns: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let row = range.start;
        let values = columns[0].as_primitive::<Float64Type>();
        let value = values.is_valid(row).then(|| values.value(row));
        let times = columns.get(1).map(|column| column.as_primitive::<TimestampMicrosecondType>());
        let time = times.and_then(|times| times.is_valid(row).then(|| times.value(row)));
        Ok(ScalarValue::Float64(self.next(value, time)))
    }
}
