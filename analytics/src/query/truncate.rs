//! `date_trunc` of an instant in UTC as `date_bin`.
//!
//! In: a plan as written. Out: the same plan, in which whole seconds, minutes, hours, days and weeks of UTC instants are
//! found by division. Promise: the same values, types and names. Never: months, quarters and years, which differ in
//! length, nor other zones, whose days do.
//!
//! DataFusion 55 truncates a zoned instant through a calendar, row by row: five to ten times slower.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::{
    common::{
        DFSchema, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode as _},
    },
    error::Result,
    functions::datetime::date_bin,
    logical_expr::{
        Expr, ExprSchemable as _, LogicalPlan,
        expr::{Cast, ScalarFunction},
        expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::{Analyzer, AnalyzerRule},
};

/// Weeks begin on Mondays; the first one of the era was its fifth day.
const MONDAY_NANOS: i64 = 4 * 86_400 * 1_000_000_000;

/// DataFusion's rules after ours, so that it settles the types of what we write.
pub(super) fn rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(Truncate));
    rules
}

/// The rule.
#[derive(Debug, Default)]
pub(super) struct Truncate;

impl AnalyzerRule for Truncate {
    fn name(&self) -> &str {
        "utc_date_trunc_as_date_bin"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let rewritten = plan.map_expressions(|expr| {
                // Grouping sets name their parts themselves.
                if matches!(expr, Expr::GroupingSet(_)) {
                    return Ok(Transformed::no(expr));
                }
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| Ok(bin(expr, &schema)))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?;
            rewritten.map_data(LogicalPlan::recompute_schema)
        });
        plan.map(|plan| plan.data)
    }
}

fn bin(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match binned(&expr, schema) {
        Some(bin) => Transformed::yes(bin),
        None => Transformed::no(expr),
    }
}

fn binned(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let ("date_trunc", [unit, instant]) = (call.func.name(), &call.args[..]) else { return None };
    let unit = match unit {
        Expr::Literal(value, _) => value.try_as_str()??,
        _ => return None,
    };
    let r#type = instant.get_type(schema).ok()?;
    let DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) = &r#type else { return None };
    if !matches!(&**zone, "UTC" | "+00:00") {
        return None;
    }
    const SECOND: i64 = 1_000_000_000;
    let (days, nanos) = match unit.to_ascii_lowercase().as_str() {
        "second" => (0, SECOND),
        "minute" => (0, 60 * SECOND),
        "hour" => (0, 3600 * SECOND),
        "day" => (1, 0),
        "week" => (7, 0),
        _ => return None,
    };
    let width = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, nanos)));
    let mut args = vec![Expr::Literal(width, None), instant.clone()];
    if days == 7 {
        args.push(Expr::Literal(ScalarValue::TimestampNanosecond(Some(MONDAY_NANOS), Some(Arc::clone(zone))), None));
    }
    let bin = Expr::ScalarFunction(ScalarFunction::new_udf(date_bin(), args));
    // DataFusion widens the instants for `date_bin` to nanoseconds.
    Some(Expr::Cast(Cast::new(Box::new(bin), r#type)))
}

#[cfg(test)]
mod tests;
