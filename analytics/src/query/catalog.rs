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
    error::{DataFusionError, Result},
};
use schemas::{
    door::{ServiceTables, TableSnapshot, TableSource},
    id::TenantId,
    rollup::Span,
    service::ServiceTable,
    table::TableName,
};

use super::{lake::Lake, latest, metrics::Metrics, service::Rows, table::Table};

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
    service: Option<Arc<dyn ServiceTables>>,
    /// For whom rollups may answer.
    rollups: Option<Metrics>,
    service_seen: Mutex<HashMap<ServiceTable, Arc<Rows>>>,
}

/// The moment, and what the query named of it.
#[derive(Default)]
struct Seen {
    moment: Option<BTreeMap<TableName, TableSnapshot>>,
    tables: HashMap<TableName, Option<Arc<Table>>>,
}

impl Tables {
    /// The tables as `tenant` sees them.
    pub(super) fn new(
        tenant: TenantId,
        source: Arc<dyn TableSource>,
        lake: Arc<Lake>,
        service: Option<Arc<dyn ServiceTables>>,
        rollups: Option<Metrics>,
    ) -> Arc<Self> {
        let (seen, service_seen) = (Mutex::default(), Mutex::default());
        Arc::new(Self { tenant, source, lake, seen, service, rollups, service_seen })
    }

    /// A list of catalogs with just these tables, and `pg_catalog` where PostgreSQL is spoken.
    pub(super) fn catalogs(
        self: &Arc<Self>,
        pg_catalog: Option<Arc<dyn SchemaProvider>>,
    ) -> Arc<dyn CatalogProviderList> {
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOG.into(), Arc::new(Catalog { tables: Arc::clone(self), pg_catalog }));
        Arc::new(list)
    }

    fn get(&self, name: &str) -> Option<Arc<Table>> {
        let name: TableName = name.parse().ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { moment, tables } = &mut *seen;
        let moment = moment.get_or_insert_with(|| self.source.moment());
        let table = tables.entry(name).or_insert_with_key(|name| {
            let table = Table::new(self.tenant.clone(), name, moment.get(name)?.clone(), Arc::clone(&self.lake));
            let (TableName::Telemetry(profile), Some(metrics)) = (name, &self.rollups) else {
                return Some(Arc::new(table));
            };
            // That of all time has no day by which to leave out what is past its time in the telemetry.
            let spans = Span::ALL.into_iter().rev().filter(|span| span.micros().is_some());
            let rollups = spans.filter_map(|span| {
                let name = TableName::Rollup(span, profile.clone());
                let snapshot = moment.get(&name)?.clone();
                Some((name, snapshot, metrics.rollup_scans(span)))
            });
            Some(Arc::new(table.with_rollups(rollups)))
        });
        table.clone()
    }

    /// What devices said last, from the rollup over all time.
    fn latest(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(profile) = latest::profile(name) else { return Ok(None) };
        let rollup = TableName::Rollup(Span::All, profile);
        match self.get(&rollup.to_string()) {
            Some(table) => latest::table(&rollup, table).map(Some),
            None => Ok(None),
        }
    }

    /// A table of the service database; none if there is no such table, an error where there is no such database.
    fn service(&self, name: &str) -> Result<Option<Arc<Rows>>> {
        let Ok(table) = name.parse::<ServiceTable>() else {
            return Ok(None);
        };
        let Some(source) = &self.service else {
            return Err(DataFusionError::Plan(format!(
                "table {name} is kept in the service database, which this process does not read; ask the server"
            )));
        };
        let mut seen = self.service_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = seen.entry(table).or_insert_with(|| Arc::new(Rows::new(self.tenant.clone(), table, source.clone())));
        Ok(Some(Arc::clone(rows)))
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
        let service = ServiceTable::ALL.iter().filter(|_| self.service.is_some()).map(ToString::to_string);
        let names = self.source.names();
        let stored = names.iter().map(ToString::to_string).chain(names.iter().filter_map(latest::served));
        stored.chain(service).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(rows) = self.service(name)? {
            return Ok(Some(rows));
        }
        match self.get(name) {
            Some(table) => Ok(Some(table)),
            None => self.latest(name),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        matches!(self.service(name), Ok(Some(_)))
            || self.get(name).is_some()
            || matches!(self.latest(name), Ok(Some(_)))
    }
}

/// The schema of PostgreSQL's own tables.
pub(super) const PG_CATALOG: &str = "pg_catalog";

#[derive(Debug)]
struct Catalog {
    tables: Arc<Tables>,
    pg_catalog: Option<Arc<dyn SchemaProvider>>,
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        [Some(SCHEMA), self.pg_catalog.as_ref().map(|_| PG_CATALOG)].into_iter().flatten().map(Into::into).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(Arc::clone(&self.tables) as Arc<dyn SchemaProvider>),
            PG_CATALOG => self.pg_catalog.clone(),
            _ => None,
        }
    }
}
