//! Grouping by device, run by run.
//!
//! In: plans, with a partial aggregation by `device_id`, `firmware` or the like. Out: the same plans, with an operator in its
//! place that looks a group up once per run of rows of that group, not once per row. Promise: the same partial states as
//! DataFusion's own operator gives; where rows are in no order, one comparison a row more than that. Never: a grouping set, an
//! aggregate without vectorised states, more memory than the query's share (what is gathered then goes on as it is).
//!
//! Why: files are sorted by tenant, device and time (`ingest/src/lake/part.rs`), so neighbours mostly are of one device, and of
//! one firmware; hashing every row's text is the largest part of such a query (docs/benchmarks.md, "Queries").

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, UInt32Array},
    compute::{partition, take},
    datatypes::SchemaRef,
};
use datafusion::{
    common::{
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TreeNode as _, TreeNodeRecursion},
    },
    error::Result,
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
        ReplaceChildrenOptions,
        aggregates::{
            AggregateExec, AggregateMode, aggregate_expressions,
            group_values::{GroupValues, new_group_values},
            order::GroupOrdering,
        },
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt as _;

/// Columns that stay the same from row to row of a sorted file.
const STEADY: [&str; 5] = ["tenant", "device_id", "profile", "firmware", "date"];
/// After so many batches without runs they are looked for in every sixteenth only.
const PATIENCE: usize = 8;

/// The rule.
#[derive(Debug)]
pub(super) struct ByRuns;

impl PhysicalOptimizerRule for ByRuns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten =
            plan.transform_up(|node| match node.downcast_ref::<AggregateExec>().filter(|node| fits(node)) {
                Some(whole) => Ok(Transformed::yes(Arc::new(RunAggregate { whole: whole.clone() }) as _)),
                None => Ok(Transformed::no(node)),
            });
        Ok(rewritten?.data)
    }

    fn name(&self) -> &str {
        "by_runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether runs can be expected, and all aggregates work on many groups at once.
fn fits(aggregate: &AggregateExec) -> bool {
    let by = aggregate.group_expr();
    let plain = *aggregate.mode() == AggregateMode::Partial
        && by.is_single()
        && !by.is_empty()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.limit_options().is_none()
        && aggregate.dynamic_expressions_produced().is_empty();
    let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(|column| column.name().to_owned());
    let columns: Vec<Option<String>> = by.expr().iter().map(|(expr, _)| column(expr)).collect();
    let steady = |column: &String| STEADY.contains(&column.as_str());
    plain
        && columns.iter().flatten().any(steady)
        && columns.iter().flatten().all(steady)
        && aggregate.aggr_expr().iter().all(|aggregate| aggregate.groups_accumulator_supported())
}

/// The plan node.
#[derive(Debug)]
struct RunAggregate {
    /// What it stands for.
    whole: AggregateExec,
}

impl DisplayAs for RunAggregate {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByRuns: ")?;
        self.whole.fmt_as(form, f)
    }
}

impl ExecutionPlan for RunAggregate {
    fn name(&self) -> &str {
        "ByRuns"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.whole.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.whole.input()]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.whole.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = Arc::new(self.whole.clone()).replace_children(children, options)?;
        match whole.downcast_ref::<AggregateExec>() {
            Some(whole) => Ok(Arc::new(Self { whole: whole.clone() })),
            None => internal_err!("an aggregation with other children is no aggregation"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.whole.input().execute(partition, Arc::clone(&context))?;
        let memory = MemoryConsumer::new(format!("ByRuns[{partition}]")).register(context.memory_pool());
        let table = Table::new(&self.whole, memory)?;
        let state = State { input: Some(input), table, ready: None, rows: context.session_config().batch_size() };
        let batches = futures::stream::try_unfold(state, |mut state| async move {
            let batch = state.next().await?;
            Ok(batch.map(|batch| (batch, state)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.whole.schema(), batches)))
    }
}

/// One partition at work.
struct State {
    /// None once it has ended.
    input: Option<SendableRecordBatchStream>,
    table: Table,
    /// States that go on, and from which row.
    ready: Option<(RecordBatch, usize)>,
    /// Rows of a batch that goes on.
    rows: usize,
}

impl State {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((batch, from)) = self.ready.take() {
                let rows = self.rows.min(batch.num_rows() - from);
                let slice = batch.slice(from, rows);
                if from + rows < batch.num_rows() {
                    self.ready = Some((batch, from + rows));
                }
                if rows > 0 {
                    return Ok(Some(slice));
                }
            }
            let Some(input) = &mut self.input else { return Ok(None) };
            match input.next().await {
                Some(batch) => {
                    self.table.add(&batch?)?;
                    if !self.table.fits() {
                        self.ready = Some((self.table.emit()?, 0));
                    }
                }
                None => {
                    self.input = None;
                    self.ready = Some((self.table.emit()?, 0));
                }
            }
        }
    }
}

/// An aggregate with what it takes.
struct Aggregate {
    states: Box<dyn GroupsAccumulator>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Groups and their states.
struct Table {
    schema: SchemaRef,
    by: Vec<Arc<dyn PhysicalExpr>>,
    groups: Box<dyn GroupValues>,
    aggregates: Vec<Aggregate>,
    memory: MemoryReservation,
    /// Group of each run, and of each row.
    of_runs: Vec<usize>,
    of_rows: Vec<usize>,
    batches: usize,
    without_runs: usize,
}

impl Table {
    fn new(whole: &AggregateExec, memory: MemoryReservation) -> Result<Self> {
        let by = whole.group_expr();
        let arguments = aggregate_expressions(whole.aggr_expr(), whole.mode(), by.num_group_exprs())?;
        let aggregates = whole.aggr_expr().iter().zip(arguments).zip(whole.filter_expr());
        let aggregates = aggregates.map(|((aggregate, arguments), filter)| {
            Ok(Aggregate { states: aggregate.create_groups_accumulator()?, arguments, filter: filter.clone() })
        });
        Ok(Self {
            schema: whole.schema(),
            by: by.input_exprs(),
            groups: new_group_values(by.group_schema(&whole.input().schema())?, &GroupOrdering::None)?,
            aggregates: aggregates.collect::<Result<_>>()?,
            memory,
            of_runs: Vec::new(),
            of_rows: Vec::new(),
            batches: 0,
            without_runs: 0,
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let column = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
        let by = self.by.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        self.batches += 1;
        if self.without_runs < PATIENCE || self.batches.is_multiple_of(16) {
            let runs = partition(&by)?.ranges();
            if runs.len() * 2 <= rows {
                self.without_runs = 0;
                let heads: UInt32Array = runs.iter().map(|run| Some(run.start as u32)).collect();
                let heads = by.iter().map(|column| Ok(take(column, &heads, None)?)).collect::<Result<Vec<_>>>()?;
                self.groups.intern(&heads, &mut self.of_runs)?;
                self.of_rows.clear();
                for (run, group) in runs.iter().zip(&self.of_runs) {
                    self.of_rows.extend(std::iter::repeat_n(*group, run.len()));
                }
            } else {
                self.without_runs += 1;
                self.groups.intern(&by, &mut self.of_rows)?;
            }
        } else {
            self.groups.intern(&by, &mut self.of_rows)?;
        }
        let total = self.groups.len();
        for aggregate in &mut self.aggregates {
            let values = aggregate.arguments.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
            let filter: Option<BooleanArray> = match &aggregate.filter {
                Some(filter) => Some(column(filter)?.as_boolean().clone()),
                None => None,
            };
            aggregate.states.update_batch(&values, &self.of_rows, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Whether all that is gathered may stay.
    fn fits(&mut self) -> bool {
        let states: usize = self.aggregates.iter().map(|aggregate| aggregate.states.size()).sum();
        self.memory.try_resize(self.groups.size() + states).is_ok()
    }

    /// All that was gathered; nothing is left.
    fn emit(&mut self) -> Result<RecordBatch> {
        if self.groups.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let mut columns = self.groups.emit(EmitTo::All)?;
        for aggregate in &mut self.aggregates {
            columns.extend(aggregate.states.state(EmitTo::All)?);
        }
        self.groups.clear_shrink(0);
        self.memory.free();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[cfg(test)]
mod tests;
