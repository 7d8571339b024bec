//! What the door tells about itself.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    connections: Gauge,
    refused: Family<Reason, Counter>,
    pub(super) queries: Counter,
    pub(super) cancelled: Counter,
}

impl Metrics {
    /// Registers them with the prefix `forewarn_postgres_`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let ours = registry.sub_registry_with_prefix("forewarn_postgres");
        ours.register("connections", "PostgreSQL connections that stand", metrics.connections.clone());
        ours.register("refused", "PostgreSQL connections refused, by reason", metrics.refused.clone());
        ours.register("queries", "Queries over PostgreSQL", metrics.queries.clone());
        ours.register("cancelled", "Requests to cancel that met a connection", metrics.cancelled.clone());
        metrics
    }

    /// Counts a connection until it is dropped, however it ends.
    pub(super) fn standing(&self) -> Standing {
        self.connections.inc();
        Standing(self.connections.clone())
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}

/// A connection that stands.
pub(super) struct Standing(Gauge);

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.dec();
    }
}
