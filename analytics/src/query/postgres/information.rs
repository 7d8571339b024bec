//! `information_schema` with types as PostgreSQL's clients know them.
//!
//! DataFusion's own tells Arrow's (`Utf8`, `Float64`), by which a query builder knows no numbers and no times. Everything
//! else of it stays.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, StringArray},
    compute::cast,
    datatypes::DataType,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProviderList, SchemaProvider, TableProvider, default_table_source::provider_as_source,
        information_schema::InformationSchemaProvider, view::ViewTable,
    },
    error::Result,
    logical_expr::{ColumnarValue, LogicalPlanBuilder, ScalarUDF, Volatility, col, create_udf},
};

/// The table whose types are told anew.
const COLUMNS: &str = "columns";

/// The column of it.
const DATA_TYPE: &str = "data_type";

/// The schema.
#[derive(Debug)]
pub(in crate::query) struct Information {
    own: InformationSchemaProvider,
    type_name: Arc<ScalarUDF>,
}

impl Information {
    /// About these catalogs.
    pub(in crate::query) fn new(catalogs: Arc<dyn CatalogProviderList>) -> Self {
        let implementation = |args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let names = cast(&arrays[0], &DataType::Utf8)?;
            let told = names.as_string::<i32>().iter().map(|name| name.map(type_name));
            Ok(ColumnarValue::Array(Arc::new(told.collect::<StringArray>()) as ArrayRef))
        };
        let types = vec![DataType::Utf8];
        let type_name = create_udf("type_name", types, DataType::Utf8, Volatility::Immutable, Arc::new(implementation));
        Self { own: InformationSchemaProvider::new(catalogs), type_name: Arc::new(type_name) }
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        self.own.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = self.own.table(name).await?;
        let Some(table) = table.filter(|_| name == COLUMNS) else { return self.own.table(name).await };
        let schema = table.schema();
        let shown = schema.fields().iter().map(|field| match field.name().as_str() {
            DATA_TYPE => self.type_name.call(vec![col(DATA_TYPE)]).alias(DATA_TYPE),
            other => col(other),
        });
        let plan = LogicalPlanBuilder::scan(COLUMNS, provider_as_source(table), None)?.project(shown)?.build()?;
        Ok(Some(Arc::new(ViewTable::new(plan, None))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own.table_exist(name)
    }
}

/// Arrow's type as PostgreSQL calls what is answered for it.
fn type_name(arrow: &str) -> &'static str {
    match arrow {
        "Boolean" => "boolean",
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "UInt64" => "numeric",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Date32" | "Date64" => "date",
        "Binary" | "LargeBinary" | "BinaryView" => "bytea",
        other if other.starts_with("Timestamp") && other.contains('"') => "timestamp with time zone",
        other if other.starts_with("Timestamp") => "timestamp without time zone",
        other if other.starts_with("Time") => "time without time zone",
        other if other.starts_with("Decimal") => "numeric",
        other if other.starts_with("Interval") || other.starts_with("Duration") => "interval",
        other if other.starts_with("List") || other.starts_with("LargeList") => "ARRAY",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_are_called_as_in_postgresql() {
        let zoned = schemas::table::instant();
        for (r#type, name) in [
            (DataType::Utf8, "text"),
            (DataType::Int64, "bigint"),
            (DataType::Float64, "double precision"),
            (zoned, "timestamp with time zone"),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), "timestamp without time zone"),
            (schemas::table::text_map(), "text"),
            (DataType::new_list(DataType::Utf8, true), "ARRAY"),
            (DataType::Decimal128(10, 2), "numeric"),
        ] {
            assert_eq!(type_name(&r#type.to_string()), name, "{type}");
        }
    }
}
