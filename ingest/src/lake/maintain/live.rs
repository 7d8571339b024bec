//! The live files of one table, and replacing some of them by others.
//!
//! In: a table's log. Out: its files at the latest version; versions that replace files. Promise: a replacement takes
//! place once, and only while every file that it removes is live; appends beside it are passed over, never rewritten.
//! Never: a transaction of the log's touched, but where all rows are made anew; a file of a lost race deleted (a late reply may make it live).

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::{
    DeltaTable, DeltaTableError,
    checkpoints::{cleanup_expired_logs_for, create_checkpoint},
    kernel::{
        Action, Add, Remove, Transaction,
        transaction::{CommitData, TransactionError},
    },
    logstore::{CommitOrBytes, LogStoreRef},
    protocol::{DeltaOperation, SaveMode},
};
use futures::TryStreamExt;
use schemas::{
    table::PARTITION,
    time::{Clock, SystemClock},
};
use serde_json::Value;

use super::super::table::load;

/// How often appends may be faster than one replacement: each race costs one reading of the log, and the table commits
/// every few seconds.
const RACES: usize = 16;

/// One live file.
#[derive(Debug, Clone)]
pub(in super::super) struct File {
    pub(in super::super) path: String,
    pub(in super::super) date: String,
    pub(in super::super) bytes: u64,
    pub(in super::super) rows: u64,
    /// When it was written, by the machine's clock, in milliseconds.
    pub(in super::super) written_ms: i64,
    /// First and last tenant in it, as its statistics tell.
    pub(in super::super) tenants: Option<(String, String)>,
    remove: Remove,
}

/// What becomes of the rows of files that are replaced.
#[derive(Debug)]
pub(in super::super) enum Change {
    /// They are in the new files.
    Kept,
    /// Some are past their time.
    Dropped,
    /// All were made anew, which the transaction tells.
    Remade(Transaction),
}

/// A table's files at one version.
pub(in super::super) struct Live {
    log: LogStoreRef,
    delta: DeltaTable,
    pub(in super::super) version: u64,
    /// Columns of the files: all but the partition's.
    pub(in super::super) schema: SchemaRef,
    pub(in super::super) files: Vec<File>,
    /// Versions that [`Live::replace`] found taken.
    pub(in super::super) lost: u64,
}

/// Why files were not replaced.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ReplaceError {
    #[error("read the table")]
    Read(#[from] DeltaTableError),
    #[error("write the version")]
    Write(#[from] TransactionError),
    #[error("somebody else removed {0}")]
    Gone(String),
    #[error("appends were faster {RACES} times")]
    Races,
}

impl Live {
    /// At the latest version.
    pub(in super::super) async fn read(log: LogStoreRef) -> Result<Self, DeltaTableError> {
        let delta = load(&log).await?;
        let state = delta.snapshot()?;
        let schema = state.snapshot().arrow_schema();
        let without = schema.fields().iter().filter(|field| field.name() != PARTITION).cloned();
        let schema = Arc::new(Schema::new(without.collect::<Vec<_>>()));
        let mut files = Vec::new();
        for view in state.snapshot().try_log_data()?.iter() {
            let stats: Value = view.stats().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let bound = |which: &str| stats[which]["tenant"].as_str().map(ToOwned::to_owned);
            files.push(File {
                path: view.path().to_string(),
                date: view.partition_values_map().remove(PARTITION).flatten().unwrap_or_default(),
                bytes: u64::try_from(view.size()).unwrap_or(0),
                rows: stats["numRecords"].as_u64().unwrap_or(0),
                written_ms: view.modification_time(),
                tenants: bound("minValues").zip(bound("maxValues")),
                remove: view.remove_action(false),
            });
        }
        let version = state.version();
        Ok(Self { log, version, schema, files, delta, lost: 0 })
    }

    /// One version that removes `old` and adds `new`; `change` tells readers of changes whether rows are gone. Tells the
    /// version, unless only its effect was found.
    pub(in super::super) async fn replace(
        &mut self,
        old: &[File],
        new: Vec<Add>,
        change: Change,
    ) -> Result<Option<u64>, ReplaceError> {
        let (operation, transaction) = match change {
            Change::Kept => (DeltaOperation::Optimize { predicate: None, target_size: 0 }, None),
            Change::Dropped => (DeltaOperation::Delete { predicate: None }, None),
            Change::Remade(transaction) => (
                DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None },
                Some(transaction),
            ),
        };
        let data_change = !matches!(operation, DeltaOperation::Optimize { .. });
        let now = SystemClock.now().micros() / 1000;
        let removes = old
            .iter()
            .map(|file| Action::Remove(Remove { data_change, deletion_timestamp: Some(now), ..file.remove.clone() }));
        let names = Vec::from_iter(new.iter().map(|add| add.path.clone()));
        let actions = Vec::from_iter(removes.chain(new.into_iter().map(Action::Add)));
        let transactions = Vec::from_iter(transaction);
        let bytes = CommitData::new(actions, operation, Default::default(), transactions).get_bytes()?;
        for _ in 0..RACES {
            let version = self.version + 1;
            let entry = CommitOrBytes::LogBytes(bytes.clone());
            let failure = match self.log.write_commit_entry(version, entry, Default::default()).await {
                Ok(()) => None,
                Err(TransactionError::VersionAlreadyExists(_)) => Some(None),
                Err(error) => Some(Some(error)),
            };
            let lost = self.lost + u64::from(failure.is_some());
            *self = Self { lost, ..Self::read(self.log.clone()).await? };
            let Some(failure) = failure else { return Ok(Some(version)) };
            let live: HashSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
            let gone = old.iter().find(|file| !live.contains(file.path.as_str()));
            match (gone, failure) {
                // It had taken place, unheard: nobody else knows the new files.
                (Some(_), _) if names.iter().all(|name| live.contains(name.as_str())) => return Ok(None),
                (Some(gone), _) => return Err(ReplaceError::Gone(gone.path.clone())),
                (None, Some(error)) => return Err(error.into()),
                (None, None) => {}
            }
        }
        Err(ReplaceError::Races)
    }

    /// Files that were removed at `since_ms` or later and that the log still tells of.
    pub(in super::super) async fn removed_since(&self, since_ms: i64) -> Result<HashSet<String>, DeltaTableError> {
        let removed = self.delta.snapshot()?.all_tombstones(self.log.as_ref());
        let recent = removed.try_filter_map(|file| async move {
            let recent = file.deletion_timestamp().is_none_or(|at| at >= since_ms);
            Ok(recent.then(|| file.path().into_owned()))
        });
        recent.try_collect().await
    }

    /// Writes a checkpoint of this version and drops log entries from before `before_ms` that it replaces.
    pub(in super::super) async fn checkpoint(&mut self, before_ms: i64) -> Result<(), DeltaTableError> {
        create_checkpoint(&self.delta, None).await?;
        cleanup_expired_logs_for(self.version, self.log.as_ref(), before_ms, None).await?;
        // What was read may stand on entries that are gone now.
        *self = Self { lost: self.lost, ..Self::read(self.log.clone()).await? };
        Ok(())
    }

    pub(in super::super) fn store(&self) -> Arc<dyn deltalake_core::ObjectStore> {
        self.log.object_store(None)
    }
}
