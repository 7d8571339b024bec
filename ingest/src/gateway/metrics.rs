//! What the gateway counts. Names begin with `forewarn_gateway_`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use schemas::reject::RejectReason;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    reason: &'static str,
}

/// The gateway's counters; a clone counts the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) connections: Gauge,
    pub(super) connects: Counter,
    pub(super) takeovers: Counter,
    pub(super) publishes: Counter,
    pub(super) acknowledged: Counter,
    pub(super) bytes: Counter,
    pub(super) wills: Counter,
    pub(super) append_failures: Counter,
    pub(super) puback: Histogram,
    rejected: Family<Reason, Counter>,
}

/// The reasons that this door can have.
const REASONS: [RejectReason; 6] = [
    RejectReason::BadTopic,
    RejectReason::ForeignTopic,
    RejectReason::OversizePacket,
    RejectReason::BadCredentials,
    RejectReason::ProtocolError,
    RejectReason::TooManyConnections,
];

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            connects: Counter::default(),
            takeovers: Counter::default(),
            publishes: Counter::default(),
            acknowledged: Counter::default(),
            bytes: Counter::default(),
            wills: Counter::default(),
            append_failures: Counter::default(),
            // 0.5 ms to 4 s: one fdatasync takes 0.25 to 4 ms, a stalled disk seconds.
            puback: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            rejected: Family::default(),
        };
        for reason in REASONS {
            drop(metrics.rejected.get_or_create(&Reason { reason: reason.as_str() }));
        }
        let to = registry.sub_registry_with_prefix("forewarn_gateway");
        to.register("connections", "Devices connected now", metrics.connections.clone());
        to.register("connects", "Connections that logged in", metrics.connects.clone());
        to.register("takeovers", "Connections closed for a newer one of the same client id", metrics.takeovers.clone());
        to.register("publishes", "Publishes that came in, of any QoS", metrics.publishes.clone());
        to.register("acknowledged", "QoS 1 publishes acknowledged as stored", metrics.acknowledged.clone());
        to.register("bytes", "Bytes of payload that came in", metrics.bytes.clone());
        to.register("wills", "Last wills appended for devices that went without a word", metrics.wills.clone());
        to.register(
            "append_failures",
            "Publishes that could not be written to the log and were not acknowledged",
            metrics.append_failures.clone(),
        );
        to.register(
            "puback_seconds",
            "Time from a QoS 1 publish being read to its being stored",
            metrics.puback.clone(),
        );
        to.register("rejected", "Connections, packets and publishes refused, by reason", metrics.rejected.clone());
        metrics
    }

    pub(super) fn reject(&self, reason: RejectReason) {
        self.rejected.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    #[cfg(test)]
    pub(super) fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected.get_or_create(&Reason { reason: reason.as_str() }).get()
    }
}
