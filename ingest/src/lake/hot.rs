//! Rows that are durable in the log and not yet in Delta, and the cut between the two.
//!
//! In: batches with the stretch of the log they came from; commits. Out: [`TableSource`] snapshots. Promise: a
//! snapshot holds every row that was pushed exactly once, in `hot` or in `version`, whatever commit runs meanwhile;
//! a moment of all tables holds a chunk's rows of each of them or of none. Never: a lock held longer than it takes to
//! put one chunk away or to copy a list of pointers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard},
};

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    compute::concat_batches,
    datatypes::{Schema, SchemaRef},
};
use schemas::{
    door::{TableSnapshot, TableSource},
    id::LogOffset,
    table::TableName,
};
use tokio::time::Instant;
use url::Url;

use super::{
    part::sort,
    roll::{Due, Roll, Rolled},
    table::Turn,
};

/// Two neighbouring batches are joined while together they have no more rows than this, so that a query over a busy
/// second of single readings meets a few batches and not a thousand.
const JOIN_ROWS: usize = 4096;

/// All tables' hot rows; the set of tables is fixed at open.
#[derive(Debug, Default)]
pub(super) struct Hot {
    pub(super) shelves: BTreeMap<TableName, Shelf>,
    /// Rollups, by the table on whose shelf they are.
    pub(super) rolls: BTreeMap<TableName, TableName>,
    /// Whose turn it is to write a version of each table.
    pub(super) turns: BTreeMap<TableName, Turn>,
    /// Held alone while a chunk's rows go to their shelves, shared while all shelves are looked at: no moment lies
    /// within a chunk. What a commit moves from hot to cold needs it not: the rows are the same before and after.
    chunk: RwLock<()>,
}

impl Hot {
    /// Keeps moments out until the guard is dropped.
    pub(super) fn chunk(&self) -> RwLockWriteGuard<'_, ()> {
        self.chunk.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shelf on which a rollup is.
    pub(super) fn roll(&self, table: &TableName) -> Option<&Shelf> {
        self.shelves.get(self.rolls.get(table)?)
    }

    /// What waits for a commit of a table, if anything.
    pub(super) fn waiting(&self, table: &TableName) -> Option<Waiting> {
        match self.shelves.get(table) {
            Some(shelf) => shelf.waiting(),
            None => self.roll(table)?.with_roll(table, |roll| roll.waiting())?,
        }
    }

    /// All that waits.
    pub(super) fn all_waiting(&self) -> impl Iterator<Item = Waiting> {
        self.shelves.keys().chain(self.rolls.keys()).filter_map(|table| self.waiting(table))
    }

    /// Version `version` of a table only keeps the rows of the one before in other files.
    pub(super) fn same(&self, table: &TableName, version: u64) {
        match self.shelves.get(table) {
            Some(shelf) => shelf.rows().shown.same(version),
            None => drop(self.roll(table).and_then(|shelf| shelf.with_roll(table, |roll| roll.same(version)))),
        }
    }

    /// The version of a table that is shown.
    pub(super) fn version(&self, table: &TableName) -> Option<u64> {
        match self.shelves.get(table) {
            Some(shelf) => Some(shelf.rows().shown.version),
            None => self.roll(table)?.with_roll(table, |roll| roll.version()),
        }
    }
}

impl TableSource for Hot {
    fn names(&self) -> Vec<TableName> {
        self.shelves.keys().chain(self.rolls.keys()).cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        match self.shelves.get(table) {
            Some(shelf) => Some(shelf.rows().snapshot(shelf)),
            None => {
                let shelf = self.roll(table)?;
                let rows = shelf.rows();
                rows.rolls.iter().find(|roll| roll.name == *table).and_then(|roll| rows.rolled(roll))
            }
        }
    }

    fn moment(&self) -> BTreeMap<TableName, TableSnapshot> {
        let _whole = self.chunk.read().unwrap_or_else(PoisonError::into_inner);
        let mut moment = BTreeMap::new();
        for (name, shelf) in &self.shelves {
            // A table and its rollups under one lock: what a commit moves between them is seen once in each.
            let rows = shelf.rows();
            moment.insert(name.clone(), rows.snapshot(shelf));
            moment.extend(rows.rolls.iter().filter_map(|roll| Some((roll.name.clone(), rows.rolled(roll)?))));
        }
        moment
    }
}

/// One table's hot rows.
#[derive(Debug)]
pub(super) struct Shelf {
    location: Url,
    schema: SchemaRef,
    rows: Mutex<Rows>,
}

#[derive(Debug)]
struct Rows {
    shown: Shown,
    batches: Vec<Stretch>,
    /// How many of `batches`, from the front, a commit is writing.
    cut: usize,
    /// Rows of frames before it are in the version shown.
    committed: LogOffset,
    /// A telemetry table's rollups.
    rolls: Vec<Roll>,
}

impl Rows {
    fn hot(&self) -> Vec<RecordBatch> {
        self.batches.iter().map(|stretch| stretch.batch.clone()).collect()
    }

    fn snapshot(&self, shelf: &Shelf) -> TableSnapshot {
        TableSnapshot {
            location: shelf.location.clone(),
            version: Some(self.shown.version),
            schema: shelf.schema.clone(),
            hot: self.hot(),
            raw: Vec::new(),
        }
    }

    fn rolled(&self, roll: &Roll) -> Option<TableSnapshot> {
        roll.snapshot(self.hot(), self.committed)
    }
}

/// The version of a table that readers are told.
#[derive(Debug)]
pub(super) struct Shown {
    version: u64,
    /// Later versions that hold the same rows as the one before them.
    same: BTreeSet<u64>,
}

impl Shown {
    pub(super) fn new(version: u64) -> Self {
        Self { version, same: BTreeSet::new() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A commit made `version`.
    pub(super) fn cool(&mut self, version: u64) {
        self.version = version;
        self.follow();
    }

    /// Version `version` only keeps the rows of the one before in other files: it is shown once that one is. A table
    /// without new rows must not stay at a version whose files go.
    pub(super) fn same(&mut self, version: u64) {
        self.same.insert(version);
        self.follow();
    }

    fn follow(&mut self) {
        while self.same.remove(&(self.version + 1)) {
            self.version += 1;
        }
        self.same.retain(|version| *version > self.version);
    }
}

/// Rows of neighbouring chunks.
#[derive(Debug)]
struct Stretch {
    batch: RecordBatch,
    bytes: usize,
    start: LogOffset,
    since: Instant,
}

/// What waits on a shelf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Rows.
    pub(super) rows: usize,
    /// Arrow memory.
    pub(super) bytes: usize,
    /// Start of the chunk that brought the first of them.
    pub(super) start: LogOffset,
    /// When that was.
    pub(super) since: Instant,
}

/// Why rows do not fit their table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misfit(String);

impl From<String> for Misfit {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Shelf {
    /// Empty, with Delta at `version`, which holds the rows of frames before `committed`.
    pub(super) fn new(
        location: Url,
        schema: SchemaRef,
        version: u64,
        committed: Option<LogOffset>,
        rolls: Vec<Roll>,
    ) -> Self {
        let committed = committed.unwrap_or_default();
        let rows = Rows { shown: Shown::new(version), batches: Vec::new(), cut: 0, committed, rolls };
        Self { location, schema, rows: Mutex::new(rows) }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing under this lock can panic half-way.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds rows, visible from now on.
    pub(super) fn push(&self, batch: &RecordBatch, start: LogOffset, now: Instant) -> Result<(), Misfit> {
        let batch = conform(batch, &self.schema)?;
        let mut rows = self.rows();
        rows.batches.push(Stretch { bytes: batch.get_array_memory_size(), batch, start, since: now });
        while rows.batches.len() >= rows.cut + 2 {
            let [.., before, last] = rows.batches.as_slice() else { break };
            let (left, right) = (before.batch.num_rows(), last.batch.num_rows());
            // Like sizes only: each row is copied a dozen times at most, not once per push.
            if left > right.saturating_mul(2) || left + right > JOIN_ROWS {
                break;
            }
            let Ok(joined) = concat_batches(&self.schema, [&before.batch, &last.batch]) else { break };
            let (start, since) = (before.start, before.since);
            rows.batches.pop();
            rows.batches.pop();
            rows.batches.push(Stretch { bytes: joined.get_array_memory_size(), batch: joined, start, since });
        }
        Ok(())
    }

    /// What is hot, if anything.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        let rows = self.rows();
        let first = rows.batches.first()?;
        Some(Waiting {
            rows: rows.batches.iter().map(|stretch| stretch.batch.num_rows()).sum(),
            bytes: rows.batches.iter().map(|stretch| stretch.bytes).sum(),
            start: first.start,
            since: first.since,
        })
    }

    /// Takes the oldest hot rows for a commit, about `most` bytes of them, and tells where those begin that are left;
    /// none where all were taken. They stay visible as hot until [`Shelf::cool`]. Sorting takes the rows'
    /// memory twice more.
    pub(super) fn cut(&self, most: usize) -> (Vec<RecordBatch>, Option<LogOffset>) {
        let mut rows = self.rows();
        let mut bytes = 0;
        let within = |stretch: &&Stretch| {
            let first = bytes == 0;
            bytes += stretch.bytes.max(1);
            first || bytes <= most
        };
        let taken = Vec::from_iter(rows.batches.iter().take_while(within).map(|stretch| stretch.batch.clone()));
        rows.cut = taken.len();
        let left = rows.batches.get(rows.cut).map(|stretch| stretch.start);
        (taken, left)
    }

    /// The rows of the last [`Shelf::cut`], of frames before `end`, are in `version`, and what they add to rollups is
    /// with these: all change in one step.
    pub(super) fn cool(&self, version: u64, end: LogOffset, rolled: &[Rolled]) -> Result<(), Misfit> {
        let mut rows = self.rows();
        let Rows { shown, batches, cut, committed, rolls } = &mut *rows;
        if let Some(first) = batches.first() {
            for roll in rolls {
                if let Some(rolled) = rolled.iter().find(|rolled| roll.span == rolled.span) {
                    roll.take(rolled, first.start, end, first.since)?;
                }
            }
        }
        batches.drain(..std::mem::take(cut));
        shown.cool(version);
        *committed = end;
        Ok(())
    }

    /// What a commit has to work out for rollups.
    pub(super) fn due(&self) -> Due {
        Due::new(self.rows().rolls.iter().map(|roll| (roll.span, roll.mergeable())))
    }

    /// Gives rows of frames from `start` to `end`, which this table has, to the rollups that lack them.
    pub(super) fn catch_up(&self, batch: &RecordBatch, start: LogOffset, end: LogOffset) -> Result<(), Misfit> {
        let mut rows = self.rows();
        if rows.rolls.iter().all(|roll| roll.end() >= end) {
            return Ok(());
        }
        let sorted = conform(batch, &self.schema)?;
        let sorted = sort(&sorted).map_err(|error| Misfit(error.to_string()))?;
        for roll in rows.rolls.iter_mut().filter(|roll| roll.end() < end) {
            if start < roll.end() {
                return Err(Misfit(format!("table {} is committed up to {}, within it", roll.name, roll.end())));
            }
            roll.catch_up(&sorted, start, end, Instant::now())?;
        }
        Ok(())
    }

    /// All frames before `end` were taken.
    pub(super) fn reached(&self, end: LogOffset) {
        let mut rows = self.rows();
        let end = end.min(rows.committed);
        rows.rolls.iter_mut().for_each(|roll| roll.reached(end));
    }

    /// Does something to a rollup.
    pub(super) fn with_roll<T>(&self, name: &TableName, then: impl FnOnce(&mut Roll) -> T) -> Option<T> {
        self.rows().rolls.iter_mut().find(|roll| roll.name == *name).map(then)
    }
}

/// Brings a batch into the table's column order; columns of metrics that the profile no longer has become null.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Misfit> {
    if let Some(extra) = batch.schema().fields().iter().find(|field| schema.index_of(field.name()).is_err()) {
        return Err(Misfit(format!("the table has no column {}", extra.name())));
    }
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Vec<ArrayRef>>())
        .map_err(|error| Misfit(format!("{error}; rows have {}", names(&batch.schema()))))
}

fn names(schema: &Schema) -> String {
    Vec::from_iter(schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()))).join(", ")
}
