//! One SQL expression over named numbers, for rules of a profile: parsed once, evaluated over whole record batches.
//!
//! In: SQL text and the names it may use. Out: a column of numbers, null where the expression has none. Promise: the
//! same rows give the same numbers, today and in a replay: only functions whose result depends on nothing but their
//! arguments are taken. Never: a table, a subquery, an aggregate, a row of another batch.
//!
//! Whole numbers count as floating point, so that `a / b` is a quotient and division by zero is no error.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder},
    logical_expr::{Expr, Volatility, simplify::SimplifyContext},
    optimizer::simplify_expressions::ExprSimplifier,
    physical_expr::PhysicalExpr,
};
use schemas::door::SqlError;

use super::problem;

/// An expression that is not legal; says what is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    /// The names it may use, numbers as 64-bit floating point.
    schema: SchemaRef,
}

impl Expression {
    /// Parses `sql` over these columns.
    pub fn parse(sql: &str, columns: &[(&str, DataType)]) -> Result<Self, ExpressionError> {
        let field = |(name, r#type): &(&str, DataType)| {
            let r#type = if r#type.is_numeric() { DataType::Float64 } else { r#type.clone() };
            Field::new(*name, r#type, true)
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let known = DFSchema::try_from(Arc::clone(&schema)).map_err(|error| told(error, sql))?;
        let logical = STATE.create_logical_expr(sql, &known).map_err(|error| told(error, sql))?;
        legal(&logical)?;
        let physical = physical(logical, &known).map_err(|error| told(error, sql))?;
        let gives = physical.data_type(&schema).map_err(|error| told(error, sql))?;
        if !gives.is_numeric() && gives != DataType::Boolean && gives != DataType::Null {
            return Err(ExpressionError(format!("gives {gives}; a rule needs a number, or true and false")));
        }
        let expression = Self { physical, schema };
        // Tried once on nothing, so that what can never be computed is said now.
        expression.numbers(&nothing(&expression.schema)).map_err(|error| told(error, sql))?;
        Ok(expression)
    }

    /// Its number for each row, true as 1; and how many rows failed, which have none. Columns that the batch lacks are
    /// null.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<(Float64Array, usize), ArrowError> {
        let rows = batch.num_rows();
        let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows)),
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        if let Ok(numbers) = self.numbers(&batch) {
            return Ok((numbers, 0));
        }
        // A row that cannot be computed, such as a cast of an odd text, must not take its neighbours along.
        let one = |row| self.numbers(&batch.slice(row, 1)).ok();
        let by_row: Vec<Option<Float64Array>> = (0..rows).map(one).collect();
        let failed = by_row.iter().filter(|number| number.is_none()).count();
        let number = |array: Option<Float64Array>| array.filter(|array| array.is_valid(0)).map(|array| array.value(0));
        Ok((by_row.into_iter().map(number).collect(), failed))
    }

    fn numbers(&self, batch: &RecordBatch) -> Result<Float64Array, DataFusionError> {
        let array: ArrayRef = self.physical.evaluate(batch)?.into_array(batch.num_rows())?;
        let array = cast_with_options(&array, &DataType::Float64, &CastOptions::default())?;
        let numbers = array.as_any().downcast_ref::<Float64Array>().cloned();
        numbers.ok_or_else(|| DataFusionError::Internal("a cast to Float64 gave another type".into()))
    }
}

/// Functions and how SQL is read: the same for every expression.
static STATE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut state = SessionStateBuilder::new_with_default_features().build();
    state.config_mut().options_mut().sql_parser.map_string_types_to_utf8view = false;
    state
});

/// Functions such as `coalesce` are computed only in the form that simplifying gives them.
fn physical(logical: Expr, known: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(known.clone())).build());
    let simple = simplifier.simplify(simplifier.coerce(logical, known)?)?;
    STATE.create_physical_expr(simple, known)
}

/// One row without a value.
fn nothing(schema: &SchemaRef) -> RecordBatch {
    let row = RecordBatch::new_empty(Arc::clone(schema));
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap_or(row)
}

/// Whether the expression is one that a rule may have.
fn legal(expression: &Expr) -> Result<(), ExpressionError> {
    let mut refused = None;
    let walked = expression.apply(|part| {
        refused = match part {
            Expr::AggregateFunction(of) => Some(format!("{} looks at several rows", of.func.name())),
            Expr::WindowFunction(_) => Some("a window looks at several rows".into()),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Some("a subquery looks at tables".into())
            }
            Expr::ScalarFunction(of) if of.func.signature().volatility != Volatility::Immutable => {
                Some(format!("{} gives another result at another time, which a replay could not repeat", of.name()))
            }
            Expr::Alias(of) => Some(format!("it has no name of its own: leave out \"as {}\"", of.name)),
            Expr::Placeholder(of) => Some(format!("{} stands for nothing", of.id)),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    match (refused, walked) {
        (Some(why), _) => Err(ExpressionError(format!("{why}; it is computed from one reading's metrics"))),
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(ExpressionError(error.to_string())),
    }
}

fn told(error: DataFusionError, sql: &str) -> ExpressionError {
    let text = match problem::told(error, sql, &[]) {
        // The hint is about statements.
        SqlError::Syntax { message, .. } => message.split("; ").next().unwrap_or_default().to_owned(),
        SqlError::Internal(cause) => cause.to_string(),
        told => told.to_string(),
    };
    ExpressionError(text)
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, StringArray};

    use super::*;

    const COLUMNS: [(&str, DataType); 4] = [
        ("compressor_power_w", DataType::Float64),
        ("compressor_duty_percent", DataType::Int64),
        ("running", DataType::Boolean),
        ("mode", DataType::Utf8),
    ];

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "compressor_power_w",
                Arc::new(Float64Array::from(vec![Some(90.0), Some(80.0), None, Some(7.0)])) as ArrayRef,
                true,
            ),
            ("compressor_duty_percent", Arc::new(Int64Array::from(vec![40, 0, 50, 3])), true),
            ("running", Arc::new(BooleanArray::from(vec![true, false, true, true])), true),
            ("mode", Arc::new(StringArray::from(vec!["7", "x", "8", "eco"])), true),
        ])
        .unwrap()
    }

    fn check(sql: &str, expected: &[Option<f64>], failed: usize) {
        let expression = Expression::parse(sql, &COLUMNS).unwrap();
        let (numbers, lost) = expression.evaluate(&batch()).unwrap();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), expected, "{sql}");
        assert_eq!(lost, failed, "{sql}");
        // Row by row gives what the whole batch gives.
        for (row, expected) in expected.iter().enumerate() {
            let (one, _) = expression.evaluate(&batch().slice(row, 1)).unwrap();
            assert_eq!(one.iter().next().unwrap(), *expected, "{sql}, row {row}");
        }
    }

    #[test]
    fn an_expression_is_computed_for_every_row() {
        check("compressor_power_w / nullif(compressor_duty_percent, 0)", &[Some(2.25), None, None, Some(7.0 / 3.0)], 0);
        check("compressor_duty_percent / 16", &[Some(2.5), Some(0.0), Some(3.125), Some(0.1875)], 0);
        check("compressor_power_w > 85", &[Some(1.0), Some(0.0), None, Some(0.0)], 0);
        check("case when running then compressor_power_w end", &[Some(90.0), None, None, Some(7.0)], 0);
        check("abs(compressor_duty_percent - 41) + 1", &[Some(2.0), Some(42.0), Some(10.0), Some(39.0)], 0);
    }

    #[test]
    fn a_row_that_fails_has_no_number_and_spoils_no_other() {
        check("cast(mode as double)", &[Some(7.0), None, Some(8.0), None], 2);
    }

    #[test]
    fn a_column_that_the_batch_lacks_is_null() {
        let expression = Expression::parse("coalesce(compressor_power_w, 1)", &COLUMNS).unwrap();
        let narrow = batch().project(&[1]).unwrap();
        assert_eq!(expression.evaluate(&narrow).unwrap().0, Float64Array::from(vec![1.0; 4]));
    }

    #[test]
    fn what_is_not_legal_is_said_with_the_nearest_names() {
        for (sql, said) in [
            ("compressor_powr_w / 2", "there is no column \"compressor_powr_w\"; nearest: \"compressor_power_w\""),
            ("tenant", "there is no column \"tenant\""),
            ("mode", "gives Utf8; a rule needs a number"),
            ("compressor_power_w +", "Expected: an expression"),
            ("compressor_power_w running mode", "end of expression"),
            ("sum(compressor_power_w)", "sum looks at several rows"),
            ("random() * compressor_power_w", "random gives another result at another time"),
            ("extract(hour from now())", "now gives another result at another time"),
            ("(select 1)", ""),
            ("compressor_power_w as p", "leave out \"as p\""),
            ("absolute(compressor_power_w)", "absolute"),
            ("mode + running", ""),
        ] {
            let error = Expression::parse(sql, &COLUMNS).expect_err(sql).to_string();
            assert!(error.contains(said), "{sql}: {error}");
        }
    }
}
