//! `latest_{profile}`: what each device said last.
//!
//! In: the rollup over all time. Out: one row per device: its last firmware, its last event time, and of each metric the
//! last value that was there and its time. Promise: last by event time, so a late row changes nothing but what it is later
//! than; of several values of one time the greatest. Never: a scan of telemetry: the rollup has a row per device and
//! firmware, and some of the last minutes.

use std::sync::Arc;

use datafusion::{
    catalog::{TableProvider, view::ViewTable},
    datasource::provider_as_source,
    error::Result,
    functions_aggregate::{first_last::last_value_udaf, min_max::max_udaf},
    logical_expr::{AggregateUDF, Expr, LogicalPlanBuilder, SortExpr, col, expr::AggregateFunction},
};
use schemas::{
    id::ProfileName,
    rollup::{Measure, Span},
    table::TableName,
};

/// The profile whose devices a table of this name tells of.
pub(super) fn profile(name: &str) -> Option<ProfileName> {
    name.strip_prefix("latest_")?.parse().ok()
}

/// The name of the table that a rollup serves.
pub(super) fn served(rollup: &TableName) -> Option<String> {
    match rollup {
        TableName::Rollup(Span::All, profile) => Some(format!("latest_{profile}")),
        _ => None,
    }
}

/// The table, over the rollup over all time.
pub(super) fn table(name: &TableName, rollup: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let call = |func: Arc<AggregateUDF>, of: &str, order: Vec<SortExpr>| {
        Expr::AggregateFunction(AggregateFunction::new_udf(func, vec![col(of)], false, None, order, None))
    };
    let max = |of: &str| call(max_udaf(), of, Vec::new());
    // No time comes first, so it is never the last.
    let last = |of: &str, by: &str| {
        let order = [by, of].map(|column| col(column).sort(true, true));
        call(last_value_udaf(), of, order.to_vec())
    };
    let newest = Measure::Max.column("event_time");
    let mut shown = vec![last("firmware", &newest).alias("firmware"), max(&newest).alias("event_time")];
    for field in rollup.schema().fields() {
        if let Some((metric, Measure::Last)) = Measure::of(field.name()) {
            let time = Measure::LastTime.column(metric);
            shown.push(last(field.name(), &time).alias(metric));
            shown.push(max(&time).alias(&time));
        }
    }
    let plan = LogicalPlanBuilder::scan(name.to_string(), provider_as_source(rollup), None)?
        .aggregate(vec![col("tenant"), col("device_id")], shown)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
