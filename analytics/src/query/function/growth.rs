//! `poisson_test(events, exposure, events_before, exposure_before)`.
//!
//! In: counts of two periods and their exposures. Out: how probable so many events or more are in the first if both have
//! one rate; NULL where an argument is NULL or a period has no exposure. Never: an error because one group of many is
//! empty.

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, Float64Array},
    compute::cast,
    datatypes::{DataType, Float64Type},
};
use datafusion::{
    common::exec_err,
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use foresight::measure::growth::poisson_test;

use super::interval::MOST_EVENTS;

/// The function's name.
const NAME: &str = "poisson_test";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PoissonTest {
    signature: Signature,
}

impl PoissonTest {
    pub(super) fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Float64; 4], Volatility::Immutable) }
    }
}

fn count(argument: &str, value: f64) -> Result<u64> {
    if !(0.0..=MOST_EVENTS).contains(&value) || value.fract() != 0.0 {
        return exec_err!("{NAME}: {argument} is {value}; legal is a whole number of at least 0");
    }
    Ok(value as u64)
}

fn exposure(argument: &str, value: f64) -> Result<f64> {
    if !(value >= 0.0 && value.is_finite()) {
        return exec_err!("{NAME}: {argument} is {value}; legal is a finite number of at least 0");
    }
    Ok(value)
}

impl ScalarUDFImpl for PoissonTest {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = args.args.iter().map(|arg| {
            let array = cast(&arg.to_array(args.number_rows)?, &DataType::Float64)?;
            Ok(array.as_primitive::<Float64Type>().clone())
        });
        let columns = columns.collect::<Result<Vec<Float64Array>>>()?;
        let value = |row: usize| {
            let at = |column: usize| columns.get(column).filter(|array| array.is_valid(row)).map(|a| a.value(row));
            let (Some(events), Some(watched), Some(before), Some(watched_before)) = (at(0), at(1), at(2), at(3)) else {
                return Ok(None);
            };
            let (events, before) = (count("events", events)?, count("events_before", before)?);
            let watched = exposure("exposure", watched)?;
            Ok(poisson_test(events, watched, before, exposure("exposure_before", watched_before)?))
        };
        let values = (0..args.number_rows).map(value).collect::<Result<Float64Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}
