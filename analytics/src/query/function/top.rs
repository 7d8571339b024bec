//! `top_k(value, k)`: the most frequent values with their counts.
//!
//! In: values of any type that has a text. Out: a list of `value` (as text) and `count`, the most frequent first, equal
//! counts by value. Promise: counts are exact; NULL is not a value. Never: more than [`MAX_VALUES`] different ones in a
//! group.

use std::{cmp::Reverse, collections::HashMap, mem::size_of, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, StringArray, StructArray},
    datatypes::{DataType, Field, FieldRef, Fields, Int64Type},
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

/// Different values in a group: fault codes and firmware are hundreds; what has more has no few most frequent ones.
const MAX_VALUES: usize = 65_536;

/// Most frequent values that can be asked for.
const MAX_K: i64 = 1_000;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TopK {
    signature: Signature,
}

impl TopK {
    /// Makes it.
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    Fields::from(vec![Field::new("value", DataType::Utf8, true), Field::new("count", DataType::Int64, true)])
}

fn gives() -> DataType {
    DataType::new_list(DataType::Struct(fields()), true)
}

impl AggregateUDFImpl for TopK {
    fn name(&self) -> &str {
        "top_k"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, k] = types else { return plan_err!("top_k takes 2 arguments: value and k") };
        if value.is_nested() {
            return plan_err!("top_k: value is {value}; legal is a text, number, time or truth value");
        }
        if !k.is_integer() {
            return plan_err!("top_k: k is {k}; legal is a whole number of 1 to {MAX_K}");
        }
        Ok(vec![DataType::Utf8, DataType::Int64])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(gives())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("top_k takes no DISTINCT: every count would be 1");
        }
        let k = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>()).map(Literal::value);
        let Some(ScalarValue::Int64(Some(k))) = k else { return plan_err!("top_k: k is to be a constant") };
        if !(1..=MAX_K).contains(k) {
            return plan_err!("top_k: k is {k}; legal is 1 to {MAX_K}");
        }
        Ok(Box::new(Counts { k: *k as usize, counts: HashMap::new(), text_bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |what, kind| {
            let name = format!("{}[{what}]", args.name);
            Arc::new(Field::new_list(name, Field::new_list_field(kind, true), true))
        };
        Ok(vec![list("values", DataType::Utf8), list("counts", DataType::Int64)])
    }
}

/// Counts of a group.
#[derive(Debug)]
struct Counts {
    k: usize,
    counts: HashMap<String, i64>,
    text_bytes: usize,
}

impl Counts {
    fn add(&mut self, value: &str, count: i64) -> Result<()> {
        if let Some(known) = self.counts.get_mut(value) {
            *known += count;
            return Ok(());
        }
        if self.counts.len() == MAX_VALUES {
            return exec_err!(
                "top_k: a group has more than {MAX_VALUES} different values; round them, or group by them"
            );
        }
        self.text_bytes += value.len();
        self.counts.insert(value.to_owned(), count);
        Ok(())
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(values) = columns.first() else { return internal_err!("top_k was given no column") };
        for value in values.as_string::<i32>().iter().flatten() {
            self.add(value, 1)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.counts.is_empty() {
            return ScalarValue::try_from(&gives());
        }
        let mut ranked: Vec<(&str, i64)> = self.counts.iter().map(|(value, count)| (value.as_str(), *count)).collect();
        ranked.sort_unstable_by_key(|&(value, count)| (Reverse(count), value));
        ranked.truncate(self.k);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(ranked.iter().map(|(value, _)| value))),
            Arc::new(Int64Array::from_iter_values(ranked.iter().map(|(_, count)| *count))),
        ];
        let rows = StructArray::try_new(fields(), columns, None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(rows)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * (size_of::<(String, i64)>() + 1) + self.text_bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = StringArray::from_iter_values(self.counts.keys());
        let counts = Int64Array::from_iter_values(self.counts.values().copied());
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![list(Arc::new(values)), list(Arc::new(counts))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, counts] = states else { return internal_err!("top_k has two states") };
        for (values, counts) in values.as_list::<i32>().iter().zip(counts.as_list::<i32>().iter()) {
            let (Some(values), Some(counts)) = (values, counts) else { continue };
            for (value, count) in values.as_string::<i32>().iter().zip(counts.as_primitive::<Int64Type>().values()) {
                if let Some(value) = value {
                    self.add(value, *count)?;
                }
            }
        }
        Ok(())
    }
}
