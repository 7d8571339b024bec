//! What becomes of commands, in numbers.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// The counters of commands; a clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    commands: Family<State, Counter>,
    /// Waiting now.
    pub(crate) waiting: Gauge,
    /// Orders refused because too many waited.
    pub(crate) queue_full: Counter,
}

impl Metrics {
    /// Makes the counters and puts them into the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for state in ["pending", "delivered", "answered", "refused", "expired"] {
            drop(metrics.commands.get_or_create(&State { state }));
        }
        let help = "Commands that came into a state; every one begins as pending";
        registry.register("forewarn_commands", help, metrics.commands.clone());
        registry.register("forewarn_commands_waiting", "Commands that wait for their device", metrics.waiting.clone());
        let help = "Orders refused because too many commands waited for the device";
        registry.register("forewarn_commands_queue_full", help, metrics.queue_full.clone());
        metrics
    }

    pub(crate) fn came_to(&self, state: &'static str, count: u64) {
        self.commands.get_or_create(&State { state }).inc_by(count);
    }
}
