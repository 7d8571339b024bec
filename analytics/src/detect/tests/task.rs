use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use prometheus_client::{encoding::text::encode, registry::Registry};
use schemas::{
    advisory::Advisory,
    alarm::{Alarm, AlarmState},
    door::{Append, Awaited, Chunk, Cursor, DeviceSeen, DoorError, Feed, Frame, ServiceDesk, SpokenFor},
    id::{LogOffset, TenantId},
    time::{Instant, ManualClock},
    topic::{Channel, Topic},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    reading,
    series::{Event, What, chunk, pump},
};
use crate::detect::{DetectError, Detector, Settings};

/// Everything that came out, and how often the doors shall fail first.
#[derive(Debug, Default)]
struct World {
    devices: Vec<DeviceSeen>,
    alarms: Vec<Alarm>,
    frames: Vec<Frame>,
    cursor: LogOffset,
    desk_fails: u32,
    log_fails: u32,
}

#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<World>>);

impl Recorder {
    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spend(count: &mut u32) -> Result<(), DoorError> {
        if *count > 0 {
            *count -= 1;
            return Err("the door is shut".into());
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceDesk for Recorder {
    async fn devices(&self, seen: &[DeviceSeen]) -> Result<(), DoorError> {
        self.with(|world| {
            world.devices.extend_from_slice(seen);
            Ok(())
        })
    }
    async fn alarms(&self, alarms: &[Alarm]) -> Result<(), DoorError> {
        self.with(|world| {
            Self::spend(&mut world.desk_fails)?;
            world.alarms.extend_from_slice(alarms);
            Ok(())
        })
    }
    async fn advisories(&self, _: &[Advisory]) -> Result<(), DoorError> {
        Ok(())
    }
    async fn spoken_for(&self, _: &SpokenFor) -> Result<(), DoorError> {
        Ok(())
    }
    async fn awaited(&self, _: &TenantId) -> Result<Vec<Awaited>, DoorError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Append for Recorder {
    async fn append(&self, frame: Frame) -> Result<LogOffset, DoorError> {
        self.with(|world| {
            Self::spend(&mut world.log_fails)?;
            world.frames.push(frame);
            Ok(LogOffset(world.frames.len() as u64))
        })
    }
}

impl Cursor for Recorder {
    fn advance(&self, to: LogOffset) {
        self.with(|world| {
            assert!(to >= world.cursor, "a cursor never goes back");
            world.cursor = to;
        });
    }
}

/// A detector at work.
struct Running {
    chunks: mpsc::Sender<Arc<Chunk>>,
    position: tokio::sync::watch::Receiver<LogOffset>,
    durable: LogOffset,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DetectError>>,
    registry: Registry,
}

const DEADLINE: Duration = Duration::from_secs(20);

fn start(folder: &Path, world: &Recorder, checkpoint_interval: Duration) -> Running {
    let clock = Arc::new(ManualClock::at("2026-11-21T10:00:00Z".parse().unwrap()));
    let mut registry = Registry::default();
    let settings = Settings { checkpoint_interval, ..Settings::default() };
    let detector = Detector::open(folder, Arc::new(pump()), clock, settings, &mut registry).unwrap();
    let (position, durable) = (detector.position(), detector.durable());
    let (chunks, receiver) = mpsc::channel(4);
    let feed = Feed { chunks: receiver, cursor: Arc::new(world.clone()) };
    let stop = CancellationToken::new();
    let task = tokio::spawn(detector.run(feed, Arc::new(world.clone()), Arc::new(world.clone()), stop.clone()));
    Running { chunks, position, durable, stop, task, registry }
}

impl Running {
    async fn feed(&self, start: u64, events: &[Event]) {
        self.chunks.send(Arc::new(chunk(&pump(), start, events))).await.unwrap();
    }

    async fn reaches(&mut self, offset: u64) {
        timeout(DEADLINE, self.position.wait_for(|at| at.0 >= offset)).await.expect("in time").unwrap();
    }

    async fn stopped(self) -> Result<(), DetectError> {
        self.stop.cancel();
        timeout(DEADLINE, self.task).await.expect("in time").unwrap()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn shaking() -> [Event; 4] {
    [0, 10, 30, 40].map(|minute| reading("p-1", minute, 8.0))
}

#[tokio::test]
async fn an_alarm_goes_to_the_desk_and_to_the_log() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    let mut detector = start(folder.path(), &world, HOUR);
    detector.feed(0, &shaking()).await;
    detector.feed(4, &[reading("p-1", 50, 1.0)]).await;
    detector.reaches(5).await;
    let mut text = String::new();
    encode(&mut text, &detector.registry).unwrap();
    for line in [
        "forewarn_detect_readings_total 5",
        "forewarn_detect_alarms_total{source=\"rule\",state=\"raised\"} 1",
        "forewarn_detect_rule_alarms_total{kind=\"threshold\",state=\"raised\"} 1",
        "forewarn_detect_devices 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    detector.stopped().await.unwrap();
    world.with(|world| {
        assert_eq!(world.devices.len(), 1);
        let states: Vec<AlarmState> = world.alarms.iter().map(|alarm| alarm.state).collect();
        assert_eq!(states, [AlarmState::Raised, AlarmState::Cleared]);
        assert_eq!(world.alarms[0].alarm_id, world.alarms[1].alarm_id);
        assert_eq!(world.alarms[0].alarm_reporting_time.to_string(), "2026-11-21T10:00:00Z");
        let logged: Vec<Alarm> =
            world.frames.iter().map(|frame| serde_json::from_slice(&frame.payload).unwrap()).collect();
        assert_eq!(logged, world.alarms);
        let topic: Topic = world.frames[0].topic.parse().unwrap();
        assert_eq!((topic.device.as_str(), topic.channel), ("p-1", Channel::Alarm));
        assert_eq!(world.cursor, LogOffset(5));
    });
}

#[tokio::test]
async fn a_desk_and_a_log_that_fail_are_asked_again() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    world.with(|world| (world.desk_fails, world.log_fails) = (2, 1));
    let mut detector = start(folder.path(), &world, Duration::from_millis(1));
    detector.feed(0, &shaking()).await;
    detector.reaches(4).await;
    let mut text = String::new();
    encode(&mut text, &detector.registry).unwrap();
    assert!(text.contains("retries_total{attempt=\"tell the service desk of alarms\"} 2"), "{text}");
    detector.stopped().await.unwrap();
    world.with(|world| assert_eq!((world.alarms.len(), world.frames.len(), world.cursor.0), (1, 1, 4)));
}

#[tokio::test]
async fn stopped_while_the_desk_fails_the_chunk_is_looked_at_again() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    world.with(|world| world.desk_fails = u32::MAX);
    let mut detector = start(folder.path(), &world, HOUR);
    detector.feed(0, &shaking()[..2]).await;
    detector.reaches(2).await;
    detector.feed(2, &shaking()[2..]).await;
    let asked = world.clone();
    timeout(DEADLINE, async {
        while asked.with(|world| world.desk_fails) == u32::MAX {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
    detector.stopped().await.unwrap();
    world.with(|world| {
        assert!(world.alarms.is_empty());
        world.desk_fails = 0;
    });

    let mut detector = start(folder.path(), &world, HOUR);
    assert_eq!(detector.durable, LogOffset(0));
    detector.feed(0, &shaking()).await;
    detector.reaches(4).await;
    detector.stopped().await.unwrap();
    world.with(|world| {
        assert_eq!(world.alarms.len(), 1);
        assert_eq!(world.alarms[0].evidence.since, Instant::EPOCH);
    });
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    let mut detector = start(folder.path(), &world, HOUR);
    detector.feed(0, &shaking()[..2]).await;
    detector.reaches(2).await;
    detector.stopped().await.unwrap();
    world.with(|world| assert_eq!((world.alarms.len(), world.cursor), (0, LogOffset(2))));

    let mut detector = start(folder.path(), &world, HOUR);
    assert_eq!(detector.durable, LogOffset(2));
    detector.feed(0, &shaking()[..1]).await;
    detector.feed(1, &shaking()[1..2]).await;
    detector.feed(2, &shaking()[2..]).await;
    detector.reaches(4).await;
    detector.stopped().await.unwrap();
    world.with(|world| {
        assert_eq!(world.alarms.len(), 1);
        assert_eq!(world.alarms[0].evidence.readings, 3, "from 0 to 30 minutes, each counted once");
        assert_eq!(world.devices.len(), 1, "the device was told before the restart");
    });
}

#[tokio::test]
async fn an_idle_feed_lets_the_log_go() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    let detector = start(folder.path(), &world, Duration::from_millis(1));
    let empty = Chunk { start: LogOffset(0), end: LogOffset(7), now: Instant::EPOCH, rows: Vec::new() };
    detector.chunks.send(Arc::new(empty)).await.unwrap();
    timeout(DEADLINE, async {
        while world.with(|world| world.cursor) < LogOffset(7) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
    detector.stopped().await.unwrap();
}

#[tokio::test]
async fn a_hole_in_the_feed_is_an_error() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    let mut detector = start(folder.path(), &world, HOUR);
    detector.feed(3, &shaking()).await;
    detector.reaches(7).await;
    let what = What::Fault { code: "E1", active: true };
    detector.feed(9, &[Event { device: "p-1".into(), minute: 60, late: false, what }]).await;
    let ended = timeout(DEADLINE, detector.task).await.expect("in time").unwrap();
    assert!(matches!(ended, Err(DetectError::Sequence { expected: LogOffset(7), start: LogOffset(9), .. })));
}

#[tokio::test]
async fn a_changed_state_file_is_refused() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Recorder::default());
    let mut detector = start(folder.path(), &world, HOUR);
    detector.feed(0, &shaking()).await;
    detector.reaches(4).await;
    detector.stopped().await.unwrap();
    let file = folder.path().join("detect.state");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() = b'x';
    std::fs::write(&file, bytes).unwrap();
    let clock = Arc::new(ManualClock::default());
    let opened = Detector::open(folder.path(), Arc::new(pump()), clock, Settings::default(), &mut Registry::default());
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("detect.state is damaged: its checksum is"), "{error}");
}

#[tokio::test]
async fn an_expression_that_is_not_legal_is_said_at_the_start() {
    let text = super::PUMP.replace("1000 * vibration_mm_s", "1000 * vibration_mms");
    let mut profiles = schemas::profile::Profiles::default();
    profiles.insert(schemas::profile::Profile::parse(&text).unwrap());
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let opened =
        Detector::open(folder.path(), Arc::new(profiles), clock, Settings::default(), &mut Registry::default());
    let error = opened.unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile pump: rule shake_per_turn.expression \"1000 * vibration_mms / nullif(speed_rpm, 0)\""
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "there is no column \"vibration_mms\"; nearest: \"vibration_mm_s\"");
}
