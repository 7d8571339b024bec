//! The variance of readings from counts, sums and squared distances of their parts.
//!
//! In: of each part how many readings, their sum, and the sum of their squared distances from its mean. Out: the
//! variance of all. Promise: parts are joined as Chan, Golub and LeVeque (1979) do, so no digits are lost where the mean
//! is far from zero; of fewer readings than a variance needs there is none.

use std::{
    mem::size_of,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type},
};
use datafusion::{
    common::internal_err,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    scalar::ScalarValue,
};

/// Of a sample, or of all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Spread {
    Sample,
    Population,
}

/// The aggregate, made once.
pub(super) fn spread(kind: Spread) -> Arc<AggregateUDF> {
    static SAMPLE: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(Joined::new(Spread::Sample).into()));
    static POPULATION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(Joined::new(Spread::Population).into()));
    Arc::clone(match kind {
        Spread::Sample => &SAMPLE,
        Spread::Population => &POPULATION,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    kind: Spread,
    signature: Signature,
}

impl Joined {
    fn new(kind: Spread) -> Self {
        let types = vec![DataType::Int64, DataType::Float64, DataType::Float64];
        Self { kind, signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Joined {
    fn name(&self) -> &str {
        match self.kind {
            Spread::Sample => "rollup_var",
            Spread::Population => "rollup_var_pop",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Moments { kind: self.kind, count: 0, sum: 0.0, squares: 0.0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |what, kind| Arc::new(Field::new(format!("{}[{what}]", args.name), kind, true));
        Ok(vec![field("count", DataType::Int64), field("sum", DataType::Float64), field("squares", DataType::Float64)])
    }
}

#[derive(Debug)]
struct Moments {
    kind: Spread,
    count: i64,
    sum: f64,
    squares: f64,
}

impl Accumulator for Moments {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let [counts, sums, squares] = columns else { return internal_err!("a variance is of three columns") };
        let (counts, sums) = (counts.as_primitive::<Int64Type>(), sums.as_primitive::<Float64Type>());
        let squares = squares.as_primitive::<Float64Type>();
        for at in 0..counts.len() {
            // A row of before the metric has none of it.
            if counts.is_null(at) || counts.value(at) == 0 || sums.is_null(at) || squares.is_null(at) {
                continue;
            }
            let (count, sum) = (counts.value(at), sums.value(at));
            self.squares += squares.value(at);
            if self.count > 0 {
                let (ours, theirs) = (self.count as f64, count as f64);
                let apart = sum / theirs - self.sum / ours;
                self.squares += apart * apart * (ours * theirs / (ours + theirs));
            }
            self.count += count;
            self.sum += sum;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let of = match self.kind {
            Spread::Sample => self.count - 1,
            Spread::Population => self.count,
        };
        Ok(ScalarValue::Float64((of > 0).then(|| self.squares / of as f64)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.count.into(), self.sum.into(), self.squares.into()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
