//! Aggregates over telemetry, answered by its rollups.
//!
//! In: an optimised plan. Out: the same plan, in which an aggregate over a telemetry table reads the coarsest rollup that
//! answers it (of the whole fleet where devices need not be told apart, else of each device), and of a range that begins or
//! ends within a bucket the rest from a finer rollup or the rows themselves.
//! Promise: the same rows, names and types; sums of floating-point numbers may differ in their last digits, being added
//! in another order. Never: an aggregate that a rollup answers only nearly (`fits`, `sum`).
//!
//! A group or a filter may stay as it is where it is the same for all rows of a bucket, because the start of the bucket
//! then stands for any of them. EXPLAIN shows the rollup's name in place of the table's.

mod fits;
mod spread;
mod sum;

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::Field;
use datafusion::{
    catalog::TableProvider as _,
    common::{
        Column, ScalarValue, TableReference,
        tree_node::{Transformed, TreeNode as _},
    },
    datasource::{provider_as_source, source_as_provider},
    error::Result,
    logical_expr::{
        Aggregate, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, TableSource, col, lit,
        utils::{conjunction, split_conjunction},
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};
use schemas::{
    rollup::{KEYS, Measure, ROWS, Span},
    table::PARTITION,
};

use self::{
    fits::{Range, fits},
    sum::Sums,
};
use super::table::Table;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct Rollups;

impl OptimizerRule for Rollups {
    fn name(&self) -> &str {
        "telemetry_as_rollups"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Aggregate(aggregate) = &plan
            && let Some(question) = Question::of(aggregate)
            && let Some(answered) = question.answered(aggregate)?
        {
            return Ok(Transformed::yes(answered));
        }
        Ok(Transformed::no(plan))
    }
}

/// What lies below an aggregate: one table, and expressions over its columns, which have no qualifier here.
struct Below {
    name: TableReference,
    source: Arc<dyn TableSource>,
    filters: Vec<Expr>,
    /// What each column of the aggregate's input is.
    columns: HashMap<Column, Expr>,
}

impl Below {
    /// None where anything but filters, projections and names stands between.
    fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let columns = scan
                    .projected_schema
                    .iter()
                    .map(|(relation, field)| (Column::new(relation.cloned(), field.name()), col_of(field.name())));
                let mut below = Self {
                    name: scan.table_name.clone(),
                    source: Arc::clone(&scan.source),
                    filters: Vec::new(),
                    columns: columns.collect(),
                };
                // Those handed to the table stand above it once more, where it does not apply them exactly.
                let all = scan.source.schema();
                let relations = [Some(scan.table_name.clone()), None];
                let names = relations.iter().flat_map(|relation| {
                    let of =
                        move |field: &Arc<Field>| (Column::new(relation.clone(), field.name()), col_of(field.name()));
                    all.fields().iter().map(of)
                });
                let stored = names.collect();
                let shown = std::mem::replace(&mut below.columns, stored);
                let filters = scan.filters.iter().map(|filter| below.resolve(filter)).collect::<Option<Vec<_>>>()?;
                below.filters = filters;
                below.columns = shown;
                Some(below)
            }
            LogicalPlan::Filter(filter) => {
                let mut below = Self::of(&filter.input)?;
                for part in split_conjunction(&filter.predicate) {
                    let part = below.resolve(part)?;
                    if !below.filters.contains(&part) {
                        below.filters.push(part);
                    }
                }
                Some(below)
            }
            LogicalPlan::Projection(projection) => {
                let below = Self::of(&projection.input)?;
                let named = projection.schema.iter().zip(&projection.expr).map(|((relation, field), expr)| {
                    let expr = below.resolve(expr)?.unalias_nested().data;
                    Some((Column::new(relation.cloned(), field.name()), expr))
                });
                Some(Self { columns: named.collect::<Option<_>>()?, ..below })
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let below = Self::of(&alias.input)?;
                let named = alias.schema.iter().zip(alias.input.schema().iter()).map(|((to, field), (from, inner))| {
                    let expr = below.columns.get(&Column::new(from.cloned(), inner.name()))?.clone();
                    Some((Column::new(to.cloned(), field.name()), expr))
                });
                Some(Self { columns: named.collect::<Option<_>>()?, ..below })
            }
            _ => None,
        }
    }

    /// An expression over the table's own columns.
    fn resolve(&self, expr: &Expr) -> Option<Expr> {
        let mut known = true;
        let resolved = expr.clone().transform(|expr| {
            Ok(match &expr {
                Expr::Column(column) => match self.columns.get(column) {
                    Some(stored) => Transformed::yes(stored.clone()),
                    None => {
                        known = false;
                        Transformed::no(expr)
                    }
                },
                _ => Transformed::no(expr),
            })
        });
        resolved.ok().filter(|_| known).map(|resolved| resolved.data)
    }
}

fn col_of(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// What is asked of a telemetry table that has rollups.
struct Question {
    below: Below,
    groups: Vec<Expr>,
    sums: Sums,
    /// The filters but for bounds of the event time.
    filters: Vec<Expr>,
    range: Range,
}

impl Question {
    fn of(aggregate: &Aggregate) -> Option<Self> {
        let below = Below::of(&aggregate.input)?;
        let provider = source_as_provider(&below.source).ok()?;
        let table = provider.downcast_ref::<Table>()?;
        let any = table.rollups().first()?;
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return None;
        }
        let resolve = |expr: &Expr| Some(below.resolve(expr)?.unalias_nested().data);
        let groups = aggregate.group_expr.iter().map(resolve).collect::<Option<Vec<_>>>()?;
        let asked = aggregate.aggr_expr.iter().map(resolve).collect::<Option<Vec<_>>>()?;
        let sums = Sums::of(&asked, &any.table.schema())?;
        let (mut filters, mut range) = (Vec::new(), Range::default());
        for filter in &below.filters {
            if !range.take(filter) {
                filters.push(filter.clone());
            }
        }
        // The number of all rows stands in the log of the table.
        let counts_all = groups.is_empty() && below.filters.is_empty() && sums.counts_rows_only();
        (!counts_all).then_some(Self { groups, sums, filters, range, below })
    }

    /// The aggregate over rollups; none where none answers it.
    fn answered(&self, aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
        let provider = source_as_provider(&self.below.source)?;
        let Some(table) = provider.downcast_ref::<Table>() else { return Ok(None) };
        let says = |span: Span| {
            let exprs = self.groups.iter().chain(&self.filters).chain(self.sums.fitting());
            exprs.into_iter().all(|expr| fits(expr, span))
        };
        let mut spans: Vec<Span> =
            table.rollups().iter().map(|rollup| rollup.span).filter(|span| says(*span)).collect();
        // Where devices need not be told apart: hours of a fleet are far fewer than days of its devices.
        let of_fleet = spans.iter().any(|span| !span.by_device());
        spans.retain(|span| span.by_device() != of_fleet);
        let any = table.rollups().iter().find(|rollup| spans.contains(&rollup.span));
        let pieces = self.range.cover(&spans);
        let Some(any) = any.filter(|_| pieces.iter().any(|(span, _)| span.is_some())) else { return Ok(None) };
        let columns = self.columns();
        let mut input: Option<LogicalPlanBuilder> = None;
        for (span, range) in pieces {
            let rollup = table.rollups().iter().find(|rollup| Some(rollup.span) == span);
            let (name, source) = match rollup {
                Some(rollup) => {
                    (TableReference::bare(rollup.name.to_string()), provider_as_source(rollup.table.clone()))
                }
                None => (self.below.name.clone(), Arc::clone(&self.below.source)),
            };
            let of = |expr: Expr| qualified(expr, &name);
            let mut piece = LogicalPlanBuilder::scan(name.clone(), source, None)?;
            if let Some(filter) = conjunction(self.filters.iter().cloned().chain(range.filters())) {
                piece = piece.filter(of(filter)?)?;
            }
            let schema = Arc::clone(piece.schema());
            let shown = columns.iter().map(|column| {
                let expr = of(if rollup.is_some() { col_of(column) } else { alone(column) })?;
                // A sum of truth values is a number.
                let kind = any.table.schema().field_with_name(column)?.data_type().clone();
                Ok(expr.cast_to(&kind, schema.as_ref())?.alias(column))
            });
            piece = piece.project(shown.collect::<Result<Vec<_>>>()?)?;
            input = Some(match input {
                Some(before) => before.union(piece.build()?)?,
                None => piece,
            });
        }
        let Some(input) = input else { return Ok(None) };
        let groups = self.groups.iter().enumerate().map(|(at, group)| group.clone().alias(format!("__group_{at}")));
        let input = input.aggregate(groups, self.sums.parts())?;
        let schema = Arc::clone(input.schema());
        let found = (0..self.groups.len()).map(|at| col(format!("__group_{at}"))).chain(self.sums.found());
        let named = found.zip(aggregate.schema.iter()).map(|(expr, (relation, field))| {
            let expr = expr.cast_to(field.data_type(), schema.as_ref())?;
            Ok(expr.alias_qualified(relation.cloned(), field.name()))
        });
        Ok(Some(input.project(named.collect::<Result<Vec<_>>>()?)?.build()?))
    }

    /// The columns of a rollup that the aggregate reads.
    fn columns(&self) -> Vec<String> {
        let parts = self.sums.parts();
        let mut names: Vec<String> = Vec::new();
        for expr in self.groups.iter().chain(&parts) {
            for column in expr.column_refs() {
                names.push(column.name.clone());
            }
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            names.push(ROWS.to_owned());
        }
        names
    }
}

/// Its columns as those of one table.
fn qualified(expr: Expr, table: &TableReference) -> Result<Expr> {
    let expr = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new(Some(table.clone()), column.name))),
            other => Transformed::no(other),
        })
    })?;
    Ok(expr.data)
}

/// A rollup's column of a telemetry row alone (as [`schemas::rollup::singles`]).
fn alone(column: &str) -> Expr {
    if KEYS.contains(&column) || column == PARTITION {
        return col_of(column);
    }
    let Some((metric, measure)) = Measure::of(column) else { return lit(1_i64) };
    let value = col_of(metric);
    let there = |expr: Expr, none: Expr| {
        datafusion::logical_expr::when(value.clone().is_not_null(), expr)
            .otherwise(none)
            .unwrap_or_else(|_| value.clone())
    };
    match measure {
        Measure::Count => there(lit(1_i64), lit(0_i64)),
        Measure::SumSquares => there(lit(0.0), lit(ScalarValue::Float64(None))),
        Measure::LastTime => {
            there(col_of("event_time"), lit(ScalarValue::TimestampMicrosecond(None, Some("UTC".into()))))
        }
        Measure::Min | Measure::Max | Measure::Sum | Measure::Last => value,
    }
}

#[cfg(test)]
mod tests;
