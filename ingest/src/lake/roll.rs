//! What telemetry adds to its rollups between two commits of theirs.
//!
//! In: increments of each telemetry commit, and after a crash of chunks that only the rollup still needs. Out: cuts to
//! commit; a snapshot. Promise: rows up to `end` are in the version shown or in `pending`, once; a rollup that has still
//! to take rows that its telemetry table has is not shown. Never: a lock of its own; the telemetry table's shelf holds it.
//!
//! Increments wait for several telemetry commits and are merged meanwhile, on the thread that encodes: of a device that
//! reports every few seconds a minute of rows becomes one.

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::SchemaRef, error::ArrowError};
use schemas::{door::TableSnapshot, id::LogOffset, rollup::Span, table::TableName};
use tokio::time::Instant;
use url::Url;

use super::hot::{Misfit, Shown, Waiting, conform};
use crate::rollup::{increments, merge};

/// Increments of so many commits are merged: each row once or twice before it is written.
const MERGE_AT: usize = 6;

/// One rollup of a telemetry table.
#[derive(Debug)]
pub(super) struct Roll {
    pub(super) name: TableName,
    pub(super) span: Span,
    location: Url,
    schema: SchemaRef,
    shown: Shown,
    pending: Vec<Pending>,
    /// How many of `pending`, from the front, a commit is writing.
    cut: usize,
    /// All rows of frames before it were taken.
    end: LogOffset,
}

/// Increments of one stretch of the log.
#[derive(Debug)]
struct Pending {
    rows: RecordBatch,
    bytes: usize,
    start: LogOffset,
    since: Instant,
}

impl Pending {
    fn new(rows: RecordBatch, start: LogOffset, since: Instant) -> Self {
        Self { bytes: rows.get_array_memory_size(), rows, start, since }
    }
}

/// What a telemetry commit adds to one rollup.
#[derive(Debug)]
pub(super) struct Rolled {
    pub(super) span: Span,
    /// How many of the pending batches behind the cut are in `rows`.
    replaces: usize,
    rows: RecordBatch,
}

/// The spans of a table's rollups and what is pending of each, as a commit begins.
#[derive(Debug, Default)]
pub(super) struct Due(Vec<(Span, Vec<RecordBatch>)>);

impl Due {
    pub(super) fn new(rolls: impl Iterator<Item = (Span, Vec<RecordBatch>)>) -> Self {
        Self(rolls.collect())
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.0.iter().map(|(span, _)| *span).collect()
    }

    /// Merges the increments of a commit with those that wait, where there are enough. CPU work: on a blocking thread.
    pub(super) fn rolled(self, fresh: Vec<(Span, RecordBatch)>) -> Result<Vec<Rolled>, ArrowError> {
        let mut rolled = Vec::new();
        for (span, rows) in fresh {
            let waiting = self.0.iter().find(|due| due.0 == span).map(|due| due.1.as_slice()).unwrap_or_default();
            rolled.push(if waiting.len() + 1 >= MERGE_AT {
                // A metric that came later is the table's last column, and not the last of fresh rows.
                let schema = waiting.first().map_or(rows.schema(), RecordBatch::schema);
                let rows = conform(&rows, &schema).map_err(|misfit| ArrowError::SchemaError(misfit.to_string()))?;
                let all = concat_batches(&schema, waiting.iter().chain([&rows]))?;
                Rolled { span, replaces: waiting.len(), rows: merge(&all, span)? }
            } else {
                Rolled { span, replaces: 0, rows }
            });
        }
        Ok(rolled)
    }
}

/// The increments of rows sorted by device and time, for each span: hours from minutes, which are fewer.
pub(super) fn fresh(sorted: &RecordBatch, spans: &[Span]) -> Result<Vec<(Span, RecordBatch)>, ArrowError> {
    let mut fresh: Vec<(Span, RecordBatch)> = Vec::new();
    for span in spans {
        let rows = match fresh.last() {
            Some((Span::Minute, minutes)) if *span == Span::Hour => merge(minutes, *span)?,
            _ => increments(sorted, *span)?,
        };
        fresh.push((*span, rows));
    }
    Ok(fresh)
}

impl Roll {
    /// Nothing pending, with Delta at `version`, which holds all rows of frames before `end`.
    pub(super) fn new(
        name: TableName,
        span: Span,
        location: Url,
        schema: SchemaRef,
        version: u64,
        end: LogOffset,
    ) -> Self {
        Self { name, span, location, schema, shown: Shown::new(version), pending: Vec::new(), cut: 0, end }
    }

    /// The rollup, with telemetry rows that are in no commit yet; none while it lies behind the telemetry table, whose
    /// rows are in Delta up to `telemetry`.
    pub(super) fn snapshot(&self, raw: Vec<RecordBatch>, telemetry: LogOffset) -> Option<TableSnapshot> {
        (self.end >= telemetry).then(|| TableSnapshot {
            location: self.location.clone(),
            version: Some(self.shown.version()),
            schema: self.schema.clone(),
            hot: self.pending.iter().map(|pending| pending.rows.clone()).collect(),
            raw,
        })
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        let first = self.pending.first()?;
        Some(Waiting {
            rows: self.pending.iter().map(|pending| pending.rows.num_rows()).sum(),
            bytes: self.pending.iter().map(|pending| pending.bytes).sum(),
            start: first.start,
            since: first.since,
        })
    }

    pub(super) fn end(&self) -> LogOffset {
        self.end
    }

    /// What is pending behind the cut.
    pub(super) fn mergeable(&self) -> Vec<RecordBatch> {
        self.pending.iter().skip(self.cut).map(|pending| pending.rows.clone()).collect()
    }

    /// All that is pending, and up to where it reaches. It stays visible until [`Roll::cool`].
    pub(super) fn cut(&mut self) -> (Vec<RecordBatch>, LogOffset) {
        self.cut = self.pending.len();
        (self.pending.iter().map(|pending| pending.rows.clone()).collect(), self.end)
    }

    /// The rows of the last cut are in `version`.
    pub(super) fn cool(&mut self, version: u64) {
        self.pending.drain(..std::mem::take(&mut self.cut));
        self.shown.cool(version);
    }

    pub(super) fn same(&mut self, version: u64) {
        self.shown.same(version);
    }

    pub(super) fn version(&self) -> u64 {
        self.shown.version()
    }

    /// Takes what a telemetry commit that reached `end` adds, of rows from `start` on that came at `since`.
    pub(super) fn take(
        &mut self,
        rolled: &Rolled,
        start: LogOffset,
        end: LogOffset,
        since: Instant,
    ) -> Result<(), Misfit> {
        let mut pending = Pending::new(conform(&rolled.rows, &self.schema)?, start, since);
        let from = self.cut;
        if let Some(first) = self.pending.get(from).filter(|_| rolled.replaces > 0) {
            (pending.start, pending.since) = (first.start, first.since);
        }
        self.pending.drain(from..from + rolled.replaces);
        self.pending.push(pending);
        self.end = end;
        Ok(())
    }

    /// Takes rows that the telemetry table has already: of frames from `start` to `end`, in any order.
    pub(super) fn catch_up(
        &mut self,
        sorted: &RecordBatch,
        start: LogOffset,
        end: LogOffset,
        now: Instant,
    ) -> Result<(), Misfit> {
        let wrong = |error: ArrowError| Misfit::from(error.to_string());
        let rows = increments(sorted, self.span).map_err(wrong)?;
        self.pending.push(Pending::new(conform(&rows, &self.schema)?, start, now));
        let behind = self.mergeable();
        if behind.len() >= MERGE_AT {
            let all = concat_batches(&self.schema, &behind).and_then(|all| merge(&all, self.span)).map_err(wrong)?;
            let (start, since) = (self.pending[self.cut].start, self.pending[self.cut].since);
            self.pending.truncate(self.cut);
            self.pending.push(Pending::new(all, start, since));
        }
        self.end = end;
        Ok(())
    }

    /// Frames before `end` had no rows for it that it lacks.
    pub(super) fn reached(&mut self, end: LogOffset) {
        self.end = self.end.max(end);
    }
}
