//! One table of one query: Delta at exactly the snapshot's version, and the hot rows that belong with it.
//!
//! Promise: only the tenant's rows come out, in the snapshot's schema with texts as `views`. A filter goes below the [`super::fence`] only
//! if it cannot fail on a row, because there it may meet rows of other tenants, and an error text would carry their
//! values out; all filters are applied again above it.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
        union::UnionExec,
    },
};
use futures::{StreamExt as _, TryStreamExt as _};
use schemas::{door::TableSnapshot, id::TenantId};

use super::{
    fence::{Fence, Shape},
    lake::Lake,
    views,
};

/// A table, for one tenant and one query.
pub(super) struct Table {
    tenant: TenantId,
    snapshot: TableSnapshot,
    /// The snapshot's, as plans see it.
    schema: SchemaRef,
    lake: Arc<Lake>,
}

impl Table {
    /// The tenant's part of `snapshot`.
    pub(super) fn new(tenant: TenantId, snapshot: TableSnapshot, lake: Arc<Lake>) -> Self {
        let schema = views::within(&snapshot.schema);
        Self { tenant, snapshot, schema, lake }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let below = |filter: &&Expr| match cannot_fail(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(below).collect())
    }

    /// A limit is not handed down: rows below the fence are not all the tenant's. The scan is lazy, so it ends early
    /// when nobody asks for more.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if let Some(version) = self.snapshot.version {
            let cold = self.lake.at(&self.snapshot.location, version).await;
            let cold = cold.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let filters: Vec<Expr> = filters.iter().filter(|filter| cannot_fail(filter)).cloned().collect();
            let scans = cold.files(session).scan(session, &shown, &self.schema, &filters, &self.tenant)?;
            parts.extend(scans.own);
            if let Some(scan) = scans.mixed {
                let shape = Shape::new(&scan.schema(), Arc::clone(&shown), &self.tenant)?;
                parts.push(Arc::new(Fence::new(scan, shape)));
            }
        }
        if !self.snapshot.hot.is_empty() {
            let hot: Arc<dyn PartitionStream> = Arc::new(Hot::new(&self.snapshot.hot, &shown, &self.tenant)?);
            parts.push(Arc::new(StreamingTableExec::try_new(shown.clone(), vec![hot], None, [], false, None)?));
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(shown))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}

/// Whether a filter gives true, false or null for every row, never an error: comparisons of columns and literals, and
/// what can be said about them. (PostgreSQL calls such functions leakproof.)
fn cannot_fail(filter: &Expr) -> bool {
    match filter {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => cannot_fail(&alias.expr),
        Expr::Not(inner) | Expr::IsNull(inner) | Expr::IsNotNull(inner) => cannot_fail(inner),
        Expr::IsTrue(inner) | Expr::IsFalse(inner) | Expr::IsNotTrue(inner) | Expr::IsNotFalse(inner) => {
            cannot_fail(inner)
        }
        Expr::BinaryExpr(pair) => {
            let compares = matches!(
                pair.op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
                    | Operator::And
                    | Operator::Or
            );
            compares && cannot_fail(&pair.left) && cannot_fail(&pair.right)
        }
        Expr::Between(between) => {
            [&between.expr, &between.low, &between.high].into_iter().all(|part| cannot_fail(part))
        }
        Expr::InList(list) => cannot_fail(&list.expr) && list.list.iter().all(cannot_fail),
        _ => false,
    }
}

/// Hot rows of one table and tenant; nothing is copied before the query runs.
#[derive(Debug)]
struct Hot {
    schema: SchemaRef,
    batches: Arc<Vec<(RecordBatch, Shape)>>,
}

impl Hot {
    fn new(batches: &[RecordBatch], shown: &SchemaRef, tenant: &TenantId) -> Result<Self> {
        let shaped = batches.iter().map(|batch| {
            // A batch may be older than the table's newest column.
            Ok((batch.clone(), Shape::new(batch.schema_ref(), Arc::clone(shown), tenant)?))
        });
        Ok(Self { schema: Arc::clone(shown), batches: Arc::new(shaped.collect::<Result<_>>()?) })
    }
}

impl PartitionStream for Hot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = Arc::clone(&self.batches);
        let own = futures::stream::iter(0..batches.len()).map(move |at| batches[at].1.own(&batches[at].0));
        let own = own.try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), own))
    }
}
