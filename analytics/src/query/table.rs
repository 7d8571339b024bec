//! One table of one query: Delta at exactly the snapshot's version, and the hot rows that belong with it.
//!
//! Promise: only the tenant's rows come out, in the snapshot's schema with texts as `views`. A filter goes below the [`super::fence`] only
//! if it cannot fail on a row, because there it may meet rows of other tenants, and an error text would carry their
//! values out; all filters are applied again above it.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray as _, RecordBatch},
    compute::min,
    datatypes::{Date32Type, SchemaRef},
};
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
use prometheus_client::metrics::counter::Counter;
use schemas::{
    door::TableSnapshot,
    id::TenantId,
    rollup::{Span, singles},
    table::{PARTITION, TableName},
};

use super::{
    fence::{Fence, Shape, TENANT},
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
    /// What a row of a rollup sums up.
    span: Option<Span>,
    /// Of telemetry, the coarsest first.
    rollups: Vec<Rollup>,
    /// Of a rollup that answers for it, the telemetry.
    stands_for: Option<TableSnapshot>,
    /// Counts such scans.
    scans: Option<Counter>,
}

/// A rollup, in place of its telemetry table.
pub(super) struct Rollup {
    pub(super) name: TableName,
    pub(super) span: Span,
    pub(super) table: Arc<Table>,
}

impl Table {
    /// The tenant's part of `snapshot`.
    pub(super) fn new(tenant: TenantId, name: &TableName, snapshot: TableSnapshot, lake: Arc<Lake>) -> Self {
        let span = match name {
            TableName::Rollup(span, _) => Some(*span),
            _ => None,
        };
        let schema = views::within(&snapshot.schema);
        Self { tenant, snapshot, schema, lake, span, rollups: Vec::new(), stands_for: None, scans: None }
    }

    /// The same, with rollups of the same moment that may answer for it.
    pub(super) fn with_rollups(self, rollups: impl Iterator<Item = (TableName, TableSnapshot, Counter)>) -> Self {
        let rollups = rollups.filter_map(|(name, snapshot, scans)| {
            let table = Self::new(self.tenant.clone(), &name, snapshot, Arc::clone(&self.lake));
            let (span, stands_for) = (table.span?, Some(self.snapshot.clone()));
            Some(Rollup { name, span, table: Arc::new(Self { stands_for, scans: Some(scans), ..table }) })
        });
        Self { rollups: rollups.collect(), ..self }
    }

    /// The rollups that may answer for it, the coarsest first.
    pub(super) fn rollups(&self) -> &[Rollup] {
        &self.rollups
    }

    /// The first day of which the telemetry has rows; a rollup may be kept for longer, but answers for no other rows.
    async fn since(&self) -> Result<Option<i32>> {
        let Some(telemetry) = &self.stands_for else { return Ok(None) };
        let cold = match telemetry.version {
            Some(version) => {
                let cold = self.lake.at(&telemetry.location, version).await;
                cold.map_err(|error| DataFusionError::External(Box::new(error)))?.first_day(&self.tenant)
            }
            None => None,
        };
        let days = telemetry
            .hot
            .iter()
            .filter_map(|batch| min(batch.column_by_name(PARTITION)?.as_primitive_opt::<Date32Type>()?));
        Ok(days.chain(cold).min())
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
        if let Some(scans) = &self.scans {
            scans.inc();
        }
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if let Some(version) = self.snapshot.version {
            let cold = self.lake.at(&self.snapshot.location, version).await;
            let cold = cold.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let filters: Vec<Expr> = filters.iter().filter(|filter| cannot_fail(filter)).cloned().collect();
            let since = self.since().await?;
            let scans = cold.files(session).scan(session, &shown, &self.schema, &filters, &self.tenant, since)?;
            parts.extend(scans.own);
            if let Some(scan) = scans.mixed {
                let shape = Shape::new(&scan.schema(), Arc::clone(&shown), &self.tenant)?;
                parts.push(Arc::new(Fence::new(scan, shape)));
            }
        }
        if !self.snapshot.hot.is_empty() || !self.snapshot.raw.is_empty() {
            let hot: Arc<dyn PartitionStream> = Arc::new(Hot::new(&self.snapshot, self.span, &shown, &self.tenant)?);
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
    raw: Arc<Raw>,
}

/// Telemetry rows that are not in the rollup yet.
#[derive(Debug)]
struct Raw {
    batches: Vec<RecordBatch>,
    span: Option<Span>,
    shown: SchemaRef,
    tenant: TenantId,
}

impl Raw {
    /// The tenant's rows as rows of the rollup, in those columns that are shown.
    fn own(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let Some(span) = self.span else { return Ok(RecordBatch::new_empty(Arc::clone(&self.shown))) };
        let shown = self.shown.fields().iter().map(|field| field.name().as_str());
        let more = (self.shown.index_of(TENANT).is_err()).then_some(TENANT);
        let rows = singles(batch, shown.chain(more), span)?;
        Shape::new(rows.schema_ref(), Arc::clone(&self.shown), &self.tenant)?.own(&rows)
    }
}

impl Hot {
    fn new(snapshot: &TableSnapshot, span: Option<Span>, shown: &SchemaRef, tenant: &TenantId) -> Result<Self> {
        let shaped = snapshot.hot.iter().map(|batch| {
            // A batch may be older than the table's newest column.
            Ok((batch.clone(), Shape::new(batch.schema_ref(), Arc::clone(shown), tenant)?))
        });
        let raw = Raw { batches: snapshot.raw.clone(), span, shown: Arc::clone(shown), tenant: tenant.clone() };
        let batches = Arc::new(shaped.collect::<Result<_>>()?);
        Ok(Self { schema: Arc::clone(shown), batches, raw: Arc::new(raw) })
    }
}

impl PartitionStream for Hot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (batches, raw) = (Arc::clone(&self.batches), Arc::clone(&self.raw));
        let all = futures::stream::iter(0..batches.len() + raw.batches.len());
        let own = all.map(move |at| match batches.get(at) {
            Some((batch, shape)) => shape.own(batch),
            None => raw.own(&raw.batches[at - batches.len()]),
        });
        let own = own.try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), own))
    }
}
