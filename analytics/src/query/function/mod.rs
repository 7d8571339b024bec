//! Functions for analysts, beside those of DataFusion.
//!
//! In: arguments of a statement. Out: the function's value, or an error that names the argument and its legal range.
//! Promise: NULL in, NULL out (aggregates leave the row out); an aggregate holds a bounded number of values per group,
//! all counted against the query's memory; a group over its bound fails the query with advice. They are evaluated above
//! the fence, like every function.
//!
//! | module | noun |
//! |---|---|
//! | `interval` | limits of a rate and of a share |

mod interval;

use datafusion::{error::Result, execution::FunctionRegistry, logical_expr::ScalarUDF};

/// Makes the functions known to sessions made from this state.
pub(super) fn register(state: &mut dyn FunctionRegistry) -> Result<()> {
    for function in interval::all() {
        state.register_udf(ScalarUDF::from(function).into())?;
    }
    Ok(())
}
