//! What all connections of the gateway share.
//!
//! In: sockets, logins and frames from any worker thread. Out: who is present; frames appended. Promise: never more
//! sockets than `max_connections`; after [`Gate::begin_stop`] nobody enters and no publish is begun. Never: a
//! password in a log line.

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use schemas::{
    door::{Commands, DoorError, Frame, Login, Principal},
    time::Clock,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Doors, Settings,
    kept::Sessions,
    metrics::{Metrics, Slowed},
    rate::Buckets,
    session::Bye,
};

/// A client id belongs to its device: nobody throws another device out by borrowing its client id.
pub(super) type Identity = (Principal, Arc<str>);

pub(super) struct Present {
    pub(super) serial: u64,
    pub(super) bye: Option<oneshot::Sender<Bye>>,
    pub(super) gone: CancellationToken,
}

/// What all connections share.
pub(super) struct Gate {
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    doors: Doors,
    pub(super) clock: Arc<dyn Clock>,
    seats: AtomicUsize,
    pub(super) serial: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) orphans: AtomicUsize,
    pub(super) stopping: AtomicBool,
    trouble: AtomicBool,
    changed: Notify,
    pub(super) sessions: Sessions,
    messages: Buckets<Principal>,
    bytes: Buckets<Principal>,
    connects: Buckets<()>,
    connects_of: Buckets<IpAddr>,
    /// Bytes on their way into the log.
    memory: AtomicUsize,
    room: Notify,
    present: Mutex<HashMap<Identity, Present>>,
}

/// One open socket.
pub(super) struct Seat(Arc<Gate>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// A publish on its way into the log.
pub(super) struct InFlight(Arc<Gate>, usize);

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.0.memory.fetch_sub(self.1, Ordering::AcqRel);
        let most = self.0.settings.memory_bytes;
        if before >= most && before - self.1 < most {
            self.0.room.notify_waiters();
        }
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && self.0.stopping.load(Ordering::Acquire) {
            self.0.changed.notify_one();
        }
    }
}

impl Gate {
    pub(super) fn new(settings: Settings, doors: Doors, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            sessions: Sessions::new(settings.max_sessions),
            messages: Buckets::new(settings.device_messages_per_second.into()),
            bytes: Buckets::new(settings.device_bytes_per_second.into()),
            connects: Buckets::new(settings.connects_per_second.into()),
            connects_of: Buckets::new(settings.connects_per_second_per_address.into()),
            memory: AtomicUsize::new(0),
            room: Notify::new(),
            settings,
            metrics,
            doors,
            clock,
            seats: AtomicUsize::new(0),
            serial: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            orphans: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            trouble: AtomicBool::new(false),
            changed: Notify::new(),
            present: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn present(&self) -> MutexGuard<'_, HashMap<Identity, Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The devices' commands, where there are any.
    pub(super) fn commands(&self) -> Option<&dyn Commands> {
        self.doors.commands.as_deref()
    }

    /// A place for one more socket, if there is any.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let seat = Seat(self.clone());
        (self.seats.fetch_add(1, Ordering::AcqRel) < self.settings.max_connections).then_some(seat)
    }

    /// A publish of so many bytes begins.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.memory.fetch_add(bytes, Ordering::AcqRel);
        InFlight(self.clone(), bytes)
    }

    fn has_room(&self) -> bool {
        self.memory.load(Ordering::Acquire) < self.settings.memory_bytes
    }

    /// Which limit holds reading back, if one does.
    pub(super) fn limit(&self) -> Option<&'static str> {
        (!self.has_room()).then_some("memory")
    }

    /// Until there is memory for more publishes.
    pub(super) async fn until_room(&self) {
        if self.has_room() {
            return;
        }
        self.metrics.slowed(Slowed::Memory);
        loop {
            // Made before the look, so that nothing is missed in between.
            let freed = self.room.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// A device published so much.
    pub(super) fn spend(&self, device: &Principal, bytes: usize) {
        let now = Instant::now();
        self.messages.take(device, 1.0, now);
        self.bytes.take(device, bytes as f64, now);
    }

    /// Until the device may publish again.
    pub(super) async fn until_its_turn(&self, device: &Principal) {
        if !self.messages.limits() && !self.bytes.limits() {
            return;
        }
        for (buckets, why) in [(&self.messages, Slowed::Messages), (&self.bytes, Slowed::Bytes)] {
            let mut wait = buckets.wait(device, Instant::now());
            if !wait.is_zero() {
                self.metrics.slowed(why);
            }
            while !wait.is_zero() {
                ntex::time::sleep(wait).await;
                wait = buckets.wait(device, Instant::now());
            }
        }
    }

    /// Whether one more may connect now, from there.
    pub(super) fn admits(&self, peer: Option<SocketAddr>) -> bool {
        let now = Instant::now();
        peer.is_none_or(|peer| self.connects_of.admit(&peer.ip(), now)) && self.connects.admit(&(), now)
    }

    /// Whose credential it is; a refusal is counted and logged.
    pub(super) fn login(&self, login: &Login<'_>, peer: Option<SocketAddr>) -> Option<Principal> {
        match self.doors.auth.login(login) {
            Ok(principal) => Some(principal),
            Err(reject) => {
                self.metrics.reject(reject.reason);
                let (client_id, user_name) = (login.client_id, login.user_name);
                tracing::info!(?peer, client_id, user_name, reason = %reject.reason, "refused a login: {}", reject.detail);
                None
            }
        }
    }

    /// From now on nobody comes in and no publish is begun.
    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Until no publish is being appended.
    pub(super) async fn until_idle(&self) {
        while self.in_flight.load(Ordering::Acquire) > 0 {
            self.changed.notified().await;
        }
    }

    /// Tells every connection that the gateway stops.
    pub(super) fn dismiss_all(&self) {
        for present in self.present().values_mut() {
            if let Some(bye) = present.bye.take() {
                let _ = bye.send(Bye::Stopping);
            }
        }
    }

    /// Until every socket is closed.
    pub(super) async fn until_empty(&self) {
        while self.seats.load(Ordering::Acquire) > 0 {
            self.changed.notified().await;
        }
    }

    /// Appends, and counts and tells trouble.
    pub(super) async fn append(&self, frame: Frame) -> Result<(), DoorError> {
        match self.doors.log.append(frame).await {
            Ok(_) => {
                if self.trouble.load(Ordering::Relaxed) && self.trouble.swap(false, Ordering::Relaxed) {
                    tracing::info!("appending works again");
                }
                Ok(())
            }
            Err(error) => {
                self.metrics.append_failures.inc();
                // Once per trouble: every device repeats what was not acknowledged.
                if !self.trouble.swap(true, Ordering::Relaxed) {
                    tracing::error!(error = &*error as &dyn Error, "append a publish");
                }
                Err(error)
            }
        }
    }
}

/// Whether the disk is full.
pub(super) fn is_full(error: &DoorError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        }
        cause = error.source();
    }
    false
}
