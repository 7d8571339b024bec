//! Who gets which command next.
//!
//! In: the connections of devices that ask for commands; receipts. Out: commands, one at a time for each device.
//! Promise: a receipt is in the database before the device's next command is given out; commands that another process
//! took orders for are found within `LOOK`. Never: a payload in memory that nobody is delivering.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use schemas::{
    door::{Commands, Parcel, Principal, Receipt},
    time::Clock,
};
use sqlx::SqlitePool;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{Command, metrics::Metrics, rules, store};
use crate::problem;

/// How often it is looked for commands that another process took orders for.
const LOOK: Duration = Duration::from_secs(1);
/// Commands read at once.
const PAGE: u32 = 1000;
/// Receipts noted in one transaction at most.
const RECEIPTS: usize = 256;
/// After the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// One device's commands, by number.
#[derive(Debug, Default)]
struct Line {
    numbers: VecDeque<i64>,
    /// The first is being delivered.
    busy: bool,
    /// Connections that ask.
    askers: usize,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Lines {
    of: HashMap<Principal, Line>,
    /// Commands up to this number have been read.
    read: i64,
}

struct Inner {
    db: SqlitePool,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    lines: Mutex<Lines>,
    ordered: Notify,
    receipts: mpsc::UnboundedSender<(Turn, store::Taken)>,
    /// Where the database is asked, whichever thread asks for a command.
    runtime: Handle,
}

impl Inner {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out commands; clones share the lines.
#[derive(Clone)]
pub struct Courier(Arc<Inner>);

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

/// The work beside it, for [`Rounds::run`].
#[derive(Debug)]
pub struct Rounds {
    courier: Courier,
    /// One for each device at most: it holds the device's turn.
    receipts: mpsc::UnboundedReceiver<(Turn, store::Taken)>,
}

/// A device's turn. Dropped, it is the next one's.
struct Turn {
    courier: Courier,
    device: Principal,
    over: bool,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lines = self.courier.0.lines();
        let Some(line) = lines.of.get_mut(&self.device) else { return };
        line.busy = false;
        if self.over && line.numbers.pop_front().is_some() {
            self.courier.0.metrics.waiting.dec();
        }
        line.wake.notify_one();
        if line.numbers.is_empty() && line.askers == 0 {
            lines.of.remove(&self.device);
        }
    }
}

/// A connection that asks; its line stays while it does.
struct Asker<'a> {
    inner: &'a Inner,
    device: &'a Principal,
    wake: Arc<Notify>,
}

impl<'a> Asker<'a> {
    fn new(inner: &'a Inner, device: &'a Principal) -> Self {
        let mut lines = inner.lines();
        let line = lines.of.entry(device.clone()).or_default();
        line.askers += 1;
        Self { inner, device, wake: line.wake.clone() }
    }

    /// The number of the first command, now in delivery.
    fn first(&self) -> Option<i64> {
        let mut lines = self.inner.lines();
        let line = lines.of.get_mut(self.device).filter(|line| !line.busy)?;
        let number = line.numbers.front().copied()?;
        line.busy = true;
        Some(number)
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let mut lines = self.inner.lines();
        let Some(line) = lines.of.get_mut(self.device) else { return };
        line.askers -= 1;
        if line.askers == 0 && line.numbers.is_empty() && !line.busy {
            lines.of.remove(self.device);
        }
    }
}

impl Courier {
    /// Reads what waits.
    pub async fn open(db: SqlitePool, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<(Self, Rounds), sqlx::Error> {
        let (tell, receipts) = mpsc::unbounded_channel();
        let courier = Self(Arc::new(Inner {
            db,
            clock,
            metrics,
            lines: Mutex::default(),
            ordered: Notify::new(),
            receipts: tell,
            runtime: Handle::current(),
        }));
        courier.look().await?;
        Ok((courier.clone(), Rounds { courier, receipts }))
    }

    /// A command was ordered in this process.
    pub fn ordered(&self) {
        self.0.ordered.notify_one();
    }

    /// Takes commands into the lines that were ordered since the last look.
    async fn look(&self) -> Result<(), sqlx::Error> {
        loop {
            let read = self.0.lines().read;
            let found = store::waiting(&self.0.db, read, PAGE).await?;
            let mut lines = self.0.lines();
            for (number, device) in &found {
                if *number > lines.read {
                    lines.read = *number;
                    let line = lines.of.entry(device.clone()).or_default();
                    line.numbers.push_back(*number);
                    line.wake.notify_one();
                    self.0.metrics.waiting.inc();
                }
            }
            if found.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn fetch(&self, number: i64) -> Result<Option<Command>, sqlx::Error> {
        let (db, now) = (self.0.db.clone(), self.0.clock.arrival());
        let fetched = self.0.runtime.spawn(async move { store::due(&db, number, now).await });
        fetched.await.unwrap_or_else(|error| Err(sqlx::Error::Io(std::io::Error::other(error))))
    }
}

#[async_trait]
impl Commands for Courier {
    async fn next(&self, device: &Principal) -> Parcel {
        let asker = Asker::new(&self.0, device);
        loop {
            // Made before the look, so that nothing is missed in between.
            let woken = asker.wake.notified();
            let Some(number) = asker.first() else {
                woken.await;
                continue;
            };
            let mut turn = Turn { courier: self.clone(), device: device.clone(), over: false };
            let made = self.fetch(number).await.map(|command| {
                command.map(|command| {
                    let Command { command_id, name, args, expires, .. } = command;
                    rules::payload(&command_id, &name, &args, expires).map(|payload| (command_id, payload, expires))
                })
            });
            match made {
                Ok(Some(Ok((command_id, payload, expires)))) => {
                    return Parcel { command_id, payload: payload.into(), expires, turn: Box::new((turn, number)) };
                }
                // Expired, or answered before it was delivered.
                Ok(None) => turn.over = true,
                Ok(Some(Err(error))) => {
                    tracing::error!(cause = problem::chain(&error), number, "put a command into words");
                    turn.over = true;
                }
                Err(error) => {
                    tracing::error!(cause = problem::chain(&error), number, "read a command");
                    drop(turn);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn receipt(&self, parcel: Parcel, receipt: Receipt) {
        let Ok(turn) = parcel.turn.downcast::<(Turn, i64)>() else { return };
        let (turn, number) = *turn;
        let refused = match receipt {
            Receipt::Delivered => None,
            Receipt::Refused(reason) => Some(reason),
        };
        // Where nobody notes receipts any more, the command is delivered again at the next start.
        let _ = self.0.receipts.send((turn, store::Taken { number, refused, at: self.0.clock.arrival() }));
    }
}

impl Rounds {
    /// Notes receipts and looks for new commands until told to stop; what was received by then is noted.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                receipt = self.receipts.recv() => {
                    if let Some(receipt) = receipt {
                        self.note(receipt, Some(&stop)).await;
                    }
                    continue;
                }
                () = stop.cancelled() => break,
                () = self.courier.0.ordered.notified() => {}
                _ = tick.tick() => {}
            }
            if let Err(error) = self.courier.look().await {
                tracing::error!(cause = problem::chain(&error), "look for new commands");
            }
        }
        while let Ok(receipt) = self.receipts.try_recv() {
            self.note(receipt, None).await;
        }
    }

    /// Notes a receipt and those that wait behind it. Without `until` it is tried once.
    async fn note(&mut self, first: (Turn, store::Taken), until: Option<&CancellationToken>) {
        let (mut turns, mut taken) = (vec![first.0], vec![first.1]);
        while taken.len() < RECEIPTS
            && let Ok((turn, one)) = self.receipts.try_recv()
        {
            turns.push(turn);
            taken.push(one);
        }
        while let Err(error) = store::taken(&self.courier.0.db, &taken).await {
            tracing::error!(cause = problem::chain(&error), "note that commands were delivered");
            match until {
                Some(stop) if !stop.is_cancelled() => tokio::time::sleep(PAUSE).await,
                // They stay the oldest of their lines.
                _ => return,
            }
        }
        let refused = taken.iter().filter(|one| one.refused.is_some()).count() as u64;
        let metrics = &self.courier.0.metrics;
        metrics.came_to("delivered", taken.len() as u64 - refused);
        metrics.came_to("refused", refused);
        turns.iter_mut().for_each(|turn| turn.over = true);
    }
}
