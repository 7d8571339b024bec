//! What the lake counts: `forewarn_lake_…`, by table where a table can be named.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use schemas::table::TableName;

type ByTable = [(&'static str, String); 1];

/// Handles; cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) commits: Family<ByTable, Counter>,
    pub(super) rows: Family<ByTable, Counter>,
    pub(super) bytes: Family<ByTable, Counter>,
    pub(super) errors: Family<ByTable, Counter>,
    pub(super) checkpoint_errors: Family<ByTable, Counter>,
    pub(super) hot_rows: Family<ByTable, Gauge>,
    pub(super) hot_bytes: Gauge,
    pub(super) duration: Histogram,
}

/// From a commit of a few rows (four flushes of a fast disk) to one that a stuck disk holds up.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            commits: Family::default(),
            rows: Family::default(),
            bytes: Family::default(),
            errors: Family::default(),
            checkpoint_errors: Family::default(),
            hot_rows: Family::default(),
            hot_bytes: Gauge::default(),
            duration: Histogram::new(SECONDS),
        };
        let lake = registry.sub_registry_with_prefix("forewarn_lake");
        lake.register("commits", "Versions written to Delta tables", metrics.commits.clone());
        lake.register("committed_rows", "Rows written to Delta tables", metrics.rows.clone());
        lake.register("committed_bytes", "Bytes of Parquet written to Delta tables", metrics.bytes.clone());
        lake.register("commit_errors", "Tries of a commit that failed and are repeated", metrics.errors.clone());
        let failed = "Checkpoints or log clean-ups that failed and are repeated later";
        lake.register("checkpoint_errors", failed, metrics.checkpoint_errors.clone());
        lake.register("hot_rows", "Rows durable in the log and not yet in Delta", metrics.hot_rows.clone());
        lake.register("hot_bytes", "Arrow memory of the hot rows of all tables", metrics.hot_bytes.clone());
        let took = "Time from cutting the hot rows to a durable Delta version";
        lake.register("commit_duration_seconds", took, metrics.duration.clone());
        metrics
    }
}

/// The label of a table.
pub(super) fn label(table: &TableName) -> ByTable {
    [("table", table.to_string())]
}
