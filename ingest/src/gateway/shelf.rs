//! For tests of both doors: a log that can be held and broken, and that shows what it has.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use schemas::{
    door::{Append, DoorError, Frame},
    id::LogOffset,
};
use tokio::{sync::watch, time::timeout};

/// Long enough for a loaded machine; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long something that must not happen is waited for.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    Held,
    Broken(io::ErrorKind),
}

pub(crate) struct Shelf {
    frames: Mutex<Vec<Frame>>,
    waiting: AtomicUsize,
    failed: AtomicUsize,
    mode: watch::Sender<Mode>,
    changed: watch::Sender<()>,
}

impl Shelf {
    pub(crate) fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            frames: Mutex::default(),
            waiting: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            mode: watch::Sender::new(mode),
            changed: watch::Sender::new(()),
        })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        self.frames.lock().unwrap().clone()
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.frames().iter().map(|frame| String::from_utf8_lossy(&frame.payload).into_owned()).collect()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let waited = timeout(DEADLINE, changed.wait_for(|()| is(self))).await;
        assert!(waited.is_ok(), "waited in vain until {what}: {:?}, {} waiting", self.payloads(), self.waiting());
    }
}

struct Waiting<'a>(&'a Shelf);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.send_replace(());
    }
}

#[async_trait]
impl Append for Shelf {
    async fn append(&self, frame: Frame) -> Result<LogOffset, DoorError> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(self);
        self.changed.send_replace(());
        let mode = *self.mode.subscribe().wait_for(|mode| *mode != Mode::Held).await?;
        let done = match mode {
            Mode::Broken(kind) => {
                self.failed.fetch_add(1, Ordering::AcqRel);
                Err(io::Error::from(kind).into())
            }
            Mode::Open | Mode::Held => {
                let mut frames = self.frames.lock().unwrap();
                frames.push(frame);
                Ok(LogOffset(frames.len() as u64 - 1))
            }
        };
        drop(waiting);
        done
    }
}
