//! Reads the log once, decodes once, and gives each consumer the same chunks.
//!
//! In: the log. Out: chunks of decoded rows for each consumer, over a bounded channel; a checkpoint. Promise: a consumer
//! gets every frame from its own durable offset on exactly once, in order, whatever is killed when; the same frames make
//! the same rows again. Never: a frame given up for a slow consumer, a checkpoint ahead of what consumers made durable.
//!
//! A checkpoint holds the place and all that decoding remembers at it. It is taken in memory every
//! `checkpoint_interval`, kept until every consumer's durable cursor has passed it, then written; then the log before it
//! is released. A restart decodes again from there: consumers skip the chunks before their own durable offset, which no
//! chunk straddles.
//!
//! ```text
//! frames    0 ........ 400 ........ 700 ........ 900 ........ 1000
//!           released    checkpoint   lake durable detector     log durable
//!                       restart here
//! ```

mod checkpoint;
mod metrics;
mod status;
#[cfg(test)]
mod tests;
mod worker;

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use schemas::{
    door::{Chunk, Feed},
    id::LogOffset,
    profile::Profiles,
    time::{Clock, span},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::{checkpoint::CheckpointError, status::Status};
use self::{
    checkpoint::Store,
    metrics::Metrics,
    status::{Handle, Position},
    worker::Worker,
};
use crate::{
    decode::{self, Decoder},
    log::{Log, LogError},
};

/// After the log was drained, how long frames gather before they are read: at most 50 chunks per second from a trickle,
/// for 20 ms of freshness.
const GATHER: Duration = Duration::from_millis(20);
/// Saving the memory of 100,000 devices took 40 ms (4 MB) in a test build, so 2,000,000 take most of a second: a
/// twentieth of the time at most is spent on it.
const REST_AFTER_SAVE: u32 = 20;

/// How to read and decode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Frames in a chunk at most.
    pub chunk_frames: usize,
    /// Bytes of frames in a chunk, about.
    pub chunk_bytes: usize,
    /// Chunks that wait for a consumer at most; then reading waits.
    pub queue_chunks: usize,
    /// How often a checkpoint is taken at most.
    #[serde(with = "span")]
    pub checkpoint_interval: Duration,
    /// When stopping, how long a consumer may take for a chunk, and then for making the last ones durable. What is missed
    /// is decoded again after the restart.
    #[serde(with = "span")]
    pub stop_grace: Duration,
    /// How far event time may lie ahead of arrival.
    #[serde(with = "span")]
    pub future_tolerance: Duration,
    /// Devices remembered at most; beyond it those that were silent longest are forgotten, and counted.
    pub max_devices: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Decoding a chunk takes some ten milliseconds, and its rows fill the CPU's cache.
            chunk_frames: 4096,
            chunk_bytes: 4 << 20,
            // One at hand while the next is made. Of full chunks (65,536 rows) each takes some 10 MiB, and consumers may be
            // apart by as many as both queues hold.
            queue_chunks: 2,
            checkpoint_interval: Duration::from_secs(5),
            stop_grace: Duration::from_secs(10),
            // A device whose clock was set to summer time by mistake.
            future_tolerance: Duration::from_secs(3600),
            // A few hundred bytes each while they send in order.
            max_devices: 2_000_000,
        }
    }
}

/// Why the pipeline cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[from] LogError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state lies ahead of the log.
    #[error(
        "{who} has offset {offset}, but the log ends at {end}: the log's folder was removed or replaced. Put it back, or \
         remove the data folder as a whole"
    )]
    AheadOfLog {
        /// Whose offset: the checkpoint's, or a consumer's.
        who: &'static str,
        /// The offset.
        offset: LogOffset,
        /// The log's end.
        end: LogOffset,
    },
    /// A consumer ended early.
    #[error("consumer {0} takes no more chunks")]
    ConsumerGone(&'static str),
    /// The log was closed while it was being read.
    #[error("the log was closed")]
    LogClosed,
    /// Decoding panicked.
    #[error("decode")]
    Panicked(#[source] tokio::task::JoinError),
}

struct Consumer {
    name: &'static str,
    chunks: mpsc::Sender<Arc<Chunk>>,
    position: Arc<Position>,
    /// The greatest offset it has made durable anywhere.
    durable: LogOffset,
}

/// A checkpoint that waits until every consumer has passed it.
struct Pending {
    at: LogOffset,
    state: Vec<u8>,
}

/// Reads the log for all consumers.
pub struct Pipeline {
    log: Log,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Always there between two steps.
    worker: Option<Worker>,
    consumers: Vec<Consumer>,
    status: Arc<Status>,
    store: Store,
    pending: Option<Pending>,
    /// The last place that is in the checkpoint file.
    written: LogOffset,
    next_save: Instant,
    moved: Arc<Notify>,
    metrics: Metrics,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Loads the checkpoint in `state_dir`, or begins at the log's first frame where there is none. Reads nothing yet.
    pub fn open(
        log: Log,
        state_dir: &Path,
        profiles: Arc<Profiles>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Self, PipelineError> {
        let store = Store::open(state_dir)?;
        let decoding = decode::Settings {
            future_tolerance: settings.future_tolerance,
            max_devices: settings.max_devices,
            clock: clock.kind(),
        };
        let (first, end) = (log.first(), log.durable());
        let (at, decoder) = match store.read()? {
            Some((at, state)) => {
                if at > end {
                    return Err(PipelineError::AheadOfLog { who: "the checkpoint", offset: at, end });
                }
                let decoder = Decoder::load(&profiles, decoding, &state).map_err(|corrupt| store.damaged(corrupt.0))?;
                (at, decoder)
            }
            None => {
                if first > LogOffset::default() {
                    tracing::warn!(%first, "no checkpoint: repeats of messages before the log's first frame are not found");
                }
                (first, Decoder::new(&profiles, decoding))
            }
        };
        if at < first {
            tracing::error!(%at, %first, "frames between the checkpoint and the log's first frame are gone");
        }
        let at = at.max(first);
        clock.observe(decoder.now());
        let metrics = Metrics::register(registry);
        metrics.checkpoint_offset.set(gauge(at));
        metrics.decoded_offset.set(gauge(at));
        let status = Arc::new(Status::new(at, decoder.totals()));
        let reader = log.reader(at)?;
        let worker = Worker::new(reader, decoder, at, settings.chunk_frames, settings.chunk_bytes);
        Ok(Self {
            log,
            clock,
            next_save: Instant::now() + settings.checkpoint_interval,
            settings,
            worker: Some(worker),
            consumers: Vec::new(),
            status,
            store,
            pending: None,
            written: at,
            moved: Arc::new(Notify::new()),
            metrics,
        })
    }

    /// Adds a consumer. `durable` are the offsets up to which it has made its output durable, one per output; chunks are
    /// cut there. Nothing given means that nothing is durable yet.
    pub fn consumer(&mut self, name: &'static str, durable: &[LogOffset]) -> Feed {
        let start = self.status.decoded();
        let least = durable.iter().copied().min().unwrap_or_default();
        if least < start {
            tracing::warn!(consumer = name, durable = %least, %start, "its first chunk begins after its durable offset");
        }
        if let Some(worker) = &mut self.worker {
            worker.cut_at(durable);
        }
        let (chunks, feed) = mpsc::channel(self.settings.queue_chunks.max(1));
        let (handle, position) = Handle::new(least, self.moved.clone());
        self.status.add(name, position.clone());
        let durable = durable.iter().copied().max().unwrap_or_default();
        self.consumers.push(Consumer { name, chunks, position, durable });
        Feed { chunks: feed, cursor: Arc::new(handle) }
    }

    /// Where the pipeline is; goes on telling after it has ended.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Reads and decodes until told to stop; then hands over the chunk at hand, closes the feeds, waits a while for the
    /// consumers to make it durable, and writes a last checkpoint.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), PipelineError> {
        let end = self.log.durable();
        if let Some(ahead) = self.consumers.iter().find(|consumer| consumer.durable > end) {
            return Err(PipelineError::AheadOfLog { who: ahead.name, offset: ahead.durable, end });
        }
        let mut durable = self.log.watch();
        while !stop.is_cancelled() {
            durable.borrow_and_update();
            let chunk = self.step().await?;
            let drained = chunk.is_none();
            if let Some(chunk) = chunk {
                self.hand_over(chunk, &stop).await?;
            }
            self.checkpoint().await?;
            if !drained {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = durable.changed() => {
                    changed.map_err(|_| PipelineError::LogClosed)?;
                    // Not cut short by stop: 20 ms.
                    tokio::time::sleep(GATHER).await;
                }
                () = self.moved.notified(), if self.pending.is_some() => {}
                () = tokio::time::sleep_until(self.next_save), if self.wants_save() => {}
            }
        }
        self.close().await
    }

    /// One step of the worker.
    async fn step(&mut self) -> Result<Option<Chunk>, PipelineError> {
        let step = |worker: &mut Worker| (worker.step(), worker.decoder.take_tally(), worker.decoder.devices());
        let (chunk, tally, devices) = self.blocking(step).await?;
        self.metrics.add(&tally);
        self.metrics.devices.set(i64::try_from(devices).unwrap_or(i64::MAX));
        if let Ok(Some(chunk)) = &chunk {
            let rows: usize = chunk.rows.iter().map(|rows| rows.batch.num_rows()).sum();
            tracing::debug!(start = %chunk.start, end = %chunk.end, rows, "decoded a chunk");
        }
        Ok(chunk?)
    }

    /// Lends the worker to a thread for work.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, PipelineError> {
        let mut worker = self.worker.take().ok_or(PipelineError::LogClosed)?;
        let done = crate::work::spawn(move || (work(&mut worker), worker)).await;
        let (result, worker) = done.map_err(PipelineError::Panicked)?;
        self.worker = Some(worker);
        Ok(result)
    }

    async fn hand_over(&mut self, chunk: Chunk, stop: &CancellationToken) -> Result<(), PipelineError> {
        self.clock.observe(chunk.now);
        let end = chunk.end;
        let chunk = Arc::new(chunk);
        let grace = self.settings.stop_grace;
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::pin!(too_long);
        for consumer in &self.consumers {
            tokio::select! {
                sent = consumer.chunks.send(chunk.clone()) => {
                    if sent.is_err() && !stop.is_cancelled() {
                        return Err(PipelineError::ConsumerGone(consumer.name));
                    }
                }
                () = &mut too_long => {
                    tracing::warn!(consumer = consumer.name, %end, "took no chunk while stopping");
                    return Ok(());
                }
            }
        }
        let totals = self.worker.as_ref().map(|worker| worker.decoder.totals()).unwrap_or_default();
        self.status.set_decoded(end, totals);
        self.metrics.decoded_offset.set(gauge(end));
        Ok(())
    }

    fn wants_save(&self) -> bool {
        self.pending.is_none() && self.status.decoded() > self.written
    }

    /// Writes the pending checkpoint once it may be, and takes the next one when it is time.
    async fn checkpoint(&mut self) -> Result<(), PipelineError> {
        self.write_if_passed().await?;
        if self.wants_save() && Instant::now() >= self.next_save {
            self.save().await?;
            // Consumers may have passed it already.
            self.write_if_passed().await?;
        }
        Ok(())
    }

    async fn write_if_passed(&mut self) -> Result<(), PipelineError> {
        let passed = passed(self.consumers.iter().map(|consumer| &consumer.position));
        match self.pending.take_if(|pending| pending.at <= passed) {
            Some(pending) => self.write(pending).await,
            None => Ok(()),
        }
    }

    async fn save(&mut self) -> Result<(), PipelineError> {
        let begun = Instant::now();
        let (at, state) = self.blocking(|worker| (worker.at, worker.decoder.save())).await?;
        self.next_save = begun + self.settings.checkpoint_interval.max(begun.elapsed() * REST_AFTER_SAVE);
        self.pending = Some(Pending { at, state });
        Ok(())
    }

    /// A disk that refuses is told of and counted; the log is simply kept for longer.
    async fn write(&mut self, pending: Pending) -> Result<(), PipelineError> {
        let Pending { at, state } = pending;
        let (store, log, bytes) = (self.store.clone(), self.log.clone(), state.len());
        let written = tokio::task::spawn_blocking(move || {
            let written = store.write(at, &state);
            if written.is_ok() {
                log.release(at);
            }
            written
        });
        match written.await.map_err(PipelineError::Panicked)? {
            Ok(()) => {
                self.written = at;
                self.status.set_checkpoint(at);
                self.metrics.checkpoint_offset.set(gauge(at));
                self.metrics.checkpoint_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                tracing::debug!(%at, bytes, "wrote a checkpoint");
            }
            Err(error) => {
                self.metrics.checkpoint_failures.inc();
                tracing::error!(%at, error = &error as &dyn std::error::Error, "checkpoint was not written");
            }
        }
        Ok(())
    }

    /// Closes the feeds; the last checkpoint spares the next start the work.
    async fn close(mut self) -> Result<(), PipelineError> {
        let older = self.pending.take();
        self.save().await?;
        let newer = self.pending.take();
        let at = self.status.decoded();
        // The senders go, and with them the feeds end.
        let positions: Vec<_> =
            std::mem::take(&mut self.consumers).into_iter().map(|consumer| consumer.position).collect();
        let settled = async {
            while positions.iter().any(|position| position.at() < at && !position.is_gone()) {
                self.moved.notified().await;
            }
        };
        if tokio::time::timeout(self.settings.stop_grace, settled).await.is_err() {
            tracing::warn!(%at, "consumers did not make all chunks durable before the stop");
        }
        let passed = passed(&positions);
        let fits = |pending: &Pending| pending.at <= passed && pending.at > self.written;
        match newer.into_iter().chain(older).find(fits) {
            Some(pending) => self.write(pending).await,
            None => Ok(()),
        }
    }
}

/// Everything before it is durable with every consumer.
fn passed<'a>(positions: impl IntoIterator<Item = &'a Arc<Position>>) -> LogOffset {
    positions.into_iter().map(|position| position.at()).min().unwrap_or(LogOffset(u64::MAX))
}

fn gauge(offset: LogOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}
