//! Rollups made from the rows that are there.
//!
//! In: a telemetry table and its rollups, as opened. Out: rollups that lack no row that the log no longer has. Promise: a
//! rollup is replaced in one version, which carries the telemetry's log offset; killed before, it is made again. Never:
//! more than a commit's rows in memory; a rollup made anew that can still catch up from the log.

use std::sync::Arc;

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::SchemaRef};
use deltalake_core::kernel::Add;
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::{door::DoorError, id::LogOffset, rollup::Span, table::TableName};

use super::{
    LakeError, Settings,
    commit::put_all,
    hot::conform,
    maintain::live::Live,
    part::{encode, sort},
    table::Table,
};
use crate::rollup::{increments, merge};

/// The rollups of `telemetry` from the finest, none of which lacks rows but those that the log has.
pub(super) async fn rolls(
    telemetry: &mut Table,
    rolls: Vec<Table>,
    settings: &Settings,
) -> Result<Vec<(Table, Span)>, LakeError> {
    if !matches!(telemetry.name, TableName::Telemetry(_)) {
        return Ok(Vec::new());
    }
    telemetry.rolls = settings.rollups;
    if !settings.rollups && telemetry.rolled.is_some_and(|rolled| rolled.0 > 0) {
        telemetry.forget_rollups().await?;
    }
    let mut kept = Vec::new();
    for mut roll in rolls {
        let TableName::Rollup(span, _) = roll.name else { continue };
        // Nothing committed comes before anything.
        let behind = roll.committed < telemetry.committed;
        let in_log = roll.committed.is_some() && telemetry.rolled == telemetry.committed;
        if behind && !in_log {
            build(telemetry, &mut roll, span, settings).await?;
        }
        kept.push((roll, span));
    }
    kept.sort_by_key(|(_, span)| *span);
    Ok(kept)
}

/// Makes `roll` of all rows of `telemetry`.
async fn build(telemetry: &Table, roll: &mut Table, span: Span, settings: &Settings) -> Result<(), LakeError> {
    let name = roll.name.clone();
    let failed = |source: DoorError| LakeError::Build { table: name.clone(), source };
    let end = telemetry.committed.unwrap_or_default();
    let live = Live::read(telemetry.log()).await.map_err(|error| failed(error.into()))?;
    let rows: u64 = live.files.iter().map(|file| file.rows).sum();
    if rows > 0 {
        tracing::info!(table = %name, rows, "making table {name} from {rows} rows");
    }
    let mut files = live.files.clone();
    files.sort_by(|a, b| a.date.cmp(&b.date));
    let mut gathered =
        Gathered { span, schema: live.schema.clone(), most: settings.commit_bytes, parts: Vec::new(), bytes: 0 };
    let (store, mut adds) = (live.store(), Vec::new());
    for file in files {
        let got = store.get(&Path::from(file.path.as_str())).await.map_err(|error| failed(error.into()))?;
        let bytes = got.bytes().await.map_err(|error| failed(error.into()))?;
        let work = crate::work::spawn(move || {
            let full = gathered.read(bytes);
            (gathered, full)
        });
        let (back, full) = work.await.map_err(|source| LakeError::Task { source })?;
        gathered = back;
        for rows in full.map_err(failed)? {
            adds.extend(write(roll, rows, end).await?);
        }
    }
    if let Some(rows) = gathered.finish().map_err(failed)? {
        adds.extend(write(roll, rows, end).await?);
    }
    roll.replace(adds, end).await
}

async fn write(roll: &Table, rows: RecordBatch, end: LogOffset) -> Result<Vec<Add>, LakeError> {
    let failed = |source: DoorError| LakeError::Encode { table: roll.name.clone(), source };
    let schema = roll.schema.clone();
    let work = crate::work::spawn(move || -> Result<_, DoorError> {
        let rows = conform(&rows, &schema)?;
        Ok(encode(&sort(&rows)?)?)
    });
    let parts = work.await.map_err(|source| LakeError::Task { source })?.map_err(failed)?;
    put_all(roll, parts, LogOffset(0), end).await
}

/// Increments on their way into files.
struct Gathered {
    span: Span,
    /// Of the files.
    schema: SchemaRef,
    most: usize,
    parts: Vec<RecordBatch>,
    bytes: usize,
}

impl Gathered {
    /// Takes a file of telemetry; gives out what became too much to hold.
    fn read(&mut self, file: bytes::Bytes) -> Result<Vec<RecordBatch>, DoorError> {
        let mut full = Vec::new();
        for rows in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let rows = increments(&conform(&rows?, &self.schema)?, self.span)?;
            self.bytes += rows.get_array_memory_size();
            self.parts.push(rows);
            if self.bytes > self.most {
                let merged = self.finish()?;
                // What does not grow any smaller has to go.
                let (stay, go): (Vec<_>, Vec<_>) =
                    merged.into_iter().partition(|rows| rows.get_array_memory_size() < self.most / 2);
                full.extend(go);
                self.bytes = stay.iter().map(RecordBatch::get_array_memory_size).sum();
                self.parts = stay;
            }
        }
        Ok(full)
    }

    /// All of it.
    fn finish(&mut self) -> Result<Option<RecordBatch>, DoorError> {
        self.bytes = 0;
        let parts = std::mem::take(&mut self.parts);
        let Some(first) = parts.first() else { return Ok(None) };
        Ok(Some(merge(&concat_batches(&Arc::clone(first.schema_ref()), &parts)?, self.span)?))
    }
}
