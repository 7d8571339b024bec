//! The network of a simulated device: sends reports when they are due, through outages, dropped connections, repeats
//! and a broken message now and then.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rand::RngExt;
use schemas::{
    id::TenantId,
    time::{Clock, Instant, ScaledClock},
    topic::{Channel, Topic},
};
use tokio_util::sync::CancellationToken;

use super::{Planted, appliance::Appliance};
use crate::fleet::{
    device::{Broker, Message, SessionError},
    outbox::Outbox,
};

/// Chance that a report meets an outage, which lasts some reports.
const OUTAGE: f64 = 0.02;
/// Longest outage, in reports.
const OUTAGE_REPORTS: u32 = 4;
/// Chance that the connection breaks before a report, and the will speaks.
const BREAK: f64 = 0.02;
/// Chance that a device sends a report twice because it missed the answer.
const REPEAT: f64 = 0.02;
/// Chance of a message cut in the middle.
const CUT: f64 = 0.002;
/// A connection that would idle longer than this on the machine's clock is closed between reports.
const IDLE: std::time::Duration = std::time::Duration::from_secs(20);
/// Wait before a new try after the gateway was not there.
const RETRY: std::time::Duration = std::time::Duration::from_millis(250);
/// Tries after which a device gives up, at the end of its life only.
const LAST_TRIES: u32 = 40;

/// What all devices of a fleet have sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// PUBACKs of success.
    pub acknowledged: AtomicU64,
    /// PUBACKs with an error, and failed connections.
    pub troubles: AtomicU64,
    /// Messages never acknowledged when the fleet stopped.
    pub left: AtomicU64,
    /// Faults planted so far.
    pub planted: Mutex<Vec<Planted>>,
}

/// What a device needs to be on the network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Where to connect.
    pub broker: Broker,
    /// Whose devices these are.
    pub tenant: TenantId,
    /// Device time.
    pub clock: Arc<ScaledClock>,
    /// Where to count.
    pub sent: Arc<Sent>,
    /// When the simulation ends, in device time; none for never.
    pub until: Option<Instant>,
}

impl Network {
    /// Lives an appliance's life until the end, or until stopped.
    pub async fn live(self, mut appliance: Appliance, stop: CancellationToken) {
        let status = Topic::new(self.tenant.clone(), appliance.device_id.clone(), Channel::Status);
        let mut outbox = Outbox::default();
        let mut session = None;
        let mut outage = 0u32;
        outbox.push(appliance.birth(&self.tenant, self.clock.now()));
        loop {
            let due = appliance.next_report();
            if self.until.is_some_and(|until| due > until) {
                break;
            }
            let wait = self.clock.until(due);
            if wait > IDLE
                && let Some(open) = session.take()
            {
                crate::fleet::device::Session::close(open).await;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            let report = appliance.report(&self.tenant);
            let rng = &mut appliance.network_rng;
            if rng.random_bool(CUT) {
                outbox.extend(report.first().map(cut));
            }
            if rng.random_bool(REPEAT) {
                outbox.extend(report.first().cloned());
            }
            outbox.extend(report);
            if outage == 0 && rng.random_bool(OUTAGE) {
                outage = rng.random_range(1..=OUTAGE_REPORTS);
            }
            if outage > 0 {
                outage -= 1;
                session = None;
                continue;
            }
            if rng.random_bool(BREAK) {
                session = None;
            }
            if session.is_none() {
                outbox.push(appliance.birth(&self.tenant, self.clock.now()));
            }
            self.count(outbox.flush(&self.broker, &status, &mut session).await);
        }
        for _ in 0..LAST_TRIES {
            if !self.count(outbox.flush(&self.broker, &status, &mut session).await) {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        if let Some(session) = session {
            session.close().await;
        }
        self.sent.acknowledged.fetch_add(outbox.acknowledged, Ordering::Relaxed);
        self.sent.troubles.fetch_add(outbox.refused, Ordering::Relaxed);
        self.sent.left.fetch_add(outbox.len() as u64, Ordering::Relaxed);
        self.sent.planted.lock().unwrap_or_else(PoisonError::into_inner).extend(appliance.planted().iter().cloned());
    }

    /// Counts a failed flush; tells whether it failed.
    fn count(&self, result: Result<(), SessionError>) -> bool {
        if let Err(error) = &result {
            tracing::debug!(%error, "a simulated device could not deliver");
            self.sent.troubles.fetch_add(1, Ordering::Relaxed);
        }
        result.is_err()
    }
}

/// The message as a broken radio would send it: its first half.
fn cut(message: &Message) -> Message {
    Message { payload: message.payload[..message.payload.len() / 2].to_vec(), ..message.clone() }
}
