//! Keeps the tables small in files, and drops what is past its time.
//!
//! In: the tables, a clock, `[maintain]` and `[retention]`. Out: versions with fewer, larger, sorted files; removed
//! files deleted after a while. Promise: rows are the same before and after whatever is killed when, but for those
//! that retention drops; one process at a time maintains a folder; memory is bounded by one merge. Never: an append
//! waited for or rewritten; a file deleted that a version of the last days holds; a row dropped before its time.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | settings, the lease, a round |
//! | `plan` | which files of a partition are due |
//! | `merge` | sorted files to fewer sorted files |
//! | `live` | the live files, and replacing them |
//! | `retention` | how long rows are kept |
//!
//! A merge is a version of its own, written between the committer's (which passes over it), with `dataChange` false
//! and without an application transaction. The lease is a lock of the operating system on `maintenance.lock`: it ends
//! with the process that holds it, needs no clock, and a process that was only stopped for a while still has it.

pub(super) mod live;
pub(super) mod merge;
mod plan;
mod retention;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use deltalake_core::{
    kernel::Add,
    logstore::{StorageConfig, logstore_with},
};
use futures::TryStreamExt;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, path::Path as StorePath};
use schemas::{
    door::DoorError,
    table::{PARTITION, TableName},
    time::{Clock, Instant, SystemClock},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::retention::{Keep, Retention};
use self::{
    live::{Change, File, Live},
    merge::merge,
    plan::{Due, due},
};
use super::{
    Lake,
    hot::Hot,
    metrics::{Maintenance, label},
};

/// Names tried for one file; each earlier try that was killed has taken one.
const NAMES: usize = 1000;
/// Merges of one table in one round: others want their turn too.
const MERGES_PER_ROUND: usize = 16;
/// How much the maintaining thread gives way to others.
const NICENESS: i32 = 10;

/// When to merge and what to delete.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether a server maintains its tables. It holds the lease in either case.
    pub enabled: bool,
    /// Between two rounds. 1 min: the open day gets a dozen files meanwhile.
    #[serde(with = "schemas::time::span")]
    pub interval: Duration,
    /// A day that is over is merged once nothing was appended to it for so long; late rows open it again.
    #[serde(with = "schemas::time::span")]
    pub settle: Duration,
    /// Files of one size class (each eight times the one before) of a day that are merged, whether or not it is over.
    pub files: usize,
    /// Size of a finished file; those of half of it and more are left alone.
    pub file_bytes: u64,
    /// Bytes of Parquet that one merge reads; in memory it takes these, as much that is written, and decoded rows.
    pub merge_bytes: u64,
    /// Bytes of Parquet merged in a second, at most, so that the disk is left to the log.
    pub bytes_per_second: u64,
    /// A file is deleted so long after a version removed it, or a crash left it: who reads an old version has so long.
    /// At most 7 days, as long as the table's log tells of removed files.
    #[serde(with = "schemas::time::span")]
    pub vacuum_after: Duration,
    /// Between two searches for such files.
    #[serde(with = "schemas::time::span")]
    pub vacuum_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            settle: Duration::from_secs(3600),
            files: 32,
            file_bytes: 64 << 20,
            merge_bytes: 64 << 20,
            bytes_per_second: 16 << 20,
            vacuum_after: Duration::from_secs(7 * 86_400),
            vacuum_interval: Duration::from_secs(3600),
        }
    }
}

/// Why tables are not maintained.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// Another process does it, or this one twice.
    #[error("another process maintains the tables in {0}")]
    Held(String),
    /// The folder or its lock file cannot be used.
    #[error("take the maintenance lease of {root}")]
    Lease {
        /// Which folder.
        root: String,
        /// Why not.
        source: DoorError,
    },
    /// A table could not be maintained; others may have been.
    #[error("maintain table {table}")]
    Table {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// A merge did not hold all rows that it was to hold: nothing was replaced.
    #[error("merge of {table}: {put} rows, with those dropped, are not the {taken} that were read")]
    Rows {
        /// Which table.
        table: TableName,
        /// Rows in the new files and past their time; of a rollup, what they stand for.
        put: u64,
        /// Rows in the old files; of a rollup, what they stand for.
        taken: u64,
    },
}

/// What was done to a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Live files before.
    pub files_before: u64,
    /// Live files after.
    pub files_after: u64,
    /// Merges.
    pub merges: u64,
    /// Rows read by merges.
    pub rows_read: u64,
    /// Bytes read by merges.
    pub bytes_read: u64,
    /// Bytes written by merges.
    pub bytes_written: u64,
    /// Rows past their time.
    pub rows_dropped: u64,
    /// Files deleted from the disk.
    pub files_deleted: u64,
    /// Versions that somebody else wrote first.
    pub races_lost: u64,
}

/// Maintains the tables of one folder, while it holds the lease.
#[derive(Debug)]
pub struct Maintainer {
    store: Arc<dyn ObjectStore>,
    root: Url,
    hot: Option<Arc<Hot>>,
    settings: Settings,
    retention: Retention,
    metrics: Maintenance,
    vacuumed: HashMap<TableName, Instant>,
    /// The lease: unlocked when dropped.
    _lease: fs::File,
}

impl Lake {
    /// Takes the lease of the lake's tables.
    pub fn maintainer(&self, settings: Settings, retention: Retention) -> Result<Maintainer, MaintainError> {
        let (store, root) = (Arc::clone(&self.store), self.root.clone());
        let hot = Some(Arc::clone(&self.hot));
        Maintainer::new(store, root, hot, settings, retention, self.metrics.maintenance.clone())
    }
}

impl Maintainer {
    /// Takes the lease of the tables in a folder on which no lake is open.
    pub fn offline(root: &Path, settings: Settings, retention: Retention) -> Result<Self, MaintainError> {
        let failed = |source: DoorError| MaintainError::Lease { root: root.display().to_string(), source };
        let folder = root.canonicalize().map_err(|error| failed(error.into()))?;
        let url = Url::from_directory_path(&folder).map_err(|()| failed("not an absolute path".into()))?;
        Self::new(Arc::new(super::durable::Durable::default()), url, None, settings, retention, Maintenance::default())
    }

    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        root: Url,
        hot: Option<Arc<Hot>>,
        settings: Settings,
        retention: Retention,
        metrics: Maintenance,
    ) -> Result<Self, MaintainError> {
        let failed = |source: DoorError| MaintainError::Lease { root: root.to_string(), source };
        let folder = root.to_file_path().map_err(|()| failed("not a local folder".into()))?;
        let lock =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("maintenance.lock"));
        let lease = lock.map_err(|error| failed(error.into()))?;
        match lease.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                metrics.refused.inc();
                return Err(MaintainError::Held(folder.display().to_string()));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error.into())),
        }
        Ok(Self { store, root, hot, settings, retention, metrics, vacuumed: HashMap::new(), _lease: lease })
    }

    /// Maintains until told to stop, on a thread of its own that gives way to others.
    pub async fn run(self, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<(), DoorError> {
        let runtime = tokio::runtime::Handle::current();
        let (done_to, done) = tokio::sync::oneshot::channel();
        let work = move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "maintenance runs at the priority of the others");
            }
            runtime.block_on(self.rounds(clock.as_ref(), &stop));
            let _ = done_to.send(());
        };
        std::thread::Builder::new().name("maintain".to_owned()).spawn(work)?;
        done.await.map_err(|_| "the maintaining thread panicked".into())
    }

    async fn rounds(mut self, clock: &dyn Clock, stop: &CancellationToken) {
        if !self.settings.enabled {
            // The lease is held all the same: nobody else maintains tables that a server has open.
            return stop.cancelled().await;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.settings.interval) => {}
            }
            for (table, done) in self.round(clock.now(), stop).await {
                if let Err(error) = done {
                    self.metrics.errors.get_or_create(&label(&table)).inc();
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%table, %error, cause, "could not maintain table {table}; the next round tries again");
                }
            }
        }
    }

    /// One round over all tables; `now` is the tables' time, by which rows grow old.
    pub async fn round(
        &mut self,
        now: Instant,
        stop: &CancellationToken,
    ) -> BTreeMap<TableName, Result<Figures, MaintainError>> {
        let names = match super::existing(self.store.as_ref(), &self.root).await {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "cannot list the tables");
                Vec::new()
            }
        };
        let mut done = BTreeMap::new();
        for table in names {
            if stop.is_cancelled() {
                break;
            }
            let began = tokio::time::Instant::now();
            let figures = self.table(&table, now, stop).await;
            self.metrics.seconds.observe(began.elapsed().as_secs_f64());
            if let Ok(figures) = &figures {
                self.metrics.note(&table, figures);
            }
            done.insert(table, figures);
        }
        self.metrics.runs.inc();
        done
    }

    async fn table(
        &mut self,
        table: &TableName,
        now: Instant,
        stop: &CancellationToken,
    ) -> Result<Figures, MaintainError> {
        let failed = |source: DoorError| MaintainError::Table { table: table.clone(), source };
        let url = self.root.join(&format!("{table}/")).map_err(|error| failed(error.into()))?;
        let log = logstore_with(Arc::clone(&self.store), &url, StorageConfig::default())
            .map_err(|error| failed(error.into()))?;
        if !log.is_delta_table_location().await.map_err(|error| failed(error.into()))? {
            return Ok(Figures::default());
        }
        let mut live = Live::read(log).await.map_err(|error| failed(error.into()))?;
        let mut figures = Figures { files_before: live.files.len() as u64, ..Figures::default() };
        // Nobody waits where no lake is open.
        let most = if self.hot.is_some() { MERGES_PER_ROUND } else { usize::MAX };
        for _ in 0..most {
            let written = SystemClock.now().micros() / 1000;
            let Some(due) = due(&live.files, table, now, written, &self.settings, &self.retention) else { break };
            if stop.is_cancelled() {
                return Ok(figures);
            }
            let began = tokio::time::Instant::now();
            let read: u64 = due.files.iter().map(|file| file.bytes).sum();
            self.rewrite(table, &mut live, due, &mut figures).await?;
            let least = Duration::from_secs_f64(read as f64 / self.settings.bytes_per_second.max(1) as f64);
            tokio::select! {
                () = stop.cancelled() => return Ok(figures),
                () = tokio::time::sleep_until(began + least) => {}
            }
        }
        if figures.merges > 0 && self.hot.is_none() {
            // Where a lake is open its committer writes them.
            let before = SystemClock.now().minus(self.settings.vacuum_after).micros() / 1000;
            live.checkpoint(before).await.map_err(|error| failed(error.into()))?;
        }
        let last = self.vacuumed.get(table);
        if last.is_none_or(|last| last.plus(self.settings.vacuum_interval) <= now) {
            figures.files_deleted = self.vacuum(table, &live).await.map_err(failed)?;
            self.vacuumed.insert(table.clone(), now);
        }
        figures.files_after = live.files.len() as u64;
        Ok(figures)
    }

    /// Replaces files by what is to be kept of them.
    async fn rewrite(
        &self,
        table: &TableName,
        live: &mut Live,
        due: Due,
        figures: &mut Figures,
    ) -> Result<(), MaintainError> {
        let failed = |source: DoorError| MaintainError::Table { table: table.clone(), source };
        let Due { files, merge: reads, expired } = due;
        let taken: u64 = files.iter().map(|file| file.rows).sum();
        let (mut adds, mut dropped) = (Vec::new(), taken);
        if reads {
            let store = live.store();
            let mut inputs = Vec::new();
            for file in &files {
                let got =
                    store.get(&StorePath::from(file.path.as_str())).await.map_err(|error| failed(error.into()))?;
                inputs.push(got.bytes().await.map_err(|error| failed(error.into()))?);
                figures.bytes_read += file.bytes;
            }
            let most = usize::try_from(self.settings.file_bytes).unwrap_or(usize::MAX);
            let fate = |tenant: &str| expired.fate(tenant);
            // On this thread: it is the one that gives way.
            let span = match table {
                TableName::Rollup(span, _) => Some(*span),
                _ => None,
            };
            let merged = merge(&live.schema, inputs, most, &fate, expired.cuts(), span);
            let merged = merged.map_err(|error| failed(error.into()))?;
            dropped = merged.dropped;
            if merged.taken != taken || merged.stand_for != merged.stood_for {
                let (put, taken) = (merged.stand_for, merged.stood_for);
                return Err(MaintainError::Rows { table: table.clone(), put, taken });
            }
            let date = files.first().map(|file| file.date.clone()).unwrap_or_default();
            for file in merged.files {
                figures.bytes_written += file.bytes.len() as u64;
                let written = put_file(store.as_ref(), live.version, &date, file).await;
                adds.push(written.map_err(|error| failed(error.into()))?);
            }
            figures.merges += 1;
            figures.rows_read += taken;
        }
        figures.rows_dropped += dropped;
        let change = if dropped > 0 { Change::Dropped } else { Change::Kept };
        // Commits of this table wait meanwhile, but for one that is being written: ten a second are always faster otherwise.
        let turn = self.hot.as_ref().and_then(|hot| hot.turns.get(table));
        let turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let (lost, version) = (live.lost, live.replace(&files, adds, change).await);
        drop(turn);
        figures.races_lost += live.lost - lost;
        let version = version.map_err(|error| failed(error.into()))?;
        if let (Some(version), Some(hot)) = (version, &self.hot) {
            hot.same(table, version);
        }
        tracing::debug!(%table, files = files.len(), dropped, "rewrote {} files of table {table}", files.len());
        Ok(())
    }

    /// Deletes files that no recent version holds. Tells how many.
    async fn vacuum(&self, table: &TableName, live: &Live) -> Result<u64, DoorError> {
        if self.hot.as_ref().and_then(|hot| hot.version(table)).is_some_and(|shown| shown < live.version) {
            // Queries still read an older version; there will be another search.
            return Ok(0);
        }
        let since = SystemClock.now().minus(self.settings.vacuum_after).micros() / 1000;
        let mut keep = live.removed_since(since).await?;
        keep.extend(live.files.iter().map(|file| file.path.clone()));
        let store = live.store();
        let found: Vec<_> = store.list(None).try_collect().await?;
        let mut deleted = 0;
        for file in found {
            let path = file.location.to_string();
            let ours = path.starts_with(&format!("{PARTITION}=")) && path.ends_with(".parquet");
            // What is not yet named to the table is young.
            if ours && !keep.contains(&path) && file.last_modified.timestamp_millis() < since {
                store.delete(&file.location).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// Puts a file under the version it was made from, and a number.
async fn put_file(store: &dyn ObjectStore, version: u64, date: &str, file: merge::Merged) -> Result<Add, StoreError> {
    let folder = format!("{PARTITION}={date}");
    for number in 0..NAMES {
        let path = format!("{folder}/merged-{version:020}-{number}.parquet");
        let to = StorePath::from(path.as_str());
        match store.put_opts(&to, file.bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) => {
                return Ok(Add {
                    path,
                    partition_values: HashMap::from([(PARTITION.to_owned(), Some(date.to_owned()))]),
                    size: i64::try_from(file.bytes.len()).unwrap_or(i64::MAX),
                    modification_time: SystemClock.now().micros() / 1000,
                    data_change: false,
                    stats: Some(file.stats),
                    tags: None,
                    deletion_vector: None,
                    base_row_id: None,
                    default_row_commit_version: None,
                    clustering_provider: None,
                });
            }
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let source = format!("{NAMES} files of earlier tries in the way").into();
    Err(StoreError::AlreadyExists { path: folder, source })
}
