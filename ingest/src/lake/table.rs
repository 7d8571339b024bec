//! One Delta table: made or opened, widened, appended to, checkpointed.
//!
//! In: a location and the schema that rows will have. Out: versions. Promise: an append carries the application
//! transaction `forewarn/shard-0` = log offset; after any failure [`Table::reload`] tells whether it took place.
//! Never: a column removed or its type changed; a file list held between commits.
//!
//! A commit is one put-if-absent of the next log entry, with deltalake's own actions and bytes, and not its
//! `CommitBuilder`: that one lists the log before each commit, keeps every live file's entry in memory (grows with
//! each commit), and on a conflict commits a second time without asking whether the first one was ours.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use deltalake_core::{
    DeltaTable, DeltaTableError, ObjectStore,
    checkpoints::{cleanup_expired_logs_for, create_checkpoint},
    kernel::{
        Action, Add, StructField, StructType, Transaction,
        engine::arrow_conversion::TryIntoKernel,
        transaction::{CommitData, CommitProperties, PROTOCOL, TransactionError},
    },
    logstore::{CommitOrBytes, LogStoreRef, StorageConfig, logstore_with},
    protocol::{DeltaOperation, SaveMode},
};
use schemas::{
    door::DoorError,
    id::LogOffset,
    table::{PARTITION, TRANSACTION, TableName},
    time::{Clock, SystemClock},
};
use url::Url;

use super::{
    LakeError,
    durable::sync_folder,
    maintain::live::{Change, Live, ReplaceError},
};

/// How often maintenance may merge files that [`Table::replace`] is about to remove.
const RACES: usize = 8;

/// A second transaction of a telemetry commit, with the same offset: its rows are on their way to the rollups as well,
/// and stay in the log until they are there. A commit without it was made while no rollups were kept.
const ROLLED: &str = "forewarn/rollups";

/// Held while a version is written: committer and maintenance take turns, so that neither is the faster one for ever.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// A table and where it stands.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    pub(super) url: Url,
    pub(super) schema: SchemaRef,
    /// Last known version.
    pub(super) version: u64,
    /// The application transaction: all rows of frames before it are in `version`.
    pub(super) committed: Option<LogOffset>,
    /// The greatest offset committed while rollups were kept.
    pub(super) rolled: Option<LogOffset>,
    /// Whether rollups of it are kept.
    pub(super) rolls: bool,
    /// Whose turn it is to write a version.
    pub(super) turn: Turn,
    log: Log,
}

/// The log store, which does not print itself.
struct Log(LogStoreRef);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.name())
    }
}

/// What an append came to.
#[derive(Debug)]
pub(super) enum Appended {
    /// It is version [`Table::version`] now.
    Yes,
    /// Somebody else wrote that version; [`Table::reload`] tells who.
    Taken,
}

impl Table {
    /// Opens the table at `url`, or makes it; adds the columns of `wanted` that it lacks.
    pub(super) async fn open(
        name: TableName,
        store: Arc<dyn ObjectStore>,
        url: Url,
        wanted: &Schema,
    ) -> Result<Self, LakeError> {
        let failed = |source: DeltaTableError| LakeError::Open { table: name.clone(), source: source.into() };
        let log = logstore_with(store, &url, StorageConfig::default()).map_err(failed)?;
        let exists = log.is_delta_table_location().await.map_err(failed)?;
        let mut delta = if exists { load(&log).await } else { create(&log, &name, wanted).await }.map_err(failed)?;
        let stored = delta.snapshot().map_err(failed)?.snapshot().arrow_schema();
        let of_rollup = matches!(name, TableName::Rollup(..));
        let outgrown =
            stored.fields().iter().find(|field| !field.is_nullable() && wanted.index_of(field.name()).is_err());
        if let Some(key) = outgrown.filter(|_| of_rollup) {
            return Err(LakeError::Outgrown { table: name.clone(), column: key.name().clone() });
        }
        let missing = missing(&name, &stored, wanted)?;
        if !missing.is_empty() {
            let names = Vec::from_iter(missing.iter().map(|field| field.name.clone())).join(", ");
            tracing::info!(table = %name, columns = names, "added columns to table {name}");
            // Not the state that this returns: the schema is read back as everybody else will read it.
            let quiet =
                CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
            delta.add_columns().with_fields(missing).with_commit_properties(quiet).await.map_err(failed)?;
            delta = load(&log).await.map_err(failed)?;
        }
        let state = delta.snapshot().map_err(failed)?;
        PROTOCOL.can_write_to(state).map_err(|error| LakeError::Open { table: name.clone(), source: error.into() })?;
        let schema = state.snapshot().arrow_schema();
        let committed = transaction(&log, &delta, TRANSACTION).await.map_err(failed)?;
        let rolled = transaction(&log, &delta, ROLLED).await.map_err(failed)?;
        let version = state.version();
        let (rolls, turn, log) = (false, Turn::default(), Log(log));
        Ok(Self { name, url, schema, version, committed, rolled, rolls, turn, log })
    }

    /// Its log, to read.
    pub(super) fn log(&self) -> LogStoreRef {
        self.log.0.clone()
    }

    /// The store of the table's files, rooted at its folder.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.log.0.object_store(None)
    }

    /// Writes the next version: `files` and the transaction `end`. After an error it may still have taken place.
    pub(super) async fn append(&mut self, files: Vec<Add>, end: LogOffset) -> Result<Appended, TransactionError> {
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![PARTITION.to_owned()]),
            predicate: None,
        };
        let more = HashMap::from([("isBlindAppend".to_owned(), true.into())]);
        let mut transactions = vec![transaction_of(TRANSACTION, end)];
        transactions.extend(self.rolls.then(|| transaction_of(ROLLED, end)));
        let actions = files.into_iter().map(Action::Add).collect();
        let bytes = CommitData::new(actions, operation, more, transactions).get_bytes()?;
        let _turn = self.turn.lock().await;
        let version = self.version + 1;
        match self.log.0.write_commit_entry(version, CommitOrBytes::LogBytes(bytes), Default::default()).await {
            Ok(()) => {
                self.version = version;
                self.committed = Some(end);
                Ok(Appended::Yes)
            }
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(Appended::Taken),
            Err(error) => Err(error),
        }
    }

    /// From now on commits are made without rollups: those that are there have to be made anew before they count again.
    pub(super) async fn forget_rollups(&mut self) -> Result<(), LakeError> {
        let failed = |source: DoorError| LakeError::Commit { table: self.name.clone(), source };
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let forgotten = vec![transaction_of(ROLLED, LogOffset(0))];
        let bytes = CommitData::new(Vec::new(), operation, HashMap::new(), forgotten).get_bytes();
        let bytes = bytes.map_err(|error| failed(error.into()))?;
        let entry = CommitOrBytes::LogBytes(bytes);
        let written = self.log.0.write_commit_entry(self.version + 1, entry, Default::default()).await;
        written.map_err(|error| failed(error.into()))?;
        self.version += 1;
        self.rolled = Some(LogOffset(0));
        Ok(())
    }

    /// Writes a version in which `files` take the place of all others, with the transaction `end`.
    pub(super) async fn replace(&mut self, files: Vec<Add>, end: LogOffset) -> Result<(), LakeError> {
        let name = self.name.clone();
        let failed = |source: DoorError| LakeError::Commit { table: name.clone(), source };
        for _ in 0..RACES {
            let mut live = Live::read(self.log()).await.map_err(|error| failed(error.into()))?;
            let (all, change) = (live.files.clone(), Change::Remade(transaction_of(TRANSACTION, end)));
            match live.replace(&all, files.clone(), change).await {
                Ok(_) => {
                    (self.version, self.committed) = (live.version, Some(end));
                    return Ok(());
                }
                // Maintenance has merged them meanwhile.
                Err(ReplaceError::Gone(_)) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(failed(format!("maintenance was faster {RACES} times").into()))
    }

    /// Reads version and transaction anew.
    pub(super) async fn reload(&mut self) -> Result<(), LakeError> {
        let failed = |source: DeltaTableError| LakeError::Reload { table: self.name.clone(), source: source.into() };
        let delta = load(&self.log.0).await.map_err(failed)?;
        let state = delta.snapshot().map_err(failed)?;
        if state.snapshot().arrow_schema() != self.schema {
            return Err(LakeError::SchemaChanged { table: self.name.clone() });
        }
        let committed = transaction(&self.log.0, &delta, TRANSACTION).await.map_err(failed)?;
        self.version = state.version();
        self.committed = committed;
        Ok(())
    }

    /// Writes a checkpoint of the current version and drops log entries older than `retention` that it replaces.
    pub(super) async fn checkpoint(&self, retention: std::time::Duration) -> Result<(), DeltaTableError> {
        let (log, version) = (self.log.0.clone(), self.version);
        let runtime = tokio::runtime::Handle::current();
        // deltalake writes the checkpoint without leaving the thread it is polled on.
        let work = tokio::task::spawn_blocking(move || {
            runtime.block_on(async move {
                let mut delta = DeltaTable::new(log.clone());
                delta.load_version(version).await?;
                create_checkpoint(&delta, None).await?;
                // Log entries bear the machine's time, whatever clock the process runs on.
                let before = SystemClock.now().minus(retention).micros() / 1000;
                cleanup_expired_logs_for(version, log.as_ref(), before, None).await
            })
        });
        let removed = work.await.map_err(|error| DeltaTableError::Generic(error.to_string()))??;
        tracing::debug!(table = %self.name, version, removed, "checkpointed table {}", self.name);
        Ok(())
    }
}

/// Reads a table; what was read is durable when this returns. A process that was killed may have given a log entry its
/// name and not come to sync the folder: to trust that entry, and move the log's cursor past it, makes it our matter.
pub(super) async fn load(log: &LogStoreRef) -> Result<DeltaTable, DeltaTableError> {
    let mut delta = DeltaTable::new(log.clone());
    delta.load().await?;
    if let Ok(folder) = log.root_url().to_file_path() {
        let sync = tokio::task::spawn_blocking(move || sync_folder(&folder.join("_delta_log")));
        sync.await.map_err(|error| DeltaTableError::Generic(error.to_string()))??;
    }
    Ok(delta)
}

async fn create(log: &LogStoreRef, name: &TableName, schema: &Schema) -> Result<DeltaTable, DeltaTableError> {
    let schema: StructType = schema.try_into_kernel()?;
    DeltaTable::new(log.clone())
        .create()
        .with_table_name(name.to_string())
        .with_columns(schema.fields().cloned())
        .with_partition_columns([PARTITION])
        .await
}

/// The protocol's transaction version is signed; a log never holds 2^63 frames.
fn transaction_of(application: &str, end: LogOffset) -> Transaction {
    Transaction::new(application, i64::try_from(end.0).unwrap_or(i64::MAX))
}

async fn transaction(
    log: &LogStoreRef,
    delta: &DeltaTable,
    application: &str,
) -> Result<Option<LogOffset>, DeltaTableError> {
    let version = delta.snapshot()?.transaction_version(log.as_ref(), application).await?;
    Ok(version.map(|version| LogOffset(u64::try_from(version).unwrap_or(0))))
}

/// The columns of `wanted` that a table lacks, all of them optional: rows from before have none.
fn missing(name: &TableName, table: &SchemaRef, wanted: &Schema) -> Result<Vec<StructField>, LakeError> {
    let mut missing = Vec::new();
    for field in wanted.fields() {
        match table.field_with_name(field.name()) {
            Ok(is) if is.data_type() == field.data_type() => {}
            Ok(is) => return Err(type_changed(name, field, is.data_type())),
            Err(_) => {
                let optional = field.as_ref().clone().with_nullable(true);
                missing.push(
                    (&optional)
                        .try_into_kernel()
                        .map_err(|source| LakeError::Open { table: name.clone(), source: Box::new(source) })?,
                );
            }
        }
    }
    Ok(missing)
}

fn type_changed(name: &TableName, wanted: &FieldRef, is: &DataType) -> LakeError {
    LakeError::TypeChanged {
        table: name.clone(),
        column: wanted.name().clone(),
        is: is.to_string(),
        wanted: wanted.data_type().to_string(),
    }
}
