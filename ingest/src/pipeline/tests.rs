use std::{collections::BTreeMap, future::Future};

use arrow::{array::RecordBatch, compute::concat_batches};
use proptest::prelude::*;
use schemas::{
    door::{Append, Frame, Rows},
    table::TableName,
    time::{ClockKind, EventClock, ManualClock},
};
use tempfile::TempDir;

use super::*;
use crate::{
    decode::tests::{any_frame, frame, profiles},
    log,
};

/// Longer than any of these waits takes; a wait that reaches it is a failure.
const DEADLINE: Duration = Duration::from_secs(30);

struct House {
    dir: TempDir,
    log: Log,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let segments = log::Settings { segment_bytes: 4096, reserve_bytes: 0, ..log::Settings::default() };
        let log = Log::open(&dir.path().join("log"), &segments, &mut Registry::default()).unwrap();
        let settings =
            Settings { chunk_frames: 7, queue_chunks: 1, checkpoint_interval: Duration::ZERO, ..Settings::default() };
        Self { dir, log, settings, clock: Arc::new(ManualClock::default()) }
    }

    fn open(&self) -> Result<Pipeline, PipelineError> {
        let (log, settings) = (self.log.clone(), self.settings.clone());
        let state = self.dir.path().join("state");
        Pipeline::open(log, &state, profiles(), self.clock.clone(), settings, &mut Registry::default())
    }

    fn append(&self, frames: Vec<Frame>) {
        in_time(async {
            futures::future::try_join_all(frames.into_iter().map(|frame| self.log.append(frame))).await.unwrap();
        });
    }

    /// What one decoder makes of the whole log, read before any of it is released.
    fn expected(&self) -> (BTreeMap<TableName, RecordBatch>, decode::Totals) {
        let decoding = decode::Settings {
            future_tolerance: self.settings.future_tolerance,
            max_devices: self.settings.max_devices,
            clock: self.clock.kind(),
        };
        let mut decoder = Decoder::new(&profiles(), decoding);
        let mut reader = self.log.reader(LogOffset(0)).unwrap();
        while let frames = reader.next(100, 1 << 20).unwrap()
            && !frames.is_empty()
        {
            for (at, frame) in frames {
                decoder.frame(at, &frame);
            }
        }
        let rows = decoder.take();
        (rows.into_iter().map(|rows| (rows.table, rows.batch)).collect(), decoder.totals())
    }
}

/// On a runtime of its own: when it is dropped, nothing of it goes on, as after a kill.
fn in_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("in time") })
}

/// A part of a consumer that becomes durable by itself: like one table of the lake.
#[derive(Default)]
struct Part {
    durable: LogOffset,
    committed: Vec<Rows>,
    /// Taken and not durable: lost in a crash.
    taken: LogOffset,
    waiting: Vec<Rows>,
}

impl Part {
    fn take(&mut self, chunk: &Chunk, rows: impl Iterator<Item = Rows>) {
        if chunk.end <= self.durable {
            return;
        }
        assert_eq!(chunk.start, self.taken, "a hole, an overlap, or a chunk that straddles {}", self.durable);
        self.taken = chunk.end;
        self.waiting.extend(rows);
    }

    fn commit(&mut self) {
        self.durable = self.taken;
        self.committed.append(&mut self.waiting);
    }

    fn crash(&mut self) {
        self.taken = self.durable;
        self.waiting.clear();
    }
}

/// A consumer with two parts: telemetry, and all other tables.
#[derive(Default)]
struct Sink {
    parts: [Part; 2],
}

impl Sink {
    fn durable(&self) -> [LogOffset; 2] {
        [self.parts[0].durable, self.parts[1].durable]
    }

    fn take(&mut self, chunk: &Chunk) {
        let is_telemetry = |rows: &&Rows| matches!(rows.table, TableName::Telemetry(_));
        self.parts[0].take(chunk, chunk.rows.iter().filter(is_telemetry).cloned());
        self.parts[1].take(chunk, chunk.rows.iter().filter(|rows| !is_telemetry(rows)).cloned());
    }

    /// Takes chunks until `lives` of them or all up to `end`; each choice may commit either part.
    async fn run(&mut self, mut feed: Feed, end: LogOffset, lives: usize, choices: &[u8]) {
        for choice in choices.iter().cycle().take(lives) {
            let Some(chunk) = feed.chunks.recv().await else { return };
            self.take(&chunk);
            let is_last = chunk.end == end;
            for (part, bit) in self.parts.iter_mut().zip([1, 2]) {
                if choice & bit != 0 || is_last && lives == usize::MAX {
                    part.commit();
                }
            }
            feed.cursor.advance(self.durable().into_iter().min().unwrap());
            if is_last {
                return;
            }
        }
    }

    fn tables(&self) -> BTreeMap<TableName, RecordBatch> {
        let mut tables: BTreeMap<TableName, Vec<RecordBatch>> = BTreeMap::new();
        for rows in self.parts.iter().flat_map(|part| &part.committed) {
            tables.entry(rows.table.clone()).or_default().push(rows.batch.clone());
        }
        tables
            .into_iter()
            .map(|(table, batches)| (table, concat_batches(&batches[0].schema(), &batches).unwrap()))
            .collect()
    }
}

fn live(house: &House, lake: &mut Sink, detector: &mut Sink, lives: [usize; 2], choices: [&[u8]; 2]) -> Arc<Status> {
    let end = house.log.durable();
    let mut pipeline = house.open().unwrap();
    let feeds = [pipeline.consumer("lake", &lake.durable()), pipeline.consumer("detector", &detector.durable())];
    let status = pipeline.status();
    if status.decoded() == end {
        return status;
    }
    let stop = CancellationToken::new();
    in_time(async {
        let task = tokio::spawn(pipeline.run(stop.clone()));
        let [a, b] = feeds;
        futures::join!(lake.run(a, end, lives[0], choices[0]), detector.run(b, end, lives[1], choices[1]));
        if lives == [usize::MAX; 2] {
            stop.cancel();
            task.await.unwrap().unwrap();
        } else {
            task.abort();
            task.await.ok();
        }
    });
    for part in lake.parts.iter_mut().chain(&mut detector.parts) {
        part.crash();
    }
    status
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn killed_anywhere_each_consumer_has_every_row_once(
        frames in prop::collection::vec(any_frame(), 1..300),
        lives in prop::collection::vec((0usize..25, 0usize..25, 1usize..12), 0..6),
        choices in (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 1..40)),
        event: bool,
    ) {
        let mut house = House::new();
        if event {
            house.clock = Arc::new(EventClock::default());
        }
        house.append(frames);
        let (tables, totals) = house.expected();
        let (mut lake, mut detector) = (Sink::default(), Sink::default());
        let choices: [&[u8]; 2] = [&choices.0, &choices.1];
        for (a, b, chunk_frames) in lives {
            house.settings.chunk_frames = chunk_frames;
            live(&house, &mut lake, &mut detector, [a, b], choices);
        }
        let end = house.log.durable();
        let done = [&lake, &detector].iter().all(|sink| sink.durable() == [end; 2]);
        if !done {
            // Both have something to wait for, or neither would see the end.
            let status = live(&house, &mut lake, &mut detector, [usize::MAX; 2], choices);
            prop_assert_eq!(status.decoded(), end);
            prop_assert_eq!(status.totals(), totals);
            prop_assert_eq!(status.checkpoint(), end);
        }
        prop_assert_eq!(&lake.tables(), &tables);
        prop_assert_eq!(&detector.tables(), &tables);
        let again = house.open().unwrap().status();
        if !done {
            prop_assert_eq!((again.decoded(), again.totals()), (end, totals));
        }
    }
}

const READING: &str = r#"{"profile":"pump","boot":1,"seq":SEQ,"ts":1795255200000,"m":{"pressure_bar":1}}"#;

fn reading(seq: u64) -> Frame {
    frame("fw/v1/acme/pump-1/telemetry", READING.replace("SEQ", &seq.to_string()))
}

#[test]
fn the_log_is_released_once_all_have_passed() {
    let house = House::new();
    house.append((0..300).map(reading).collect());
    let (mut lake, mut detector) = (Sink::default(), Sink::default());
    live(&house, &mut lake, &mut detector, [40, 40], [&[3], &[0]]);
    assert_eq!(house.log.first(), LogOffset(0), "the detector made nothing durable");
    live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    assert!(house.log.first() > LogOffset(200), "{}", house.log.first());
    assert_eq!(lake.tables(), detector.tables());
}

#[test]
fn a_new_frame_reaches_waiting_consumers_by_itself() {
    let house = House::new();
    let mut pipeline = house.open().unwrap();
    let mut feed = pipeline.consumer("lake", &[]);
    let status = pipeline.status();
    in_time(async {
        let stop = CancellationToken::new();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        for seq in 0..3 {
            house.log.append(reading(seq)).await.unwrap();
            let chunk = feed.chunks.recv().await.unwrap();
            assert_eq!((chunk.start, chunk.end), (LogOffset(seq), LogOffset(seq + 1)));
            assert_eq!(chunk.now, reading(0).arrival);
            assert_eq!(chunk.rows[0].batch.num_rows(), 1);
            feed.cursor.advance(chunk.end);
        }
        while status.checkpoint() < LogOffset(3) {
            tokio::task::yield_now().await;
        }
        assert_eq!(status.cursors(), [("lake", LogOffset(3))]);
        stop.cancel();
        task.await.unwrap().unwrap();
        assert!(feed.chunks.recv().await.is_none());
    });
    assert_eq!(
        (status.decoded(), status.totals().stored, status.cursor("lake")),
        (LogOffset(3), 3, Some(LogOffset(3)))
    );
}

#[test]
fn a_duplicate_is_found_across_a_restart() {
    let house = House::new();
    house.append(vec![reading(1)]);
    let (mut lake, mut detector) = (Sink::default(), Sink::default());
    live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    house.append(vec![reading(1), reading(2)]);
    let status = live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    let totals = status.totals();
    assert_eq!((totals.stored, totals.duplicates, totals.rows), (2, 1, 2));
}

#[test]
fn the_event_clock_goes_on_after_a_restart() {
    let mut house = House::new();
    house.clock = Arc::new(EventClock::default());
    house.append(vec![reading(1)]);
    let (mut lake, mut detector) = (Sink::default(), Sink::default());
    live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    let seen = schemas::time::Instant::from_millis(1_795_255_200_000);
    assert_eq!(house.clock.now(), seen);
    house.clock = Arc::new(EventClock::default());
    house.open().unwrap();
    assert_eq!((house.clock.now(), house.clock.kind()), (seen, ClockKind::Event));
}

#[test]
fn a_damaged_checkpoint_stops_the_start() {
    let house = House::new();
    house.append(vec![reading(1)]);
    live(&house, &mut Sink::default(), &mut Sink::default(), [usize::MAX; 2], [&[3], &[3]]);
    let path = house.dir.path().join("state").join(checkpoint::FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let text = house.open().unwrap_err().to_string();
    assert!(text.contains("is damaged: its checksum does not match. Put back a copy; or remove it"), "{text}");
}

#[test]
fn state_ahead_of_the_log_stops_the_start() {
    let house = House::new();
    house.append(vec![reading(1)]);
    let mut pipeline = house.open().unwrap();
    let _feed = pipeline.consumer("lake", &[LogOffset(0), LogOffset(2)]);
    let error = in_time(pipeline.run(CancellationToken::new())).unwrap_err();
    assert!(error.to_string().starts_with("lake has offset 2, but the log ends at 1: "), "{error}");
}

#[test]
fn a_consumer_that_ends_early_ends_the_pipeline() {
    let house = House::new();
    house.append((0..30).map(reading).collect());
    let mut pipeline = house.open().unwrap();
    drop(pipeline.consumer("detector", &[]));
    let error = in_time(pipeline.run(CancellationToken::new())).unwrap_err();
    assert_eq!(error.to_string(), "consumer detector takes no more chunks");
}

#[test]
fn a_checkpoint_that_cannot_be_written_stops_nothing() {
    let house = House::new();
    house.append((0..30).map(reading).collect());
    // A folder stands where the fresh file should be.
    std::fs::create_dir_all(house.dir.path().join("state").join("pipeline.checkpoint.new")).unwrap();
    let (mut lake, mut detector) = (Sink::default(), Sink::default());
    let status = live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    assert_eq!((status.decoded(), status.checkpoint()), (LogOffset(30), LogOffset(0)));
    assert_eq!(house.log.first(), LogOffset(0));
    std::fs::remove_dir(house.dir.path().join("state").join("pipeline.checkpoint.new")).unwrap();
    house.append(vec![reading(30)]);
    let status = live(&house, &mut lake, &mut detector, [usize::MAX; 2], [&[3], &[3]]);
    assert_eq!((status.checkpoint(), status.totals().stored), (LogOffset(31), 31));
}

#[test]
fn each_outcome_is_counted_from_zero() {
    let house = House::new();
    house.append(vec![reading(1), reading(1), frame("fw/v1/acme/pump-1/telemetry", "nonsense")]);
    let mut registry = Registry::default();
    let state = house.dir.path().join("state");
    let (log, settings) = (house.log.clone(), house.settings.clone());
    let mut pipeline = Pipeline::open(log, &state, profiles(), house.clock.clone(), settings, &mut registry).unwrap();
    let mut feed = pipeline.consumer("lake", &[]);
    in_time(async {
        let stop = CancellationToken::new();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        let chunk = feed.chunks.recv().await.unwrap();
        feed.cursor.advance(chunk.end);
        stop.cancel();
        task.await.unwrap().unwrap();
    });
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"forewarn_messages_total{outcome="stored"} 1"#,
        r#"forewarn_messages_total{outcome="duplicate"} 1"#,
        r#"forewarn_messages_total{outcome="dead_letter"} 1"#,
        r#"forewarn_messages_total{outcome="refused"} 0"#,
        r#"forewarn_readings_total{outcome="rejected"} 1"#,
        r#"forewarn_dead_letters_total{reason="malformed_payload"} 1"#,
        r#"forewarn_dead_letters_total{reason="wrong_type"} 0"#,
        "forewarn_decoded_offset 3",
        "forewarn_checkpoint_offset 3",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn settings_read_like_speech() {
    let settings = serde_json::to_value(Settings::default()).unwrap();
    assert_eq!(settings["checkpoint_interval"], "5s");
    let told = r#"{"future_tolerance":"30m","chunk_frames":100}"#;
    let settings: Settings = serde_json::from_str(told).unwrap();
    assert_eq!((settings.future_tolerance, settings.chunk_frames), (Duration::from_secs(1800), 100));
    assert!(serde_json::from_str::<Settings>(r#"{"chunk_frame":1}"#).is_err());
}
