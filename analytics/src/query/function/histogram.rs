//! `histogram(value, low, high, buckets)`: how many values lie in each of equally wide buckets.
//!
//! In: numbers, and the same bounds for all rows. Out: a list of `lower`, `upper` (not included) and `count`, with what
//! lies below and above at its ends, where `lower` or `upper` is NULL. Promise: every number is counted once; NULL and
//! NaN are not numbers. Never: more than [`MAX_BUCKETS`] buckets.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Float64Array, Int64Array, StructArray},
    datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type},
};
use datafusion::{
    common::{exec_err, internal_err, plan_err, utils::SingleRowListArrayBuilder},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    physical_expr::expressions::Literal,
    scalar::ScalarValue,
};

/// Buckets at most: a picture has no more columns than a screen.
const MAX_BUCKETS: i64 = 10_000;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Histogram {
    signature: Signature,
}

impl Histogram {
    /// Makes it.
    pub(super) fn new() -> Self {
        let types = vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    let number = |name| Field::new(name, DataType::Float64, true);
    Fields::from(vec![number("lower"), number("upper"), Field::new("count", DataType::Int64, true)])
}

fn gives() -> DataType {
    DataType::new_list(DataType::Struct(fields()), true)
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &str {
        "histogram"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(gives())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("histogram takes no DISTINCT; select distinct values in a subquery");
        }
        let literal = |place: usize| {
            let given = args.exprs.get(place).and_then(|expr| expr.downcast_ref::<Literal>());
            given.map(|literal| literal.value().clone())
        };
        let (low, high, buckets) = match (literal(1), literal(2), literal(3)) {
            (
                Some(ScalarValue::Float64(Some(low))),
                Some(ScalarValue::Float64(Some(high))),
                Some(ScalarValue::Int64(Some(buckets))),
            ) => (low, high, buckets),
            _ => return plan_err!("histogram: low, high and buckets are to be constants"),
        };
        if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
            return plan_err!("histogram: low is {low} and high is {high}; legal is low below high, both finite");
        }
        if !(1..=MAX_BUCKETS).contains(&buckets) {
            return plan_err!("histogram: buckets is {buckets}; legal is 1 to {MAX_BUCKETS}");
        }
        Ok(Box::new(Counts { low, high, counts: vec![0; buckets as usize + 2], any: false }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[counts]", args.name);
        Ok(vec![Arc::new(Field::new_list(name, Field::new_list_field(DataType::Int64, true), true))])
    }
}

/// Counts of a group: below, each bucket, above.
#[derive(Debug)]
struct Counts {
    low: f64,
    high: f64,
    counts: Vec<i64>,
    any: bool,
}

impl Counts {
    fn buckets(&self) -> usize {
        self.counts.len() - 2
    }

    /// Where bucket `place` begins.
    fn bound(&self, place: usize) -> f64 {
        if place == self.buckets() {
            return self.high;
        }
        self.low + (self.high - self.low) * (place as f64 / self.buckets() as f64)
    }

    fn place(&self, value: f64) -> usize {
        if value < self.low {
            return 0;
        }
        if value >= self.high {
            return self.counts.len() - 1;
        }
        let buckets = self.buckets();
        let share = (value - self.low) / (self.high - self.low);
        let mut place = ((share * buckets as f64) as usize).min(buckets - 1);
        // The bounds that are shown decide, not the rounding of the quotient.
        if value < self.bound(place) {
            place -= 1;
        } else if place + 1 < buckets && value >= self.bound(place + 1) {
            place += 1;
        }
        place + 1
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(values) = columns.first() else { return internal_err!("histogram was given no column") };
        for value in values.as_primitive::<Float64Type>().iter().flatten().filter(|value| !value.is_nan()) {
            let place = self.place(value);
            self.counts[place] += 1;
            self.any = true;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.any {
            return ScalarValue::try_from(&gives());
        }
        let ends = self.counts.len();
        let lower = (0..ends).map(|place| (place > 0).then(|| self.bound(place - 1)));
        let upper = (0..ends).map(|place| (place + 1 < ends).then(|| self.bound(place)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(lower.collect::<Float64Array>()),
            Arc::new(upper.collect::<Float64Array>()),
            Arc::new(Int64Array::from(self.counts.clone())),
        ];
        let rows = StructArray::try_new(fields(), columns, None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(rows)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * size_of::<i64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let counts = Arc::new(Int64Array::from(self.counts.clone()));
        Ok(vec![SingleRowListArrayBuilder::new(counts).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first() else { return internal_err!("histogram has one state") };
        for other in states.as_list::<i32>().iter().flatten() {
            let other = other.as_primitive::<Int64Type>();
            if other.len() != self.counts.len() {
                return exec_err!("histogram: low, high and buckets are to be constants");
            }
            for (count, more) in self.counts.iter_mut().zip(other.values()) {
                *count += more;
                self.any |= *more > 0;
            }
        }
        Ok(())
    }
}
