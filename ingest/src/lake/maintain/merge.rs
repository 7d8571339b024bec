//! Sorted files of one partition to fewer sorted files.
//!
//! In: whole Parquet files, each sorted by tenant, device and time. Out: finished files in the same order. Promise:
//! every row that is kept is in exactly one of them, increments of a rollup with equal keys as one; of each input one
//! batch is decoded at a time. Never: I/O; the caller runs this on a thread of its own.
//!
//! Inputs are of neighbouring stretches of time, so a device's rows come as one run from each: an input is compared
//! with the one behind it by doubling and halving, once per run and not per row, and no key is copied.

use std::cmp::Ordering;

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    compute::{concat_batches, interleave_record_batch},
    datatypes::{DataType, Int64Type, SchemaRef},
    error::ArrowError,
    row::{RowConverter, Rows, SortField},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::Encoding,
    errors::ParquetError,
    file::properties::WriterProperties,
    schema::types::ColumnPath,
};
use schemas::rollup::{ROWS, Span};

use super::super::{hot::conform, part::properties, stats::Tally};
use crate::rollup;

/// Rows decoded at a time of each input, and put out at a time: 64 inputs of a hundred bytes a row take 50 MB.
const BATCH_ROWS: usize = 8192;

/// Why files could not be merged.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum MergeError {
    #[error("merge rows")]
    Arrow(#[from] ArrowError),
    #[error("read or write Parquet")]
    Parquet(#[from] ParquetError),
    #[error("{0}")]
    Shape(String),
}

/// One finished file.
#[derive(Debug)]
pub(in super::super) struct Merged {
    /// The whole file.
    pub(in super::super) bytes: Bytes,
    /// Statistics, as JSON.
    pub(in super::super) stats: String,
}

/// What a merge came to.
#[derive(Debug, Default)]
pub(in super::super) struct Outcome {
    /// The files.
    pub(in super::super) files: Vec<Merged>,
    /// Rows that were read.
    pub(in super::super) taken: u64,
    /// Rows that were dropped.
    pub(in super::super) dropped: u64,
    /// What the rows read stand for: themselves, or, of a rollup, the telemetry summed up in them.
    pub(in super::super) stood_for: u64,
    /// What the rows in the files and those dropped stand for.
    pub(in super::super) stand_for: u64,
}

/// What to do with a tenant's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Fate {
    /// They stay.
    Keep,
    /// They stay, in files of their own.
    Apart,
    /// They go, and no file reaches across where they were.
    Drop,
}

/// One input, at a row.
struct Input {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    keys: Rows,
    row: usize,
}

impl Input {
    /// Whether its row comes before that of `other`; inputs of equal key keep their order.
    fn order(&self, at: usize, other: &Self, other_at: usize) -> Ordering {
        self.keys.row(self.row).cmp(&other.keys.row(other.row)).then(at.cmp(&other_at))
    }

    /// How many rows from this one on come before the row of `other`: this one does, and those of equal key where
    /// `equal` says so.
    fn run(&self, other: &Self, equal: bool) -> usize {
        let bound = other.keys.row(other.row);
        let before = |row: usize| match self.keys.row(row).cmp(&bound) {
            Ordering::Less => true,
            Ordering::Equal => equal,
            Ordering::Greater => false,
        };
        let (mut last, mut step, end) = (self.row, 1, self.batch.num_rows());
        while last + step < end && before(last + step) {
            last += step;
            step *= 2;
        }
        let mut behind = end.min(last + step);
        while last + 1 < behind {
            let middle = last.midpoint(behind);
            if before(middle) {
                last = middle;
            } else {
                behind = middle;
            }
        }
        behind - self.row
    }
}

/// Merges `files`, whose rows have the columns of `schema` or some of them, into files of about `most` bytes, none of
/// which reaches across one of the tenants `cuts`; with `span`, they are files of that rollup.
pub(in super::super) fn merge(
    schema: &SchemaRef,
    files: Vec<Bytes>,
    most: usize,
    fate: &dyn Fn(&str) -> Fate,
    cuts: &[String],
    span: Option<Span>,
) -> Result<Outcome, MergeError> {
    let time = schema.fields().iter().find(|field| matches!(field.data_type(), DataType::Timestamp(..)));
    let names = ["tenant", "device_id"].into_iter().chain(time.map(|field| field.name().as_str()));
    let names = names.chain(span.map(|_| "firmware"));
    let key = Vec::from_iter(names.filter_map(|name| schema.index_of(name).ok()));
    let fields = key.iter().map(|column| SortField::new(schema.field(*column).data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let mut inputs = Vec::new();
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()?;
        let batch = RecordBatch::new_empty(schema.clone());
        let keys = converter.empty_rows(0, 0);
        inputs.push(Input { reader, batch, keys, row: 0 });
    }
    let done = Outcome::default();
    let mut out = Out { schema, most, fate, cuts, span, open: None, done, tenant: None, held: None };
    // Inputs that have rows, the one with the least row last.
    let mut order = Vec::new();
    for at in 0..inputs.len() {
        advance(schema, &key, &converter, &mut inputs[at])?;
        place(&inputs, &mut order, at);
    }
    // Rows of the batches at hand, not yet put out: all before any input goes on to its next batch.
    let mut picked = Vec::new();
    while let Some(at) = order.pop() {
        let input = &inputs[at];
        let left = input.batch.num_rows() - input.row;
        let run = order.last().map_or(left, |other| input.run(&inputs[*other], at < *other));
        let run = run.min(BATCH_ROWS - picked.len());
        picked.extend((input.row..input.row + run).map(|row| (at, row)));
        inputs[at].row += run;
        if run == left || picked.len() >= BATCH_ROWS {
            flush(&inputs, &mut picked, &mut out)?;
        }
        if run == left {
            advance(schema, &key, &converter, &mut inputs[at])?;
        }
        place(&inputs, &mut order, at);
    }
    out.finish()
}

/// Takes the next batch of an input that is at the end of one; without another it stays there.
fn advance(schema: &SchemaRef, key: &[usize], converter: &RowConverter, input: &mut Input) -> Result<(), MergeError> {
    for batch in input.reader.by_ref() {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        input.batch = conform(&batch, schema).map_err(|misfit| MergeError::Shape(misfit.to_string()))?;
        let columns = Vec::<ArrayRef>::from_iter(key.iter().map(|column| input.batch.column(*column).clone()));
        input.keys = converter.convert_columns(&columns)?;
        input.row = 0;
        break;
    }
    Ok(())
}

/// Puts an input where its row belongs, unless it has none.
fn place(inputs: &[Input], order: &mut Vec<usize>, at: usize) {
    let input = &inputs[at];
    if input.row < input.batch.num_rows() {
        let to = order.partition_point(|other| inputs[*other].order(*other, input, at).is_gt());
        order.insert(to, at);
    }
}

fn flush(inputs: &[Input], picked: &mut Vec<(usize, usize)>, out: &mut Out<'_>) -> Result<(), MergeError> {
    let batches = Vec::from_iter(inputs.iter().map(|input| &input.batch));
    out.take(interleave_record_batch(&batches, picked)?)?;
    picked.clear();
    Ok(())
}

/// Instants as differences: a device's follow one another here, and devices of staggered cadence share so few that a
/// dictionary of them overflows and leaves eight bytes for each (measured: 7.5 bytes a row after zstd).
fn encodings(schema: &SchemaRef) -> WriterProperties {
    let instants = schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::Timestamp(..)));
    let encoded = instants.fold(properties(), |properties, field| {
        let column = ColumnPath::from(field.name().as_str());
        properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
    });
    encoded.build()
}

/// The files that come out.
struct Out<'a> {
    schema: &'a SchemaRef,
    most: usize,
    fate: &'a dyn Fn(&str) -> Fate,
    cuts: &'a [String],
    span: Option<Span>,
    open: Option<(ArrowWriter<Vec<u8>>, Tally)>,
    done: Outcome,
    tenant: Option<String>,
    /// The last increment: more of its key may come.
    held: Option<RecordBatch>,
}

/// What rows stand for.
fn weight(rows: &RecordBatch, span: Option<Span>) -> u64 {
    let counts = span
        .and_then(|_| rows.column_by_name(ROWS)?.as_primitive_opt::<Int64Type>()?.values().iter().sum::<i64>().into());
    counts.map_or(rows.num_rows() as u64, |sum: i64| sum.unsigned_abs())
}

impl Out<'_> {
    /// Takes rows in order; increments with equal keys become one.
    fn take(&mut self, rows: RecordBatch) -> Result<(), MergeError> {
        self.done.taken += rows.num_rows() as u64;
        self.done.stood_for += weight(&rows, self.span);
        let Some(span) = self.span else { return self.put(&rows) };
        let rows = match self.held.take() {
            Some(held) => concat_batches(&rows.schema(), [&held, &rows])?,
            None => rows,
        };
        let rows = rollup::merge(&rows, span)?;
        let last = rows.num_rows().saturating_sub(1);
        self.held = Some(rows.slice(last, rows.num_rows() - last));
        self.put(&rows.slice(0, last))
    }

    fn finish(mut self) -> Result<Outcome, MergeError> {
        if let Some(held) = self.held.take() {
            self.put(&held)?;
        }
        self.close()?;
        Ok(self.done)
    }

    /// Takes sorted rows, tenant by tenant.
    fn put(&mut self, rows: &RecordBatch) -> Result<(), MergeError> {
        let Some(tenants) = rows.column_by_name("tenant").and_then(|column| column.as_string_opt::<i32>().cloned())
        else {
            return self.write(rows);
        };
        // Neighbours that stay together are written together.
        let (mut begun, mut from) = (0, 0);
        while from < rows.num_rows() {
            let tenant = tenants.value(from);
            let mut to = from + 1;
            while to < rows.num_rows() && tenants.value(to) == tenant {
                to += 1;
            }
            let fate = (self.fate)(tenant);
            let same = self.tenant.as_deref() == Some(tenant);
            let across =
                |cut: &String| self.tenant.as_ref().is_some_and(|before| before < cut) && cut.as_str() < tenant;
            let parted = match fate {
                Fate::Keep => self.cuts.iter().any(across),
                Fate::Apart => !same,
                Fate::Drop => true,
            };
            if parted {
                self.write(&rows.slice(begun, from - begun))?;
                self.close()?;
                begun = from;
            }
            if fate == Fate::Drop {
                self.done.dropped += (to - from) as u64;
                self.done.stand_for += weight(&rows.slice(from, to - from), self.span);
                begun = to;
            }
            if !same {
                self.tenant = Some(tenant.to_owned());
            }
            from = to;
        }
        self.write(&rows.slice(begun, from - begun))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), MergeError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (writer, tally) = match &mut self.open {
            Some(open) => open,
            none => {
                let writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(encodings(self.schema)))?;
                none.insert((writer, Tally::new(self.schema)))
            }
        };
        self.done.stand_for += weight(rows, self.span);
        tally.add(rows);
        writer.write(rows)?;
        if writer.bytes_written() + writer.in_progress_size() >= self.most {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), MergeError> {
        if let Some((writer, tally)) = self.open.take() {
            let bytes = writer.into_inner()?.into();
            self.done.files.push(Merged { bytes, stats: tally.stats() });
        }
        Ok(())
    }
}
