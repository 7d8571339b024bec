//! A table of the service database, for one tenant and one query.
//!
//! In: the tenant, the table and whoever reads it. Out: a scan. Promise: rows are read when a query first scans them
//! and at most once per query; naming the table reads nothing. Never: another tenant's row, since none is asked for.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, compute::cast, datatypes::SchemaRef, error::ArrowError};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::MemTable,
    error::{DataFusionError, Result},
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};
use schemas::{
    door::{ServiceTables, SqlError},
    id::TenantId,
    service::ServiceTable,
};
use tokio::sync::OnceCell;

use super::views;

/// The rows of one table.
pub(super) struct Rows {
    tenant: TenantId,
    table: ServiceTable,
    source: Arc<dyn ServiceTables>,
    read: OnceCell<RecordBatch>,
}

impl Rows {
    /// The tenant's part of `table`, not read yet.
    pub(super) fn new(tenant: TenantId, table: ServiceTable, source: Arc<dyn ServiceTables>) -> Self {
        Self { tenant, table, source, read: OnceCell::new() }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("tenant", &self.tenant).field("table", &self.table).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Rows {
    fn schema(&self) -> SchemaRef {
        views::within(&self.table.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let read = self.read.get_or_try_init(|| self.source.rows(&self.tenant, self.table)).await;
        let batch = read.map_err(|error| match error {
            SqlError::Limit(text) => DataFusionError::Execution(text),
            other => DataFusionError::External(Box::new(other)),
        })?;
        let schema = self.schema();
        let columns =
            batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, ArrowError>>()?)?;
        let table = MemTable::try_new(schema, vec![vec![batch]])?;
        table.scan(session, projection, filters, limit).await
    }
}
