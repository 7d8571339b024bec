//! Texts within a plan and texts in an answer.
//!
//! In: schemas and batches. Out: the same with texts as views, or as plain texts. Promise: plans work on views, which
//! are compared and grouped without following a pointer where a text has at most 12 bytes, as most ids have; whoever asks
//! sees plain texts, within lists, structs and maps too, which every client can read. Never: a byte of a row that is not there.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};

/// As plans see it.
pub(super) fn within(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &|kind| (*kind == DataType::Utf8).then_some(DataType::Utf8View))
}

/// As whoever asks sees it.
pub(super) fn without(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &plain_type)
}

/// A batch in the schema that [`without`] gives for its own. A view's array may hold on to bytes of rows that are not in it,
/// another tenant's among them: none goes out.
pub(super) fn plain(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| match plain_type(column.data_type()) {
        Some(kind) => cast(column, &kind),
        None => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// The type without views, at any depth; none where it has none.
fn plain_type(kind: &DataType) -> Option<DataType> {
    let inner = |field: &FieldRef| {
        let kind = plain_type(field.data_type())?;
        Some(Arc::new(field.as_ref().clone().with_data_type(kind)))
    };
    match kind {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        DataType::List(field) | DataType::ListView(field) => inner(field).map(DataType::List),
        DataType::LargeList(field) | DataType::LargeListView(field) => inner(field).map(DataType::LargeList),
        DataType::FixedSizeList(field, size) => inner(field).map(|field| DataType::FixedSizeList(field, *size)),
        DataType::Map(field, sorted) => inner(field).map(|field| DataType::Map(field, *sorted)),
        DataType::Struct(fields) => {
            let plain: Vec<Option<FieldRef>> = fields.iter().map(inner).collect();
            plain.iter().any(Option::is_some).then(|| {
                let fields = fields.iter().zip(plain).map(|(field, plain)| plain.unwrap_or_else(|| Arc::clone(field)));
                DataType::Struct(fields.collect())
            })
        }
        _ => None,
    }
}

fn retyped(schema: &SchemaRef, to: &dyn Fn(&DataType) -> Option<DataType>) -> SchemaRef {
    let field = |field: &FieldRef| match to(field.data_type()) {
        Some(kind) => Arc::new(field.as_ref().clone().with_data_type(kind)),
        None => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
