//! The fence between what is stored and what a tenant sees.
//!
//! In: batches of any tenants, as stored. Out: the rows of one tenant, in the shown schema: columns by name, cast
//! where the stored type differs, null where an old file has no such column.
//! Promise: nothing that DataFusion plans above is evaluated below; the optimiser finds no statistics here, no filter
//! passes, no projection swaps places. (A `FilterExec` in its place would take in filters from above and evaluate them
//! on every row.)

use std::{fmt, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray,
        new_null_array,
    },
    compute::{FilterBuilder, cast, kernels::cmp},
    datatypes::{DataType, Schema, SchemaRef},
};
use datafusion::{
    common::{ScalarValue, internal_datafusion_err, internal_err, tree_node::TreeNodeRecursion},
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, col, lit},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt as _, TryStreamExt as _};
use schemas::id::TenantId;

/// The column that says whose a row is.
pub(super) const TENANT: &str = "tenant";

/// Whether a row is the tenant's, as a filter that leaves out what it can.
pub(super) fn is(tenant: &TenantId) -> Expr {
    col(TENANT).eq(lit(ScalarValue::Utf8View(Some(tenant.as_str().to_owned()))))
}

/// How a stored batch becomes a shown one.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    shown: SchemaRef,
    /// Where each shown column is stored, if at all.
    stored: Vec<Option<usize>>,
    tenant_column: usize,
    tenant: TenantId,
}

impl Shape {
    /// Fails if the stored rows do not say whose they are.
    pub(super) fn new(stored: &Schema, shown: SchemaRef, tenant: &TenantId) -> Result<Self> {
        let tenant_column =
            stored.index_of(TENANT).map_err(|_| internal_datafusion_err!("the stored rows have no column {TENANT}"))?;
        let columns = shown.fields().iter().map(|field| stored.index_of(field.name()).ok()).collect();
        Ok(Self { shown, stored: columns, tenant_column, tenant: tenant.clone() })
    }

    /// The tenant's rows of a batch.
    pub(super) fn own(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let tenants = as_type(batch.column(self.tenant_column), &DataType::Utf8View)?;
        let own = cmp::eq(tenants.as_string_view(), &StringViewArray::new_scalar(self.tenant.as_str()))?;
        let rows = own.true_count();
        let keep = (rows < batch.num_rows()).then(|| filter(&own));
        let columns = self.stored.iter().zip(self.shown.fields()).map(|(stored, field)| {
            let Some(stored) = stored else { return Ok(new_null_array(field.data_type(), rows)) };
            let column = batch.column(*stored);
            let column = match &keep {
                Some(keep) => alone(keep.filter(column)?),
                None => Arc::clone(column),
            };
            as_type(&column, field.data_type())
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.shown), columns, &options)?)
    }
}

/// Views of a filtered array still stand on all bytes of the one before: other tenants' too.
fn alone(column: ArrayRef) -> ArrayRef {
    match column.as_string_view_opt() {
        Some(views) => Arc::new(views.gc()),
        None => column,
    }
}

fn filter(own: &BooleanArray) -> arrow::compute::FilterPredicate {
    FilterBuilder::new(own).optimize().build()
}

fn as_type(column: &ArrayRef, r#type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == r#type { Ok(Arc::clone(column)) } else { Ok(cast(column, r#type)?) }
}

/// The plan node.
#[derive(Debug)]
pub(super) struct Fence {
    input: Arc<dyn ExecutionPlan>,
    shape: Shape,
    properties: Arc<PlanProperties>,
}

impl Fence {
    /// Lets through what `shape` lets through.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, shape: Shape) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&shape.shown)),
            datafusion::physical_expr::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, shape, properties: Arc::new(properties) }
    }
}

impl DisplayAs for Fence {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantRows: tenant={}", self.shape.tenant)
    }
}

impl ExecutionPlan for Fence {
    fn name(&self) -> &str {
        "TenantRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children).or_else(|_| internal_err!("a fence stands around one input"))?;
        // By name again: a rewritten input may have its columns elsewhere.
        let shape = Shape::new(&input.schema(), Arc::clone(&self.shape.shown), &self.shape.tenant)?;
        Ok(Arc::new(Self::new(input, shape)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let shape = self.shape.clone();
        let own = self.input.execute(partition, context)?.map(move |batch| shape.own(&batch?));
        let own = own.try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.shape.shown), own)))
    }
}
