//! The live Parquet files of one table version, and what is known of each without opening it.
//!
//! In: path, size, date and statistics of each file, as the Delta log tells them. Out: files that may hold rows of a
//! tenant that match, whose they are, and a scan of them. Promise: a file is left out only if no row of it can match; a
//! file is said to be a tenant's own only if its bounds say so exactly. Never: a file that is not in the version.
//!
//! Why not deltalake's own scan: it gives every batch through its transformations (deletion vectors, column mapping), of
//! which append-only tables have none, and every file has to be read with its column `tenant`. A file all of whose rows
//! are one tenant's needs no fence, so most scans need not read that column at all, and counts come from the log.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::{
    catalog::Session,
    common::{DFSchema, ScalarValue, Statistics, pruning::PrunableStatistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::CachedParquetFileReaderFactory},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::Result,
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, utils::conjunction},
    object_store::ObjectMeta,
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::ExecutionPlan,
};
use schemas::{id::TenantId, table::PARTITION, time::Instant};
use serde_json::Value;

use super::fence::TENANT;

/// Longest tenant whose bounds are believed to be the name itself: writers other than ours cut texts at 32 characters.
const WHOLE_TEXT: usize = 31;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    meta: ObjectMeta,
    date: ScalarValue,
    rows: Option<usize>,
    /// Least and greatest value and number of nulls, by column, as in the log.
    bounds: Value,
}

impl File {
    /// As the log tells it. `date` as Delta writes dates, `stats` as its JSON.
    pub(super) fn new(meta: ObjectMeta, date: Option<&str>, stats: Option<&str>) -> Self {
        let bounds: Value = stats.and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or(Value::Null);
        let rows = bounds["numRecords"].as_u64().and_then(|rows| usize::try_from(rows).ok());
        Self { meta, date: ScalarValue::Date32(date.and_then(day)), rows, bounds }
    }

    /// Whether all rows are the tenant's (true), none is (false), or it cannot be said.
    fn whose(&self, tenant: &TenantId) -> Option<bool> {
        let (least, greatest) =
            (self.bounds["minValues"][TENANT].as_str()?, self.bounds["maxValues"][TENANT].as_str()?);
        let tenant = tenant.as_str();
        if tenant < least || greatest < tenant && greatest.len() <= WHOLE_TEXT {
            return Some(false);
        }
        let named = least == tenant && greatest == tenant && tenant.len() <= WHOLE_TEXT;
        (named && self.bounds["nullCount"][TENANT].as_u64() == Some(0)).then_some(true)
    }

    /// What is known of the columns of `layout`. Bounds are exact where they only leave files out, and not where they
    /// could become an answer: another writer's may be cut.
    fn statistics(&self, layout: &TableSchema, exact: bool) -> Statistics {
        let mut statistics = Statistics::new_unknown(layout.table_schema());
        statistics.num_rows = self.rows.map_or(Precision::Absent, Precision::Exact);
        let known = |value: ScalarValue| if exact { Precision::Exact(value) } else { Precision::Inexact(value) };
        for (field, column) in layout.table_schema().fields().iter().zip(&mut statistics.column_statistics) {
            let name = field.name().as_str();
            if name == PARTITION {
                column.null_count = self
                    .rows
                    .map_or(Precision::Absent, |rows| Precision::Exact(if self.date.is_null() { rows } else { 0 }));
                column.min_value = Precision::Exact(self.date.clone());
                column.max_value = Precision::Exact(self.date.clone());
                continue;
            }
            if let Some(nulls) = self.bounds["nullCount"][name].as_u64() {
                column.null_count = Precision::Exact(nulls as usize);
            }
            let bound = |which: &str| bound(&self.bounds[which][name], field.data_type());
            if let (Some(least), Some(greatest)) = (bound("minValues"), bound("maxValues")) {
                column.min_value = known(least);
                column.max_value = known(greatest);
            }
        }
        statistics
    }

    fn partitioned(&self, layout: &TableSchema) -> PartitionedFile {
        let mut file = PartitionedFile::from(self.meta.clone()).with_partition_values(vec![self.date.clone()]);
        file.statistics = Some(Arc::new(self.statistics(layout, false)));
        file
    }
}

fn day(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let since = date.since(jiff::civil::date(1970, 1, 1)).ok()?;
    Some(since.get_days())
}

/// A bound in the log as a value. Texts that another writer may have cut are left out.
fn bound(value: &Value, r#type: &DataType) -> Option<ScalarValue> {
    match r#type {
        DataType::Int64 => value.as_i64().map(|number| ScalarValue::Int64(Some(number))),
        DataType::Float64 => value.as_f64().map(|number| ScalarValue::Float64(Some(number))),
        DataType::Utf8 | DataType::Utf8View => {
            let text = value.as_str().filter(|text| text.len() <= WHOLE_TEXT)?.to_owned();
            Some(if *r#type == DataType::Utf8 {
                ScalarValue::Utf8(Some(text))
            } else {
                ScalarValue::Utf8View(Some(text))
            })
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let at: Instant = value.as_str()?.parse().ok()?;
            Some(ScalarValue::TimestampMicrosecond(Some(at.micros()), zone.clone()))
        }
        _ => None,
    }
}

/// All files of one version.
#[derive(Debug)]
pub(super) struct Files {
    /// Whose paths they are.
    pub(super) store: ObjectStoreUrl,
    /// In no order.
    pub(super) files: Vec<Arc<File>>,
}

/// Plans over files: those that need a fence stand apart.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// Every row is the tenant's; in the shown schema.
    pub(super) own: Option<Arc<dyn ExecutionPlan>>,
    /// Rows of several tenants, with the column that tells them apart.
    pub(super) mixed: Option<Arc<dyn ExecutionPlan>>,
}

impl Files {
    /// The first day of which there may be rows of the tenant.
    pub(super) fn first_day(&self, tenant: &TenantId) -> Option<i32> {
        let theirs = self.files.iter().filter(|file| file.whose(tenant) != Some(false));
        let days = theirs.map(|file| match file.date {
            ScalarValue::Date32(Some(day)) => day,
            _ => i32::MIN,
        });
        days.min()
    }

    /// Plans the reading of the columns of `shown`, leaving out files without rows of the tenant that match `filters`,
    /// and within files what their pages say cannot match; other rows may still come out. Columns of `table` that a
    /// file lacks are null. Files of days before `since` are left out.
    pub(super) fn scan(
        &self,
        session: &dyn Session,
        shown: &Schema,
        table: &SchemaRef,
        filters: &[Expr],
        tenant: &TenantId,
        since: Option<i32>,
    ) -> Result<Scans> {
        let stored: Vec<FieldRef> = table.fields().iter().filter(|field| field.name() != PARTITION).cloned().collect();
        let stored = Arc::new(Schema::new(stored));
        let partition = table.field_with_name(PARTITION)?.clone();
        let layout = TableSchema::builder(stored).with_table_partition_cols(vec![Arc::new(partition)]).build();
        let (mut own, mut mixed) = (Vec::new(), Vec::new());
        let young = |file: &&Arc<File>| match (since, &file.date) {
            (Some(since), ScalarValue::Date32(Some(day))) => *day >= since,
            _ => true,
        };
        for file in self.files.iter().filter(young) {
            match file.whose(tenant) {
                Some(true) => own.push(file),
                Some(false) => {}
                None => mixed.push(file),
            }
        }
        let names: Vec<&str> = shown.fields().iter().map(|field| field.name().as_str()).collect();
        let plan = |files: Vec<&Arc<File>>, filters: &[Expr], names: &[&str]| {
            self.plan(session, &layout, files, filters, names)
        };
        let whose = super::fence::is(tenant);
        let fenced: Vec<Expr> = filters.iter().cloned().chain([whose]).collect();
        let with_tenant: Vec<&str> = match names.contains(&TENANT) {
            true => names.clone(),
            false => names.iter().copied().chain([TENANT]).collect(),
        };
        Ok(Scans { own: plan(own, filters, &names)?, mixed: plan(mixed, &fenced, &with_tenant)? })
    }

    fn plan(
        &self,
        session: &dyn Session,
        layout: &TableSchema,
        files: Vec<&Arc<File>>,
        filters: &[Expr],
        names: &[&str],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let table = layout.table_schema();
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = DFSchema::try_from(table.as_ref().clone())?;
                Some(session.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let pruning = predicate.clone().and_then(|predicate| {
            // None where bounds can tell nothing.
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(table)).build(predicate)
        });
        let files = match pruning {
            Some(pruning) => {
                let known = files.iter().map(|file| Arc::new(file.statistics(layout, true))).collect();
                let keep = pruning.prune(&PrunableStatistics::new(known, Arc::clone(table)))?;
                files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect()
            }
            None => files,
        };
        if files.is_empty() {
            return Ok(None);
        }
        let options = session.config_options();
        let store = session.runtime_env().object_store(&self.store)?;
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let mut source = ParquetSource::new(layout.clone())
            .with_table_parquet_options(datafusion::config::TableParquetOptions {
                global: options.execution.parquet.clone(),
                ..Default::default()
            })
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let files: Vec<PartitionedFile> = files.iter().map(|file| file.partitioned(layout)).collect();
        let known = files.iter().filter_map(|file| file.statistics.as_deref());
        let statistics = Statistics::try_merge_iter(known, table)?;
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let columns = names.iter().map(|name| Ok(table.index_of(name)?)).collect::<Result<Vec<usize>>>()?;
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(columns))?
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

#[cfg(test)]
mod tests;
