//! What the lake counts: `forewarn_lake_…`, by table where a table can be named.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use schemas::table::TableName;

use super::maintain::Figures;

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
    pub(super) maintenance: Maintenance,
}

/// What maintenance counts: `forewarn_maintenance_…`.
#[derive(Debug, Clone)]
pub(super) struct Maintenance {
    pub(super) runs: Counter,
    pub(super) refused: Counter,
    pub(super) errors: Family<ByTable, Counter>,
    pub(super) merges: Family<ByTable, Counter>,
    pub(super) files: Family<ByTable, Gauge>,
    pub(super) read: Family<ByTable, Counter>,
    pub(super) written: Family<ByTable, Counter>,
    pub(super) dropped: Family<ByTable, Counter>,
    pub(super) deleted: Family<ByTable, Counter>,
    pub(super) races: Family<ByTable, Counter>,
    pub(super) seconds: Histogram,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            runs: Counter::default(),
            refused: Counter::default(),
            errors: Family::default(),
            merges: Family::default(),
            files: Family::default(),
            read: Family::default(),
            written: Family::default(),
            dropped: Family::default(),
            deleted: Family::default(),
            races: Family::default(),
            seconds: Histogram::new(SECONDS),
        }
    }
}

impl Maintenance {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("forewarn_maintenance");
        registry.register("runs", "Rounds over all tables", self.runs.clone());
        registry.register("refused_by_lease", "Starts refused: another process maintains", self.refused.clone());
        registry.register("errors", "Tables that a round could not maintain", self.errors.clone());
        registry.register("merges", "Merges of files", self.merges.clone());
        registry.register("live_files", "Live files after the last round", self.files.clone());
        registry.register("read_bytes", "Bytes of Parquet read by merges", self.read.clone());
        registry.register("written_bytes", "Bytes of Parquet written by merges", self.written.clone());
        registry.register("dropped_rows", "Rows dropped by retention", self.dropped.clone());
        registry.register("deleted_files", "Files that no recent version held, deleted", self.deleted.clone());
        registry.register("races_lost", "Versions of a table that somebody else wrote first", self.races.clone());
        registry.register("table_seconds", "Time that one table took in a round", self.seconds.clone());
    }

    /// Counts what was done to a table.
    pub(super) fn note(&self, table: &TableName, figures: &Figures) {
        let labels = label(table);
        self.merges.get_or_create(&labels).inc_by(figures.merges);
        self.files.get_or_create(&labels).set(i64::try_from(figures.files_after).unwrap_or(i64::MAX));
        self.read.get_or_create(&labels).inc_by(figures.bytes_read);
        self.written.get_or_create(&labels).inc_by(figures.bytes_written);
        self.dropped.get_or_create(&labels).inc_by(figures.rows_dropped);
        self.deleted.get_or_create(&labels).inc_by(figures.files_deleted);
        self.races.get_or_create(&labels).inc_by(figures.races_lost);
    }
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
            maintenance: Maintenance::default(),
        };
        metrics.maintenance.register(registry);
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
