//! What handle, writer and readers of one log share.
//!
//! Two locks: `queue` (frames that wait) and `state` (segments and the durable offset); whoever takes both takes
//! `queue` first.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use schemas::{door::Frame, id::LogOffset};
use tokio::sync::{oneshot, watch};

use super::{
    LogError, Settings,
    metrics::Metrics,
    segment::{HEAD_BYTES, body_bytes, encode, file_name},
};

/// Damaged stretches remembered, so that several readers count each once; beyond it one may be counted again.
const DAMAGE_REMEMBERED: usize = 4096;

/// A segment file, as far as it is synced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By offset; the last one is never deleted, it carries the log's place.
    pub(super) segments: VecDeque<Segment>,
    pub(super) durable: u64,
    pub(super) trouble: Option<String>,
    /// Which limit is behind the trouble: `log` or `disk`.
    pub(super) limit: Option<&'static str>,
    /// From, to.
    damage: BTreeMap<u64, u64>,
}

impl State {
    pub(super) fn new(segments: VecDeque<Segment>, durable: u64) -> Self {
        Self { segments, durable, ..Self::default() }
    }
}

/// A frame that waits for its sync.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) body: Vec<u8>,
    /// May use the reserve of a full log.
    pub(super) internal: bool,
    answer: oneshot::Sender<Result<u64, LogError>>,
}

impl Waiting {
    pub(super) fn record_bytes(&self) -> u64 {
        (HEAD_BYTES + self.body.len()) as u64
    }

    pub(super) fn answer(self, result: Result<u64, LogError>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(result);
    }
}

/// Frames in the order in which their appends were first polled.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) frames: VecDeque<Waiting>,
    /// The length at which frames are dropped whose callers have gone.
    sweep_at: usize,
    pub(super) closing: bool,
    pub(super) released: u64,
}

impl Queue {
    /// Takes out the internal frames that fit into `room`, in order.
    pub(super) fn internal(&mut self, mut room: u64) -> Vec<Waiting> {
        let mut taken = Vec::new();
        if self.frames.iter().any(|waiting| waiting.internal) {
            for waiting in std::mem::take(&mut self.frames) {
                let bytes = waiting.record_bytes();
                if waiting.internal && bytes <= room {
                    room -= bytes;
                    taken.push(waiting);
                } else {
                    self.frames.push_back(waiting);
                }
            }
        }
        taken
    }

    /// A frame waits here instead of with its caller, so that frames keep their order; the callers' windows bound how
    /// many there are. Where a caller gave up (its connection broke while the disk stalls or the log is full), its
    /// frame goes too, once more than `bound` wait: at no time wait more than `bound` and twice those with a caller.
    fn sweep(&mut self, bound: usize) {
        if self.frames.len() > self.sweep_at.max(bound) {
            self.frames.retain(|waiting| !waiting.answer.is_closed());
            self.sweep_at = 2 * self.frames.len();
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) state: Mutex<State>,
    pub(super) durable: watch::Sender<LogOffset>,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    /// The lock file while the log is open: whoever deletes segments holds it.
    pub(super) lock_file: Mutex<Option<File>>,
}

/// A panic elsewhere leaves these values whole: each change under a lock is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(dir: PathBuf, settings: Settings, metrics: Metrics, state: State, lock_file: File) -> Self {
        let shared = Self {
            durable: watch::Sender::new(LogOffset(state.durable)),
            queue: Mutex::default(),
            wake: Condvar::new(),
            lock_file: Mutex::new(Some(lock_file)),
            state: Mutex::new(state),
            dir,
            settings,
            metrics,
        };
        shared.measure();
        shared
    }

    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(file_name(first))
    }

    pub(super) fn bytes(&self) -> u64 {
        lock(&self.state).segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn measure(&self) {
        self.metrics.size_bytes.set(i64::try_from(self.bytes()).unwrap_or(i64::MAX));
    }

    pub(super) fn first(&self) -> u64 {
        let state = lock(&self.state);
        state.segments.front().map_or(state.durable, |segment| segment.first)
    }

    pub(super) async fn append(&self, frame: Frame) -> Result<u64, LogError> {
        let (bytes, limit) = (body_bytes(&frame), self.settings.max_frame_bytes);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { internal: frame.is_internal(), body: encode(&frame), answer };
        drop(frame);
        {
            let mut queue = lock(&self.queue);
            if queue.closing {
                return Err(LogError::Closed);
            }
            queue.frames.push_back(waiting);
            queue.sweep(self.settings.queue_frames);
        }
        self.wake.notify_one();
        answered.await.map_err(|_| LogError::Closed)?
    }

    /// Takes no more frames; the writer ends once it has dealt with those that wait.
    pub(super) fn stop(&self) {
        lock(&self.queue).closing = true;
        self.wake.notify_one();
    }

    pub(super) fn release(&self, before: u64) {
        {
            let mut queue = lock(&self.queue);
            queue.released = queue.released.max(before);
        }
        self.purge(before);
        self.wake.notify_one();
    }

    /// Deletes the segments that lie wholly before `before`, except the last.
    pub(super) fn purge(&self, before: u64) {
        let lock_file = lock(&self.lock_file);
        if lock_file.is_none() {
            return;
        }
        loop {
            let oldest = lock(&self.state).segments.front().copied();
            let Some(oldest) = oldest.filter(|oldest| oldest.end <= before) else { break };
            if lock(&self.state).segments.len() < 2 {
                break;
            }
            let path = self.path(oldest.first);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot delete a released log segment; will try again");
                    break;
                }
                _ => {
                    lock(&self.state).segments.pop_front();
                }
            }
        }
        let mut state = lock(&self.state);
        let first = state.segments.front().map_or(0, |segment| segment.first);
        state.damage.retain(|_, to| *to > first);
        drop(state);
        self.measure();
    }

    /// The segment that holds `position` or, where that was left out, the next one. The inner error is the durable
    /// offset: all has been read.
    pub(super) fn segment_at(&self, position: u64) -> Result<Result<Segment, u64>, LogError> {
        let state = lock(&self.state);
        let first = state.segments.front().map_or(state.durable, |segment| segment.first);
        if position < first {
            return Err(LogError::Released { from: LogOffset(position), first: LogOffset(first) });
        }
        if position > state.durable {
            return Err(LogError::Ahead { from: LogOffset(position), durable: LogOffset(state.durable) });
        }
        let place = state.segments.partition_point(|segment| segment.end <= position);
        Ok(state.segments.get(place).copied().ok_or(state.durable))
    }

    /// Counts and logs frames that cannot be read, once for all readers.
    pub(super) fn damaged(&self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let mut state = lock(&self.state);
        if state.damage.range(..=from).next_back().is_some_and(|(_, end)| *end >= to) {
            return;
        }
        if state.damage.len() < DAMAGE_REMEMBERED {
            state.damage.insert(from, to);
        }
        drop(state);
        self.metrics.corrupt_frames.inc_by(to - from);
        tracing::error!(
            log.from = from,
            log.to = to,
            "log frames {from} up to but not including {to} are damaged and left out"
        );
    }
}
