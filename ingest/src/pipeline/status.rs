//! Where the pipeline and its consumers are, for whoever asks.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use schemas::{door::Cursor, id::LogOffset};
use tokio::sync::Notify;

use crate::decode::Totals;

/// One consumer's durable cursor, as the pipeline sees it.
#[derive(Debug)]
pub(super) struct Position {
    at: AtomicU64,
    gone: AtomicBool,
    moved: Arc<Notify>,
}

impl Position {
    pub(super) fn at(&self) -> LogOffset {
        LogOffset(self.at.load(Ordering::Acquire))
    }

    /// Whether nobody is left to advance it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// The consumer's end of a [`Position`].
pub(super) struct Handle(Arc<Position>);

impl Handle {
    pub(super) fn new(at: LogOffset, moved: Arc<Notify>) -> (Self, Arc<Position>) {
        let position = Arc::new(Position { at: AtomicU64::new(at.0), gone: AtomicBool::new(false), moved });
        (Self(position.clone()), position)
    }
}

impl Cursor for Handle {
    fn advance(&self, to: LogOffset) {
        self.0.at.fetch_max(to.0, Ordering::AcqRel);
        self.0.moved.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.moved.notify_one();
    }
}

/// Where the pipeline is. Outlives it.
#[derive(Debug)]
pub struct Status {
    decoded: AtomicU64,
    checkpoint: AtomicU64,
    totals: Mutex<Totals>,
    consumers: Mutex<Vec<(&'static str, Arc<Position>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Status {
    pub(super) fn new(at: LogOffset, totals: Totals) -> Self {
        Self {
            decoded: AtomicU64::new(at.0),
            checkpoint: AtomicU64::new(at.0),
            totals: Mutex::new(totals),
            consumers: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn add(&self, name: &'static str, position: Arc<Position>) {
        lock(&self.consumers).push((name, position));
    }

    pub(super) fn set_decoded(&self, to: LogOffset, totals: Totals) {
        *lock(&self.totals) = totals;
        self.decoded.store(to.0, Ordering::Release);
    }

    pub(super) fn set_checkpoint(&self, to: LogOffset) {
        self.checkpoint.store(to.0, Ordering::Release);
    }

    /// All before it was decoded and given to every consumer.
    pub fn decoded(&self) -> LogOffset {
        LogOffset(self.decoded.load(Ordering::Acquire))
    }

    /// A restart begins here; the log before it may be gone.
    pub fn checkpoint(&self) -> LogOffset {
        LogOffset(self.checkpoint.load(Ordering::Acquire))
    }

    /// What became of all messages before [`Self::decoded`], since the log began.
    pub fn totals(&self) -> Totals {
        *lock(&self.totals)
    }

    /// A consumer's durable cursor; none if there is no such consumer.
    pub fn cursor(&self, name: &str) -> Option<LogOffset> {
        lock(&self.consumers).iter().find(|(known, _)| *known == name).map(|(_, position)| position.at())
    }

    /// Every consumer's durable cursor.
    pub fn cursors(&self) -> Vec<(&'static str, LogOffset)> {
        lock(&self.consumers).iter().map(|(name, position)| (*name, position.at())).collect()
    }
}
