//! How good were the tickets: recorded failures against the tickets that were opened.
//!
//! In: tickets and failures of one fleet. Out: how many failures were ticketed before they happened and how early, how
//! many tickets spoke of no failure. Promise: every count has its denominator written beside it. Never: a database, a
//! file.
//!
//! A ticket **counts for** a failure of the same device, and of the same fault key where the failure has one, if it was
//! raised before the failure or at the same instant, and not longer before than the horizon where there is one. The
//! running example is a pump that fails on the 10th:
//!
//! | ticket | horizon 7 d | is |
//! |---|---|---|
//! | on the 4th | counts | true; the failure is predicted, 6 days ahead |
//! | on the 1st | too early | false |
//! | on the 11th | after the failure | late: neither true nor false |
//! | of another pump | | false |
//!
//! One of the doors to polars: a few joins over everything that ever happened to a fleet, in batch.

#[cfg(test)]
mod tests;

use std::time::Duration;

use polars::prelude::{
    BooleanChunked, Column, DataFrame, Expr, Int64Chunked, IntoLazy, JoinArgs, JoinType, LazyFrame, PolarsError,
    PolarsResult, col, lit,
};
use schemas::time::Instant;
use serde::Serialize;

/// A ticket that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Which device.
    pub device_id: String,
    /// What it speaks of, if known.
    pub fault_key: Option<String>,
    /// When its alarm was raised, in event time.
    pub at: Instant,
}

/// A failure that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which device.
    pub device_id: String,
    /// What failed; none where the record does not say, and then any ticket of the device counts.
    pub fault_key: Option<String>,
    /// When.
    pub at: Instant,
}

/// Tickets against failures. `tickets = true_tickets + false_tickets + late_tickets`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LeadReport {
    /// Failures that happened.
    pub failures: u64,
    /// Failures for which at least one ticket counts.
    pub predicted: u64,
    /// Tickets that were opened.
    pub tickets: u64,
    /// Tickets that count for at least one failure.
    pub true_tickets: u64,
    /// Tickets that count for none and come after none.
    pub false_tickets: u64,
    /// Tickets that count for none and were raised after a failure of the same device (and fault key, where the
    /// failure has one): they foretold nothing, and spoke of something that was so.
    pub late_tickets: u64,
    /// `true_tickets / (true_tickets + false_tickets)`; none without either.
    pub precision: Option<f64>,
    /// `predicted / failures`; none without failures.
    pub recall: Option<f64>,
    /// Median of `lead_hours`; none without predicted failures.
    pub median_lead_hours: Option<f64>,
    /// For each predicted failure, hours from the first ticket that counts to the failure; ascending.
    pub lead_hours: Vec<f64>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[error("compare tickets with failures")]
pub struct EvaluateError(#[from] PolarsError);

/// Compares tickets with failures; without a `horizon` a ticket counts however early it was.
pub fn lead(raised: &[Raised], failures: &[Failure], horizon: Option<Duration>) -> Result<LeadReport, EvaluateError> {
    let tickets = frame("ticket", raised.iter().map(|it| (&it.device_id, &it.fault_key, it.at)))?;
    let failed = frame("failure", failures.iter().map(|it| (&it.device_id, &it.fault_key, it.at)))?;
    let horizon = horizon.map_or(i64::MAX, |span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));

    let same_fault = col("failure_key").is_null().or(col("failure_key").eq(col("ticket_key")).fill_null(lit(false)));
    let pairs = tickets
        .join(failed, [col("device")], [col("device")], JoinArgs::new(JoinType::Inner))
        .filter(same_fault)
        .with_column((col("failure_at") - col("ticket_at")).alias("lead"))
        .with_column(col("lead").gt_eq(lit(0)).and(col("lead").lt_eq(lit(horizon))).alias("counts"))
        .collect()?
        .lazy();

    let leads = pairs
        .clone()
        .filter(col("counts"))
        .group_by([col("failure")])
        .agg([col("lead").max()])
        .select([col("lead")])
        .collect()?;
    let mut lead_hours: Vec<f64> =
        integers(&leads, "lead")?.into_no_null_iter().map(|lead| lead as f64 / 3.6e9).collect();
    lead_hours.sort_by(f64::total_cmp);

    let spoken: [Expr; 2] = [col("counts").any(true), col("lead").lt(lit(0)).any(true).alias("after")];
    let spoken = pairs.group_by([col("ticket")]).agg(spoken).collect()?;
    let (counts, after) = (booleans(&spoken, "counts")?, booleans(&spoken, "after")?);
    let (mut true_tickets, mut late_tickets) = (0, 0);
    for (counts, after) in counts.iter().zip(after.iter()) {
        let (counts, after) = (counts == Some(true), after == Some(true));
        true_tickets += u64::from(counts);
        late_tickets += u64::from(after && !counts);
    }

    let (tickets, failures, predicted) = (raised.len() as u64, failures.len() as u64, lead_hours.len() as u64);
    let false_tickets = tickets - true_tickets - late_tickets;
    Ok(LeadReport {
        failures,
        predicted,
        tickets,
        true_tickets,
        false_tickets,
        late_tickets,
        precision: share(true_tickets, true_tickets + false_tickets),
        recall: share(predicted, failures),
        median_lead_hours: median(&lead_hours),
        lead_hours,
    })
}

/// Columns `device`, `{kind}_key`, `{kind}_at` in microseconds, and `{kind}`: the place in the list.
fn frame<'a>(
    kind: &str,
    events: impl Iterator<Item = (&'a String, &'a Option<String>, Instant)>,
) -> PolarsResult<LazyFrame> {
    let (mut devices, mut keys, mut times): (Vec<&str>, Vec<Option<&str>>, Vec<i64>) = Default::default();
    for (device, key, at) in events {
        devices.push(device);
        keys.push(key.as_deref());
        times.push(at.micros());
    }
    let places: Vec<i64> = (0..).take(times.len()).collect();
    let columns = vec![
        Column::new("device".into(), &devices),
        Column::new(format!("{kind}_key").into(), &keys),
        Column::new(format!("{kind}_at").into(), &times),
        Column::new(kind.into(), &places),
    ];
    Ok(DataFrame::new(devices.len(), columns)?.lazy())
}

fn integers<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a Int64Chunked> {
    frame.column(name)?.i64()
}

fn booleans<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<&'a BooleanChunked> {
    frame.column(name)?.bool()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The middle of ascending numbers; none without any.
pub(crate) fn median(ascending: &[f64]) -> Option<f64> {
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(ascending[middle]),
        _ => Some(f64::midpoint(ascending[middle - 1], ascending[middle])),
    }
}
