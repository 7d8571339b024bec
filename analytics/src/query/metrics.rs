//! What the engine tells about itself. A query is counted once, when it ends, with how it ended; one that nobody
//! waited for counts as `cancelled`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use schemas::{door::SqlError, rollup::Span};

/// Seconds: from a count over statistics to the default time-out.
const SECONDS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The engine's metrics; clones count together.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    finished: Family<Outcome, Counter>,
    duration: Histogram,
    running: Gauge,
    rows: Counter,
    rollups: Family<[(&'static str, String); 1], Counter>,
}

impl Metrics {
    /// Registers them with the prefix `forewarn_query_`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            finished: Family::default(),
            duration: Histogram::new(SECONDS),
            running: Gauge::default(),
            rows: Counter::default(),
            rollups: Family::default(),
        };
        let ours = registry.sub_registry_with_prefix("forewarn_query");
        ours.register("finished", "SQL queries that ended, by outcome", metrics.finished.clone());
        ours.register("duration_seconds", "Time from asking to the end of the answer", metrics.duration.clone());
        ours.register("running", "SQL queries that wait or run", metrics.running.clone());
        ours.register("rows", "Rows returned by SQL queries", metrics.rows.clone());
        let rollups = "Scans of rollups planned in place of telemetry, by span";
        ours.register("rollup_scans", rollups, metrics.rollups.clone());
        metrics
    }

    /// Counts scans of rollups of a span in place of their telemetry.
    pub(super) fn rollup_scans(&self, span: Span) -> Counter {
        self.rollups.get_or_create(&[("span", span.to_string())]).clone()
    }

    /// Begins a query; it ends when the value is dropped.
    pub(super) fn begin(&self) -> Running {
        self.running.inc();
        // The machine's time: what the caller felt.
        Running { metrics: self.clone(), started: tokio::time::Instant::now(), outcome: "cancelled" }
    }
}

/// A query under way.
#[derive(Debug)]
pub(super) struct Running {
    metrics: Metrics,
    started: tokio::time::Instant,
    outcome: &'static str,
}

impl Running {
    /// Counts rows that went out.
    pub(super) fn returned(&self, rows: usize) {
        self.metrics.rows.inc_by(rows as u64);
    }

    /// Notes that all rows went out.
    pub(super) fn succeeded(&mut self) {
        self.outcome = "ok";
    }

    /// Notes why it ended early.
    pub(super) fn failed(&mut self, error: &SqlError) {
        self.outcome = match error {
            SqlError::Syntax { .. } => "syntax",
            SqlError::Invalid(_) => "invalid",
            SqlError::Refused(_) => "refused",
            SqlError::Limit(_) => "limit",
            SqlError::Internal(_) => "internal",
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.running.dec();
        self.metrics.duration.observe(self.started.elapsed().as_secs_f64());
        self.metrics.finished.get_or_create(&Outcome { outcome: self.outcome }).inc();
    }
}
