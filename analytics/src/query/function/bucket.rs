//! `time_bucket(width, time [, origin])`: the start of the bucket a time lies in.
//!
//! In: a width as interval or text, a timestamp. Out: a timestamp of the same type. Promise: planned as `date_bin`, so
//! that whatever the engine knows of that holds here too; days and weeks begin where TimescaleDB's do. Never: a bucket
//! of no width.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::{
    common::{exec_err, plan_err},
    error::Result,
    functions::datetime::expr_fn::date_bin,
    logical_expr::{
        Cast, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
    scalar::ScalarValue,
};

/// 2000-01-03, a Monday, so that weeks begin on Mondays, in nanoseconds.
const MONDAY_NANOS: i64 = 946_857_600_000_000_000;
/// 2000-01-01, so that buckets of months begin with a month and buckets of years with a year, in nanoseconds.
const NEW_YEAR_NANOS: i64 = 946_684_800_000_000_000;

const WIDTH: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    /// Makes it.
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (width, time, origin) = match types {
            [width, time] => (width, time, None),
            [width, time, origin] => (width, time, Some(origin)),
            _ => return plan_err!("time_bucket takes 2 or 3 arguments: width, time and origin"),
        };
        if !matches!(width, DataType::Interval(_) | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return plan_err!("time_bucket: width is {width}; legal is an interval, such as '15 minutes'");
        }
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Utf8 | DataType::Utf8View => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            other => return plan_err!("time_bucket: time is {other}; legal is a timestamp or a date"),
        };
        let mut coerced = vec![WIDTH, time.clone()];
        coerced.extend(origin.map(|_| nanoseconds(&time)));
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.get(1) {
            Some(time) => Ok(time.clone()),
            None => plan_err!("time_bucket takes 2 or 3 arguments: width, time and origin"),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let (width, time, origin) = match <[Expr; 2]>::try_from(args) {
            Ok([width, time]) => (width, time, None),
            Err(args) => match <[Expr; 3]>::try_from(args) {
                Ok([width, time, origin]) => (width, time, Some(origin)),
                Err(_) => return plan_err!("time_bucket takes 2 or 3 arguments: width, time and origin"),
            },
        };
        let months = months(&width)?;
        let kind = info.get_data_type(&time)?;
        let origin = match (origin, &kind) {
            (Some(origin), _) => origin,
            (None, DataType::Timestamp(_, zone)) => {
                let begin = if months { NEW_YEAR_NANOS } else { MONDAY_NANOS };
                Expr::Literal(ScalarValue::TimestampNanosecond(Some(begin), zone.clone()), None)
            }
            (None, other) => return plan_err!("time_bucket: time is {other}; legal is a timestamp"),
        };
        let bin = date_bin(width, time, origin);
        // The type is part of the plan's schema, and must not change with the form.
        let bin = if info.get_data_type(&bin)? == kind { bin } else { Expr::Cast(Cast::new(Box::new(bin), kind)) };
        Ok(ExprSimplifyResult::Simplified(bin))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("time_bucket is planned as date_bin and not evaluated itself")
    }
}

fn nanoseconds(time: &DataType) -> DataType {
    match time {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        _ => DataType::Timestamp(TimeUnit::Nanosecond, None),
    }
}

/// Whether a width counts months.
fn months(width: &Expr) -> Result<bool> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(width)), _) = width else { return Ok(false) };
    let parts = (width.months, width.days, width.nanoseconds);
    if parts.0 < 0 || parts.1 < 0 || parts.2 < 0 || parts == (0, 0, 0) {
        return plan_err!("time_bucket: width is not above zero; legal is an interval such as '15 minutes'");
    }
    if parts.0 > 0 && (parts.1 > 0 || parts.2 > 0) {
        return plan_err!("time_bucket: width mixes months with days or hours; legal is one or the other");
    }
    Ok(parts.0 > 0)
}
