//! Whether an expression is the same for all rows of a bucket.
//!
//! In: an expression over the columns of a telemetry table. Out: yes, or perhaps not; and the range of event time that
//! filters leave. Promise: a yes holds for the instants of a bucket and its start alike. Never: a yes to what this file
//! does not know.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::{ScalarValue, tree_node::TreeNodeRecursion},
    logical_expr::{BinaryExpr, Expr, Operator, Volatility, col, lit},
};
use schemas::{rollup::Span, table::PARTITION};

/// Nanoseconds of a microsecond.
const MICRO: i128 = 1000;

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

/// Whether it has one value for all rows of each bucket, and that value for the bucket's start.
pub(super) fn fits(expr: &Expr, span: Span) -> bool {
    let Some(width) = span.micros().map(i128::from) else { return false };
    match expr {
        Expr::Literal(..) => true,
        Expr::Column(column) => shared(column.name.as_str(), span),
        // A date: midnights are starts of buckets.
        Expr::Cast(cast) if is_time(&cast.expr) => *cast.field.data_type() == DataType::Date32,
        Expr::BinaryExpr(pair) if bound(pair).is_some() => {
            bound(pair).is_some_and(|bound| bound.at.rem_euclid(width) == 0)
        }
        Expr::ScalarFunction(call) => {
            let cuts = match (call.func.name(), call.args.as_slice()) {
                ("date_bin", [length, time]) if is_time(time) => bins(length, None, width * MICRO),
                ("date_bin", [length, time, origin]) if is_time(time) => bins(length, Some(origin), width * MICRO),
                ("date_trunc" | "date_part", [unit, time]) if is_time(time) => units(unit, span),
                _ => false,
            };
            let steady = call.func.signature().volatility != Volatility::Volatile;
            cuts || steady && !call.args.is_empty() && call.args.iter().all(|arg| fits(arg, span))
        }
        Expr::Alias(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::BinaryExpr(_)
        | Expr::Between(_)
        | Expr::Not(_)
        | Expr::Negative(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::InList(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Case(_) => {
            let mut all = true;
            let walked = datafusion::common::tree_node::TreeNode::apply_children(expr, |child| {
                all &= fits(child, span);
                Ok(TreeNodeRecursion::Continue)
            });
            walked.is_ok() && all
        }
        _ => false,
    }
}

/// Whether all rows of a bucket have one value of a column.
fn shared(column: &str, span: Span) -> bool {
    column == PARTITION || column != "event_time" && span.keys().contains(&column)
}

/// The event time, in any unit fine enough.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == "event_time",
        Expr::Alias(alias) => is_time(&alias.expr),
        Expr::Cast(cast) => {
            let fine = match cast.field.data_type() {
                DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone) => {
                    zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00"))
                }
                _ => false,
            };
            fine && is_time(&cast.expr)
        }
        _ => false,
    }
}

/// Whether every bin is made of whole buckets; widths in nanoseconds.
fn bins(length: &Expr, origin: Option<&Expr>, width: i128) -> bool {
    let begins = match origin {
        None => Some(0),
        Some(Expr::Literal(value, _)) => nanos(value),
        Some(_) => None,
    };
    let Some(begins) = begins.filter(|begins| begins.rem_euclid(width) == 0) else { return false };
    match length {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), _) => {
            let parts = (length.months, i128::from(length.days) * DAY + i128::from(length.nanoseconds));
            match parts {
                (0, nanos) => nanos > 0 && nanos % width == 0,
                // From a midnight on months begin at midnight.
                (months, 0) => months > 0 && begins.rem_euclid(DAY) == 0,
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether a calendar's unit is made of whole buckets.
fn units(unit: &Expr, span: Span) -> bool {
    let Expr::Literal(unit, _) = unit else { return false };
    let Some(Some(unit)) = unit.try_as_str() else { return false };
    let holds = match unit.to_ascii_lowercase().as_str() {
        "minute" => Span::Minute,
        "hour" => Span::Hour,
        "day" | "dow" | "doy" | "isodow" | "week" | "month" | "quarter" | "year" | "isoyear" => Span::Day,
        _ => return false,
    };
    span <= holds
}

fn nanos(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::TimestampSecond(Some(at), _) => i128::from(*at) * MICRO * 1_000_000,
        ScalarValue::TimestampMillisecond(Some(at), _) => i128::from(*at) * MICRO * 1000,
        ScalarValue::TimestampMicrosecond(Some(at), _) => i128::from(*at) * MICRO,
        ScalarValue::TimestampNanosecond(Some(at), _) => i128::from(*at),
        _ => return None,
    })
}

/// A bound of the event time: it is at least `at`, or, if `upper`, before it; in microseconds.
#[derive(Debug, Clone, Copy)]
struct Bound {
    upper: bool,
    at: i128,
}

fn bound(pair: &BinaryExpr) -> Option<Bound> {
    let (op, value) = match (&*pair.left, &*pair.right) {
        (time, Expr::Literal(value, _)) if is_time(time) => (pair.op, value),
        (Expr::Literal(value, _), time) if is_time(time) => (pair.op.swap()?, value),
        _ => return None,
    };
    let at = nanos(value)?;
    // Instants are whole microseconds.
    let (least, above) = (at.div_euclid(MICRO) + i128::from(at.rem_euclid(MICRO) > 0), at.div_euclid(MICRO) + 1);
    match op {
        Operator::GtEq => Some(Bound { upper: false, at: least }),
        Operator::Gt => Some(Bound { upper: false, at: above }),
        Operator::Lt => Some(Bound { upper: true, at: least }),
        Operator::LtEq => Some(Bound { upper: true, at: above }),
        _ => None,
    }
}

/// A stretch of event time, in microseconds: from one instant on, and before another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    from: Option<i64>,
    to: Option<i64>,
}

impl Range {
    /// Narrows it by a filter, if that is nothing but a bound.
    pub(super) fn take(&mut self, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(pair) => {
                let Some(Bound { upper, at }) = bound(pair) else { return false };
                let Ok(at) = i64::try_from(at) else { return false };
                match upper {
                    false => self.from = Some(self.from.map_or(at, |from| from.max(at))),
                    true => self.to = Some(self.to.map_or(at, |to| to.min(at))),
                }
                true
            }
            Expr::Between(between) if !between.negated => {
                let part = |op, value: &Expr| {
                    Expr::BinaryExpr(BinaryExpr::new(between.expr.clone(), op, Box::new(value.clone())))
                };
                let (low, high) = (part(Operator::GtEq, &between.low), part(Operator::LtEq, &between.high));
                let mut narrowed = *self;
                if narrowed.take(&low) && narrowed.take(&high) {
                    *self = narrowed;
                    return true;
                }
                false
            }
            _ => false,
        }
    }

    /// As filters.
    pub(super) fn filters(self) -> impl Iterator<Item = Expr> {
        let at = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let from = self.from.map(|from| col("event_time").gt_eq(at(from)));
        let to = self.to.map(|to| col("event_time").lt(at(to)));
        from.into_iter().chain(to)
    }

    /// Stretches that make up this one, each whole buckets of a span; none for single rows. Of `spans`, the coarsest
    /// first, each takes what the one before it leaves.
    pub(super) fn cover(self, spans: &[Span]) -> Vec<(Option<Span>, Self)> {
        if self.is_empty() {
            return Vec::new();
        }
        let Some((span, finer)) = spans.split_first() else { return vec![(None, self)] };
        let start = |at: i64| span.start(at);
        let up = |at: i64| if start(at) == at { at } else { start(at).saturating_add(span.micros().unwrap_or(0)) };
        let whole = Self { from: self.from.map(up), to: self.to.map(start) };
        if whole.is_empty() {
            return self.cover(finer);
        }
        let mut pieces = Vec::new();
        if let Some(from) = self.from {
            pieces.extend(Self { from: Some(from), to: whole.from }.cover(finer));
        }
        pieces.push((Some(*span), whole));
        if let Some(to) = self.to {
            pieces.extend(Self { from: whole.to, to: Some(to) }.cover(finer));
        }
        pieces
    }

    fn is_empty(self) -> bool {
        self.from.zip(self.to).is_some_and(|(from, to)| from >= to)
    }
}
