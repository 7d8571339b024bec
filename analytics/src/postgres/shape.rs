//! Answers in columns that PostgreSQL has: maps and other shapes become text.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};

/// The columns as the client sees them.
pub(super) fn shown(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match arrow_pg::datatypes::field_into_pg_type(field) {
        Ok(_) => Arc::clone(field),
        Err(_) => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// A batch in these columns, whatever the plan made of them.
pub(super) fn shape(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        match (column.data_type(), field.data_type()) {
            (DataType::Map(..) | DataType::Union(..) | DataType::RunEndEncoded(..), DataType::Utf8) => text(column),
            (_, wanted) => cast(column, wanted),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nullable: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(nullable)), columns, &options)
}

fn text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let value = |row| if column.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) };
    Ok(Arc::new((0..column.len()).map(value).collect::<Result<StringArray, _>>()?))
}
