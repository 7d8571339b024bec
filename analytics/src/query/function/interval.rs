//! `rate_interval(events, exposure [, level])` and `wilson_interval(hits, cases [, level])`.
//!
//! In: counts. Out: a struct of `lower` and `upper`; NULL where an argument is NULL or where nothing was observed (no
//! exposure, no cases). Never: an error because one group of many is empty.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Float64Array, Float64Builder, StructArray},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Field, Fields, Float64Type},
};
use datafusion::{
    common::exec_err,
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility},
};
use foresight::measure::interval::{garwood, wilson};

/// Confidence where none is asked for.
const LEVEL: f64 = 0.95;

/// Above this a 64-bit float no longer tells neighbours apart, and a count is not one.
pub(super) const MOST_EVENTS: f64 = 9_007_199_254_740_992.0;

static LIMITS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![Field::new("lower", DataType::Float64, true), Field::new("upper", DataType::Float64, true)])
});

/// Both functions.
pub(super) fn all() -> [IntervalOf; 2] {
    [Kind::Rate, Kind::Share].map(|kind| {
        let numbers = |count| TypeSignature::Exact(vec![DataType::Float64; count]);
        IntervalOf { kind, signature: Signature::one_of(vec![numbers(2), numbers(3)], Volatility::Immutable) }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Of a Poisson rate.
    Rate,
    /// Of a binomial share.
    Share,
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IntervalOf {
    kind: Kind,
    signature: Signature,
}

impl IntervalOf {
    /// The limits of one row.
    fn limits(&self, count: f64, whole: f64, level: f64) -> Result<Option<(f64, f64)>> {
        let name = self.name();
        if !(level > 0.0 && level < 1.0) {
            return exec_err!("{name}: level is {level}; legal is above 0 and below 1, such as 0.95");
        }
        match self.kind {
            Kind::Rate => {
                if !(0.0..=MOST_EVENTS).contains(&count) || count.fract() != 0.0 {
                    return exec_err!("{name}: events is {count}; legal is a whole number of at least 0");
                }
                if !(whole >= 0.0 && whole.is_finite()) {
                    return exec_err!("{name}: exposure is {whole}; legal is a finite number of at least 0");
                }
                if whole == 0.0 && count > 0.0 {
                    return exec_err!("{name}: exposure is 0 although there are {count} events; legal is above 0");
                }
                let limits = if whole == 0.0 { None } else { garwood(count as u64, level) };
                Ok(limits.map(|(lower, upper)| (lower / whole, upper / whole)))
            }
            Kind::Share => {
                if !(whole >= 0.0 && whole.is_finite()) {
                    return exec_err!("{name}: cases is {whole}; legal is a finite number of at least 0");
                }
                if !(0.0..=whole).contains(&count) {
                    return exec_err!("{name}: hits is {count}; legal is 0 to cases, which is {whole}");
                }
                Ok(wilson(count, whole, level))
            }
        }
    }
}

impl ScalarUDFImpl for IntervalOf {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Rate => "rate_interval",
            Kind::Share => "wilson_interval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(LIMITS.clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|arg| {
            let array = cast(&arg.to_array(rows)?, &DataType::Float64)?;
            Ok(array.as_primitive::<Float64Type>().clone())
        });
        let columns = columns.collect::<Result<Vec<Float64Array>>>()?;
        let at = |column: usize, row: usize| match columns.get(column) {
            Some(array) => array.is_valid(row).then(|| array.value(row)),
            None => Some(LEVEL),
        };
        let (mut lower, mut upper) = (Float64Builder::with_capacity(rows), Float64Builder::with_capacity(rows));
        let mut known = Vec::with_capacity(rows);
        for row in 0..rows {
            let limits = match (at(0, row), at(1, row), at(2, row)) {
                (Some(count), Some(whole), Some(level)) => self.limits(count, whole, level)?,
                _ => None,
            };
            lower.append_option(limits.map(|(lower, _)| lower));
            upper.append_option(limits.map(|(_, upper)| upper));
            known.push(limits.is_some());
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(lower.finish()), Arc::new(upper.finish())];
        let limits = StructArray::try_new(LIMITS.clone(), columns, Some(NullBuffer::from(known)))?;
        Ok(ColumnarValue::Array(Arc::new(limits)))
    }
}
