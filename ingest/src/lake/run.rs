//! The lake's task: takes chunks, commits what is due, moves the cursor.
//!
//! In: the feed and a stop signal. Out: commits, one at a time, and checkpoints beside them. Promise: chunks are taken while a commit runs, so rows
//! are visible at once; a table that cannot be committed holds back neither another table nor its own rows'
//! visibility. Never: the cursor moved past a row that is still hot.

use std::{sync::atomic::Ordering, time::Duration};

use arrow::array::RecordBatch;
use deltalake_core::DeltaTableError;
use schemas::{
    door::{Chunk, Cursor, Feed},
    id::LogOffset,
    rollup::Span,
    table::TableName,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Lake, LakeError, Settings,
    commit::Cut,
    hot::{Misfit, Waiting},
    metrics::label,
    roll::{Due, Rolled},
    table::Table,
};

/// How many times a table's byte limit all hot rows may take before no more chunks are taken: one part being written
/// while as much again comes in, for two busy tables.
const ROOM: usize = 4;
/// Wait after the first failure; doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Tries of a table's last commit once the lake stops: the rows are safe in the log, a stop should not take long.
const STOP_TRIES: u32 = 3;

/// What the task knows of a table.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its application transaction.
    pub(super) committed: Option<LogOffset>,
    /// Away while a task works on it.
    table: Option<Table>,
    /// A cut that failed and is to be tried again, as it was.
    cut: Option<Cut>,
    failures: u32,
    retry_at: Option<Instant>,
    since_checkpoint: u64,
    given_up: bool,
}

impl Slot {
    pub(super) fn new(table: Table, settings: &Settings) -> Self {
        // Where the last checkpoint is does not matter much: one comes within `checkpoint_every`.
        let since_checkpoint = table.version % settings.checkpoint_every.max(1);
        let committed = table.committed;
        Self {
            committed,
            table: Some(table),
            cut: None,
            failures: 0,
            retry_at: None,
            since_checkpoint,
            given_up: false,
        }
    }
}

/// What a task of the lake came back with.
struct Done {
    table: Table,
    outcome: Outcome,
}

enum Outcome {
    Commit { cut: Cut, result: Result<Vec<Rolled>, LakeError>, took: Duration },
    Checkpoint(Result<(), DeltaTableError>),
}

/// What to do next.
enum Next {
    Commit(TableName),
    At(Instant),
    Nothing,
}

impl Lake {
    /// Takes chunks until the feed ends or `stop` is given, then commits what is hot. An error means that some rows
    /// are not in Delta; they are still in the log, before which the cursor stays.
    pub async fn run(mut self, feed: Feed, stop: CancellationToken) -> Result<(), LakeError> {
        let Feed { mut chunks, cursor } = feed;
        let mut task = JoinSet::<Done>::new();
        let (mut seen, mut taking, mut committing, mut unfinished) = (None, true, false, None);
        loop {
            let mut wake = None;
            if !committing {
                match self.next(!taking) {
                    Next::Commit(name) => committing = self.start_commit(&mut task, name, seen.unwrap_or_default()),
                    Next::At(at) => wake = Some(at),
                    Next::Nothing if !taking && task.is_empty() => break,
                    Next::Nothing => {}
                }
            }
            let room = self.hot_bytes() < self.settings.commit_bytes.saturating_mul(ROOM);
            tokio::select! {
                () = stop.cancelled(), if taking => taking = self.close(),
                chunk = chunks.recv(), if taking && room => match chunk {
                    Some(chunk) => self.take(&chunk, &mut seen)?,
                    None => taking = self.close(),
                },
                Some(done) = task.join_next() => {
                    let done = done.map_err(|source| LakeError::Task { source })?;
                    committing &= !matches!(done.outcome, Outcome::Commit { .. });
                    if let Some(error) = self.finish(&mut task, done, !taking)? {
                        unfinished.get_or_insert(error);
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.advance(cursor.as_ref(), seen);
        }
        unfinished.map_or(Ok(()), Err)
    }

    /// From now on nothing is taken; waiting for a better moment is over.
    fn close(&mut self) -> bool {
        for slot in self.slots.values_mut() {
            slot.failures = 0;
            slot.retry_at = None;
        }
        false
    }

    fn take(&mut self, chunk: &Chunk, seen: &mut Option<LogOffset>) -> Result<(), LakeError> {
        let wrong = |problem: String| LakeError::Chunk { start: chunk.start, end: chunk.end, problem };
        if let Some(seen) = *seen
            && seen != chunk.start
        {
            return Err(wrong(format!("the one before ended at {seen}")));
        }
        let _whole = self.hot.chunk();
        for rows in chunk.rows.iter().filter(|rows| rows.batch.num_rows() > 0) {
            let misfit = |problem| LakeError::Rows { table: rows.table.clone(), start: chunk.start, problem };
            let (Some(slot), Some(shelf)) = (self.slots.get(&rows.table), self.hot.shelves.get(&rows.table)) else {
                return Err(misfit("there is no such table".to_owned()));
            };
            match slot.committed {
                Some(committed) if chunk.end <= committed => {
                    let caught_up = shelf.catch_up(&rows.batch, chunk.start, chunk.end);
                    caught_up.map_err(|error| misfit(error.to_string()))?;
                    continue;
                }
                Some(committed) if chunk.start < committed => {
                    return Err(wrong(format!("table {} is committed up to {committed}, within it", rows.table)));
                }
                _ => {}
            }
            shelf.push(&rows.batch, chunk.start, Instant::now()).map_err(|error| misfit(error.to_string()))?;
            self.note_hot(&rows.table);
        }
        self.hot.shelves.values().for_each(|shelf| shelf.reached(chunk.end));
        *seen = Some(chunk.end);
        Ok(())
    }

    fn next(&self, closing: bool) -> Next {
        let now = Instant::now();
        let full = self.hot_bytes() >= self.settings.commit_bytes.saturating_mul(ROOM);
        let mut due: Option<(&TableName, Waiting)> = None;
        let mut wake: Option<Instant> = None;
        for (name, slot) in self.slots.iter().filter(|(_, slot)| !slot.given_up && slot.table.is_some()) {
            let Some(waiting) = self.hot.waiting(name) else { continue };
            let (ripe, interval) = match self.hot.rolls.get(name) {
                None => (closing || waiting.rows >= self.settings.commit_rows, self.settings.commit_interval),
                // At the end its table comes first and adds to it.
                Some(of) => (closing && self.is_done(of), self.settings.rollup_interval),
            };
            let ripe = ripe || full || waiting.bytes >= self.settings.commit_bytes;
            let at = if ripe { now } else { waiting.since + interval };
            let at = slot.retry_at.map_or(at, |retry| retry.max(at));
            if at > now {
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
            } else if due.is_none_or(
                |(_, other)| {
                    if full { waiting.bytes > other.bytes } else { waiting.since < other.since }
                },
            ) {
                due = Some((name, waiting));
            }
        }
        match (due, wake) {
            (Some((name, _)), _) => Next::Commit(name.clone()),
            (None, Some(at)) => Next::At(at),
            (None, None) => Next::Nothing,
        }
    }

    fn start_commit(&mut self, task: &mut JoinSet<Done>, name: TableName, end: LogOffset) -> bool {
        let Some(slot) = self.slots.get_mut(&name) else { return false };
        let Some(mut table) = slot.table.take() else { return false };
        let start = self.hot.waiting(&name).map_or(end, |waiting| waiting.start);
        let most = self.settings.commit_bytes;
        let (mut due, kept) = (Due::default(), slot.cut.take());
        let mut cut = match (self.hot.shelves.get(&name), kept) {
            (Some(shelf), kept) => {
                due = shelf.due();
                kept.unwrap_or_else(|| {
                    let (rows, left) = shelf.cut(most);
                    // A chunk is never parted: what is left begins with one.
                    Cut::new(rows, start, left.unwrap_or(end)).rolled(due.spans())
                })
            }
            (None, Some(kept)) => kept,
            (None, None) => {
                let shelf = self.hot.roll(&name);
                let taken = shelf.and_then(|shelf| shelf.with_roll(&name, |roll| (roll.cut(), roll.span)));
                let Some(((rows, end), span)) = taken else { return false };
                Cut::new(rows, start, end).merging(span)
            }
        };
        task.spawn(async move {
            let started = Instant::now();
            let result = match cut.commit(&mut table).await {
                Ok(()) => rolled(&table, due, cut.increments()).await,
                Err(error) => Err(error),
            };
            Done { table, outcome: Outcome::Commit { cut, result, took: started.elapsed() } }
        });
        true
    }

    /// Whether nothing of a table is to be committed any more.
    fn is_done(&self, name: &TableName) -> bool {
        self.hot.waiting(name).is_none() || self.slots.get(name).is_none_or(|slot| slot.given_up)
    }

    /// Returns the error of a table that was given up while stopping; fails where going on is no use.
    fn finish(&mut self, task: &mut JoinSet<Done>, done: Done, closing: bool) -> Result<Option<LakeError>, LakeError> {
        let Done { table, outcome } = done;
        let name = table.name.clone();
        let Some(slot) = self.slots.get_mut(&name) else { return Ok(None) };
        let labels = label(&name);
        match outcome {
            Outcome::Commit { cut, result: Ok(rolled), took } => {
                let cooled = match self.hot.shelves.get(&name) {
                    Some(shelf) => shelf.cool(table.version, cut.end, &rolled),
                    None => {
                        let roll = self.hot.roll(&name);
                        roll.and_then(|shelf| shelf.with_roll(&name, |roll| roll.cool(table.version)));
                        Ok(())
                    }
                };
                let misfit = |error: Misfit| LakeError::Rows {
                    table: name.clone(),
                    start: cut.start,
                    problem: error.to_string(),
                };
                cooled.map_err(misfit)?;
                slot.committed = table.committed;
                slot.failures = 0;
                slot.retry_at = None;
                slot.since_checkpoint += 1;
                self.metrics.commits.get_or_create(&labels).inc();
                self.metrics.rows.get_or_create(&labels).inc_by(cut.rows as u64);
                self.metrics.bytes.get_or_create(&labels).inc_by(cut.bytes());
                self.metrics.duration.observe(took.as_secs_f64());
                tracing::debug!(
                    table = %name, version = table.version, end = %cut.end, rows = cut.rows,
                    duration_ms = took.as_millis() as u64, "committed {} rows to table {name}", cut.rows
                );
                if slot.since_checkpoint >= self.settings.checkpoint_every.max(1) && !closing {
                    let retention = self.settings.log_retention;
                    task.spawn(async move {
                        let result = table.checkpoint(retention).await;
                        Done { table, outcome: Outcome::Checkpoint(result) }
                    });
                } else {
                    slot.table = Some(table);
                }
                self.note_hot(&name);
            }
            Outcome::Commit { result: Err(error), .. } if error.is_final() => return Err(error),
            Outcome::Commit { cut, result: Err(error), .. } => {
                self.metrics.errors.get_or_create(&labels).inc();
                slot.failures += 1;
                let wait = BACKOFF.saturating_mul(1 << slot.failures.min(16)).min(BACKOFF_MAX);
                slot.retry_at = Some(Instant::now() + if closing { BACKOFF } else { wait });
                slot.cut = Some(cut);
                slot.table = Some(table);
                slot.given_up = closing && slot.failures >= STOP_TRIES;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(table = %name, %error, cause, failures = slot.failures, "could not commit to table {name}");
                return Ok(slot.given_up.then_some(error));
            }
            Outcome::Checkpoint(result) => {
                slot.since_checkpoint = 0;
                slot.table = Some(table);
                if let Err(error) = result {
                    self.metrics.checkpoint_errors.get_or_create(&labels).inc();
                    tracing::warn!(table = %name, %error, "could not checkpoint table {name}");
                    // Sooner than usual: half a round.
                    slot.since_checkpoint = self.settings.checkpoint_every / 2;
                }
            }
        }
        Ok(None)
    }

    /// Tells the log how far everything is in Delta: rollups, too, which are some seconds behind their tables.
    fn advance(&mut self, cursor: &dyn Cursor, seen: Option<LogOffset>) {
        let Some(seen) = seen else { return };
        let before = |oldest: Option<LogOffset>| oldest.map_or(seen, |oldest| oldest.min(seen));
        let shelves = self.hot.shelves.values().filter_map(|shelf| shelf.waiting());
        self.committed.fetch_max(before(shelves.map(|waiting| waiting.start).min()).0, Ordering::AcqRel);
        let to = before(self.hot.all_waiting().map(|waiting| waiting.start).min());
        if self.released < to {
            self.released = to;
            cursor.advance(to);
        }
    }

    fn hot_bytes(&self) -> usize {
        self.hot.all_waiting().map(|waiting| waiting.bytes).sum()
    }

    fn note_hot(&self, name: &TableName) {
        let rows = self.hot.waiting(name).map_or(0, |waiting| waiting.rows);
        self.metrics.hot_rows.get_or_create(&label(name)).set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.metrics.hot_bytes.set(i64::try_from(self.hot_bytes()).unwrap_or(i64::MAX));
    }
}

/// Merges what a commit adds to rollups with what waits there.
async fn rolled(table: &Table, due: Due, fresh: Vec<(Span, RecordBatch)>) -> Result<Vec<Rolled>, LakeError> {
    let merged = crate::work::spawn(move || due.rolled(fresh)).await;
    let merged = merged.map_err(|source| LakeError::Task { source })?;
    merged.map_err(|source| LakeError::Encode { table: table.name.clone(), source: Box::new(source) })
}
