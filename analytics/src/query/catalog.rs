//! The tables as one query sees them.
//!
//! In: a tenant and the table source. Out: DataFusion's catalog with one schema. Promise: all tables are taken at one
//! moment of the log, when the first of them is named; so tables in one query agree, and two uses of a table are the
//! same rows. Never: a hot row held longer than planning lasts, except those of the tables that the plan reads.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider},
    error::Result,
};
use schemas::{
    door::{TableSnapshot, TableSource},
    id::TenantId,
    table::TableName,
};

use super::{lake::Lake, table::Table};

/// The catalog's name.
pub(super) const CATALOG: &str = "forewarn";

/// The schema's name.
pub(super) const SCHEMA: &str = "public";

/// One schema with the tables of one query.
pub(super) struct Tables {
    tenant: TenantId,
    source: Arc<dyn TableSource>,
    lake: Arc<Lake>,
    seen: Mutex<Seen>,
}

/// The moment, and what the query named of it.
#[derive(Default)]
struct Seen {
    moment: Option<BTreeMap<TableName, TableSnapshot>>,
    tables: HashMap<TableName, Option<Arc<Table>>>,
}

impl Tables {
    /// The tables as `tenant` sees them.
    pub(super) fn new(tenant: TenantId, source: Arc<dyn TableSource>, lake: Arc<Lake>) -> Arc<Self> {
        Arc::new(Self { tenant, source, lake, seen: Mutex::default() })
    }

    /// A list of catalogs with just these tables.
    pub(super) fn catalogs(self: &Arc<Self>) -> Arc<dyn CatalogProviderList> {
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOG.into(), Arc::new(Catalog(Arc::clone(self))));
        Arc::new(list)
    }

    fn get(&self, name: &str) -> Option<Arc<Table>> {
        let name: TableName = name.parse().ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { moment, tables } = &mut *seen;
        let moment = moment.get_or_insert_with(|| self.source.moment());
        let table = tables.entry(name).or_insert_with_key(|name| {
            let snapshot = moment.remove(name)?;
            Some(Arc::new(Table::new(self.tenant.clone(), snapshot, Arc::clone(&self.lake))))
        });
        table.clone()
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.source.names().iter().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.get(name).map(|table| table as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

#[derive(Debug)]
struct Catalog(Arc<Tables>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.into()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.0) as Arc<dyn SchemaProvider>)
    }
}
