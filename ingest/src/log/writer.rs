//! The one thread that writes the log.
//!
//! In: frames that wait in the queue. Out: their offsets, once synced. Promise: whatever waits is written in one go
//! and synced once; after a failed write or sync nothing of it is acknowledged, the file is cut back and left alone,
//! and writing goes on in a new one, because the page cache cannot be trusted after a failed sync. Never: an
//! acknowledged offset twice.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemas::id::LogOffset;

use super::{
    LogError,
    disk::{Disk, Sink},
    reserve::{Reserve, is_full},
    segment::{HEADER_BYTES, Head, Header},
    shared::{Queue, Segment, Shared, Waiting, lock},
};

/// The most bytes one sync serves: a quarter of a second of a slow disk (250 MB/s), so that nobody waits longer for
/// the frames of others.
const BATCH_BYTES: u64 = 64 << 20;

/// Gathered before a write call.
const WRITE_BYTES: usize = 1 << 20;

/// What alarms and outcomes may take beyond `max_bytes`: detection has to go on for a full log to get room. Some 80,000
/// alarms.
pub(super) const RESERVE_BYTES: u64 = 64 << 20;
/// After a failure so much must fit before anything is taken again. Otherwise a full disk, of which now and then a page
/// comes free, would be told as well and sick in turns.
const ROOM_BYTES: usize = 1 << 20;
/// While writing fails and nobody appends: how often it is tried again, so that health recovers by itself.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Active {
    file: Box<dyn Sink>,
    path: PathBuf,
    salt: u32,
    first: u64,
    /// Synced.
    bytes: u64,
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    active: Option<Active>,
    /// Offset of the next frame.
    next: u64,
    /// After the last frame; less than `next` where offsets were left out behind a damaged tail.
    previous_end: u64,
    failed: bool,
    reserve: Reserve,
    /// When the spent reserve was last tried to be made again.
    tried: Option<Instant>,
    buffer: Vec<u8>,
}

enum Turn {
    Write(Vec<Waiting>),
    Roll,
    Retry,
}

/// An attempt on a file that failed.
struct Failure(PathBuf, io::Error);

fn at(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure(path.to_owned(), error)
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, disk: Box<dyn Disk>, previous_end: u64) -> Self {
        let next = lock(&shared.state).durable;
        let reserve = Reserve::open(&shared.dir, shared.settings.reserve_bytes);
        let writer = Self {
            shared,
            disk,
            active: None,
            next,
            previous_end,
            failed: false,
            reserve,
            tried: None,
            buffer: Vec::new(),
        };
        writer.measure_reserve();
        writer
    }

    /// Begins a segment now rather than with the first frame.
    pub(super) fn begin(&mut self) -> Result<(), LogError> {
        self.create().map_err(|Failure(path, source)| LogError::Open { path, source })
    }

    /// Runs until the log is closed and all that waited has its answer.
    pub(super) fn run(mut self) {
        let _end = End(self.shared.clone());
        while let Some(turn) = self.turn() {
            match turn {
                Turn::Write(batch) => self.append(batch),
                Turn::Roll => match self.create() {
                    Ok(()) => {
                        let released = lock(&self.shared.queue).released;
                        self.shared.purge(released);
                    }
                    Err(failure) => {
                        let waiting = lock(&self.shared.queue).frames.drain(..).collect();
                        self.fail(failure, waiting);
                    }
                },
                Turn::Retry => {
                    if self.restock() && self.create().is_ok() {
                        tracing::info!("the log can be written again");
                        self.recovered();
                    }
                }
            }
        }
    }

    /// Waits for something to do; none when closed.
    fn turn(&self) -> Option<Turn> {
        let shared = &self.shared;
        let settings = &shared.settings;
        let (active, header) = match &self.active {
            Some(active) => (active.bytes, 0),
            None => (HEADER_BYTES, HEADER_BYTES),
        };
        let empty = self.active.as_ref().is_some_and(|active| active.first == self.next);
        let mut queue = lock(&shared.queue);
        loop {
            let Some(front) = queue.frames.front() else {
                if queue.closing {
                    return None;
                }
                let timed_out;
                (queue, timed_out) = self.wait(queue);
                if timed_out && queue.frames.is_empty() && !queue.closing {
                    return Some(Turn::Retry);
                }
                continue;
            };
            let record = front.record_bytes();
            if self.active.is_some() && !empty && active + record > settings.segment_bytes {
                return Some(Turn::Roll);
            }
            let size = shared.bytes() + header;
            if size + record > settings.max_bytes {
                if !empty && queue.released >= self.next && size > header + HEADER_BYTES {
                    return Some(Turn::Roll);
                }
                if queue.closing {
                    queue.frames.drain(..).for_each(|waiting| waiting.answer(Err(LogError::Closed)));
                    return None;
                }
                self.full(size - header);
                let batch = queue.internal((settings.max_bytes + RESERVE_BYTES).saturating_sub(size));
                if !batch.is_empty() {
                    return Some(Turn::Write(batch));
                }
                queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let room = settings.segment_bytes.saturating_sub(active).min(settings.max_bytes - size).min(BATCH_BYTES);
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(waiting) = queue.frames.pop_front_if(|waiting| {
                bytes += waiting.record_bytes();
                batch.is_empty() || (bytes <= room && batch.len() < settings.queue_frames)
            }) {
                batch.push(waiting);
            }
            return Some(Turn::Write(batch));
        }
    }

    /// Waits for a wake-up; while writing fails, no longer than [`RETRY`], and tells whether that passed.
    fn wait<'a>(&'a self, queue: MutexGuard<'a, Queue>) -> (MutexGuard<'a, Queue>, bool) {
        let wake = &self.shared.wake;
        if self.failed {
            let (queue, timeout) = wake.wait_timeout(queue, RETRY).unwrap_or_else(PoisonError::into_inner);
            (queue, timeout.timed_out())
        } else {
            (wake.wait(queue).unwrap_or_else(PoisonError::into_inner), false)
        }
    }

    fn full(&self, size: u64) {
        let most = self.shared.settings.max_bytes;
        if self.shared.metrics.full.set(1) == 0 {
            tracing::warn!(log.bytes = size, log.max_bytes = most, "the log is full: appends wait");
        }
        let mut state = lock(&self.shared.state);
        state.limit = Some("log");
        state.trouble = Some(format!(
            "the log is full: it holds {size} bytes of max_bytes = {most}; appends wait until consumers have caught up"
        ));
    }

    fn recovered(&mut self) {
        if self.reserve.spent() {
            // An alarm was written; devices' frames wait for the reserve.
            return;
        }
        self.failed = false;
        let mut state = lock(&self.shared.state);
        (state.trouble, state.limit) = (None, None);
        drop(state);
        if self.shared.metrics.full.set(0) == 1 {
            tracing::info!("the log has room again");
        }
    }

    fn measure_reserve(&self) {
        let bytes = if self.reserve.held() { self.shared.settings.reserve_bytes } else { 0 };
        self.shared.metrics.reserve_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether devices' frames may be written: makes a spent reserve again if there is room, tried now and then.
    #[allow(clippy::disallowed_methods, reason = "spaces out attempts")]
    fn restock(&mut self) -> bool {
        if !self.reserve.spent() {
            return true;
        }
        let now = Instant::now();
        if self.tried.is_some_and(|tried| now.duration_since(tried) < RETRY) {
            return false;
        }
        self.tried = Some(now);
        if self.reserve.make().is_err() {
            return false;
        }
        tracing::info!("there is room again: the log's reserve is made anew");
        self.tried = None;
        self.measure_reserve();
        true
    }

    /// Refuses devices' frames while the reserve is spent.
    fn admitted(&mut self, batch: Vec<Waiting>) -> Vec<Waiting> {
        if self.restock() {
            return batch;
        }
        let (admitted, refused): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.internal);
        self.shared.metrics.failed_frames.inc_by(refused.len() as u64);
        let source = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        for waiting in refused {
            let path = self.reserve.path().to_owned();
            waiting.answer(Err(LogError::Write { path, source: source.clone() }));
        }
        admitted
    }

    fn append(&mut self, batch: Vec<Waiting>) {
        let batch = self.admitted(batch);
        if batch.is_empty() {
            return;
        }
        match self.write(&batch) {
            Ok(bytes) => {
                let first = self.next;
                self.next += batch.len() as u64;
                self.previous_end = self.next;
                {
                    let mut state = lock(&self.shared.state);
                    state.durable = self.next;
                    if let (Some(segment), Some(active)) = (state.segments.back_mut(), &self.active) {
                        (segment.end, segment.bytes) = (self.next, active.bytes);
                    }
                }
                self.recovered();
                let metrics = &self.shared.metrics;
                metrics.appended_frames.inc_by(batch.len() as u64);
                metrics.appended_bytes.inc_by(bytes);
                self.shared.measure();
                self.shared.durable.send_replace(LogOffset(self.next));
                for (waiting, offset) in batch.into_iter().zip(first..) {
                    waiting.answer(Ok(offset));
                }
            }
            Err(failure) => self.fail(failure, batch),
        }
    }

    /// Writes and syncs a batch behind the active segment; returns its bytes.
    #[allow(clippy::disallowed_methods, reason = "measures how long a sync takes")]
    fn write(&mut self, batch: &[Waiting]) -> Result<u64, Failure> {
        if self.active.is_none() {
            self.create()?;
        }
        let Some(active) = &mut self.active else {
            return Ok(0);
        };
        let mut end = active.bytes;
        self.buffer.clear();
        for (waiting, offset) in batch.iter().zip(self.next..) {
            let body = &waiting.body;
            let head = Head { len: body.len(), offset, body_crc: crc32c::crc32c(body) };
            self.buffer.extend_from_slice(&head.bytes(active.salt));
            self.buffer.extend_from_slice(body);
            if self.buffer.len() >= WRITE_BYTES {
                active.file.write_at(&self.buffer, end).map_err(at(&active.path))?;
                end += self.buffer.len() as u64;
                self.buffer.clear();
                // One huge frame should not hold its memory for ever.
                self.buffer.shrink_to(2 * WRITE_BYTES);
            }
        }
        if !self.buffer.is_empty() {
            active.file.write_at(&self.buffer, end).map_err(at(&active.path))?;
            end += self.buffer.len() as u64;
        }
        let started = std::time::Instant::now();
        active.file.sync().map_err(at(&active.path))?;
        self.shared.metrics.syncs.inc();
        self.shared.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        let bytes = end - active.bytes;
        active.bytes = end;
        Ok(bytes)
    }

    /// Begins a new segment at `next`. It gets its name when its header is synced, so that a segment without a sound
    /// header is damaged, never half made. One of the same name has no acknowledged frame and is replaced.
    fn create(&mut self) -> Result<(), Failure> {
        self.active = None;
        let path = self.shared.path(self.next);
        let new = path.with_extension("new");
        let header = Header { first: self.next, previous_end: self.previous_end, salt: self.disk.salt() };
        let mut file = self.disk.create(&new).map_err(at(&new))?;
        let mut begin = || {
            file.write_at(&header.bytes(), 0)?;
            if self.failed {
                file.write_at(&vec![0; ROOM_BYTES], HEADER_BYTES)?;
                file.set_len(HEADER_BYTES)?;
            }
            file.sync()
        };
        if let Err(error) = begin() {
            // Whoever gives space back may need a little first. An empty file is not missed.
            let _ = file.set_len(0);
            return Err(Failure(new, error));
        }
        self.disk.rename(&new, &path).map_err(at(&path))?;
        self.disk.sync_folder(&self.shared.dir).map_err(at(&self.shared.dir))?;
        {
            let mut state = lock(&self.shared.state);
            if state.segments.back().is_some_and(|last| last.first == self.next) {
                state.segments.pop_back();
            }
            state.segments.push_back(Segment { first: self.next, end: self.next, bytes: HEADER_BYTES });
        }
        self.shared.measure();
        self.active = Some(Active { file, path, salt: header.salt, first: self.next, bytes: HEADER_BYTES });
        Ok(())
    }

    /// Leaves the active segment at its last synced byte and tells all of the batch.
    fn fail(&mut self, Failure(path, error): Failure, batch: Vec<Waiting>) {
        self.failed = true;
        if let Some(mut active) = self.active.take() {
            // Not needed for truth: the next segment's header says where this one ends.
            if let Err(error) = active.file.set_len(active.bytes).and_then(|()| active.file.sync()) {
                tracing::warn!(path = %active.path.display(), %error, "cannot cut a log segment back to its synced bytes");
            }
        }
        self.shared.metrics.failed_frames.inc_by(batch.len() as u64);
        tracing::error!(path = %path.display(), %error, frames = batch.len(), "cannot write the log; nothing of it is acknowledged");
        if is_full(&error) {
            self.reserve.spend();
            self.measure_reserve();
        }
        let mut state = lock(&self.shared.state);
        state.limit = Some("disk");
        state.trouble = Some(format!("write the log file {}: {error}", path.display()));
        drop(state);
        let source = Arc::new(error);
        for waiting in batch {
            waiting.answer(Err(LogError::Write { path: path.clone(), source: source.clone() }));
        }
    }
}

/// However the writer ends: nobody waits for it any more, and another process may open the folder.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stop();
        let waiting: Vec<_> = lock(&self.0.queue).frames.drain(..).collect();
        waiting.into_iter().for_each(|waiting| waiting.answer(Err(LogError::Closed)));
        let why = if std::thread::panicking() { "the log's writer broke down" } else { "the log is closed" };
        lock(&self.0.state).trouble = Some(why.into());
        *lock(&self.0.lock_file) = None;
    }
}
