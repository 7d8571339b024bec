//! The task around the pure core: a feed in, desk and log out, a checkpoint now and then.
//!
//! In: chunks. Out: devices and alarms to the desk, alarms to the log, the cursor moved. Promise: a chunk's alarms are
//! with the desk before [`Detector::position`] passes it, and state and offset are on disk before the cursor does. A
//! desk or a log that fails is asked again until it works or the process stops; then nothing is lost, for the log
//! still has the chunk. Never: a decision of its own about an alarm.

use std::{path::Path, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use schemas::{
    alarm::Alarm,
    door::{Append, Chunk, DoorError, Feed, Frame, ServiceDesk},
    id::LogOffset,
    profile::Profiles,
    time::{Clock, ClockKind},
    topic::{Channel, Topic},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    DetectError, Settings,
    checkpoint::{self, Place},
    device::{Devices, Found, Reporting},
    metrics::Metrics,
    rulebook::Rulebook,
};

/// First wait before a failed attempt is made again; doubles up to [`LONGEST_WAIT`].
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// A desk that comes back is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Alarms on their way to the log at once: they share its group commits.
const APPENDS_AT_ONCE: usize = 256;
/// A checkpoint takes at most one part in this many of the time.
const CHECKPOINT_SHARE: u32 = 20;

/// Watches the devices of the decoded log.
#[derive(Debug)]
pub struct Detector {
    place: Place,
    book: Rulebook,
    clock: Arc<dyn Clock>,
    settings: Settings,
    metrics: Metrics,
    devices: Devices,
    /// On disk.
    durable: LogOffset,
    /// With the desk, and in `devices`.
    position: watch::Sender<LogOffset>,
}

impl Detector {
    /// Takes up where the last checkpoint in `state_dir` stands, or at the log's beginning.
    pub fn open(
        state_dir: &Path,
        profiles: Arc<Profiles>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        registry: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, DetectError> {
        let book = Rulebook::of(&profiles)?;
        let place = Place::open(state_dir)?;
        let (durable, devices) = place.load()?;
        info!(offset = durable.0, devices = devices.count(), "detection goes on at offset {durable}");
        let metrics = Metrics::register(registry);
        let position = watch::Sender::new(durable);
        Ok(Self { place, book, clock, settings, metrics, devices, durable, position })
    }

    /// The frames before it need not be fed again.
    pub fn durable(&self) -> LogOffset {
        self.durable
    }

    /// Frames whose alarms are with the desk and in the log; ahead of [`Self::durable`] between checkpoints.
    pub fn position(&self) -> watch::Receiver<LogOffset> {
        self.position.subscribe()
    }

    /// Runs until `stop` or the feed's end, with a last checkpoint.
    pub async fn run(
        mut self,
        mut feed: Feed,
        desk: Arc<dyn ServiceDesk>,
        log: Arc<dyn Append>,
        stop: CancellationToken,
    ) -> Result<(), DetectError> {
        let mut due = Instant::now() + self.settings.checkpoint_interval;
        loop {
            let behind = *self.position.borrow() > self.durable;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due), if behind => due = self.checkpoint_or_later(&feed).await,
                chunk = feed.chunks.recv() => {
                    let Some(chunk) = chunk else { break };
                    if !self.take(&chunk, desk.as_ref(), log.as_ref(), &stop).await? {
                        // The state is ahead of what the desk knows: the checkpoint on disk stands.
                        return Ok(());
                    }
                }
            }
        }
        if *self.position.borrow() > self.durable {
            self.checkpoint(&feed).await?;
        }
        Ok(())
    }

    /// Looks at a chunk and hands over what it brought; false where it was stopped before all was handed over.
    async fn take(
        &mut self,
        chunk: &Chunk,
        desk: &dyn ServiceDesk,
        log: &dyn Append,
        stop: &CancellationToken,
    ) -> Result<bool, DetectError> {
        let expected = *self.position.borrow();
        if chunk.end <= expected {
            return Ok(true);
        }
        // Without a checkpoint the first chunk is wherever the log begins today.
        if chunk.start != expected && expected != LogOffset::default() {
            return Err(DetectError::Sequence { expected, start: chunk.start, end: chunk.end });
        }
        let reporting = match self.clock.kind() {
            ClockKind::Event => Reporting::EventTime,
            ClockKind::System | ClockKind::Scaled | ClockKind::Manual => Reporting::At(self.clock.now()),
        };
        let found = self.devices.look(&self.book, chunk, reporting, self.settings.max_devices);
        let found = found.map_err(|error| DetectError::Rows { offset: chunk.start, source: error.into() })?;
        self.metrics.looked(&self.book, &found.tally, &found.alarms, self.devices.count());
        for alarm in &found.alarms {
            debug!(alarm_id = alarm.alarm_id, device = %alarm.device_id, "{}", alarm.evidence.reason);
        }
        tokio::select! {
            () = self.hand_over(&found, desk, log) => {}
            () = stop.cancelled() => return Ok(false),
        }
        self.position.send_replace(chunk.end);
        Ok(true)
    }

    /// Devices, then alarms to the desk; then the alarms to the log, where twice is once.
    async fn hand_over(&self, found: &Found, desk: &dyn ServiceDesk, log: &dyn Append) {
        if !found.seen.is_empty() {
            self.until_done("tell the service desk of devices", || desk.devices(&found.seen)).await;
        }
        if found.alarms.is_empty() {
            return;
        }
        self.until_done("tell the service desk of alarms", || desk.alarms(&found.alarms)).await;
        let append = |alarm| {
            self.until_done("append alarms to the log", move || async move {
                log.append(self.frame(alarm)?).await?;
                Ok(())
            })
        };
        // Collected, for the compiler cannot tell that a lazy iterator over borrowed alarms is Send.
        let appends: Vec<_> = found.alarms.iter().map(append).collect();
        stream::iter(appends).buffered(APPENDS_AT_ONCE).collect::<()>().await;
    }

    fn frame(&self, alarm: &Alarm) -> Result<Frame, DoorError> {
        let topic = Topic::new(alarm.tenant.clone(), alarm.device_id.clone(), Channel::Alarm);
        Ok(Frame {
            topic: topic.to_string(),
            content_type: None,
            payload: serde_json::to_vec(alarm)?.into(),
            arrival: self.clock.arrival(),
            refused: None,
            sender: None,
        })
    }

    async fn until_done<Attempt: Future<Output = Result<(), DoorError>>>(
        &self,
        name: &'static str,
        attempt: impl Fn() -> Attempt,
    ) {
        let mut wait = SHORTEST_WAIT;
        while let Err(error) = attempt().await {
            self.metrics.retried(name);
            warn!(error = error.as_ref() as &dyn std::error::Error, "could not {name}; trying again in {wait:?}");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// A checkpoint now; tells when the next is due. One that fails costs nothing but room in the log.
    async fn checkpoint_or_later(&mut self, feed: &Feed) -> Instant {
        let interval = self.settings.checkpoint_interval;
        let pause = match self.checkpoint(feed).await {
            Ok(took) => interval.max(took * CHECKPOINT_SHARE),
            Err(error) => {
                self.metrics.checkpoint_failures.inc();
                error!(error = &error as &dyn std::error::Error, "no checkpoint; the log is kept until one succeeds");
                interval
            }
        };
        Instant::now() + pause
    }

    /// State and offset to disk, then the log may go. Tells how long it took.
    async fn checkpoint(&mut self, feed: &Feed) -> Result<Duration, DetectError> {
        let began = Instant::now();
        let offset = *self.position.borrow();
        let bytes = checkpoint::encode(offset, &self.devices).await.map_err(DetectError::Encode)?;
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.store(&bytes)).await.map_err(DetectError::Interrupted)??;
        self.durable = offset;
        feed.cursor.advance(offset);
        self.metrics.checkpoint_seconds.observe(began.elapsed().as_secs_f64());
        Ok(began.elapsed())
    }
}
