//! What all connections of the gateway share.
//!
//! In: sockets, logins and frames from any worker thread. Out: who is present; frames appended. Promise: never more
//! sockets than `max_connections`; after [`Gate::begin_stop`] nobody enters and no publish is begun. Never: a
//! password in a log line.

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use schemas::{
    door::{Append, DeviceAuth, DoorError, Frame, Login, Principal},
    time::Clock,
};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Settings, metrics::Metrics, session::Bye};

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
    log: Arc<dyn Append>,
    auth: Arc<dyn DeviceAuth>,
    pub(super) clock: Arc<dyn Clock>,
    seats: AtomicUsize,
    pub(super) serial: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) orphans: AtomicUsize,
    pub(super) stopping: AtomicBool,
    trouble: AtomicBool,
    changed: Notify,
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

pub(super) struct InFlight(pub(super) Arc<Gate>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && self.0.stopping.load(Ordering::Acquire) {
            self.0.changed.notify_one();
        }
    }
}

impl Gate {
    pub(super) fn new(
        settings: Settings,
        log: Arc<dyn Append>,
        auth: Arc<dyn DeviceAuth>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            metrics,
            log,
            auth,
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

    /// A place for one more socket, if there is any.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let seat = Seat(self.clone());
        (self.seats.fetch_add(1, Ordering::AcqRel) < self.settings.max_connections).then_some(seat)
    }

    /// Whose credential it is; a refusal is counted and logged.
    pub(super) fn login(&self, login: &Login<'_>, peer: Option<SocketAddr>) -> Option<Principal> {
        match self.auth.login(login) {
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
        match self.log.append(frame).await {
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
