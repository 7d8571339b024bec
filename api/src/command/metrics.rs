//! What becomes of commands, in numbers.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::self_test::rules::Found;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tested {
    result: &'static str,
}

/// The counters of commands; a clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    commands: Family<State, Counter>,
    self_tests: Family<Tested, Counter>,
    self_tests_first: Family<Tested, Counter>,
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
        for result in Found::ALL.map(Found::as_str) {
            drop(metrics.self_tests.get_or_create(&Tested { result }));
            drop(metrics.self_tests_first.get_or_create(&Tested { result }));
        }
        let help = "Self-tests that devices answered, by what they found";
        registry.register("forewarn_self_tests", help, metrics.self_tests.clone());
        let help = "Self-tests before a ticket that were acted upon, by what they found; undone ones were not answered";
        registry.register("forewarn_self_tests_first", help, metrics.self_tests_first.clone());
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

    /// A device answered a self-test.
    pub(crate) fn self_test(&self, found: Found) {
        self.self_tests.get_or_create(&Tested { result: found.as_str() }).inc();
    }

    /// A self-test that came before a ticket was acted upon.
    pub(crate) fn self_test_first(&self, found: Found) {
        self.self_tests_first.get_or_create(&Tested { result: found.as_str() }).inc();
    }
}
