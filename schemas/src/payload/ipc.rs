//! Arrow IPC streams: columns of flat types, read where they lie.
//!
//! A column `ts` (timestamp, whole milliseconds or RFC 3339 text), optional columns `seq`, `boot`, `profile` and
//! `firmware`, and one column per metric. What has no column may stand in the schema's metadata under the same name;
//! `seq` there is that of the first row. Lengths are checked before Arrow's reader sees them. Not understood:
//! dictionaries and compressed buffers (compress the whole stream with zstd instead).

use std::{
    borrow::Cow,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
        StringViewArray, TimestampMicrosecondArray, UInt64Array,
    },
    buffer::Buffer,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, UInt64Type},
    ipc::{self, convert::fb_to_schema, reader::read_record_batch, root_as_message},
};

use super::{
    MAX_METRICS, MAX_READINGS, Reading, Value,
    fields::{self, Scalar, TS},
};
use crate::{
    reject::{Reject, RejectReason},
    time::Instant,
};

/// What stands before the length of every message of the stream.
pub(super) const CONTINUATION: &[u8] = &[0xff; 4];
/// Columns that are no metric.
const OWN: [&str; 5] = ["ts", "seq", "boot", "profile", "firmware"];

fn malformed(detail: impl std::fmt::Display) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("Arrow: {detail}"))
}

/// A column, as one of few types.
enum Cells {
    Boolean(BooleanArray),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Number(Float64Array),
    Time(TimestampMicrosecondArray),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Null,
    Nested,
}

impl Cells {
    fn of(array: &ArrayRef) -> Result<Self, Reject> {
        use DataType as T;
        let cast = |to: &DataType| cast(array, to).map_err(malformed);
        Ok(match array.data_type() {
            T::Boolean => Self::Boolean(array.as_boolean().clone()),
            T::Int64 => Self::Integer(array.as_primitive().clone()),
            T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => {
                Self::Integer(cast(&T::Int64)?.as_primitive::<Int64Type>().clone())
            }
            T::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            T::Float64 => Self::Number(array.as_primitive().clone()),
            T::Float16 | T::Float32 => Self::Number(cast(&T::Float64)?.as_primitive::<Float64Type>().clone()),
            T::Timestamp(_, _) => Self::Time(
                cast(&T::Timestamp(TimeUnit::Microsecond, None))?.as_primitive::<TimestampMicrosecondType>().clone(),
            ),
            T::Utf8 => Self::Text(array.as_string().clone()),
            T::LargeUtf8 => Self::LargeText(array.as_string().clone()),
            T::Utf8View => Self::TextView(array.as_string_view().clone()),
            T::Null => Self::Null,
            _ => Self::Nested,
        })
    }

    fn value(&self, row: usize) -> Value<'_> {
        macro_rules! at {
            ($cells:expr, $value:expr) => {
                if $cells.is_null(row) { Value::Null } else { $value($cells.value(row)) }
            };
        }
        let text = |text| Value::Text(Cow::Borrowed(text));
        match self {
            Self::Boolean(cells) => at!(cells, Value::Bool),
            Self::Integer(cells) => at!(cells, Value::Integer),
            Self::Unsigned(cells) => at!(cells, super::unsigned),
            Self::Number(cells) => at!(cells, Value::Number),
            Self::Time(cells) => at!(cells, |micros: i64| Value::Integer(micros.div_euclid(1000))),
            Self::Text(cells) => at!(cells, text),
            Self::LargeText(cells) => at!(cells, text),
            Self::TextView(cells) => at!(cells, text),
            Self::Null => Value::Null,
            Self::Nested => Value::Nested,
        }
    }
}

/// One record batch.
struct Batch {
    rows: usize,
    /// In the order of [`OWN`].
    own: [Option<Cells>; 5],
    metrics: Vec<Cells>,
}

/// A stream, taken apart.
pub(super) struct Table {
    /// Of the metrics, in the order of the columns.
    names: Vec<String>,
    /// In the order of [`OWN`], out of the schema's metadata.
    told: [Option<String>; 5],
    batches: Vec<Batch>,
}

/// Reads a stream whole.
pub(super) fn open(payload: &[u8]) -> Result<Table, Reject> {
    // Arrow's reader panics on some metadata that is well formed and senseless.
    catch_unwind(AssertUnwindSafe(|| read(payload)))
        .unwrap_or_else(|_| Err(malformed("its metadata contradict themselves")))
}

fn read(mut rest: &[u8]) -> Result<Table, Reject> {
    let mut schema: Option<Arc<Schema>> = None;
    let mut table = Table { names: Vec::new(), told: Default::default(), batches: Vec::new() };
    let mut rows = 0;
    while let Some((metadata, after)) = message(rest)? {
        // Copied, and so aligned.
        let metadata = Buffer::from(metadata);
        let message = root_as_message(&metadata).map_err(malformed)?;
        let (body, after) = usize::try_from(message.bodyLength())
            .ok()
            .and_then(|length| after.split_at_checked(length))
            .ok_or_else(|| malformed("it ends in a message"))?;
        rest = after;
        match (&schema, message.header_type()) {
            (None, ipc::MessageHeader::Schema) => {
                let told = message.header_as_schema().ok_or_else(|| malformed("it has no schema"))?;
                schema = Some(Arc::new(self::schema(told, &mut table)?));
            }
            (Some(schema), ipc::MessageHeader::RecordBatch) => {
                let batch = message.header_as_record_batch().ok_or_else(|| malformed("a batch is empty"))?;
                rows += lengths(&batch, body.len())?;
                if rows > MAX_READINGS {
                    return Err(fields::too_many(rows));
                }
                let version = message.version();
                let body = Buffer::from(body);
                let batch = read_record_batch(&body, batch, schema.clone(), &HashMap::new(), None, &version)
                    .map_err(malformed)?;
                table.add(&batch)?;
            }
            (_, other) => return Err(malformed(format!("a message of type {other:?} is not expected here"))),
        }
    }
    match schema {
        None => Err(malformed("it has no schema")),
        Some(_) if rows == 0 => Err(fields::missing("reading", "a stream needs at least one row")),
        Some(_) => Ok(table),
    }
}

/// A message's metadata, and what follows them.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The next message, if any.
fn message(rest: &[u8]) -> Result<Option<Split<'_>>, Reject> {
    if rest.is_empty() {
        return Ok(None);
    }
    let cut = || malformed("it ends in a message");
    let rest = rest.strip_prefix(CONTINUATION).ok_or_else(|| malformed("a message begins otherwise than with ff"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    match u32::from_le_bytes(*length) {
        0 if rest.is_empty() => Ok(None),
        0 => Err(malformed("bytes follow its end")),
        length => rest.split_at_checked(length as usize).map(Some).ok_or_else(cut),
    }
}

fn schema(told: ipc::Schema<'_>, table: &mut Table) -> Result<Schema, Reject> {
    if told.endianness() != ipc::Endianness::Little {
        return Err(malformed("numbers are little-endian"));
    }
    let fields = told.fields().ok_or_else(|| malformed("it has no columns"))?;
    if fields.len() > MAX_METRICS + OWN.len() {
        let detail = format!("{} columns: at most {MAX_METRICS} metrics in one reading", fields.len());
        return Err(Reject::new(RejectReason::TooManyReadings, detail));
    }
    if fields.iter().any(|field| field.dictionary().is_some()) {
        return Err(malformed("a column has a dictionary: send its values"));
    }
    let schema = fb_to_schema(told);
    for field in schema.fields() {
        let name = field.name();
        if OWN.contains(&name.as_str()) {
            continue;
        }
        fields::metric_name(name)?;
        table.names.push(name.clone());
    }
    if schema.field_with_name(OWN[0]).is_err() {
        return Err(fields::missing("ts", "a column of timestamps, whole milliseconds or RFC 3339 text"));
    }
    table.told = OWN.map(|name| schema.metadata().get(name).cloned());
    Ok(schema)
}

/// Checks a batch's lengths against its body, and counts its rows.
fn lengths(batch: &ipc::RecordBatch<'_>, body: usize) -> Result<usize, Reject> {
    if batch.compression().is_some() {
        return Err(malformed("its buffers are compressed: compress the whole stream with zstd instead"));
    }
    let rows = usize::try_from(batch.length()).map_err(|_| malformed("a batch has a negative length"))?;
    let nodes = batch.nodes().into_iter().flatten();
    let node_fits = |node: &ipc::FieldNode| {
        (0..=node.length()).contains(&node.null_count())
            && usize::try_from(node.length()).is_ok_and(|n| n <= body * 8 + rows)
    };
    let buffer_fits = |buffer: &ipc::Buffer| {
        let (offset, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        matches!((offset, length), (Ok(offset), Ok(length)) if offset.checked_add(length).is_some_and(|end| end <= body))
    };
    let fits = nodes.clone().all(node_fits) && batch.buffers().into_iter().flatten().all(buffer_fits);
    if fits { Ok(rows) } else { Err(malformed("a batch is longer than its bytes")) }
}

impl Table {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), Reject> {
        let mut own = [const { None }; 5];
        let mut metrics = Vec::with_capacity(self.names.len());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let cells = Cells::of(column)?;
            match OWN.iter().position(|name| name == field.name()) {
                Some(at) => own[at] = Some(cells),
                None => metrics.push(cells),
            }
        }
        self.batches.push(Batch { rows: batch.num_rows(), own, metrics });
        Ok(())
    }

    /// Each row as a reading, one after another in the same place.
    pub(super) fn readings<'a>(
        &'a self,
        rejects: &mut Vec<Reject>,
        mut each: impl FnMut(&Reading<'a>) -> Result<(), Reject>,
    ) {
        let mut reading = Reading {
            profile: None,
            boot: 0,
            seq: None,
            event_time: Instant::EPOCH,
            firmware: None,
            metrics: Vec::with_capacity(self.names.len()),
        };
        let mut before = 0;
        for batch in &self.batches {
            for row in 0..batch.rows {
                let read = self.read(batch, row, before, &mut reading).and_then(|()| each(&reading));
                rejects.extend(read.err());
                before += 1;
            }
        }
    }

    fn read<'a>(&'a self, batch: &'a Batch, row: usize, before: i64, to: &mut Reading<'a>) -> Result<(), Reject> {
        let own = |at: usize| -> Option<Scalar<'a>> {
            match (&batch.own[at], &self.told[at]) {
                (Some(cells), _) => Some(Scalar(cells.value(row))),
                (None, Some(told)) => Some(Scalar(Value::Text(Cow::Borrowed(told)))),
                (None, None) => None,
            }
        };
        let number = |at: usize| match own(at) {
            Some(Scalar(Value::Text(told))) if batch.own[at].is_none() => {
                let value = told.parse().map_or(Value::Text(told), Value::Integer);
                fields::count(OWN[at], Some(Scalar(value)))
            }
            value => fields::count(OWN[at], value),
        };
        to.event_time = match (&batch.own[0], own(0)) {
            (Some(Cells::Time(cells)), _) if cells.is_valid(row) => Instant::from_micros(cells.value(row)),
            (_, Some(Scalar(value))) => fields::instant(&value)?,
            (_, None) => return Err(fields::missing("ts", TS)),
        };
        let seq = number(1)?;
        to.seq = if batch.own[1].is_some() { seq } else { seq.and_then(|first| first.checked_add(before)) };
        to.boot = number(2)?.unwrap_or(0);
        to.profile = fields::text(OWN[3], own(3))?;
        to.firmware = fields::text(OWN[4], own(4))?;
        to.metrics.clear();
        let values = batch.metrics.iter().map(|cells| cells.value(row));
        to.metrics.extend(self.names.iter().map(|name| Cow::Borrowed(name.as_str())).zip(values));
        Ok(())
    }
}
