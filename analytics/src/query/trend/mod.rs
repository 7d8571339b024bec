//! Failure trends: views of the SQL, and the same answers by name.
//!
//! In: a trend's name and its bounds. Out: a view (`trend_failure_rate` …) that every door shows, or rows, or a picture.
//! Promise: a view is planned over the tables of the query that names it, so it is of the same moment and behind the
//! same fence; what it tells is written beside it (`definition`, and `docs/trends.md`). Never: text of a request in SQL,
//! except instants and names that were parsed.
//!
//! A statement stands in one file a trend; `$from` and `$until` in it are the bounds: the view's are 1970 and `now()`.

mod definition;
mod picture;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProviderList, TableProvider, view::ViewTable},
    error::Result,
    execution::{SessionState, SessionStateBuilder},
};
use futures::TryStreamExt as _;
use schemas::{
    door::{SqlAnswer, SqlEngine as _, SqlError, TrendSource},
    id::TenantId,
    service::ServiceTable,
    trend::{Bounds, Trend},
};

use self::definition::{DEFINITIONS, Definition};
use super::Engine;

/// Where a view's watch begins.
const EVER: &str = "timestamp '1970-01-01T00:00:00Z'";

/// Rows that a picture may be made of: it draws fewer.
const PICTURE_ROWS: usize = 10_000;

/// The trend whose view has this name.
pub(super) fn of_view(view: &str) -> Option<&'static Definition> {
    let name = view.strip_prefix("trend_")?;
    DEFINITIONS.iter().find(|definition| definition.trend.name == name)
}

/// Names of the views that can be planned over these tables.
pub(super) fn views(has: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    DEFINITIONS
        .iter()
        .filter(move |definition| definition.reads.iter().all(|table| has(table)))
        .map(|definition| definition.trend.view())
}

impl Definition {
    /// The view's statement.
    fn view(&self) -> String {
        self.statement(EVER, "now()")
    }

    fn statement(&self, from: &str, until: &str) -> String {
        self.sql.replace("$from", from).replace("$until", until).trim_end().to_owned()
    }

    /// A statement for the rows within bounds, in order.
    fn bounded(&self, bounds: &Bounds) -> String {
        let instant = |at: schemas::time::Instant| format!("timestamp '{at}'");
        let from = bounds.from.map_or_else(|| EVER.to_owned(), instant);
        let until = bounds.until.map_or_else(|| "now()".to_owned(), instant);
        let level = bounds.level.map(|level| format!("level = '{level}'"));
        let profile = bounds.profile.as_ref().map(|profile| format!("profile = '{profile}'"));
        let filters: Vec<String> = level.into_iter().chain(profile).collect();
        let filter = if filters.is_empty() { String::new() } else { format!(" where {}", filters.join(" and ")) };
        format!("select * from (\n{}\n) as trend{filter} order by {}", self.statement(&from, &until), self.order)
    }
}

/// Plans the views of a query.
pub(super) struct Planner {
    state: SessionState,
    schemas: Mutex<HashMap<&'static str, SchemaRef>>,
}

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Planner")
    }
}

impl Planner {
    /// With the engine's functions.
    pub(super) fn new(state: SessionState) -> Self {
        Self { state, schemas: Mutex::default() }
    }

    /// The view over the tables of one query.
    pub(super) async fn view(
        &self,
        definition: &Definition,
        tables: Arc<dyn CatalogProviderList>,
    ) -> Result<Arc<dyn TableProvider>> {
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_catalog_list(tables).build();
        let sql = definition.view();
        let plan = state.create_logical_plan(&sql).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql))))
    }

    /// The columns of a view, which are the same whatever the rows; `outlines` are tables without rows.
    pub(super) async fn schema(
        &self,
        definition: &Definition,
        outlines: Arc<dyn CatalogProviderList>,
    ) -> Result<SchemaRef> {
        let known = || self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(definition.trend.name) {
            return Ok(Arc::clone(schema));
        }
        let schema = self.view(definition, outlines).await?.schema();
        known().insert(definition.trend.name, Arc::clone(&schema));
        Ok(schema)
    }
}

impl Engine {
    fn has(&self, table: &str) -> bool {
        let service = self.shared.service.is_some() && table.parse::<ServiceTable>().is_ok();
        service || self.shared.tables.names().iter().any(|name| name.to_string() == table)
    }

    /// The trend's definition, if all it reads is here.
    fn definition(&self, trend: &Trend) -> std::result::Result<&'static Definition, SqlError> {
        let view = trend.view();
        let known = of_view(&view).filter(|definition| definition.reads.iter().all(|table| self.has(table)));
        known.ok_or_else(|| SqlError::Invalid(format!("there is no view {view} in this process")))
    }
}

#[async_trait]
impl TrendSource for Engine {
    fn trends(&self) -> Vec<&'static Trend> {
        let here = DEFINITIONS.iter().filter(|definition| definition.reads.iter().all(|table| self.has(table)));
        here.map(|definition| &definition.trend).collect()
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        trend: &Trend,
        bounds: &Bounds,
    ) -> std::result::Result<SqlAnswer, SqlError> {
        self.query(tenant, &self.definition(trend)?.bounded(bounds)).await
    }

    async fn picture(
        &self,
        tenant: &TenantId,
        trend: &Trend,
        bounds: &Bounds,
    ) -> std::result::Result<String, SqlError> {
        let definition = self.definition(trend)?;
        let bounds = definition.pictured(bounds);
        let sql = format!("{} limit {PICTURE_ROWS}", definition.bounded(&bounds));
        let SqlAnswer { schema, batches } = self.query(tenant, &sql).await?;
        let batches: Vec<_> = batches.try_collect().await?;
        picture::draw(definition, &bounds, &schema, &batches).map_err(|error| SqlError::Internal(error.into()))
    }
}
