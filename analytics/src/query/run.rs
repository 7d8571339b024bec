//! Runs one admitted query under its limits.
//!
//! In: a statement. Out: batches into a bounded channel, and how it ended. Promise: memory, rows and time are bounded
//! per query; a panic in a query is that query's error.

use std::{num::NonZeroUsize, pin::Pin, sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{DataFusionError, ParamValues, ScalarValue},
    error::Result,
    execution::{
        SendableRecordBatchStream, SessionState, SessionStateBuilder,
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::LogicalPlan,
    physical_plan::{execute_stream, stream::RecordBatchStreamAdapter},
    sql::{parser::Statement, sqlparser::ast},
};
use futures::{Stream, StreamExt as _};
use schemas::{
    door::{self, Dialect, SqlError},
    id::TenantId,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    FOOTER_BYTES, SPILL_BYTES, Settings, Shared,
    catalog::{Sources, Tables},
    explain::explain,
    metrics::Running,
    policy::{self, Asked},
    problem, views,
};

/// A query at work; its result says how it ended.
pub(super) type Task = AbortOnDropHandle<Result<(), SqlError>>;

/// Parameters that a statement may have: as many as PostgreSQL's clients can send.
const MAX_PARAMETERS: usize = 65_535;

/// An admitted statement with its values.
pub(super) struct Work {
    /// The statement.
    pub(super) asked: Asked,
    /// The values of its parameters.
    pub(super) parameters: Option<RecordBatch>,
    /// How it was read.
    pub(super) dialect: Dialect,
}

/// Until when a query may take, and by whose word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// When it is over: the machine's time, not the clock's, since it is the caller who waits.
    pub(super) deadline: Instant,
    timeout: Duration,
    setting: &'static str,
}

impl Span {
    /// Beginning now.
    pub(super) fn of(settings: &Settings, request: &door::Request) -> Self {
        let (timeout, setting) = match request.timeout {
            Some(shorter) if shorter < settings.timeout => (shorter, "statement_timeout"),
            _ => (settings.timeout, "query.timeout"),
        };
        Self { deadline: Instant::now() + timeout, timeout, setting }
    }

    fn late(&self) -> SqlError {
        let seconds = self.timeout.as_secs_f64();
        let setting = self.setting;
        SqlError::Limit(format!(
            "the query took longer than {seconds} s ({setting}); filter by date or device, or aggregate"
        ))
    }
}

/// What all queries share: the room for spilled rows and the footers of files.
pub(super) fn environment() -> Result<RuntimeEnv> {
    RuntimeEnvBuilder::new().with_max_temp_directory_size(SPILL_BYTES).with_metadata_cache_limit(FOOTER_BYTES).build()
}

/// Plans, tells the schema, sends the batches; false if nobody reads them on.
pub(super) async fn run(
    shared: &Shared,
    tenant: &TenantId,
    work: Work,
    span: Span,
    schema: oneshot::Sender<SchemaRef>,
    batches: mpsc::Sender<RecordBatch>,
    running: &mut Running,
) -> Result<bool, SqlError> {
    let deadline = span.deadline;
    let late = |_| span.late();
    let mut rows = timeout_at(deadline, start(shared, tenant, work)).await.map_err(late)??;
    let shown = views::without(&rows.schema());
    if schema.send(Arc::clone(&shown)).is_err() {
        return Ok(false);
    }
    let most = shared.settings.max_rows;
    let mut sent = 0;
    while let Some(batch) = timeout_at(deadline, rows.next()).await.map_err(late)? {
        let batch = batch.map_err(|error| told(shared, error))?;
        let fits = batch.num_rows().min(most - sent);
        sent += fits;
        if fits > 0 {
            let plain = views::plain(batch.slice(0, fits), &shown).map_err(|error| told(shared, error.into()))?;
            if timeout_at(deadline, batches.send(plain)).await.map_err(late)?.is_err() {
                return Ok(false);
            }
            running.returned(fits);
        }
        if fits < batch.num_rows() {
            return Err(SqlError::Limit(format!(
                "the answer has more than {most} rows (query.max_rows); these are the first of them; add LIMIT, or \
                 aggregate"
            )));
        }
    }
    Ok(true)
}

/// What a statement takes and gives, from its plan.
pub(super) async fn describe(
    shared: &Shared,
    tenant: &TenantId,
    work: Work,
    span: Span,
) -> Result<door::Statement, SqlError> {
    let described = async {
        let state = session(shared, tenant, work.dialect);
        match work.asked {
            Asked::Rows(statement) => {
                let logical = logical(shared, &state, statement, None).await?;
                let parameters = parameters(&logical).map_err(|error| told(shared, error))?;
                // Some types are known only once the analyzer has been over the plan; it may want the values first.
                let logical = state.optimize(&logical).unwrap_or(logical);
                let schema = views::without(&Arc::new(logical.schema().as_arrow().clone()));
                Ok(door::Statement { schema, parameters })
            }
            asked @ Asked::Plan(_) => {
                let work = Work { asked, parameters: None, dialect: work.dialect };
                let rows = start(shared, tenant, work).await?;
                Ok(door::Statement { schema: views::without(&rows.schema()), parameters: Arc::new(Schema::empty()) })
            }
        }
    };
    timeout_at(span.deadline, described).await.map_err(|_| span.late())?
}

/// A field for each of `$1`, `$2` and so on.
fn parameters(plan: &LogicalPlan) -> Result<SchemaRef> {
    let types = plan.get_parameter_types()?;
    let numbers = types.keys().filter_map(|id| id.strip_prefix('$')?.parse::<usize>().ok());
    let most = numbers.max().unwrap_or_default().min(MAX_PARAMETERS);
    let field = |number| {
        let id = format!("${number}");
        let known = types.get(&id).cloned().flatten();
        // A view is how plans see a text.
        let known = known.filter(|known| *known != DataType::Utf8View);
        Field::new(id, known.unwrap_or(DataType::Utf8), true)
    };
    Ok(Arc::new(Schema::new((1..=most).map(field).collect::<Vec<_>>())))
}

/// The values of one row.
fn values(row: &RecordBatch) -> Result<ParamValues> {
    if row.num_rows() != 1 {
        return Err(DataFusionError::Plan(format!("parameters are one row, not {}", row.num_rows())));
    }
    let values = row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
    Ok(values.collect::<Result<Vec<_>>>()?.into())
}

async fn start(shared: &Shared, tenant: &TenantId, work: Work) -> Result<SendableRecordBatchStream, SqlError> {
    let state = session(shared, tenant, work.dialect);
    let parameters = work.parameters.as_ref();
    match work.asked {
        Asked::Rows(statement) => {
            let (_, plan) = plan(shared, &state, statement, parameters).await?;
            execute_stream(plan, state.task_ctx()).map_err(|error| told(shared, error))
        }
        Asked::Plan(statement) => {
            let (logical, physical) = plan(shared, &state, statement, parameters).await?;
            let batch = explain(&logical, &physical).map_err(|error| told(shared, error))?;
            let schema = batch.schema();
            Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))))
        }
    }
}

/// A session of its own: the tenant's tables, its share of the memory.
fn session(shared: &Shared, tenant: &TenantId, dialect: Dialect) -> SessionState {
    let tables = Tables::new(tenant.clone(), Sources::of(shared));
    let (base, pg_catalog) = match dialect {
        Dialect::Own => (&shared.state, None),
        Dialect::Postgres => (shared.postgres.state(), Some(shared.postgres.catalog())),
    };
    let share = shared.settings.memory_bytes / shared.settings.concurrent;
    let pool = TrackConsumersPool::new(FairSpillPool::new(share), NonZeroUsize::MIN);
    let environment = RuntimeEnv { memory_pool: Arc::new(pool), ..shared.environment.clone() };
    let mut state = SessionStateBuilder::new_from_existing(base.clone())
        .with_catalog_list(tables.catalogs(pg_catalog))
        .with_runtime_env(Arc::new(environment))
        .build();
    state.mark_start_execution();
    // An analyst's `now()` is that of the tables: under an event clock the recorded years are the present.
    let now = arrow::temporal_conversions::timestamp_us_to_datetime(shared.clock.now().micros());
    state.execution_props_mut().query_execution_start_time = now.map(|now| now.and_utc());
    state
}

async fn logical(
    shared: &Shared,
    state: &SessionState,
    statement: Statement,
    parameters: Option<&RecordBatch>,
) -> Result<LogicalPlan, SqlError> {
    let told = |error| told(shared, error);
    // SHOW refers to every table about tables by itself; what it shows of them is ours to say.
    if matches!(&statement, Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_))) {
        for table in state.resolve_table_references(&statement).map_err(told)? {
            policy::visible(&table)?;
        }
    }
    let mut logical = state.statement_to_plan(statement).await.map_err(told)?;
    if let Some(row) = parameters {
        logical = values(row).and_then(|values| logical.replace_params_with_values(&values)).map_err(told)?;
    }
    policy::verify(&logical)?;
    Ok(logical)
}

async fn plan(
    shared: &Shared,
    state: &SessionState,
    statement: Statement,
    parameters: Option<&RecordBatch>,
) -> Result<(LogicalPlan, Arc<dyn datafusion::physical_plan::ExecutionPlan>), SqlError> {
    let told = |error| told(shared, error);
    let logical = logical(shared, state, statement, parameters).await?;
    let logical = state.optimize(&logical).map_err(told)?;
    let planner = state.query_planner();
    let physical = planner.create_physical_plan(&logical, state).await.map_err(told)?;
    Ok((logical, physical))
}

fn told(shared: &Shared, error: DataFusionError) -> SqlError {
    let names = Sources::of(shared).names();
    problem::told(error, "", &names)
}

/// The channel's batches, then how it ended. Dropping it aborts the task.
pub(super) fn answer(
    batches: mpsc::Receiver<RecordBatch>,
    task: Task,
) -> Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>> {
    Box::pin(futures::stream::unfold(Some((batches, task)), |state| async {
        let (mut batches, task) = state?;
        match batches.recv().await {
            Some(batch) => Some((Ok(batch), Some((batches, task)))),
            None => match end(task).await {
                Ok(()) => None,
                Err(error) => Some((Err(error), None)),
            },
        }
    }))
}

/// How the task ended.
pub(super) async fn end(task: Task) -> Result<(), SqlError> {
    task.await.unwrap_or_else(|broken| Err(SqlError::Internal(Box::new(broken))))
}
