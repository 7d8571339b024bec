//! SQL for analysts: one tenant's rows, hot and cold, read-only.
//!
//! In: a tenant and one statement. Out: a stream of record batches, or an error that says what to do.
//! Promise: a row is seen exactly once, whether it is still hot or already in Delta; every table of a query is seen
//! at one moment, the moment of planning; a query over its limits fails alone; dropping the answer stops the work.
//! Never: another tenant's row, nor anything computed from one (counts in plans, values in error texts); a write;
//! a file named by the analyst.
//!
//! The way of a query: `policy` admits the statement, `catalog` shows the tables, `table` joins `lake` (Delta
//! at the snapshot's version; `files` are its Parquet files) and hot batches, `fence` lets only the tenant's rows out,
//! `rollup` has rollups answer for telemetry, `runs` groups sorted rows, `function` adds what analysts need to the SQL, `run`
//! drives it under its limits, `problem` words what went wrong. `trend` shows failure trends as views. Beside it,
//! [`Expression`] is one SQL expression for a rule.

mod catalog;
mod explain;
mod expression;
mod fence;
mod files;
mod function;
mod lake;
mod latest;
mod metrics;
mod policy;
pub mod postgres;
mod problem;
mod rollup;
mod run;
mod runs;
mod service;
mod table;
mod trend;
mod truncate;
mod views;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use datafusion::{
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder, runtime_env::RuntimeEnv},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    prelude::SessionConfig,
};
use prometheus_client::registry::Registry;
use schemas::{
    door::{Dialect, Request, ServiceTables, SqlAnswer, SqlEngine, SqlError, Statement, TableSource},
    id::TenantId,
    time::Clock,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub use self::{
    expression::{Expression, ExpressionError},
    lake::{ColdTables, LakeError},
};

/// Longest statement, in bytes: longer ones are generated, and their planning would cost more than any answer.
const MAX_SQL_LEN: usize = 128 << 10;

/// Queries that may wait for each one that may run: with more the last of them would only wait for its time-out.
const WAITING_PER_SLOT: usize = 4;

/// Batches made ready ahead of whoever reads the answer: one being read, one being made.
const BATCHES_AHEAD: usize = 2;

/// Disk that all queries together may use for sorting and grouping, in bytes: a runaway join must not fill the disk
/// that the log needs.
const SPILL_BYTES: u64 = 8 << 30;

/// Footers of Parquet files kept in memory, in bytes.
const FOOTER_BYTES: usize = 32 << 20;

/// Limits of the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Memory for sorting, joining and grouping, of all queries together; each of `concurrent` has an equal share.
    pub memory_bytes: usize,
    /// Rows that one answer may have.
    pub max_rows: usize,
    /// Time that one query may take, waiting and reading of the answer included.
    #[serde(with = "schemas::time::span")]
    pub timeout: Duration,
    /// Queries that run at once; four times as many may wait.
    pub concurrent: usize,
    /// Threads for all queries together, and partitions of each.
    pub threads: usize,
    /// Whether rollups answer for telemetry where they can.
    pub rollups: bool,
}

impl Default for Settings {
    /// For two cores shared with ingest; an analyst wants aggregates, not exports.
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            max_rows: 100_000,
            timeout: Duration::from_secs(60),
            concurrent: 8,
            threads: 2,
            rollups: true,
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A setting without sense.
    #[error("query.{0} must be greater than zero")]
    Setting(&'static str),
    /// The system gives no threads.
    #[error("start the threads for queries")]
    Threads(#[source] std::io::Error),
    /// DataFusion does not start.
    #[error("set up the query engine")]
    Setup(#[source] DataFusionError),
}

/// Answers SQL with DataFusion, on threads of its own: a heavy query does not delay whoever asks for health.
pub struct Engine {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Only taken when dropped.
    threads: Option<tokio::runtime::Runtime>,
}

/// What every query uses.
struct Shared {
    tables: Arc<dyn TableSource>,
    service: Option<Arc<dyn ServiceTables>>,
    lake: Arc<lake::Lake>,
    settings: Settings,
    metrics: metrics::Metrics,
    environment: RuntimeEnv,
    state: SessionState,
    /// What PostgreSQL's clients see beside the tables.
    postgres: postgres::Postgres,
    /// Plans the views of failure trends.
    views: Arc<trend::Planner>,
    /// What `now()` tells.
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// Makes an engine over `tables`, in which `now()` is the time of `clock`; its metrics begin with `forewarn_query_`.
    pub fn new(
        tables: Arc<dyn TableSource>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Self, EngineError> {
        Self::with_service(tables, None, clock, settings, registry)
    }

    /// The same, with the tables of the service database where this process has it.
    pub fn with_service(
        tables: Arc<dyn TableSource>,
        service: Option<Arc<dyn ServiceTables>>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Self, EngineError> {
        let counts = [
            ("memory_bytes", settings.memory_bytes),
            ("max_rows", settings.max_rows),
            ("concurrent", settings.concurrent),
            ("threads", settings.threads),
            ("timeout", usize::from(!settings.timeout.is_zero())),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(EngineError::Setting(name));
        }
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(EngineError::Threads)?;
        let environment = run::environment().map_err(EngineError::Setup)?;
        let mut state = SessionStateBuilder::new_with_default_features()
            .with_config(config(&settings))
            .with_analyzer_rules(truncate::rules())
            // After DataFusion's, whose next round tidies up.
            .with_optimizer_rule(Arc::new(rollup::Rollups))
            .with_physical_optimizer_rules(rules())
            // No way to a file but through the tables.
            .with_table_factories(Default::default())
            .with_file_formats(Vec::new())
            .build();
        function::register(&mut state).map_err(EngineError::Setup)?;
        let views = Arc::new(trend::Planner::new(state.clone()));
        let outlines = postgres::Outlines::new(Arc::clone(&tables), service.is_some(), Arc::clone(&views));
        Ok(Self {
            permits: Arc::new(Semaphore::new(settings.concurrent)),
            waiting: AtomicUsize::new(0),
            threads: Some(threads),
            shared: Arc::new(Shared {
                postgres: postgres::Postgres::new(&state, outlines).map_err(EngineError::Setup)?,
                tables,
                service,
                lake: Arc::default(),
                metrics: metrics::Metrics::register(registry),
                settings,
                environment,
                state,
                views,
                clock,
            }),
        })
    }

    /// The statement if it may run at all.
    fn admissible(&self, request: &Request) -> Result<run::Work, SqlError> {
        let sql = request.sql.as_str();
        if sql.len() > MAX_SQL_LEN {
            return Err(SqlError::Limit(format!(
                "the statement is {} bytes long, more than {MAX_SQL_LEN}; join against VALUES or a range instead of \
                 listing",
                sql.len()
            )));
        }
        let asked = match request.dialect {
            Dialect::Own => policy::admit(sql)?,
            Dialect::Postgres => self.shared.postgres.admit(sql)?,
        };
        Ok(run::Work { asked, parameters: request.parameters.clone(), dialect: request.dialect })
    }

    /// A place to run, at once or after waiting in a queue of bounded length.
    async fn admit(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, SqlError> {
        let busy = |reason: &str| {
            let running = self.shared.settings.concurrent;
            SqlError::Limit(format!("{running} queries are running (query.concurrent) and {reason}; try again later"))
        };
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let most = self.shared.settings.concurrent * WAITING_PER_SLOT;
        let Some(_place) = Place::take(&self.waiting, most) else {
            return Err(busy(&format!("{most} are waiting")));
        };
        match tokio::time::timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(closed)) => Err(SqlError::Internal(Box::new(closed))),
            Err(_) => Err(busy("none of them ended in time")),
        }
    }
}

#[async_trait]
impl SqlEngine for Engine {
    async fn query_with(&self, tenant: &TenantId, request: &Request) -> Result<SqlAnswer, SqlError> {
        let span = run::Span::of(&self.shared.settings, request);
        let mut running = self.shared.metrics.begin();
        let admitted = match self.admissible(request) {
            Ok(work) => self.admit(span.deadline).await.map(|permit| (work, permit)),
            Err(refusal) => Err(refusal),
        };
        let (work, permit) = admitted.inspect_err(|error| running.failed(error))?;
        let Some(threads) = &self.threads else {
            return Err(SqlError::Internal("the engine has stopped".into()));
        };

        let (schema_to, schema) = oneshot::channel();
        let (batches_to, batches) = mpsc::channel(BATCHES_AHEAD);
        let shared = Arc::clone(&self.shared);
        let tenant = tenant.clone();
        let task = AbortOnDropHandle::new(threads.spawn(async move {
            let _permit = permit;
            // Counted before the next one takes the place.
            let mut running = running;
            let ended = run::run(&shared, &tenant, work, span, schema_to, batches_to, &mut running).await;
            match &ended {
                Ok(true) => running.succeeded(),
                Ok(false) => {}
                Err(error) => running.failed(error),
            }
            ended.map(drop)
        }));
        match schema.await {
            Ok(schema) => Ok(SqlAnswer { schema, batches: run::answer(batches, task) }),
            Err(_) => match run::end(task).await {
                Err(error) => Err(error),
                Ok(()) => Err(SqlError::Internal("the query ended without an answer".into())),
            },
        }
    }

    async fn describe(&self, tenant: &TenantId, request: &Request) -> Result<Statement, SqlError> {
        let span = run::Span::of(&self.shared.settings, request);
        let work = self.admissible(request)?;
        let Some(threads) = &self.threads else {
            return Err(SqlError::Internal("the engine has stopped".into()));
        };
        // Planning reads no rows: it needs a thread, not a share of the memory.
        let (shared, tenant) = (Arc::clone(&self.shared), tenant.clone());
        let task = threads.spawn(async move { run::describe(&shared, &tenant, work, span).await });
        AbortOnDropHandle::new(task).await.unwrap_or_else(|broken| Err(SqlError::Internal(Box::new(broken))))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A runtime that waits for its threads must not be dropped where others wait for it.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// How DataFusion is to work here.
fn config(settings: &Settings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(settings.threads)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(catalog::CATALOG, catalog::SCHEMA);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".into());
    // A hash join cannot spill; a sort-merge join can (pitfalls 1.8).
    options.optimizer.prefer_hash_join = false;
    // The tables' own schemas say what is a view (`views`).
    options.execution.parquet.schema_force_view_types = false;
    options.execution.parquet.pushdown_filters = true;
    // One after the other in an order of its own, each with a selection between, took half as long again (docs/benchmarks.md).
    options.execution.parquet.reorder_filters = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    // A sort keeps this much back for merging what it spilled; the default of 10 MiB per partition is a large part of
    // a query's share.
    options.execution.sort_spill_reservation_bytes = (settings.memory_bytes / settings.concurrent / 16).min(10 << 20);
    config
}

/// DataFusion's rules for physical plans, and ours after them.
fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.push(Arc::new(runs::ByRuns));
    rules
}

/// One place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let more = |count| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
