//! Functions for analysts, beside those of DataFusion.
//!
//! In: arguments of a statement. Out: the function's value, or an error that names the argument and its legal range.
//! Promise: NULL in, NULL out (aggregates leave the row out); an aggregate holds a bounded number of values per group,
//! all counted against the query's memory; a group over its bound fails the query with advice. They are evaluated above
//! the fence, like every function.
//!
//! | module | noun |
//! |---|---|
//! | `bucket` | start of the time bucket |
//! | `counter` | from one reading to the next: difference, increase, rate |
//! | `growth` | whether a rate is greater than it was |
//! | `histogram` | counts in equally wide buckets |
//! | `interval` | limits of a rate and of a share |
//! | `lifetime` | fitted laws and survival curves |
//! | `top` | most frequent values |
//! | `variance` | DataFusion's variances, faster |

mod bucket;
mod counter;
mod growth;
mod histogram;
mod interval;
mod lifetime;
mod top;
mod variance;

use datafusion::{
    error::Result,
    execution::FunctionRegistry,
    logical_expr::{AggregateUDF, ScalarUDF, WindowUDF},
};

/// Makes the functions known to sessions made from this state.
pub(super) fn register(state: &mut dyn FunctionRegistry) -> Result<()> {
    state.register_udf(ScalarUDF::from(bucket::TimeBucket::new()).into())?;
    state.register_udf(ScalarUDF::from(growth::PoissonTest::new()).into())?;
    for function in interval::all() {
        state.register_udf(ScalarUDF::from(function).into())?;
    }
    for function in counter::all() {
        state.register_udwf(WindowUDF::from(function).into())?;
    }
    for function in lifetime::all() {
        state.register_udaf(AggregateUDF::from(function).into())?;
    }
    for function in variance::all() {
        state.register_udaf(AggregateUDF::from(function).into())?;
    }
    state.register_udaf(AggregateUDF::from(histogram::Histogram::new()).into())?;
    state.register_udaf(AggregateUDF::from(top::TopK::new()).into())?;
    Ok(())
}
