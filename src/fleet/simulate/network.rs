//! The network of a simulated device: sends reports when they are due, through outages, dropped connections, repeats
//! and a broken message now and then; obeys commands as long as it is connected.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use rand::RngExt;
use schemas::{
    id::TenantId,
    time::{Clock, Instant, ScaledClock},
    topic::{Channel, Topic},
};
use tokio_util::sync::CancellationToken;

use super::appliance::Appliance;
use crate::fleet::{
    device::{Broker, Message, Session, SessionError},
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

/// A device that more than one speaks with: its network, and whoever visits it.
pub type Shared = Arc<Mutex<Appliance>>;

/// A shared device, for a moment.
pub fn hold(device: &Shared) -> MutexGuard<'_, Appliance> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device's connection, if it has one, and what waits for it.
struct Line {
    status: Topic,
    commands: Topic,
    outbox: Outbox,
    session: Option<Session>,
}

impl Network {
    /// Lives an appliance's life until the end, or until stopped.
    pub async fn live(self, device: Shared, stop: CancellationToken) {
        let topic = |channel| Topic::new(self.tenant.clone(), hold(&device).device_id.clone(), channel);
        let mut line = Line {
            status: topic(Channel::Status),
            commands: topic(Channel::Command),
            outbox: Outbox::default(),
            session: None,
        };
        let mut rng = hold(&device).network_rng.clone();
        let mut outage = 0u32;
        line.outbox.push(hold(&device).birth(&self.tenant, self.clock.now()));
        loop {
            let due = hold(&device).next_report();
            if self.until.is_some_and(|until| due > until) || !self.wait(&device, &mut line, due, &stop).await {
                break;
            }
            let report = hold(&device).report(&self.tenant);
            if rng.random_bool(CUT) {
                line.outbox.extend(report.first().map(cut));
            }
            if rng.random_bool(REPEAT) {
                line.outbox.extend(report.first().cloned());
            }
            line.outbox.extend(report);
            if outage == 0 && rng.random_bool(OUTAGE) {
                outage = rng.random_range(1..=OUTAGE_REPORTS);
            }
            if outage > 0 {
                outage -= 1;
                line.session = None;
                continue;
            }
            if rng.random_bool(BREAK) {
                line.session = None;
            }
            if line.session.is_none() {
                line.outbox.push(hold(&device).birth(&self.tenant, self.clock.now()));
            }
            self.deliver(&device, &mut line).await;
        }
        for _ in 0..LAST_TRIES {
            if self.deliver(&device, &mut line).await {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        let Line { outbox, session, .. } = line;
        if let Some(session) = session {
            session.close().await;
        }
        self.sent.acknowledged.fetch_add(outbox.acknowledged, Ordering::Relaxed);
        self.sent.troubles.fetch_add(outbox.refused, Ordering::Relaxed);
        self.sent.left.fetch_add(outbox.len() as u64, Ordering::Relaxed);
    }

    /// Waits until the next report is due, and obeys what is ordered meanwhile; false where it was stopped.
    async fn wait(&self, device: &Shared, line: &mut Line, due: Instant, stop: &CancellationToken) -> bool {
        let wait = self.clock.until(due);
        let until = tokio::time::Instant::now() + wait;
        let silent = hold(device).is_silent(self.clock.now());
        if (wait > IDLE || silent)
            && let Some(open) = line.session.take()
        {
            open.close().await;
        }
        loop {
            let Some(open) = &mut line.session else {
                return tokio::select! {
                    () = stop.cancelled() => false,
                    () = tokio::time::sleep_until(until) => true,
                };
            };
            let heard = tokio::select! {
                () = stop.cancelled() => return false,
                heard = open.listen(until) => heard,
            };
            match heard {
                Ok(false) => return true,
                Ok(true) => _ = self.deliver(device, line).await,
                Err(error) => {
                    line.session = None;
                    self.count(Err(error));
                }
            }
        }
    }

    /// Obeys what was ordered and sends all that waits, until nothing does; whether it could.
    async fn deliver(&self, device: &Shared, line: &mut Line) -> bool {
        loop {
            for order in line.session.as_mut().map(Session::take_heard).unwrap_or_default() {
                let reply = hold(device).obey(&self.tenant, &order, self.clock.now());
                line.outbox.extend(reply);
            }
            if line.outbox.is_empty() {
                return true;
            }
            if self.count(self.flush(line).await) {
                return false;
            }
        }
    }

    async fn flush(&self, line: &mut Line) -> Result<(), SessionError> {
        if line.session.is_none() {
            let mut open = Session::open(&self.broker, &line.status).await?;
            open.subscribe(&line.commands).await?;
            line.session = Some(open);
        }
        line.outbox.flush(&self.broker, &line.status, &mut line.session).await
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
