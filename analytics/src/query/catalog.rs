//! The tables as one query sees them.
//!
//! In: a tenant and the table source. Out: DataFusion's catalog with one schema. Promise: all tables are taken at one
//! moment of the log, when the first of them is named; so tables in one query agree, and two uses of a table are the
//! same rows. Never: a hot row held longer than planning lasts, except those of the tables that the plan reads.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider},
    error::{DataFusionError, Result},
    logical_expr::TableType,
};
use schemas::{
    door::{ServiceTables, TableSnapshot, TableSource},
    id::TenantId,
    rollup::Span,
    service::ServiceTable,
    table::TableName,
};

use super::{
    Shared,
    lake::Lake,
    latest,
    metrics::Metrics,
    postgres::information::Information,
    service::Rows,
    table::Table,
    trend::{self, Planner},
};

/// The catalog's name.
pub(super) const CATALOG: &str = "forewarn";

/// The schema's name.
pub(super) const SCHEMA: &str = "public";

/// Where tables and views come from.
#[derive(Clone)]
pub(super) struct Sources {
    lake_tables: Arc<dyn TableSource>,
    lake: Arc<Lake>,
    service: Option<Arc<dyn ServiceTables>>,
    views: Arc<Planner>,
    /// For whom rollups may answer.
    rollups: Option<Metrics>,
}

impl Sources {
    /// Those of the engine.
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            lake_tables: Arc::clone(&shared.tables),
            lake: Arc::clone(&shared.lake),
            service: shared.service.clone(),
            views: Arc::clone(&shared.views),
            rollups: shared.settings.rollups.then(|| shared.metrics.clone()),
        }
    }

    /// Every table and view.
    pub(super) fn names(&self) -> Vec<String> {
        names(self.lake_tables.as_ref(), self.service.is_some())
    }
}

/// The tables of the lake, those of the service database if it is there, and the views that can be made of them.
pub(super) fn names(lake_tables: &dyn TableSource, service: bool) -> Vec<String> {
    let service = ServiceTable::ALL.iter().filter(|_| service).map(ToString::to_string);
    let stored = lake_tables.names();
    let latest = stored.iter().filter_map(latest::served);
    let mut names: Vec<String> = stored.iter().map(ToString::to_string).chain(latest).chain(service).collect();
    let views: Vec<String> = trend::views(|table| names.iter().any(|name| name == table)).collect();
    names.extend(views);
    names
}

/// One schema with the tables of one query.
pub(super) struct Tables {
    tenant: TenantId,
    sources: Sources,
    seen: Mutex<Seen>,
    service_seen: Mutex<HashMap<ServiceTable, Arc<Rows>>>,
    /// Views are planned over these tables.
    this: Weak<Self>,
}

/// The moment, and what the query named of it.
#[derive(Default)]
struct Seen {
    moment: Option<BTreeMap<TableName, TableSnapshot>>,
    tables: HashMap<TableName, Option<Arc<Table>>>,
}

impl Tables {
    /// The tables as `tenant` sees them.
    pub(super) fn new(tenant: TenantId, sources: Sources) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            tenant,
            sources,
            seen: Mutex::default(),
            service_seen: Mutex::default(),
            this: this.clone(),
        })
    }

    /// A list of catalogs with just these tables, and `pg_catalog` where PostgreSQL is spoken.
    pub(super) fn catalogs(
        self: &Arc<Self>,
        pg_catalog: Option<Arc<dyn SchemaProvider>>,
    ) -> Arc<dyn CatalogProviderList> {
        let list = MemoryCatalogProviderList::new();
        let list = Arc::new(list);
        let postgres = pg_catalog.map(|pg_catalog| {
            // About a list of its own: one that held itself would never be dropped.
            let about = MemoryCatalogProviderList::new();
            let catalog = Catalog {
                tables: Arc::clone(self),
                postgres: Some(PostgresSchemas { pg_catalog: Arc::clone(&pg_catalog), information: None }),
            };
            about.register_catalog(CATALOG.into(), Arc::new(catalog));
            let information: Arc<dyn SchemaProvider> = Arc::new(Information::new(Arc::new(about)));
            PostgresSchemas { pg_catalog, information: Some(information) }
        });
        list.register_catalog(CATALOG.into(), Arc::new(Catalog { tables: Arc::clone(self), postgres }));
        list
    }

    fn get(&self, name: &str) -> Option<Arc<Table>> {
        let name: TableName = name.parse().ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { moment, tables } = &mut *seen;
        let moment = moment.get_or_insert_with(|| self.sources.lake_tables.moment());
        let table = tables.entry(name).or_insert_with_key(|name| {
            let lake = Arc::clone(&self.sources.lake);
            let table = Table::new(self.tenant.clone(), name, moment.get(name)?.clone(), lake);
            let (TableName::Telemetry(profile), Some(metrics)) = (name, &self.sources.rollups) else {
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
        let Some(source) = &self.sources.service else {
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
        self.sources.names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(rows) = self.service(name)? {
            return Ok(Some(rows));
        }
        if let Some(view) = trend::of_view(name) {
            let names = self.sources.names();
            if let Some(missing) = view.reads.iter().find(|table| !names.iter().any(|known| known == *table)) {
                return Err(DataFusionError::Plan(format!(
                    "view {name} reads the table {missing}, which this process does not read; ask the server"
                )));
            }
            let Some(this) = self.this.upgrade() else { return Ok(None) };
            return self.sources.views.view(view, this.catalogs(None)).await.map(Some);
        }
        match self.get(name) {
            Some(table) => Ok(Some(table)),
            None => self.latest(name),
        }
    }

    /// Without planning a view.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let known = self.sources.names().iter().any(|known| known == name);
        Ok(known.then(|| table_type(name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.sources.names().iter().any(|known| known == name)
    }
}

/// What a name stands for.
pub(super) fn table_type(name: &str) -> TableType {
    if trend::of_view(name).is_some() { TableType::View } else { TableType::Base }
}

/// The schema of PostgreSQL's own tables.
pub(super) const PG_CATALOG: &str = "pg_catalog";

/// The schema that tells of schemas.
const INFORMATION_SCHEMA: &str = "information_schema";

/// What there is besides where PostgreSQL is spoken.
#[derive(Debug)]
struct PostgresSchemas {
    pg_catalog: Arc<dyn SchemaProvider>,
    information: Option<Arc<dyn SchemaProvider>>,
}

#[derive(Debug)]
struct Catalog {
    tables: Arc<Tables>,
    postgres: Option<PostgresSchemas>,
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        [Some(SCHEMA), self.postgres.as_ref().map(|_| PG_CATALOG)].into_iter().flatten().map(Into::into).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(Arc::clone(&self.tables) as Arc<dyn SchemaProvider>),
            PG_CATALOG => self.postgres.as_ref().map(|postgres| Arc::clone(&postgres.pg_catalog)),
            INFORMATION_SCHEMA => self.postgres.as_ref()?.information.clone(),
            _ => None,
        }
    }
}
