//! The columns of a chunk, as detection reads them.
//!
//! In: a [`Chunk`]. Out: its telemetry and fault rows in the order in which their messages arrived. Promise: columns
//! are found by name once per batch, never per row; rows of one table keep their order. Never: a copy of a batch.
//!
//! Tables come apart in the decoder, so a device's telemetry and faults are put back in order by arrival time; within
//! a table the rows' own order counts, whatever the clock said. Only what is pending of a late fault depends on it.

use std::{cmp::Ordering, collections::HashMap};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    error::ArrowError,
};
use schemas::{
    door::Chunk,
    id::ProfileName,
    profile::{Quantity, Source},
    table::TableName,
    time::Instant,
};

use super::{
    rule::Terms,
    rulebook::{Entry, Page, Rulebook},
};

/// A batch that does not have its table's columns.
#[derive(Debug, thiserror::Error)]
pub(super) enum ColumnError {
    #[error("table {table}: column {column} is missing or of another type")]
    Missing { table: TableName, column: &'static str },
    #[error("table {table}: put its columns before the expression of rule {rule}")]
    Expression { table: TableName, rule: String, source: ArrowError },
}

/// A column of numbers.
#[derive(Debug)]
enum Numbers<'a> {
    Float(&'a Float64Array),
    Integer(&'a Int64Array),
    Computed(Float64Array),
}

impl<'a> Numbers<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        let any = column.as_any();
        any.downcast_ref().map(Self::Float).or_else(|| any.downcast_ref().map(Self::Integer))
    }

    fn at(&self, row: usize) -> Option<f64> {
        match self {
            Self::Float(column) => column.is_valid(row).then(|| column.value(row)),
            Self::Computed(column) => column.is_valid(row).then(|| column.value(row)),
            Self::Integer(column) => column.is_valid(row).then(|| column.value(row) as f64),
        }
    }
}

/// A rule with the columns it looks at.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) terms: Terms<'a>,
    value: Option<Numbers<'a>>,
    regime: Option<(Option<Numbers<'a>>, f64)>,
}

impl<'a> Watch<'a> {
    /// The watch, and in how many rows its expression failed; none for a rule that looks at no reading.
    fn new(batch: &'a RecordBatch, entry: &'a Entry) -> Result<Option<(Self, usize)>, ArrowError> {
        let Some(terms) = entry.terms() else { return Ok(None) };
        let numbers = |name: &str| batch.column_by_name(name).and_then(Numbers::of);
        let (value, failed) = match (&entry.expression, entry.rule.source(), &terms.limit.quantity) {
            (Some(expression), ..) => {
                let (column, failed) = expression.evaluate(batch)?;
                (Some(Numbers::Computed(column)), failed)
            }
            (None, Some(Source::Metric(metric)), _) | (None, _, Quantity::Anomaly { metric, .. }) => {
                (numbers(metric), 0)
            }
            (None, ..) => (None, 0),
        };
        let regime = terms.limit.when.as_ref().map(|when| (numbers(&when.metric), when.at_least));
        Ok(Some((Self { terms, value, regime }, failed)))
    }

    /// The value that the rule looks at; none where it was not measured or the regime does not hold.
    pub(super) fn value(&self, row: usize) -> Option<f64> {
        if let Some((metric, at_least)) = &self.regime {
            // A regime metric that was not measured tells nothing: such a reading is passed over too.
            metric.as_ref()?.at(row).filter(|value| value >= at_least)?;
        }
        self.value.as_ref()?.at(row)
    }
}

/// What a batch holds beside the columns that both tables share.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    Telemetry { name: &'a ProfileName, page: Option<&'a Page>, watches: Vec<Watch<'a>>, failed: usize },
    Fault { profile: &'a StringArray, code: &'a StringArray, active: &'a BooleanArray },
}

/// A batch with its columns found.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    tenant: &'a StringArray,
    device: &'a StringArray,
    event_time: &'a TimestampMicrosecondArray,
    arrival: &'a TimestampMicrosecondArray,
    late: &'a BooleanArray,
    firmware: &'a StringArray,
    pub(super) kind: Kind<'a>,
}

/// What every row tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) tenant: &'a str,
    pub(super) device: &'a str,
    pub(super) at: Instant,
    pub(super) arrival: Instant,
    pub(super) late: bool,
    pub(super) firmware: Option<&'a str>,
}

impl<'a> Batch<'a> {
    fn new(table: &'a TableName, batch: &'a RecordBatch, book: &'a Rulebook) -> Result<Option<Self>, ColumnError> {
        fn column<'a, T: 'static>(
            table: &TableName,
            batch: &'a RecordBatch,
            name: &'static str,
        ) -> Result<&'a T, ColumnError> {
            let found = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
            found.ok_or_else(|| ColumnError::Missing { table: table.clone(), column: name })
        }
        let kind = match table {
            TableName::Telemetry(name) => {
                let page = book.page(name.as_str());
                let (mut watches, mut failed) = (Vec::new(), 0);
                for entry in page.into_iter().flat_map(|page| &page.entries) {
                    let watch = Watch::new(batch, entry).map_err(|source| {
                        let rule = entry.rule.name.clone();
                        ColumnError::Expression { table: table.clone(), rule, source }
                    })?;
                    let Some((watch, lost)) = watch else { continue };
                    watches.push(watch);
                    failed += lost;
                }
                Kind::Telemetry { name, page, watches, failed }
            }
            TableName::Fault => Kind::Fault {
                profile: column(table, batch, "profile")?,
                code: column(table, batch, "code")?,
                active: column(table, batch, "active")?,
            },
            _ => return Ok(None),
        };
        Ok(Some(Self {
            tenant: column(table, batch, "tenant")?,
            device: column(table, batch, "device_id")?,
            event_time: column(table, batch, "event_time")?,
            arrival: column(table, batch, "arrival_time")?,
            late: column(table, batch, "late")?,
            firmware: column(table, batch, "firmware")?,
            kind,
        }))
    }

    fn len(&self) -> usize {
        self.tenant.len()
    }

    pub(super) fn row(&self, row: usize) -> Row<'a> {
        Row {
            tenant: self.tenant.value(row),
            device: self.device.value(row),
            at: Instant::from_micros(self.event_time.value(row)),
            arrival: Instant::from_micros(self.arrival.value(row)),
            late: self.late.value(row),
            firmware: self.firmware.is_valid(row).then(|| self.firmware.value(row)),
        }
    }

    /// Rows in which the expression of a rule failed.
    pub(super) fn failed(&self) -> u64 {
        match self.kind {
            Kind::Telemetry { failed, .. } => failed as u64,
            Kind::Fault { .. } => 0,
        }
    }

    fn is_fault(&self) -> bool {
        matches!(self.kind, Kind::Fault { .. })
    }
}

/// The batches of a chunk at which detection looks.
pub(super) fn batches<'a>(chunk: &'a Chunk, book: &'a Rulebook) -> Result<Vec<Batch<'a>>, ColumnError> {
    let found = chunk.rows.iter().filter_map(|rows| Batch::new(&rows.table, &rows.batch, book).transpose());
    found.collect()
}

/// The rows of `batches` in order, as (batch, row).
pub(super) fn order(batches: &[Batch<'_>]) -> Vec<(usize, usize)> {
    let all = batches.iter().enumerate().flat_map(|(b, batch)| (0..batch.len()).map(move |row| (b, row)));
    if !batches.iter().any(|batch| batch.is_fault() && batch.len() > 0) {
        return all.collect();
    }
    // A device's rows of one table never overtake one another, even where the machine's clock was set back.
    let mut latest: HashMap<(usize, &str, &str), i64> = HashMap::new();
    let mut keyed: Vec<(i64, (usize, usize))> = all
        .map(|(b, row)| {
            let batch = &batches[b];
            let arrival = batch.arrival.value(row);
            let key = latest.entry((b, batch.tenant.value(row), batch.device.value(row))).or_insert(arrival);
            *key = arrival.max(*key);
            (*key, (b, row))
        })
        .collect();
    // Stable; at the same arrival time faults go first.
    keyed.sort_by(|(left, (l, _)), (right, (r, _))| {
        let faults_first = || batches[*r].is_fault().cmp(&batches[*l].is_fault());
        match left.cmp(right) {
            Ordering::Equal => faults_first(),
            other => other,
        }
    });
    keyed.into_iter().map(|(_, place)| place).collect()
}
