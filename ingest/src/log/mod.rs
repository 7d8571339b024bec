//! The write-ahead log: raw frames in segment files.
//!
//! In: frames from the doors. Out: frames by offset, for consumers that each keep their own place. Promise: an
//! append returns its offset after the frame is synced to disk; an offset that was returned is never given to
//! another frame; frames stand in the order in which their appends were first polled; readers see a frame only once it
//! is synced. Never: looks into a payload, changes a written byte.
//!
//! ```text
//! DIR/lock                        held by the process that has the log open
//! DIR/00000000000000000000.log    a segment; its name is its first offset
//! DIR/00000000000000103412.log    the next one; only the last is written
//! ```
//!
//! A frame whose append failed was not acknowledged. It is not readable either, with one exception: if the process
//! ends before a new segment could be begun, it may appear after the restart, at an offset that nobody was given.
//! Offsets count frames; behind damage some are left out.
//!
//! What a power cut may do to a failing disk: where a sync failed, cutting the file back failed, and the process was
//! started again, frames that were not acknowledged may be read from the page cache and be gone after the cut.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use schemas::{
    door::{Append, DoorError, Frame},
    id::LogOffset,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[cfg(test)]
mod damage;
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fuzz;
mod metrics;
mod reader;
mod recover;
mod reserve;
mod scan;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::Reader;

use disk::{Disk, FileSystem};
use metrics::Metrics;
use segment::BODY_LIMIT;
use shared::{Shared, State, lock};
use writer::Writer;

/// How much the log holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A new segment begins where one would grow beyond this. Space is given back by whole segments.
    pub segment_bytes: u64,
    /// Above it appends wait until consumers have caught up and segments are released.
    pub max_bytes: u64,
    /// Really allocated beside the segments, given back when the disk is full so that it can be drained, and made again
    /// when there is room; 0 is none.
    pub reserve_bytes: u64,
    /// The most frames that one sync serves: at 250 syncs per second two million frames per second. While more wait,
    /// those whose callers have gone are dropped.
    pub queue_frames: usize,
    /// The largest frame, with topic and content type. A larger one is an error.
    pub max_frame_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_bytes: 8 << 30,
            // A commit of every table, a checkpoint, the service database's log: each some megabytes.
            reserve_bytes: 64 << 20,
            queue_frames: 8192,
            max_frame_bytes: 2 << 20,
        }
    }
}

/// Why the log does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder or a file in it cannot be opened.
    #[error("open the log at {path}", path = path.display())]
    Open {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process, or another part of this one, has the log open.
    #[error("the log at {path} is in use by another process", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The file was written by another version of Forewarn.
    #[error("log file {path} has format version {version}; this program reads version 1", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The settings contradict one another.
    #[error("{0}")]
    Settings(String),
    /// The wanted frames have been released.
    #[error("log offset {from} is gone; the oldest frame still there has offset {first}")]
    Released {
        /// The offset asked for.
        from: LogOffset,
        /// The oldest there is.
        first: LogOffset,
    },
    /// The wanted offset was never written: the cursor belongs to another log.
    #[error("log offset {from} lies beyond the log's end {durable}; does this log belong to these tables?")]
    Ahead {
        /// The offset asked for.
        from: LogOffset,
        /// The log's end.
        durable: LogOffset,
    },
    /// A segment cannot be read.
    #[error("read log file {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The frame is too large.
    #[error("a frame of {bytes} bytes is larger than max_frame_bytes = {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The frame was not written or not synced; it is not acknowledged.
    #[error("write log file {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why; one cause for all frames of a batch.
        source: Arc<io::Error>,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

/// The log of one process. Clones are the same log; it closes with the last of them.
#[derive(Debug, Clone)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the folder, or creates it. Refuses a second opener. A torn tail is cut, counted and logged. Damage
    /// before the tail is counted and logged with its offsets, here for the last segment, for others once they are
    /// read; all that is sound is still served.
    pub fn open(dir: &Path, settings: &Settings, registry: &mut Registry) -> Result<Self, LogError> {
        Self::open_on(dir, settings, registry, Box::new(FileSystem))
    }

    fn open_on(
        dir: &Path,
        settings: &Settings,
        registry: &mut Registry,
        disk: Box<dyn Disk>,
    ) -> Result<Self, LogError> {
        check(settings)?;
        let lock_file = recover::lock_folder(dir)?;
        let mut found = recover::look(dir)?;
        let (segments, durable) = (found.segments.len(), found.durable);
        let metrics = Metrics::register(registry);
        let state = State::new(std::mem::take(&mut found.segments), durable);
        let shared = Arc::new(Shared::new(dir.to_owned(), settings.clone(), metrics, state, lock_file));
        for &(from, to) in &found.damaged {
            shared.damaged(from, to);
        }
        let mut writer = Writer::new(shared.clone(), disk, found.previous_end);
        if found.left_out {
            writer.begin()?;
        }
        shared.metrics.torn_tail_bytes.inc_by(found.cut_tail()?);
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| LogError::Open { path: dir.to_owned(), source })?;
        tracing::info!(
            path = %dir.display(),
            log.segments = segments,
            log.durable = durable,
            "opened the log: {segments} segments, next offset {durable}"
        );
        Ok(Self(Arc::new(Handle { shared, writer: Mutex::new(Some(writer)) })))
    }

    /// The oldest frame still there; [`Log::durable`] where there is none.
    pub fn first(&self) -> LogOffset {
        LogOffset(self.0.shared.first())
    }

    /// After the last synced frame.
    pub fn durable(&self) -> LogOffset {
        *self.0.shared.durable.borrow()
    }

    /// The durable offset, to wait for more.
    pub fn watch(&self) -> watch::Receiver<LogOffset> {
        self.0.shared.durable.subscribe()
    }

    /// Reads from `from` on; an error names both offsets where those frames are gone or never were.
    pub fn reader(&self, from: LogOffset) -> Result<Reader, LogError> {
        self.0.shared.segment_at(from.0)?.ok();
        Ok(Reader::new(self.0.shared.clone(), from.0))
    }

    /// Gives back the space of all segments that lie wholly before `before`, except the one that is written.
    pub fn release(&self, before: LogOffset) {
        self.0.shared.release(before.0);
    }

    /// Why appending does not work at present, if so: full, failing or closed.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.0.shared.state).trouble.clone()
    }

    /// Which limit is behind the trouble, if one is: `log` (it is full) or `disk`.
    pub fn limit(&self) -> Option<&'static str> {
        lock(&self.0.shared.state).limit
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.0.shared.bytes()
    }

    /// Takes no more frames, syncs and answers those that wait (while the log is full: with an error), and gives the
    /// folder free. Blocks until that is done. Readers go on reading.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.stop();
        // Held while joining, so that a second caller waits too.
        let mut writer = lock(&self.writer);
        if writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the log's writer broke down");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Append for Log {
    async fn append(&self, frame: Frame) -> Result<LogOffset, DoorError> {
        Ok(LogOffset(self.0.shared.append(frame).await?))
    }
}

fn check(settings: &Settings) -> Result<(), LogError> {
    let Settings { max_bytes, max_frame_bytes, .. } = *settings;
    if max_frame_bytes > BODY_LIMIT {
        return Err(LogError::Settings(format!("max_frame_bytes = {max_frame_bytes} is more than {BODY_LIMIT}")));
    }
    // Headers of two segments and a record head, rounded up: with less, an empty log could be full.
    let least = max_frame_bytes as u64 + 4096;
    if max_bytes < least {
        return Err(LogError::Settings(format!(
            "max_bytes = {max_bytes} is less than max_frame_bytes and 4096 more, {least}"
        )));
    }
    Ok(())
}
