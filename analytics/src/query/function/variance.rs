//! DataFusion's variances and standard deviations, without a division for each row.
//!
//! In: values, by group or not. Out: what DataFusion's own functions give, whose names, states and last steps these keep.
//! Promise: neighbouring rows of one group are summed up at once, by their mean and then by their distances from it, and
//! joined with the group (Chan, Golub and LeVeque 1979): no digits are lost far from zero. Never: more than a batch's values
//! held.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, UInt64Array},
    datatypes::{DataType, FieldRef, Float64Type},
};
use datafusion::{
    error::Result,
    functions_aggregate::{
        stddev::{stddev_pop_udaf, stddev_udaf},
        variance::{var_pop_udaf, var_samp_udaf},
    },
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    scalar::ScalarValue,
};

/// Sums side by side, so that a processor adds several at a time.
const LANES: usize = 8;
/// Rows that a run has on average, at least, to be summed up by itself.
const RUN: usize = 4;

/// The four functions.
pub(super) fn all() -> impl Iterator<Item = ByRuns> {
    [var_samp_udaf(), var_pop_udaf(), stddev_udaf(), stddev_pop_udaf()].into_iter().map(|of| ByRuns { of })
}

/// One of DataFusion's functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ByRuns {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for ByRuns {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn aliases(&self) -> &[String] {
        self.of.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let distinct = args.is_distinct;
        let of = self.of.accumulator(args)?;
        Ok(if distinct { of } else { Box::new(All(of)) })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups(self.of.create_groups_accumulator(args)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of.documentation()
    }
}

/// The sum of something of each value.
fn sum(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|value| of(*value)).sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += of(*value);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// How many values, their mean, and the sum of their squared distances from it.
fn moments(values: &[f64]) -> (u64, f64, f64) {
    if values.is_empty() {
        return (0, 0.0, 0.0);
    }
    let mean = sum(values, |value| value) / values.len() as f64;
    (values.len() as u64, mean, sum(values, |value| (value - mean) * (value - mean)))
}

/// States of DataFusion's functions.
fn states(all: &[(u64, f64, f64)]) -> [ArrayRef; 3] {
    [
        Arc::new(UInt64Array::from_iter_values(all.iter().map(|one| one.0))),
        Arc::new(Float64Array::from_iter_values(all.iter().map(|one| one.1))),
        Arc::new(Float64Array::from_iter_values(all.iter().map(|one| one.2))),
    ]
}

/// Of all rows together.
#[derive(Debug)]
struct All(Box<dyn Accumulator>);

impl Accumulator for All {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(values) = columns.first().and_then(|column| column.as_primitive_opt::<Float64Type>()) else {
            return self.0.update_batch(columns);
        };
        let one = match values.null_count() {
            0 => moments(values.values()),
            _ => moments(&Vec::from_iter(values.iter().flatten())),
        };
        self.0.merge_batch(&states(&[one]))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.0.retract_batch(columns)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

/// Of groups.
struct Groups(Box<dyn GroupsAccumulator>);

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let values = columns.first().and_then(|column| column.as_primitive_opt::<Float64Type>());
        let runs = || groups.chunk_by(|a, b| a == b);
        // Rows in no order, or not all of them, are looked at one by one.
        let Some(values) = values.filter(|_| filter.is_none() && runs().count() * RUN <= groups.len()) else {
            return self.0.update_batch(columns, groups, filter, count);
        };
        let (mut from, mut of, mut all, mut there) = (0, Vec::new(), Vec::new(), Vec::new());
        for run in runs() {
            let to = from + run.len();
            of.extend(run.first());
            all.push(if values.null_count() == 0 {
                moments(&values.values()[from..to])
            } else {
                there.clear();
                there.extend((from..to).filter(|row| values.is_valid(*row)).map(|row| values.value(row)));
                moments(&there)
            });
            from = to;
        }
        self.0.merge_batch(&states(&all), &of, count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.0.merge_batch(states, groups, count)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.0.evaluate(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit)
    }

    fn convert_to_state(&self, columns: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.0.convert_to_state(columns, filter)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{execution::FunctionRegistry as _, prelude::SessionContext};
    use proptest::prelude::*;

    use super::*;

    const SQL: &str = "select g, count(v), var(v), var_pop(v), stddev(v), stddev_pop(v), var_samp(v), stddev_samp(v) \
                       filter (where v > 0) from t group by g order by g";
    const ALL: &str = "select 0, count(v), var(v), var_pop(v), stddev(v), stddev_pop(v), var_samp(v), stddev_samp(v) \
                       filter (where v > 0) from t";

    fn ask(context: &SessionContext, sql: &str) -> Vec<Vec<Option<f64>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(async { context.sql(sql).await?.collect().await }).unwrap();
        let mut rows = Vec::new();
        for batch in &batches {
            let columns = batch.columns().iter().skip(1).map(|c| arrow::compute::cast(c, &DataType::Float64).unwrap());
            let columns = Vec::from_iter(columns);
            for row in 0..batch.num_rows() {
                let value = |c: &ArrayRef| c.is_valid(row).then(|| c.as_primitive::<Float64Type>().value(row));
                rows.push(Vec::from_iter(columns.iter().map(value)));
            }
        }
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Sorted and unsorted, with and without nulls, near zero and far from it.
        #[test]
        fn values_are_those_of_datafusion(
            rows in prop::collection::vec((0..5i64, proptest::option::weighted(0.9, -100..100i32)), 0..300),
            sorted in any::<bool>(),
            far in any::<bool>(),
        ) {
            let mut rows = rows;
            if sorted {
                rows.sort_by_key(|row| row.0);
            }
            let base = if far { 1e6 } else { 0.0 };
            let groups = arrow::array::Int64Array::from_iter_values(rows.iter().map(|row| row.0));
            let values: Float64Array = rows.iter().map(|row| row.1.map(|v| base + f64::from(v) / 4.0)).collect();
            let columns: [(&str, ArrayRef); 2] = [("g", Arc::new(groups)), ("v", Arc::new(values))];
            let batch = arrow::array::RecordBatch::try_from_iter_with_nullable(
                columns.map(|(name, column)| (name, column, true)),
            ).unwrap();
            let (theirs, ours) = (SessionContext::new(), SessionContext::new());
            let mut state = ours.state();
            for function in all() {
                state.register_udaf(AggregateUDF::from(function).into()).unwrap();
            }
            let ours = SessionContext::new_with_state(state);
            for context in [&theirs, &ours] {
                context.register_batch("t", batch.clone()).unwrap();
            }
            for sql in [SQL, ALL] {
                let (ours, theirs) = (ask(&ours, sql), ask(&theirs, sql));
                prop_assert_eq!(ours.len(), theirs.len());
                for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                    let near = a.zip(*b).map(|(a, b)| (a - b).abs() <= 1e-7 * (1.0 + b.abs()));
                    prop_assert!(near.unwrap_or(a.is_none() && b.is_none()), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn moments_keep_their_digits_far_from_zero() {
        let values = Vec::from_iter((0..1000).map(|n| 1e9 + f64::from(n % 2)));
        assert_eq!(moments(&values), (1000, 1e9 + 0.5, 250.0));
        assert_eq!(moments(&[]), (0, 0.0, 0.0));
        assert_eq!(moments(&[3.0]), (1, 3.0, 0.0));
    }
}
