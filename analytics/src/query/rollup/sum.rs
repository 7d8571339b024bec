//! Aggregates of readings as aggregates of what rollups hold.
//!
//! In: aggregates over the columns of a telemetry table. Out: aggregates over those of a rollup, and how their values
//! make the ones asked for. Promise: the same values, but for the last digits of floating-point sums. Never: an
//! aggregate that needs single readings, as a median does.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::Column,
    functions::math::expr_fn::sqrt,
    functions_aggregate::{
        min_max::{max_udaf, min_udaf},
        sum::sum_udaf,
    },
    logical_expr::{
        AggregateUDF, Cast, Expr, col,
        expr::{AggregateFunction, AggregateFunctionParams},
        lit, when,
    },
};
use schemas::{
    rollup::{KEYS, Measure, ROWS},
    table::PARTITION,
};

use super::spread::{Spread, spread};

/// The aggregates of one question.
pub(super) struct Sums {
    /// Over a rollup.
    parts: Vec<Expr>,
    /// What was asked for, of the columns `__part_0` and so on.
    found: Vec<Expr>,
    /// Filters and arguments that have to be the same for all rows of a bucket.
    fitting: Vec<Expr>,
    rows_only: bool,
}

impl Sums {
    /// None where one of them cannot be told from a rollup of this schema.
    pub(super) fn of(asked: &[Expr], rollup: &Schema) -> Option<Self> {
        let mut sums = Self { parts: Vec::new(), found: Vec::new(), fitting: Vec::new(), rows_only: !asked.is_empty() };
        for expr in asked {
            let found = sums.add(expr, rollup)?;
            sums.found.push(found);
        }
        Some(sums)
    }

    /// Aggregates over a rollup.
    pub(super) fn parts(&self) -> Vec<Expr> {
        self.parts.iter().enumerate().map(|(at, part)| part.clone().alias(part_name(at))).collect()
    }

    /// What was asked for, from their values.
    pub(super) fn found(&self) -> impl Iterator<Item = Expr> + use<'_> {
        self.found.iter().cloned()
    }

    /// What has to fit the span.
    pub(super) fn fitting(&self) -> &[Expr] {
        &self.fitting
    }

    /// Whether nothing but the number of rows is asked for.
    pub(super) fn counts_rows_only(&self) -> bool {
        self.rows_only
    }

    fn add(&mut self, expr: &Expr, rollup: &Schema) -> Option<Expr> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return None };
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        if !order_by.is_empty() || null_treatment.is_some() {
            return None;
        }
        self.fitting.extend(filter.as_deref().cloned());
        let filter = filter.clone();
        let name = func.name();
        // How often a key is there changes nothing.
        let once = *distinct && name == "count" || matches!(name, "min" | "max" | "approx_distinct");
        let of_keys = |expr: &Expr| {
            let columns = expr.column_refs();
            let shared = |name: &str| KEYS.contains(&name) || name == PARTITION;
            !columns.is_empty() && columns.iter().all(|column| shared(&column.name))
        };
        let (_, [first]) = (name, args.as_slice()) else { return None };
        let is_time = matches!(first, Expr::Column(column) if column.name == "event_time");
        if once && of_keys(first) && (*distinct || !is_time) {
            self.rows_only = false;
            self.fitting.push(first.clone());
            return Some(self.part(expr.clone()));
        }
        if *distinct {
            return None;
        }
        let column = |metric: &str, measure: Measure| {
            let name = measure.column(metric);
            rollup.field_with_name(&name).is_ok().then(|| Expr::Column(Column::new_unqualified(name)))
        };
        let call = |func: Arc<AggregateUDF>, args: Vec<Expr>| {
            Expr::AggregateFunction(AggregateFunction::new_udf(func, args, false, filter.clone(), Vec::new(), None))
        };
        let float = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), DataType::Float64));
        if name == "count" {
            let counted = match first {
                Expr::Literal(value, _) if !value.is_null() => col(ROWS),
                Expr::Column(column) if ["tenant", "device_id", "event_time", PARTITION].contains(&column.name()) => {
                    col(ROWS)
                }
                Expr::Column(metric) => column(metric.name(), Measure::Count)?,
                _ => return None,
            };
            self.rows_only &= counted == col(ROWS);
            let sum = self.part(call(sum_udaf(), vec![counted]));
            return when(sum.clone().is_null(), lit(0_i64)).otherwise(sum).ok();
        }
        self.rows_only = false;
        match name {
            "min" | "max" => {
                let Expr::Column(metric) = first else { return None };
                let (func, measure) =
                    if name == "min" { (min_udaf(), Measure::Min) } else { (max_udaf(), Measure::Max) };
                Some(self.part(call(func, vec![column(metric.name(), measure)?])))
            }
            "sum" => {
                let number = Number::of(first)?;
                let sum = column(number.metric, Measure::Sum)?;
                let sum = if number.float { float(sum) } else { sum };
                Some(self.part(call(sum_udaf(), vec![sum])))
            }
            "avg" => {
                let metric = Number::of(first)?.metric;
                let sum = self.part(call(sum_udaf(), vec![float(column(metric, Measure::Sum)?)]));
                let count = self.part(call(sum_udaf(), vec![column(metric, Measure::Count)?]));
                Some(sum / float(count))
            }
            "var" | "var_pop" | "stddev" | "stddev_pop" => {
                let metric = Number::of(first)?.metric;
                let squares = column(metric, Measure::SumSquares)?;
                let kind = if name.ends_with("_pop") { Spread::Population } else { Spread::Sample };
                let args = vec![column(metric, Measure::Count)?, float(column(metric, Measure::Sum)?), squares];
                let variance = self.part(call(spread(kind), args));
                Some(if name.starts_with("stddev") { sqrt(variance) } else { variance })
            }
            _ => None,
        }
    }

    /// The column of an aggregate, which is worked out once.
    fn part(&mut self, part: Expr) -> Expr {
        let at = self.parts.iter().position(|known| *known == part).unwrap_or(self.parts.len());
        if at == self.parts.len() {
            self.parts.push(part);
        }
        col(part_name(at))
    }
}

fn part_name(at: usize) -> String {
    format!("__part_{at}")
}

/// A metric, perhaps made wider.
struct Number<'a> {
    metric: &'a str,
    /// Whether its values became floating-point numbers.
    float: bool,
}

impl<'a> Number<'a> {
    fn of(expr: &'a Expr) -> Option<Self> {
        match expr {
            Expr::Column(column) => Some(Self { metric: column.name(), float: false }),
            Expr::Cast(cast) => {
                let inner = Self::of(&cast.expr)?;
                match cast.field.data_type() {
                    DataType::Float64 => Some(Self { float: true, ..inner }),
                    DataType::Int64 if !inner.float => Some(inner),
                    // Of a truth value, which is 0 or 1.
                    DataType::Int32 if matches!(&*cast.expr, Expr::Column(_)) => Some(inner),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
