//! Devices and tickets as tables beside the lake's, for the SQL engine.
//!
//! In: a tenant and a table. Out: its rows as one record batch. Promise: one statement, so the rows are of one moment;
//! all of them or an error. Never: another tenant's row.

mod store;
#[cfg(test)]
mod tests;

use arrow::{array::RecordBatch, error::ArrowError};
use async_trait::async_trait;
use schemas::{
    door::{ServiceTables, SqlError},
    id::TenantId,
    service::ServiceTable,
};

use crate::store::Database;

/// The most rows of one table that a query is given. A row takes about 200 bytes, so this is 100 MB for one query; a
/// larger fleet is several tenants, or needs a table of its own in the lake.
const ROWS_MAX: u32 = 500_000;

/// A table could not be read.
#[derive(Debug, thiserror::Error)]
enum TableError {
    /// SQLite refuses.
    #[error("read the table from the service database")]
    Sqlite(#[from] sqlx::Error),
    /// The rows do not fit the schema.
    #[error("make a record batch of the rows")]
    Arrow(#[from] ArrowError),
}

/// The service database as tables.
#[derive(Debug, Clone)]
pub struct Tables {
    db: Database,
    rows_max: u32,
}

impl Tables {
    /// Over the open database.
    pub fn new(db: Database) -> Self {
        Self { db, rows_max: ROWS_MAX }
    }
}

#[async_trait]
impl ServiceTables for Tables {
    async fn rows(&self, tenant: &TenantId, table: ServiceTable) -> Result<RecordBatch, SqlError> {
        let read = store::rows(&self.db, tenant, table, self.rows_max).await;
        read.map_err(|error| SqlError::Internal(Box::new(error)))?.ok_or_else(|| {
            SqlError::Limit(format!("table {table} has more than {} rows, the most a query is given", self.rows_max))
        })
    }
}
