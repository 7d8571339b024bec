//! The subscriber: the devices' topics from any MQTT broker.
//!
//! In: publishes that a broker holds for us in a session of its own ([`Settings::client_id`]). Out: frames in the log
//! ([`Append`]). Promise: a publish is acknowledged to the broker after its frame is synced, in the order of receipt,
//! on the connection it came from; what is not acknowledged comes again. So a restart of either side, or an append
//! that fails, loses nothing and may repeat some, which dedup sees to. Never: QoS 2, a publish to the broker.
//!
//! | part | does |
//! |---|---|
//! | this page | settings, metrics, connecting again |
//! | `epoch` | one connection: reads, appends, acknowledges |
//! | `link` | the only file of the crate, tests aside, that says rumqttc |
//! | `broker` | the broker's URL |
//!
//! Each connection has a rumqttc client of its own. That is the fence against what rumqttc 0.25 does with an event
//! loop that reconnects: hand out publishes of the dead connection, and send acknowledgements that were meant for it.
//!
//! For brokers: one session gets all topics, so the broker's limits for one client decide (Mosquitto:
//! `max_queued_messages 0`, `max_inflight_messages` 1000 or more). A message above `max_packet_bytes` is dropped by an
//! MQTT 5 broker that heeds our Maximum Packet Size; on 3.1.1 it would end each new connection, so there the broker's
//! own limit (`message_size_limit`) must not be greater.

mod broker;
mod epoch;
mod link;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use schemas::{
    door::{Append, DoorError},
    reject::RejectReason,
    time::Clock,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::{broker::Broker, epoch::End};

/// The MQTT version spoken with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT 5: flow control and maximum packet size are agreed upon, a refusal has a reason.
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// Which broker, and how to take from it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `mqtt://[user:password@]host[:port]`, or `mqtts://` for TLS. Contains a password: not for logs.
    pub broker: String,
    /// Names our session at the broker: keep it, or what waits there is never fetched.
    pub client_id: String,
    /// What to subscribe to.
    pub filter: String,
    /// The MQTT version.
    pub protocol: Protocol,
    /// Publishes taken and not yet acknowledged.
    pub receive_maximum: u16,
    /// The largest packet taken.
    pub max_packet_bytes: u32,
    /// How often to tell the broker that we live; whole seconds.
    #[serde(with = "schemas::time::span")]
    pub keep_alive: Duration,
    /// How long the broker keeps for us while we are away (MQTT 5; 3.1.1 leaves it to the broker).
    #[serde(with = "schemas::time::span")]
    pub session_expiry: Duration,
    /// Certificates (PEM) to trust, for `mqtts://`.
    pub ca_file: PathBuf,
    /// The first wait before connecting again; it doubles with each failure in a row.
    #[serde(with = "schemas::time::span")]
    pub backoff_min: Duration,
    /// The longest wait before connecting again.
    #[serde(with = "schemas::time::span")]
    pub backoff_max: Duration,
    /// Decides by how much each wait is shortened, so that many subscribers do not come back at once.
    pub backoff_seed: u64,
    /// How long a stop waits for frames that are being appended.
    #[serde(with = "schemas::time::span")]
    pub stop_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker: "mqtt://127.0.0.1:1883".into(),
            client_id: "forewarn".into(),
            filter: "fw/v1/+/+/+".into(),
            protocol: Protocol::V5,
            // 1000 at 10 ms per group commit let 100,000 messages a second pass.
            receive_maximum: 1000,
            max_packet_bytes: 1 << 20,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_secs(7 * 86_400),
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            backoff_seed: 0,
            stop_grace: Duration::from_secs(10),
        }
    }
}

impl std::fmt::Debug for Settings {
    /// All but the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let broker = Broker::parse(&self.broker).map(|broker| broker.to_string()).unwrap_or_default();
        f.debug_struct("Settings")
            .field("broker", &broker)
            .field("client_id", &self.client_id)
            .field("filter", &self.filter)
            .field("protocol", &self.protocol)
            .field("receive_maximum", &self.receive_maximum)
            .field("max_packet_bytes", &self.max_packet_bytes)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn check(&self) -> Result<(), SubscriberError> {
        let filter = !self.filter.is_empty() && self.filter.len() <= 1024 && !self.filter.contains('\0');
        let rules = [
            (!self.client_id.is_empty(), "client_id", "1 character or more: it names our session at the broker"),
            (filter, "filter", "a topic filter such as fw/v1/+/+/+"),
            (self.receive_maximum > 0, "receive_maximum", "1 to 65535"),
            ((1024..=0x0fff_ffff).contains(&self.max_packet_bytes), "max_packet_bytes", "1024 to 268435455"),
            ((5..=65_535).contains(&self.keep_alive.as_secs()), "keep_alive", "5s to 65535s"),
            (!self.backoff_min.is_zero(), "backoff_min", "more than 0s"),
            (self.backoff_max >= self.backoff_min, "backoff_max", "backoff_min or more"),
        ];
        match rules.into_iter().find(|(legal, ..)| !legal) {
            Some((_, field, legal)) => Err(SubscriberError::Setting { field, legal, found: String::new() }),
            None => Ok(()),
        }
    }

    /// Doubles with each failure, at most `backoff_max`; then between half of it and all of it.
    fn backoff(&self, failures: u32) -> Duration {
        let longest = self.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.backoff_max);
        let jitter = xxh3_64_with_seed(&failures.to_le_bytes(), self.backoff_seed) as f64 / u64::MAX as f64;
        longest.mul_f64(0.5 + jitter / 2.0)
    }
}

/// Why the subscriber cannot run at all. A broker that is away is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// A setting is not legal.
    #[error("subscriber.{field} must be {legal}{found}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its legal form.
        legal: &'static str,
        /// What is wrong with it, if that can be told without telling a password.
        found: String,
    },
    /// The certificates cannot be used.
    #[error("read certificates for subscriber.ca_file from {path}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: DoorError,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What the subscriber counts; names begin with `forewarn_subscriber_`. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    connected: Gauge,
    connects: Counter,
    failures: Counter,
    received: Counter,
    acknowledged: Counter,
    bytes: Counter,
    skipped: Counter,
    append_failures: Counter,
    rejected: Family<Reason, Counter>,
}

impl Metrics {
    /// Makes the counters known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        drop(metrics.rejected.get_or_create(&Reason { reason: RejectReason::BadTopic.as_str() }));
        let to = registry.sub_registry_with_prefix("forewarn_subscriber");
        to.register("connected", "1 while subscribed at the broker, else 0", metrics.connected.clone());
        to.register("connects", "Connections to the broker that succeeded", metrics.connects.clone());
        to.register("failures", "Connections that failed or were lost", metrics.failures.clone());
        to.register("received", "Publishes taken from the broker", metrics.received.clone());
        to.register("acknowledged", "Publishes acknowledged to the broker as stored", metrics.acknowledged.clone());
        to.register("bytes", "Bytes of payload taken from the broker", metrics.bytes.clone());
        to.register("skipped", "Commands to devices that passed by and were not stored", metrics.skipped.clone());
        to.register(
            "append_failures",
            "Publishes that could not be written to the log and were left to the broker",
            metrics.append_failures.clone(),
        );
        to.register("rejected", "Publishes stored as dead letters, by reason", metrics.rejected.clone());
        metrics
    }

    fn reject(&self, reason: RejectReason) {
        self.rejected.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }
}

/// Takes from the broker until `stop`; connects again for as long as it takes. Returns early only for a setting that
/// cannot work.
pub async fn run(
    settings: Settings,
    log: Arc<dyn Append>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), SubscriberError> {
    settings.check()?;
    let broker = Broker::parse(&settings.broker)?;
    let tls = broker.tls.then(|| link::trust(&settings.ca_file)).transpose()?;
    let mut failures = 0;
    while !stop.is_cancelled() {
        let link = link::Link::new(&settings, &broker, tls.clone());
        match epoch::run(&settings, link, &log, &clock, &metrics, &stop).await {
            End::Stopped => break,
            End::Lost { error, worked } => {
                metrics.failures.inc();
                failures = if worked { 1 } else { failures + 1 };
                let wait = settings.backoff(failures);
                tracing::warn!(
                    %broker, error = &error as &dyn std::error::Error, "lost the broker; connecting again in {wait:.1?}",
                );
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
    Ok(())
}
