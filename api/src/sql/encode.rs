//! Record batches as bytes. Pure: a head, a piece per batch, a tail.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    csv,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{StructMode, WriterBuilder, writer::JsonArray},
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use serde_json::json;

/// Rows of a row group: held until it is whole.
const GROUP_ROWS: usize = 65_536;

/// Bytes of a row group, encoded, from which on it is closed.
const GROUP_BYTES: usize = 16 << 20;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Csv,
    Arrow,
    Parquet,
}

impl Form {
    pub(super) const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Arrow, Self::Parquet];

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    fn essence(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The form that `Accept` likes best; JSON where it likes all alike. None where it likes none of ours.
    pub(super) fn accepted(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else {
            return Some(Self::Json);
        };
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            let liked = Self::ALL.into_iter().find(|form| match essence.as_str() {
                "*/*" => true,
                essence => {
                    essence == form.essence()
                        || essence
                            .strip_suffix("/*")
                            .is_some_and(|main| form.essence().split_once('/').is_some_and(|(kind, _)| kind == main))
                }
            });
            if let Some(form) = liked.filter(|_| weight > best.map_or(0.0, |(weight, _)| weight)) {
                best = Some((weight, form));
            }
        }
        best.map(|(_, form)| form)
    }
}

/// Writes one answer.
pub(super) enum Encoder {
    Json { first: bool },
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl Encoder {
    /// Begins an answer: the encoder and the head.
    pub(super) fn begin(form: Form, schema: &SchemaRef) -> Result<(Self, Vec<u8>), ArrowError> {
        match form {
            Form::Json => {
                let column =
                    |field: &Arc<Field>| json!({ "name": field.name(), "type": field.data_type().to_string() });
                let columns: Vec<_> = schema.fields().iter().map(column).collect();
                let columns =
                    serde_json::to_string(&columns).map_err(|error| ArrowError::JsonError(error.to_string()))?;
                Ok((Self::Json { first: true }, format!("{{\"columns\":{columns},\"rows\":[").into_bytes()))
            }
            Form::Csv => {
                let mut head = Vec::new();
                let empty = flat(&RecordBatch::new_empty(schema.clone()))?;
                csv::WriterBuilder::new().with_header(true).build(&mut head).write(&empty)?;
                Ok((Self::Csv, head))
            }
            Form::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let head = std::mem::take(writer.get_mut());
                Ok((Self::Arrow(Box::new(writer)), head))
            }
            Form::Parquet => {
                let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties()))?;
                let head = std::mem::take(writer.inner_mut());
                Ok((Self::Parquet(Box::new(writer)), head))
            }
        }
    }

    /// One batch.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { first } => json_rows(batch, first),
            Self::Csv => {
                let mut piece = Vec::new();
                csv::WriterBuilder::new().with_header(false).build(&mut piece).write(&flat(batch)?)?;
                Ok(piece)
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.inner_mut()))
            }
        }
    }

    /// The tail, without which the answer is visibly not whole (JSON, Arrow, Parquet).
    pub(super) fn end(self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { .. } => Ok(b"]}\n".to_vec()),
            Self::Csv => Ok(Vec::new()),
            Self::Arrow(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Parquet(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.inner_mut()))
            }
        }
    }
}

/// Light compression: the answer is on its way at once.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .set_created_by("Forewarn".into())
        .build()
}

fn json_rows(batch: &RecordBatch, first: &mut bool) -> Result<Vec<u8>, ArrowError> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    // Rows as lists: two columns of one name stay two.
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_struct_mode(StructMode::ListOnly);
    let mut writer = builder.build::<_, JsonArray>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let mut rows = writer.into_inner();
    rows.pop();
    if std::mem::take(first) {
        rows.remove(0);
    } else if let Some(bracket) = rows.first_mut() {
        *bracket = b',';
    }
    Ok(rows)
}

/// Nested columns as text: CSV knows none.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| nested(field.data_type())) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !nested(field.data_type()) {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
            continue;
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let text = |row| if column.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) };
        let texts: StringArray = (0..batch.num_rows()).map(text).collect::<Result<_, ArrowError>>()?;
        fields.push(Field::new(field.name(), DataType::Utf8, true));
        columns.push(Arc::new(texts));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn nested(r#type: &DataType) -> bool {
    r#type.is_nested() || matches!(r#type, DataType::Dictionary(_, value) if value.is_nested())
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, Int64Array, ListArray, TimestampMicrosecondArray},
        datatypes::{Int64Type, TimeUnit},
    };
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("x", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC"))),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None]))),
            ("text", Arc::new(StringArray::from(vec!["a,\"b\"", "c"]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn whole(form: Form, batches: &[RecordBatch]) -> Vec<u8> {
        let (mut encoder, mut bytes) = Encoder::begin(form, &batch().schema()).unwrap();
        for batch in batches {
            bytes.extend(encoder.batch(batch).unwrap());
        }
        bytes.extend(encoder.end().unwrap());
        bytes
    }

    #[test]
    fn json_has_columns_and_rows_whatever_the_batches() {
        let empty = batch().slice(0, 0);
        for (batches, rows) in
            [(vec![], 0), (vec![empty.clone()], 0), (vec![empty.clone(), batch(), empty.clone(), batch()], 4)]
        {
            let json: serde_json::Value = serde_json::from_slice(&whole(Form::Json, &batches)).unwrap();
            assert_eq!(json["rows"].as_array().unwrap().len(), rows);
            assert_eq!(json["columns"][0], json!({"name": "n", "type": "Int64"}));
        }
        let json: serde_json::Value = serde_json::from_slice(&whole(Form::Json, &[batch()])).unwrap();
        assert_eq!(json["rows"][0], json!([1, 0.5, "1970-01-01T00:00:00Z", [1], "a,\"b\""]));
        assert_eq!(json["rows"][1][0], json!(null));
        assert_eq!(json["rows"][1][1], json!(null), "not a number is null");
        assert_eq!(batch().column(2).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    }

    #[test]
    fn csv_has_one_header_and_lists_as_text() {
        let text = String::from_utf8(whole(Form::Csv, &[batch(), batch()])).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "n,x,at,list,text");
        assert_eq!(lines[1], "1,0.5,1970-01-01T00:00:00Z,[1],\"a,\"\"b\"\"\"");
        assert_eq!(String::from_utf8(whole(Form::Csv, &[])).unwrap(), "n,x,at,list,text\n");
    }

    #[test]
    fn arrow_reads_back() {
        let bytes = whole(Form::Arrow, &[batch(), batch()]);
        let reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 4);
    }

    #[test]
    fn parquet_reads_back_in_bounded_groups() {
        let many: Vec<RecordBatch> = (0..40_000).map(|_| batch()).collect();
        let bytes = Bytes::from(whole(Form::Parquet, &many));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(groups, [65_536, 14_464]);
        assert_eq!(reader.schema().fields(), batch().schema().fields());
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(batches[0].slice(0, 2).column(4), batch().column(4));
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 80_000);
        let none = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(whole(Form::Parquet, &[]))).unwrap();
        assert_eq!(none.build().unwrap().count(), 0);
    }

    #[test]
    fn accept_chooses() {
        for (accept, form) in [
            (None, Some(Form::Json)),
            (Some(""), Some(Form::Json)),
            (Some("*/*"), Some(Form::Json)),
            (Some("text/csv"), Some(Form::Csv)),
            (Some("text/*"), Some(Form::Csv)),
            (Some("application/json;q=0.5, text/csv"), Some(Form::Csv)),
            (Some("application/vnd.apache.arrow.stream, */*;q=0.1"), Some(Form::Arrow)),
            (Some("application/vnd.apache.parquet"), Some(Form::Parquet)),
            (Some("text/html"), None),
            (Some("text/csv;q=0"), None),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }
}
