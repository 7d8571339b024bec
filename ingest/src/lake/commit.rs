//! One commit: hot rows to files, files to a version, and the question "did it take place?" after a failure.
//!
//! In: a cut of hot rows and the log offset they reach. Out: a table that holds them, once. Promise: a cut is fixed
//! until it is settled, its files are written once, and every try after a failure first reads the transaction; so a
//! lost reply, a late one or a crash cannot commit rows twice; what telemetry rows add to rollups is worked out of the
//! same sorted rows. Never: a file deleted that was named to the table (a late
//! reply may still make it live); files of a commit that never happened are left to vacuum.

use std::{collections::HashMap, sync::Arc};

use arrow::{array::RecordBatch, compute::concat_batches};
use deltalake_core::kernel::Add;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, path::Path};
use schemas::{
    id::LogOffset,
    rollup::Span,
    table::PARTITION,
    time::{Clock, SystemClock},
};

use super::{
    LakeError,
    part::{Part, PartError, encode, sort},
    roll::fresh,
    table::{Appended, Table},
};
use crate::rollup::merge;

/// How often somebody else (an optimiser) may take the version before this commit waits its backoff.
const RACES: usize = 8;
/// How many names are tried for one file; each earlier try of the same cut has taken one.
const NAMES: usize = 1000;

/// A cut on its way.
#[derive(Debug)]
pub(super) struct Cut {
    /// Its rows.
    pub(super) batches: Vec<RecordBatch>,
    /// Start of the chunk that brought the first of them; for the files' names.
    pub(super) start: LogOffset,
    /// End of the last chunk in it: the transaction.
    pub(super) end: LogOffset,
    /// How many.
    pub(super) rows: usize,
    /// The rollups to which its rows add.
    spans: Vec<Span>,
    /// For a rollup's own cut: rows with equal keys become one.
    merges: Option<Span>,
    written: Option<Written>,
    tried: bool,
}

/// What came of the rows.
#[derive(Debug)]
struct Written {
    files: Vec<Add>,
    rolled: Vec<(Span, RecordBatch)>,
}

impl Cut {
    /// Nothing written yet.
    pub(super) fn new(batches: Vec<RecordBatch>, start: LogOffset, end: LogOffset) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        Self { batches, start, end, rows, spans: Vec::new(), merges: None, written: None, tried: false }
    }

    /// Telemetry, of which rollups of these spans are kept.
    pub(super) fn rolled(self, spans: Vec<Span>) -> Self {
        Self { spans, ..self }
    }

    /// Increments of a rollup.
    pub(super) fn merging(self, span: Span) -> Self {
        Self { merges: Some(span), ..self }
    }

    /// What its rows add to rollups, once it is committed.
    pub(super) fn increments(&self) -> Vec<(Span, RecordBatch)> {
        self.written.as_ref().map(|written| written.rolled.clone()).unwrap_or_default()
    }

    /// Bytes of its files, once written.
    pub(super) fn bytes(&self) -> u64 {
        self.written.iter().flat_map(|written| &written.files).map(|file| u64::try_from(file.size).unwrap_or(0)).sum()
    }

    /// One try. After an error that [`LakeError::is_final`] denies, the same cut may be tried again.
    pub(super) async fn commit(&mut self, table: &mut Table) -> Result<(), LakeError> {
        if self.tried && self.settled(table).await? {
            return Ok(());
        }
        if self.written.is_none() {
            self.written = Some(self.write(table).await?);
        }
        let files = self.written.as_ref().map(|written| written.files.clone()).unwrap_or_default();
        for _ in 0..RACES {
            self.tried = true;
            match table.append(files.clone(), self.end).await {
                Ok(Appended::Yes) => return Ok(()),
                Ok(Appended::Taken) => {
                    if self.settled(table).await? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    tracing::warn!(table = %table.name, %error, "commit to table {} failed, looking for it", table.name);
                    if self.settled(table).await? {
                        return Ok(());
                    }
                    return Err(LakeError::Commit { table: table.name.clone(), source: Box::new(error) });
                }
            }
        }
        let source = format!("another writer was faster {RACES} times").into();
        Err(LakeError::Commit { table: table.name.clone(), source })
    }

    /// Whether the table holds this cut already.
    async fn settled(&self, table: &mut Table) -> Result<bool, LakeError> {
        let before = table.committed;
        table.reload().await?;
        if table.committed == Some(self.end) {
            tracing::info!(table = %table.name, end = %self.end, "the commit had taken place");
            return Ok(true);
        }
        if table.committed != before {
            let found = table.committed.unwrap_or_default();
            return Err(LakeError::SecondCommitter { table: table.name.clone(), found, own: self.end });
        }
        Ok(false)
    }

    async fn write(&self, table: &Table) -> Result<Written, LakeError> {
        let (schema, batches) = (table.schema.clone(), self.batches.clone());
        let (spans, merges) = (self.spans.clone(), self.merges);
        let work = move || -> Result<_, PartError> {
            let mut rows = concat_batches(&schema, &batches)?;
            if let Some(span) = merges {
                rows = merge(&rows, span)?;
            }
            // Each in the other's place: what is not sorted is not kept while files are made.
            rows = sort(&rows)?;
            Ok((encode(&rows)?, fresh(&rows, &spans)?))
        };
        let (parts, rolled) = crate::work::spawn(work)
            .await
            .map_err(|source| LakeError::Task { source })?
            .map_err(|source| LakeError::Encode { table: table.name.clone(), source: Box::new(source) })?;
        let files = put_all(table, parts, self.start, self.end).await?;
        Ok(Written { files, rolled })
    }
}

/// Puts files, all or none of which are left.
pub(super) async fn put_all(
    table: &Table,
    parts: Vec<Part>,
    start: LogOffset,
    end: LogOffset,
) -> Result<Vec<Add>, LakeError> {
    let store = table.store();
    let writes = parts.into_iter().map(|part| put(Arc::clone(&store), part, start, end));
    let failed = |source| LakeError::Write { table: table.name.clone(), source: Box::new(source) };
    // A cut has one date, or two around midnight; late data has more. They share the disk's flushes.
    let mut files = Vec::new();
    let mut failure = None;
    for written in futures::future::join_all(writes).await {
        match written {
            Ok(file) => files.push(file),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let Some(error) = failure else { return Ok(files) };
    // Nobody knows these files yet. With each try on a full disk there would be more of them.
    for file in files {
        if let Err(error) = store.delete(&Path::from(file.path.as_str())).await {
            tracing::warn!(file = file.path, %error, "cannot delete a file of a try that failed");
        }
    }
    Err(failed(error))
}

/// Puts a file under the stretch of the log that it came from, and a number where that is taken.
async fn put(store: Arc<dyn ObjectStore>, part: Part, start: LogOffset, end: LogOffset) -> Result<Add, StoreError> {
    let folder = format!("{PARTITION}={}", part.date);
    for number in 0..NAMES {
        let path = format!("{folder}/part-{start:020}-{end:020}-{number}.parquet", start = start.0, end = end.0);
        match store.put_opts(&Path::from(path.as_str()), part.bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) => return Ok(add(path, part)),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let source = format!("{NAMES} files of earlier tries in the way").into();
    Err(StoreError::AlreadyExists { path: folder, source })
}

fn add(path: String, part: Part) -> Add {
    Add {
        path,
        partition_values: HashMap::from([(PARTITION.to_owned(), Some(part.date))]),
        size: i64::try_from(part.bytes.len()).unwrap_or(i64::MAX),
        // A fact about the file on this machine, not about the devices' time.
        modification_time: SystemClock.now().micros() / 1000,
        data_change: true,
        stats: Some(part.stats),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}
