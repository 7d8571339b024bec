//! Hot rows as Parquet files: one per date, sorted by tenant, device and time.
//!
//! In: batches of one table's schema. Out: finished files in memory, with their statistics. Promise: every row is in
//! exactly one file; files are no larger than the hot rows were. Never: I/O; the caller runs this on a blocking thread.
//!
//! deltalake's `RecordBatchWriter` is not used: it splits by partition but does not sort, warns once per flush for
//! every binary column, uploads while it encodes (a failed write leaves nothing to try again with) and keeps text
//! bounds that Parquet has cut. Encoding in memory is bounded by the hot rows, and a file once encoded can be put again.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    compute::{self, SortColumn},
    datatypes::{DataType, Date32Type},
    error::ArrowError,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::{WriterProperties, WriterPropertiesBuilder},
};
use schemas::{rollup::ROWS, table::PARTITION, time::Instant};

use super::stats::stats;

/// Rows per row group: small enough that sorting lets a reader skip most of a file when it asks for one device.
const ROW_GROUP: usize = 65_536;

/// One finished file.
#[derive(Debug)]
pub(super) struct Part {
    /// Value of the partition column, such as `2026-11-21`.
    pub(super) date: String,
    /// The whole file.
    pub(super) bytes: bytes::Bytes,
    /// Statistics, as JSON.
    pub(super) stats: String,
}

/// Why rows could not be encoded: a fault of ours, not of the world.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    #[error("sort rows")]
    Arrow(#[from] ArrowError),
    #[error("write Parquet")]
    Parquet(#[from] ParquetError),
    #[error("the partition column is not a date")]
    Partition,
}

/// Encodes sorted rows.
pub(super) fn encode(rows: &RecordBatch) -> Result<Vec<Part>, PartError> {
    let schema = rows.schema();
    let at = schema.index_of(PARTITION)?;
    let without = Vec::from_iter((0..schema.fields().len()).filter(|column| *column != at));
    let dates = rows.column(at).as_primitive_opt::<Date32Type>().ok_or(PartError::Partition)?;
    let mut parts = Vec::new();
    for range in compute::partition(&[rows.column(at).clone()])?.ranges() {
        let date = date_text(dates.value(range.start));
        let rows = rows.slice(range.start, range.len()).project(&without)?;
        parts.push(Part { date, stats: stats(&rows), bytes: parquet(&rows)? });
    }
    Ok(parts)
}

/// By date, tenant, device and time; a rollup, whose rows have a firmware for key, by that, too.
pub(super) fn sort(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let time = schema.fields().iter().find(|field| matches!(field.data_type(), DataType::Timestamp(..)));
    let firmware = schema.column_with_name(ROWS).map(|_| "firmware");
    let keys = [PARTITION, "tenant", "device_id"].into_iter().chain(time.map(|field| field.name().as_str()));
    let keys = keys.chain(firmware);
    let columns = keys.filter_map(|key| rows.column_by_name(key));
    let columns = Vec::from_iter(columns.map(|values| SortColumn { values: values.clone(), options: None }));
    compute::take_record_batch(rows, &compute::lexsort_to_indices(&columns, None)?)
}

fn date_text(days: i32) -> String {
    let at = Instant::from_micros(i64::from(days).saturating_mul(86_400_000_000));
    at.to_string().chars().take(10).collect()
}

/// How every file is written; statistics of row groups and pages are the library's default.
pub(super) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_created_by("forewarn".to_owned())
}

fn parquet(rows: &RecordBatch) -> Result<bytes::Bytes, ParquetError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&rows.schema()), Some(properties().build()))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?.into())
}
