//! What the pipeline counts, named `forewarn_…`.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use schemas::reject::RejectReason;

use crate::decode::Tally;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// The pipeline's metrics. They count what this process decoded; [`crate::decode::Totals`] count since the log began.
#[derive(Debug)]
pub(super) struct Metrics {
    messages: Labelled,
    readings: Labelled,
    dead_letters: Labelled,
    devices_forgotten: Counter,
    ledger_early: Counter,
    sparkplug_missing: Counter,
    pub(super) devices: Gauge,
    pub(super) decoded_offset: Gauge,
    pub(super) checkpoint_offset: Gauge,
    pub(super) checkpoint_bytes: Gauge,
    pub(super) checkpoint_failures: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            messages: Labelled::default(),
            readings: Labelled::default(),
            dead_letters: Labelled::default(),
            devices_forgotten: Counter::default(),
            ledger_early: Counter::default(),
            sparkplug_missing: Counter::default(),
            devices: Gauge::default(),
            decoded_offset: Gauge::default(),
            checkpoint_offset: Gauge::default(),
            checkpoint_bytes: Gauge::default(),
            checkpoint_failures: Counter::default(),
        };
        registry.register("forewarn_messages", "Messages decoded, by what became of them", metrics.messages.clone());
        registry.register("forewarn_readings", "Readings decoded, by what became of them", metrics.readings.clone());
        registry.register(
            "forewarn_dead_letters",
            "Messages and readings refused, by reason",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "forewarn_devices_forgotten",
            "Devices whose duplicates can no longer be found, because of max_devices",
            metrics.devices_forgotten.clone(),
        );
        registry.register(
            "forewarn_ledger_early",
            "Rows of the ledger written before their hour was over, because of max_devices",
            metrics.ledger_early.clone(),
        );
        registry.register(
            "forewarn_sparkplug_missing",
            "Sparkplug sequence numbers that were left out",
            metrics.sparkplug_missing.clone(),
        );
        registry.register("forewarn_devices", "Devices remembered for duplicates", metrics.devices.clone());
        registry.register(
            "forewarn_decoded_offset",
            "Frames decoded since the log began",
            metrics.decoded_offset.clone(),
        );
        registry.register(
            "forewarn_checkpoint_offset",
            "Frames before the last checkpoint: a restart begins there",
            metrics.checkpoint_offset.clone(),
        );
        registry.register("forewarn_checkpoint_bytes", "Size of the last checkpoint", metrics.checkpoint_bytes.clone());
        registry.register(
            "forewarn_checkpoint_failures",
            "Checkpoints that could not be written",
            metrics.checkpoint_failures.clone(),
        );
        // Every series is there from the start, at zero.
        metrics.add(&Tally::default());
        metrics
    }

    pub(super) fn add(&self, tally: &Tally) {
        let add = |family: &Labelled, label: (&'static str, &'static str), count: u64| {
            family.get_or_create(&[label]).inc_by(count);
        };
        let messages = &tally.messages;
        for (outcome, count) in [
            ("stored", messages.stored),
            ("duplicate", messages.duplicates),
            ("dead_letter", messages.dead_letters),
            ("refused", messages.refused),
            ("internal", messages.internal),
        ] {
            add(&self.messages, ("outcome", outcome), count);
        }
        let rejected = tally.rejects.iter().sum();
        for (outcome, count) in [("stored", tally.stored), ("duplicate", tally.duplicates), ("rejected", rejected)] {
            add(&self.readings, ("outcome", outcome), count);
        }
        for (reason, count) in RejectReason::ALL.iter().zip(tally.rejects) {
            add(&self.dead_letters, ("reason", reason.as_str()), count);
        }
        self.devices_forgotten.inc_by(tally.devices_forgotten);
        self.ledger_early.inc_by(tally.ledger_early);
        self.sparkplug_missing.inc_by(tally.sparkplug_missing);
    }
}
