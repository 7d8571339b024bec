//! What the door tells about itself; what becomes of a query, the engine counts (`forewarn_query_`).

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    ending: &'static str,
}

/// The door's metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    /// Connections that are open.
    pub(super) connections: Gauge,
    /// Connections beyond `flight.max_connections`.
    pub(super) connections_refused: Counter,
    /// Calls without a token in force.
    pub(super) logins_refused: Counter,
    tickets: Family<Ending, Counter>,
}

impl Metrics {
    /// Registers them with the prefix `forewarn_flight_`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let ours = registry.sub_registry_with_prefix("forewarn_flight");
        ours.register("connections", "Flight SQL connections that are open", metrics.connections.clone());
        let refused = metrics.connections_refused.clone();
        ours.register("connections_refused", "Flight SQL connections closed at once: too many are open", refused);
        let refused = metrics.logins_refused.clone();
        ours.register("logins_refused", "Flight SQL calls without a token in force", refused);
        ours.register("tickets", "Flight SQL tickets that ended: taken, expired, cancelled", metrics.tickets.clone());
        metrics
    }

    /// Notes what became of tickets: `taken`, `expired`, `cancelled`.
    pub(super) fn ended(&self, ending: &'static str, tickets: usize) {
        if tickets > 0 {
            self.tickets.get_or_create(&Ending { ending }).inc_by(tickets as u64);
        }
    }
}
