//! Sends the steps of a recording: many devices at a time, each until all it said is acknowledged.
//!
//! Where devices log in, each opens a connection of its own, says its turn and leaves, as a device does that wakes once
//! a day. Where a broker asks for no login, a few connections carry all devices.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemas::{
    id::{DeviceId, TenantId},
    topic::{Channel, Topic},
};
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};

use super::recording::{Step, Turn};
use crate::fleet::{
    device::{Broker, Session, SessionError},
    outbox::Outbox,
};

/// Wait before a new try.
const RETRY: Duration = Duration::from_millis(200);

/// What was sent so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sent {
    /// Messages of the recording that were answered.
    pub(super) published: u64,
    /// PUBACKs of success.
    pub(super) acknowledged: u64,
    /// PUBACKs with an error.
    pub(super) refused: u64,
    /// Connections that broke or were not to be had; what was unanswered on them was sent again.
    pub(super) reconnects: u64,
}

pub(super) struct Sender {
    broker: Broker,
    patience: Duration,
    workers: Vec<Worker>,
    sent: Sent,
}

/// One connection at a time.
#[derive(Default)]
struct Worker {
    session: Option<Session>,
}

impl Sender {
    pub(super) fn new(broker: Broker, connections: u16, patience: Duration) -> Self {
        let workers = (0..connections).map(|_| Worker::default()).collect();
        Self { broker, patience, workers, sent: Sent::default() }
    }

    pub(super) fn published(&self) -> u64 {
        self.sent.published
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Sends a step, at most `limit` messages of it, and returns how many were answered: all of them.
    pub(super) async fn send(&mut self, step: Step, limit: Option<u64>) -> anyhow::Result<u64> {
        let mut turns = VecDeque::new();
        let mut left = limit.unwrap_or(u64::MAX);
        for mut turn in step.turns {
            turn.messages.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= turn.messages.len() as u64;
            if !turn.messages.is_empty() {
                turns.push_back(turn);
            }
        }
        let turns = Arc::new(Mutex::new(turns));
        let mut tasks = JoinSet::new();
        for (index, worker) in std::mem::take(&mut self.workers).into_iter().enumerate() {
            let (broker, turns, patience) = (self.broker.clone(), turns.clone(), self.patience);
            tasks.spawn(async move { worker.work(index, &broker, &turns, patience).await });
        }
        let before = self.sent.published;
        while let Some(ended) = tasks.join_next().await {
            let (worker, sent) = ended??;
            self.workers.push(worker);
            self.sent.published += sent.published;
            self.sent.acknowledged += sent.acknowledged;
            self.sent.refused += sent.refused;
            self.sent.reconnects += sent.reconnects;
        }
        Ok(self.sent.published - before)
    }

    pub(super) async fn close(&mut self) {
        for worker in &mut self.workers {
            if let Some(session) = worker.session.take() {
                session.close().await;
            }
        }
    }
}

impl Worker {
    async fn work(
        mut self,
        index: usize,
        broker: &Broker,
        turns: &Mutex<VecDeque<Turn>>,
        patience: Duration,
    ) -> anyhow::Result<(Self, Sent)> {
        let mut sent = Sent::default();
        let next = || turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(turn) = next() {
            self.take_turn(index, turn, broker, patience, &mut sent).await?;
        }
        Ok((self, sent))
    }

    async fn take_turn(
        &mut self,
        index: usize,
        turn: Turn,
        broker: &Broker,
        patience: Duration,
        sent: &mut Sent,
    ) -> anyhow::Result<()> {
        let Some(first) = turn.messages.first() else { return Ok(()) };
        let own_login = broker.password.is_some();
        let status = if own_login {
            Topic::new(first.topic.tenant.clone(), turn.device_id.clone(), Channel::Status)
        } else {
            shared(&first.topic.tenant, index)?
        };
        let mut outbox = Outbox::default();
        outbox.extend(turn.messages);
        let mut away_since = None;
        while let Err(error) = outbox.flush(broker, &status, &mut self.session).await {
            if matches!(error, SessionError::Login(_)) {
                return Err(anyhow::Error::new(error).context(format!("device {}", status.device)));
            }
            sent.reconnects += 1;
            #[allow(clippy::disallowed_methods, reason = "how long the gateway is away, on the machine's clock")]
            let now = Instant::now();
            if now.duration_since(*away_since.get_or_insert(now)) > patience {
                let attempt = format!("send to {}:{} for {patience:?}", broker.host, broker.port);
                return Err(anyhow::Error::new(error).context(attempt));
            }
            tokio::time::sleep(RETRY).await;
        }
        sent.published += outbox.acknowledged + outbox.refused;
        sent.acknowledged += outbox.acknowledged;
        sent.refused += outbox.refused;
        if own_login && let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }
}

/// Who a connection is that carries many devices.
fn shared(tenant: &TenantId, index: usize) -> anyhow::Result<Topic> {
    let device: DeviceId = format!("forewarn-replay-{index}").parse()?;
    Ok(Topic::new(tenant.clone(), device, Channel::Status))
}
