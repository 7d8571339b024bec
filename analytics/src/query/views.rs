//! Texts within a plan and texts in an answer.
//!
//! In: schemas and batches. Out: the same with texts as views, or as plain texts. Promise: plans work on views, which
//! are compared and grouped without following a pointer where a text has at most 12 bytes, as most ids have; whoever asks
//! sees plain texts, which every client can read. Never: another type changed; a text within a map or a list.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

/// As plans see it.
pub(super) fn within(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &DataType::Utf8, &DataType::Utf8View)
}

/// As whoever asks sees it.
pub(super) fn without(schema: &SchemaRef) -> SchemaRef {
    retyped(schema, &DataType::Utf8View, &DataType::Utf8)
}

/// A batch in the schema that [`without`] gives for its own.
pub(super) fn plain(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if !batch.columns().iter().any(|column| *column.data_type() == DataType::Utf8View) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => cast(column, &DataType::Utf8),
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn retyped(schema: &SchemaRef, from: &DataType, to: &DataType) -> SchemaRef {
    if !schema.fields().iter().any(|field| field.data_type() == from) {
        return Arc::clone(schema);
    }
    let field = |field: &Arc<Field>| match field.data_type() == from {
        true => Arc::new(field.as_ref().clone().with_data_type(to.clone())),
        false => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
