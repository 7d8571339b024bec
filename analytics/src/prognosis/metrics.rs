//! What prognosis counts, under the prefix `forewarn_prognosis_`.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

type Labels<const N: usize> = [(&'static str, String); N];

/// The counters of all tenants together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) devices: Counter,
    pub(super) landmarks_skipped: Counter,
    pub(super) run_seconds: Histogram,
    pub(super) failures: Counter,
    pub(super) developing: Gauge,
    advisories: Family<Labels<2>, Counter>,
    version: Family<Labels<1>, Gauge>,
    drift: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    fall_backs: Family<Labels<2>, Counter>,
    trained: Family<Labels<1>, Counter>,
}

impl Metrics {
    /// Registers them, once a process.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            devices: Counter::default(),
            landmarks_skipped: Counter::default(),
            // From 10 ms, a few hundred devices, to about 80 s, a million of them.
            run_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            failures: Counter::default(),
            developing: Gauge::default(),
            advisories: Family::default(),
            version: Family::default(),
            drift: Family::default(),
            fall_backs: Family::default(),
            trained: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("forewarn_prognosis");
        let m = metrics.clone();
        registry.register("devices", "Devices scored", m.devices);
        registry.register("landmarks_skipped", "Midnights passed over because a run took longer", m.landmarks_skipped);
        registry.register("run_duration_seconds", "Time to score the devices of one midnight", m.run_seconds);
        registry.register("run_failures", "Runs that ended with an error and are made again", m.failures);
        registry.register("developing", "Faults that were spoken of and are not over", m.developing);
        registry.register("advisories", "Advisories by decision and method", m.advisories);
        registry.register("model_version", "Number of the version in force; 0 where rules and trends speak", m.version);
        registry.register(
            "drift_share",
            "Share of a model's features whose population stability index is above 0.25",
            m.drift,
        );
        registry.register("fall_backs", "Models not believed, so that rules and trends speak, by reason", m.fall_backs);
        registry.register("trained", "Versions made, by where they stand", m.trained);
        metrics
    }

    pub(super) fn said(&self, decision: &str, method: &str) {
        self.advisories.get_or_create(&[("decision", decision.into()), ("method", method.into())]).inc();
    }

    pub(super) fn in_force(&self, model: &str, version: Option<&str>) {
        let number = version.and_then(|version| version.trim_start_matches('v').parse().ok()).unwrap_or(0);
        self.version.get_or_create(&[("model", model.into())]).set(number);
    }

    pub(super) fn drifted(&self, model: &str, share: f64) {
        self.drift.get_or_create(&[("model", model.into())]).set(share);
    }

    pub(super) fn fell_back(&self, model: &str, reason: &str) {
        self.fall_backs.get_or_create(&[("model", model.into()), ("reason", reason.into())]).inc();
    }

    pub(super) fn trained(&self, standing: &str) {
        self.trained.get_or_create(&[("standing", standing.into())]).inc();
    }
}
