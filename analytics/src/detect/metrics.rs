//! What detection counts, under the prefix `forewarn_detect_`.

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use schemas::alarm::{Alarm, AlarmState};

use super::{device::Tally, rulebook::Rulebook};

type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Debug, Clone)]
pub(super) struct Metrics {
    readings: Counter,
    alarms: Family<Labels<2>, Counter>,
    rule_alarms: Family<Labels<2>, Counter>,
    flapping: Counter,
    expression_failures: Counter,
    passed_over: Family<Labels<1>, Counter>,
    unknown_faults: Counter,
    devices: Gauge,
    forgotten: Counter,
    pub(super) retries: Family<Labels<1>, Counter>,
    pub(super) checkpoint_seconds: Histogram,
    pub(super) checkpoint_failures: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            readings: Counter::default(),
            alarms: Family::default(),
            rule_alarms: Family::default(),
            flapping: Counter::default(),
            expression_failures: Counter::default(),
            passed_over: Family::default(),
            unknown_faults: Counter::default(),
            devices: Gauge::default(),
            forgotten: Counter::default(),
            retries: Family::default(),
            // From 1 ms, a few hundred devices, to about 4 s, a million of them on a slow disk.
            checkpoint_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 13)),
            checkpoint_failures: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("forewarn_detect");
        let m = metrics.clone();
        registry.register("readings", "Telemetry and fault rows that detection looked at", m.readings);
        registry.register("alarms", "Alarm events that detection found, by source and state", m.alarms);
        registry.register("rule_alarms", "Alarm events of rules, by kind of rule and state", m.rule_alarms);
        registry.register("flapping_alarms", "Alarms raised that stay, since they came and went", m.flapping);
        registry.register(
            "expression_failures",
            "Rows for which the expression of a rule could not be computed",
            m.expression_failures,
        );
        registry.register("passed_over", "Rows that moved no state, by reason", m.passed_over);
        registry.register(
            "unknown_fault_codes",
            "Fault reports whose code the profile does not know",
            m.unknown_faults,
        );
        registry.register("devices", "Devices whose state detection keeps", m.devices);
        registry.register(
            "devices_forgotten",
            "Devices forgotten because there were more than max_devices",
            m.forgotten,
        );
        registry.register("retries", "Attempts that failed and are made again, by what was attempted", m.retries);
        registry.register("checkpoint_duration_seconds", "Time to write a checkpoint", m.checkpoint_seconds);
        registry.register("checkpoint_failures", "Checkpoints that could not be written", m.checkpoint_failures);
        metrics
    }

    pub(super) fn looked(&self, book: &Rulebook, tally: &Tally, alarms: &[Alarm], devices: usize) {
        self.readings.inc_by(tally.readings);
        self.unknown_faults.inc_by(tally.unknown_fault);
        self.forgotten.inc_by(tally.forgotten);
        self.expression_failures.inc_by(tally.expression_failed);
        for (reason, count) in [("out_of_order", tally.out_of_order), ("unknown_profile", tally.unknown_profile)] {
            self.passed_over.get_or_create(&[("reason", reason)]).inc_by(count);
        }
        for alarm in alarms {
            let labels = [("source", alarm.source.as_str()), ("state", alarm.state.as_str())];
            self.alarms.get_or_create(&labels).inc();
            if let Some(kind) = book.kind(alarm) {
                self.rule_alarms.get_or_create(&[("kind", kind), ("state", alarm.state.as_str())]).inc();
            }
            let new = alarm.evidence.flapping && alarm.state == AlarmState::Raised;
            self.flapping.inc_by(u64::from(new));
        }
        self.devices.set(i64::try_from(devices).unwrap_or(i64::MAX));
    }

    pub(super) fn retried(&self, attempt: &'static str) {
        self.retries.get_or_create(&[("attempt", attempt)]).inc();
    }
}
