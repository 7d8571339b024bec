//! Tests of the log on a sound disk.

use std::{
    fs::{self, OpenOptions},
    time::Duration,
};

use proptest::prelude::*;
use schemas::{door::Principal, reject::RejectReason, time::Instant};

use super::*;
use crate::log::segment::{HEAD_BYTES, HEADER_BYTES, body_bytes};

/// Frames that differ in every field; some fields are empty or missing.
pub(super) fn frame(n: u64) -> Frame {
    Frame {
        topic: if n.is_multiple_of(7) { String::new() } else { format!("fw/v1/acme/wm-{n}/telemetry") },
        content_type: [None, Some(String::new()), Some("application/cbor".to_owned())][n as usize % 3].clone(),
        payload: vec![n as u8; (n as usize * 37) % 90].into(),
        arrival: Instant::from_micros(1_800_000_000_000_000 - n as i64 * 1_000_003),
        refused: n.is_multiple_of(5).then(|| RejectReason::ALL[n as usize % RejectReason::ALL.len()]),
        sender: n
            .is_multiple_of(10)
            .then(|| Principal { tenant: "acme".parse().unwrap(), device_id: format!("wm-{n}").parse().unwrap() }),
    }
}

pub(super) fn settings(segment_bytes: u64) -> Settings {
    Settings { segment_bytes, reserve_bytes: 0, ..Settings::default() }
}

pub(super) fn open(dir: &Path, segment_bytes: u64) -> Log {
    Log::open(dir, &settings(segment_bytes), &mut Registry::default()).unwrap()
}

pub(super) async fn append(log: &Log, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let appends = numbers.map(|n| log.append(frame(n)));
    futures::future::join_all(appends).await.into_iter().map(|offset| offset.unwrap().0).collect()
}

pub(super) fn read_from(log: &Log, from: u64) -> Vec<(u64, Frame)> {
    let mut reader = log.reader(LogOffset(from)).unwrap();
    let mut all = Vec::new();
    loop {
        let frames = reader.next(3, 1 << 20).unwrap();
        if frames.is_empty() {
            assert_eq!(reader.position(), log.durable());
            return all;
        }
        all.extend(frames.into_iter().map(|(offset, frame)| (offset.0, frame)));
    }
}

pub(super) fn read(log: &Log) -> Vec<(u64, Frame)> {
    read_from(log, log.first().0)
}

pub(super) fn frames(numbers: std::ops::Range<u64>) -> Vec<(u64, Frame)> {
    numbers.map(|n| (n, frame(n))).collect()
}

pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// Waits for a state; half a minute is for a busy machine.
pub(super) async fn until(what: &str, state: impl Fn() -> bool) {
    let wait = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

pub(super) fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn cause(error: &DoorError) -> &LogError {
    error.downcast_ref().unwrap()
}

#[tokio::test]
async fn frames_come_back_as_they_were_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    assert_eq!((log.first(), log.durable(), log.bytes(), log.trouble()), (LogOffset(0), LogOffset(0), 0, None));
    assert!(read(&log).is_empty());
    let watch = log.watch();
    assert_eq!(append(&log, 0..50).await, (0..50).collect::<Vec<_>>());
    assert_eq!(*watch.borrow(), LogOffset(50));
    assert_eq!(read(&log), frames(0..50));
    assert_eq!(read_from(&log, 17), frames(17..50));
    log.close();
    log.close();
    assert!(matches!(cause(&log.append(frame(50)).await.unwrap_err()), LogError::Closed));
    assert_eq!(read(&log), frames(0..50));

    let again = open(dir.path(), 1 << 20);
    assert_eq!((again.first(), again.durable()), (LogOffset(0), LogOffset(50)));
    assert_eq!(append(&again, 50..60).await, (50..60).collect::<Vec<_>>());
    assert_eq!(read(&again), frames(0..60));
}

#[tokio::test]
async fn a_reader_goes_on_where_it_had_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 500);
    let mut reader = log.reader(LogOffset(0)).unwrap();
    for n in 0..30 {
        append(&log, n..n + 1).await;
        assert_eq!(reader.next(10, 1).unwrap(), [(LogOffset(n), frame(n))]);
        assert!(reader.next(10, 1).unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_limits_of_a_read_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    append(&log, 0..20).await;
    let mut reader = log.reader(LogOffset(0)).unwrap();
    assert_eq!(reader.next(4, usize::MAX).unwrap().len(), 4);
    let two = body_bytes(&frame(4)) + 1;
    assert_eq!(reader.next(100, two).unwrap().len(), 2);
    assert_eq!(reader.next(0, 0).unwrap().len(), 1);
    assert_eq!(reader.position(), LogOffset(7));
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_closes() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), 1 << 20);
    let second = Log::open(dir.path(), &Settings::default(), &mut Registry::default());
    assert!(matches!(second.unwrap_err(), LogError::Locked { .. }));
    first.close();
    open(dir.path(), 1 << 20);
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_frame_bytes: 1000, ..Settings::default() };
    let log = Log::open(dir.path(), &settings, &mut Registry::default()).unwrap();
    let fits = Frame { payload: vec![1; 1000 - body_bytes(&frame(7)) + frame(7).payload.len()].into(), ..frame(7) };
    let large = Frame { topic: "x".into(), ..fits.clone() };
    let error = log.append(large).await.unwrap_err();
    assert_eq!(error.to_string(), "a frame of 1001 bytes is larger than max_frame_bytes = 1000");
    assert_eq!(log.append(fits).await.unwrap(), LogOffset(0));
    let settings = Settings { max_bytes: 5000, ..settings };
    let error = Log::open(dir.path(), &settings, &mut Registry::default()).unwrap_err();
    assert_eq!(error.to_string(), "max_bytes = 5000 is less than max_frame_bytes and 4096 more, 5096");
}

#[tokio::test]
async fn segments_roll_and_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 600);
    for n in 0..10 {
        append(&log, n * 4..n * 4 + 4).await;
    }
    let before = segments(dir.path());
    assert!(before.len() > 4, "{before:?}");
    assert!(before.iter().all(|path| path.metadata().unwrap().len() <= 600));
    assert_eq!(log.bytes(), before.iter().map(|path| path.metadata().unwrap().len()).sum::<u64>());
    let third = segment::first_of(before[2].file_name().unwrap().to_str().unwrap()).unwrap();
    log.release(LogOffset(third + 1));
    assert_eq!(segments(dir.path()), before[2..]);
    assert_eq!(log.first(), LogOffset(third));
    assert_eq!(read(&log), frames(third..40));
    let error = log.reader(LogOffset(third - 1)).unwrap_err();
    let words = format!("log offset {} is gone; the oldest frame still there has offset {third}", third - 1);
    assert_eq!(error.to_string(), words);
    assert!(matches!(log.reader(LogOffset(41)).unwrap_err(), LogError::Ahead { .. }));

    log.release(LogOffset(1000));
    assert_eq!(segments(dir.path()), before[before.len() - 1..]);
    log.close();
    let again = open(dir.path(), 600);
    assert_eq!(again.durable(), LogOffset(40));
    again.release(LogOffset(40));
    assert_eq!(append(&again, 40..41).await, [40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_far_behind_reads_in_order_or_is_told_what_is_gone() {
    const FRAMES: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 4000);
    let reading = {
        let log = log.clone();
        tokio::task::spawn_blocking(move || {
            let mut reader = log.reader(LogOffset(0)).unwrap();
            let mut read = 0;
            while reader.position().0 < FRAMES {
                match reader.next(7, 1000) {
                    Ok(frames) => {
                        for (offset, found) in frames {
                            assert_eq!(found, frame(offset.0));
                            read += 1;
                        }
                    }
                    Err(LogError::Released { from, first }) => {
                        assert!(from < first && from == reader.position());
                        // Another release may come between.
                        if let Ok(next) = log.reader(log.first()) {
                            reader = next;
                        }
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            read
        })
    };
    for n in 0..FRAMES / 50 {
        append(&log, n * 50..n * 50 + 50).await;
        if n % 8 == 7 {
            log.release(LogOffset(n * 50));
        }
    }
    let read = reading.await.unwrap();
    assert!(read > 0);
    assert!(log.first() > LogOffset(0));
    assert_eq!(log.0.shared.metrics.corrupt_frames.get(), 0);
}

#[tokio::test]
async fn frames_of_callers_who_gave_up_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let small =
        Settings { segment_bytes: 1500, max_bytes: 5096, max_frame_bytes: 1000, queue_frames: 8, reserve_bytes: 0 };
    let log = Log::open(dir.path(), &small, &mut Registry::default()).unwrap();
    let first = tokio::spawn({
        let log = log.clone();
        async move { futures::future::join_all((0..200).map(|n| log.append(frame(n)))).await }
    });
    until("the log is full", || log.trouble().is_some()).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let waiting = || lock(&log.0.shared.queue).frames.len();
    for n in 0..1000 {
        let mut gone = std::pin::pin!(log.append(frame(n)));
        assert!(futures::poll!(&mut gone).is_pending());
    }
    assert!(waiting() <= 200 * 2, "{}", waiting());
    // Whoever waits still gets in.
    let last = tokio::spawn({
        let log = log.clone();
        async move { log.append(frame(7)).await.unwrap() }
    });
    until("there is room", || {
        log.release(log.durable());
        last.is_finished()
    })
    .await;
    assert_eq!(last.await.unwrap().plus(1), log.durable());
}

/// Group commit: thousands of frames share few syncs. The rate is printed, not asserted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_frames_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    let payload = bytes::Bytes::from(vec![7; 250]);
    let started = tokio::time::Instant::now();
    let tasks = (0..32).map(|_| {
        let (log, payload) = (log.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let one = || log.append(Frame { payload: payload.clone(), ..frame(1) });
                let offsets = futures::future::join_all((0..100).map(|_| one())).await;
                let offsets: Vec<_> = offsets.into_iter().map(Result::unwrap).collect();
                assert!(offsets.is_sorted(), "appends of one task keep their order");
            }
        })
    });
    futures::future::join_all(tasks).await.into_iter().for_each(Result::unwrap);
    let (metrics, spent) = (&log.0.shared.metrics, started.elapsed());
    println!("32000 frames, {} syncs, {:.0} frames per second", metrics.syncs.get(), 32_000.0 / spent.as_secs_f64());
    assert_eq!(log.durable(), LogOffset(32_000));
    assert_eq!(metrics.appended_frames.get(), 32_000);
    assert!(metrics.syncs.get() < 3200, "{} syncs", metrics.syncs.get());
    assert_eq!(read(&log).len(), 32_000);
}

#[tokio::test]
async fn the_log_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let log = Log::open(dir.path(), &Settings::default(), &mut registry).unwrap();
    append(&log, 0..3).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let size = format!("forewarn_log_size_bytes {}", log.bytes());
    for line in ["forewarn_log_appended_frames_total 3", "forewarn_log_full 0", &size] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("forewarn_log_sync_duration_seconds_count"));
}

#[derive(Debug, Clone)]
enum Act {
    Append(u64),
    Reopen,
    /// Tears so many bytes off the last file, as far as they are records.
    Tear(u64),
    Release(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..12_u64).prop_map(Act::Append),
        1 => Just(Act::Reopen),
        2 => (1..400_u64).prop_map(Act::Tear),
        1 => any::<u8>().prop_map(Act::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_was_appended_less_what_was_torn_off(acts in prop::collection::vec(act(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 700);
        let mut model: Vec<(u64, Frame)> = Vec::new();
        let mut numbers = 0;
        for act in acts {
            match act {
                Act::Append(count) => {
                    let offsets = runtime.block_on(append(&log, numbers..numbers + count));
                    let next = model.last().map_or(log.durable().0 - count, |(last, _)| last + 1);
                    prop_assert_eq!(&offsets, &(next..next + count).collect::<Vec<_>>());
                    model.extend(offsets.into_iter().zip((numbers..).map(frame)));
                    numbers += count;
                }
                Act::Reopen => {
                    log.close();
                    log = open(dir.path(), 700);
                }
                Act::Tear(bytes) => {
                    log.close();
                    if let Some(path) = segments(dir.path()).pop() {
                        let first = segment::first_of(path.file_name().unwrap().to_str().unwrap()).unwrap();
                        let len = path.metadata().unwrap().len();
                        let keep = len.saturating_sub(bytes).max(HEADER_BYTES);
                        cut(&path, keep);
                        let mut end = HEADER_BYTES;
                        model.retain(|(offset, frame)| {
                            if *offset >= first {
                                end += (HEAD_BYTES + body_bytes(frame)) as u64;
                            }
                            *offset < first || end <= keep
                        });
                    }
                    log = open(dir.path(), 700);
                }
                Act::Release(part) => {
                    let (first, durable) = (log.first().0, log.durable().0);
                    let before = first + (durable - first) * u64::from(part) / 255;
                    log.release(LogOffset(before));
                    prop_assert!(log.first().0 <= before);
                    model.retain(|(offset, _)| *offset >= log.first().0);
                }
            }
            prop_assert_eq!(read(&log), model.clone());
        }
    }
}
