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

use super::tls::Failure;

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
    pub(super) sessions_resumed: Counter,
    pub(super) sessions_not_kept: Counter,
    pub(super) repeats: Counter,
    pub(super) publishes: Counter,
    pub(super) acknowledged: Counter,
    pub(super) bytes: Counter,
    pub(super) wills: Counter,
    pub(super) append_failures: Counter,
    pub(super) puback: Histogram,
    pub(super) tls_handshakes: Counter,
    pub(super) tls_reloads: Counter,
    pub(super) tls_reload_failures: Counter,
    tls_failures: Family<Reason, Counter>,
    slowed: Family<Reason, Counter>,
    rejected: Family<Reason, Counter>,
}

/// What made reading wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slowed {
    /// The device's messages per second.
    Messages,
    /// The device's bytes per second.
    Bytes,
    /// The memory for publishes on their way into the log.
    Memory,
}

impl Slowed {
    const ALL: [Self; 3] = [Self::Messages, Self::Bytes, Self::Memory];

    fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages_per_second",
            Self::Bytes => "bytes_per_second",
            Self::Memory => "memory",
        }
    }
}

/// The reasons that this door can have.
const REASONS: [RejectReason; 7] = [
    RejectReason::BadTopic,
    RejectReason::ForeignTopic,
    RejectReason::OversizePacket,
    RejectReason::BadCredentials,
    RejectReason::ProtocolError,
    RejectReason::TooManyConnections,
    RejectReason::ConnectRate,
];

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            connects: Counter::default(),
            takeovers: Counter::default(),
            sessions_resumed: Counter::default(),
            sessions_not_kept: Counter::default(),
            repeats: Counter::default(),
            publishes: Counter::default(),
            acknowledged: Counter::default(),
            bytes: Counter::default(),
            wills: Counter::default(),
            append_failures: Counter::default(),
            // 0.5 ms to 4 s: one fdatasync takes 0.25 to 4 ms, a stalled disk seconds.
            puback: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            tls_handshakes: Counter::default(),
            tls_reloads: Counter::default(),
            tls_reload_failures: Counter::default(),
            tls_failures: Family::default(),
            slowed: Family::default(),
            rejected: Family::default(),
        };
        for slowed in Slowed::ALL {
            drop(metrics.slowed.get_or_create(&Reason { reason: slowed.as_str() }));
        }
        for failure in Failure::ALL {
            drop(metrics.tls_failures.get_or_create(&Reason { reason: failure.as_str() }));
        }
        for reason in REASONS {
            drop(metrics.rejected.get_or_create(&Reason { reason: reason.as_str() }));
        }
        let to = registry.sub_registry_with_prefix("forewarn_gateway");
        to.register("connections", "Devices connected now", metrics.connections.clone());
        to.register("connects", "Connections that logged in", metrics.connects.clone());
        to.register("takeovers", "Connections closed for a newer one of the same client id", metrics.takeovers.clone());
        to.register("sessions_resumed", "Sessions taken up again", metrics.sessions_resumed.clone());
        to.register(
            "sessions_not_kept",
            "Sessions that were not kept because too many were",
            metrics.sessions_not_kept.clone(),
        );
        to.register("repeats", "QoS 2 publishes sent again that were stored already", metrics.repeats.clone());
        to.register("publishes", "Publishes that came in, of any QoS", metrics.publishes.clone());
        to.register("acknowledged", "QoS 1 and 2 publishes acknowledged as stored", metrics.acknowledged.clone());
        to.register("bytes", "Bytes of payload that came in", metrics.bytes.clone());
        to.register("wills", "Last wills appended for devices that went without a word", metrics.wills.clone());
        to.register(
            "append_failures",
            "Publishes that could not be written to the log and were not acknowledged",
            metrics.append_failures.clone(),
        );
        to.register(
            "puback_seconds",
            "Time from a QoS 1 or 2 publish being read to its being stored",
            metrics.puback.clone(),
        );
        to.register("tls_handshakes", "TLS handshakes that were done", metrics.tls_handshakes.clone());
        to.register("tls_handshake_failures", "TLS handshakes that failed, by reason", metrics.tls_failures.clone());
        to.register("tls_reloads", "Times that changed TLS files were taken", metrics.tls_reloads.clone());
        to.register(
            "tls_reload_failures",
            "Times that changed TLS files were of no use and those of before stayed in force",
            metrics.tls_reload_failures.clone(),
        );
        to.register("slowed", "Times that a connection was not read on for a while, by limit", metrics.slowed.clone());
        to.register("rejected", "Connections, packets and publishes refused, by reason", metrics.rejected.clone());
        metrics
    }

    pub(super) fn reject(&self, reason: RejectReason) {
        self.rejected.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    pub(super) fn slowed(&self, why: Slowed) {
        self.slowed.get_or_create(&Reason { reason: why.as_str() }).inc();
    }

    #[cfg(test)]
    pub(super) fn times_slowed(&self, why: Slowed) -> u64 {
        self.slowed.get_or_create(&Reason { reason: why.as_str() }).get()
    }

    pub(super) fn tls_failed(&self, reason: &'static str) {
        self.tls_failures.get_or_create(&Reason { reason }).inc();
    }

    #[cfg(test)]
    pub(super) fn tls_failures(&self, failure: Failure) -> u64 {
        self.tls_failures.get_or_create(&Reason { reason: failure.as_str() }).get()
    }

    #[cfg(test)]
    pub(super) fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected.get_or_create(&Reason { reason: reason.as_str() }).get()
    }
}
