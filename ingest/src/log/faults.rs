//! Tests with a disk that fails at a chosen request, or whose power goes.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use super::{
    disk::Sink,
    tests::{append, frame, read, settings, until},
    *,
};

/// Fails those requests whose number, from 1, lies in a range, as a full disk does: a write is half done.
#[derive(Debug, Clone, Default)]
struct Faulty(Arc<Faults>);

#[derive(Debug, Default)]
struct Faults {
    count: AtomicU64,
    from: AtomicU64,
    to: AtomicU64,
    failed: AtomicBool,
    /// Path, synced bytes.
    synced: Mutex<HashMap<PathBuf, Arc<AtomicU64>>>,
}

#[derive(Debug)]
struct FaultySink {
    faults: Faulty,
    sink: Box<dyn Sink>,
    len: u64,
    synced: Arc<AtomicU64>,
}

impl Faulty {
    fn failing(from: u64, to: u64) -> Self {
        let faulty = Self::default();
        faulty.0.from.store(from, SeqCst);
        faulty.0.to.store(to, SeqCst);
        faulty
    }

    fn request(&self) -> io::Result<()> {
        let number = self.0.count.fetch_add(1, SeqCst) + 1;
        if (self.0.from.load(SeqCst)..self.0.to.load(SeqCst)).contains(&number) {
            self.0.failed.store(true, SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// What a power cut leaves: of the bytes that were not synced a part, the rest not at all or as garbage.
    fn cut_power(&self, part: u64, garbage: bool) {
        for (path, synced) in lock(&self.0.synced).iter() {
            let Ok(file) = OpenOptions::new().write(true).open(path) else { continue };
            let (synced, len) = (synced.load(SeqCst), path.metadata().unwrap().len());
            let kept = synced + len.saturating_sub(synced) * part / 4;
            file.set_len(kept).unwrap();
            if garbage {
                file.write_all_at(&vec![0xa5; len.saturating_sub(kept) as usize], kept).unwrap();
            }
        }
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        self.request()?;
        let sink = FileSystem.create(path)?;
        let synced = Arc::new(AtomicU64::new(0));
        lock(&self.0.synced).insert(path.to_owned(), synced.clone());
        Ok(Box::new(FaultySink { faults: self.clone(), sink, len: 0, synced }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.request()?;
        let mut synced = lock(&self.0.synced);
        if let Some(moved) = synced.remove(from) {
            synced.insert(to.to_owned(), moved);
        }
        FileSystem.rename(from, to)
    }
    fn sync_folder(&self, dir: &Path) -> io::Result<()> {
        self.request()?;
        FileSystem.sync_folder(dir)
    }
    fn salt(&self) -> u32 {
        self.0.count.load(SeqCst) as u32
    }
}

impl Sink for FaultySink {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(error) = self.faults.request() {
            self.sink.write_at(&bytes[..bytes.len() / 2], at)?;
            return Err(error);
        }
        self.len = at + bytes.len() as u64;
        self.sink.write_at(bytes, at)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.faults.request()?;
        self.synced.store(self.len, SeqCst);
        // The machine's own disk may be slow; what counts here is the number.
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.faults.request()?;
        self.len = len;
        self.sink.set_len(len)
    }
}

fn open_faulty(dir: &Path, disk: &Faulty, settings: &Settings) -> Log {
    Log::open_on(dir, settings, &mut Registry::default(), Box::new(disk.clone())).unwrap()
}

/// Appends one by one; returns offset and frame of those acknowledged.
async fn append_some(log: &Log, numbers: std::ops::Range<u64>) -> Vec<(u64, Frame)> {
    let mut acknowledged = Vec::new();
    for n in numbers {
        match log.append(frame(n)).await {
            Ok(offset) => {
                assert_eq!(log.trouble(), None);
                acknowledged.push((offset.0, frame(n)));
            }
            Err(error) => {
                assert!(matches!(error.downcast_ref(), Some(LogError::Write { .. })), "{error:?}");
                assert!(log.trouble().is_some_and(|trouble| trouble.starts_with("write the log file")));
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn after_any_failed_requests_the_log_holds_exactly_what_was_acknowledged() {
    for from in 1..50 {
        for width in 1..4 {
            let dir = tempfile::tempdir().unwrap();
            let disk = Faulty::failing(from, from + width);
            let log = open_faulty(dir.path(), &disk, &settings(400));
            let acknowledged = append_some(&log, 0..20).await;
            assert!(disk.0.failed.load(SeqCst), "request {from} never came");
            assert!((17..20).contains(&acknowledged.len()) || width > 1, "one failure costs one batch");
            let offsets: Vec<_> = acknowledged.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
            assert_eq!(read(&log), acknowledged, "requests {from} to {} failed", from + width);
            log.close();
            let again = tests::open(dir.path(), 400);
            assert_eq!(read(&again), acknowledged, "requests {from} to {} failed", from + width);
            assert_eq!(again.0.shared.metrics.corrupt_frames.get(), 0);
            assert_eq!(append(&again, 90..91).await, [acknowledged.len() as u64]);
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_request_loses_nothing_acknowledged() {
    for from in 1..50 {
        for (part, garbage) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Faulty::failing(from, u64::MAX);
            let log = open_faulty(dir.path(), &disk, &settings(400));
            let acknowledged = append_some(&log, 0..20).await;
            log.close();
            disk.cut_power(part, garbage);

            let again = tests::open(dir.path(), 400);
            let found = read(&again);
            assert!(acknowledged.iter().all(|frame| found.contains(frame)), "request {from}, part {part}");
            // What else is there was asked for, failed, and stands where nothing was acknowledged.
            let extra: Vec<_> = found.iter().filter(|frame| !acknowledged.contains(frame)).collect();
            assert!(extra.iter().all(|(offset, _)| acknowledged.iter().all(|(other, _)| other != offset)));
            assert!(extra.iter().all(|(_, extra)| (0..20).any(|n| *extra == frame(n))));
            let new = append(&again, 90..91).await[0];
            assert!(found.iter().all(|(offset, _)| *offset < new));
            again.close();
            let third = tests::open(dir.path(), 400);
            let all: Vec<_> = found.into_iter().chain([(new, frame(90))]).collect();
            assert_eq!(read(&third), all);
        }
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_synced_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let log = open_faulty(dir.path(), &disk, &Settings::default());
    append(&log, 0..1).await;
    disk.0.to.store(u64::MAX, SeqCst);
    disk.0.from.store(1, SeqCst);
    let answers = futures::future::join_all((1..100).map(|n| log.append(frame(n)))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!((log.durable(), log.0.shared.metrics.failed_frames.get()), (LogOffset(1), 99));
    assert!(log.trouble().is_some());
    // The disk has room again: nobody appends, and still the trouble goes.
    disk.0.from.store(u64::MAX, SeqCst);
    until("the log is well again", || log.trouble().is_none()).await;
    assert_eq!(append(&log, 1..2).await, [1]);
    assert_eq!(read(&log), tests::frames(0..2));
    assert_eq!(tests::segments(dir.path()).len(), 2, "the file whose sync failed is left alone");
}

#[tokio::test]
async fn a_full_log_makes_appends_wait_until_space_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let small =
        Settings { segment_bytes: 1500, max_bytes: 6000, max_frame_bytes: 1000, queue_frames: 16, reserve_bytes: 0 };
    let log = Log::open(dir.path(), &small, &mut Registry::default()).unwrap();
    let appending = {
        let log = log.clone();
        tokio::spawn(async move { append(&log, 0..400).await })
    };
    let mut reader = log.reader(LogOffset(0)).unwrap();
    let mut position = 0;
    while position < 400 {
        until("the log is full or done", || log.trouble().is_some() || log.durable() == LogOffset(400)).await;
        assert!(log.bytes() <= 6000 + 2 * segment::HEADER_BYTES, "{}", log.bytes());
        if log.durable() < LogOffset(400) {
            assert!(log.trouble().unwrap_or_default().starts_with("the log is full"));
            assert_eq!(log.0.shared.metrics.full.get(), 1);
        }
        let before = log.durable();
        for (offset, found) in reader.next(1000, 1 << 20).unwrap() {
            assert_eq!((offset.0, found), (position, frame(position)));
            position += 1;
        }
        log.release(reader.position());
        until("it moved on", || log.durable() > before || log.durable() == LogOffset(400)).await;
    }
    assert_eq!(appending.await.unwrap(), (0..400).collect::<Vec<_>>());
    until("it is no longer full", || log.trouble().is_none()).await;
    assert_eq!(log.0.shared.metrics.full.get(), 0);
}

#[tokio::test]
async fn a_full_log_still_takes_what_forewarn_itself_writes() {
    let dir = tempfile::tempdir().unwrap();
    let small =
        Settings { segment_bytes: 1500, max_bytes: 6000, max_frame_bytes: 1000, queue_frames: 16, reserve_bytes: 0 };
    let log = Log::open(dir.path(), &small, &mut Registry::default()).unwrap();
    let devices = {
        let log = log.clone();
        tokio::spawn(async move { futures::future::join_all((0..400).map(|n| log.append(frame(n)))).await })
    };
    until("the log is full", || log.trouble().is_some()).await;
    let durable = log.durable();
    let alarm = Frame { topic: "fw/v1/dev/wm-17/alarm".into(), ..frame(1) };
    for n in 0..10 {
        assert_eq!(log.append(alarm.clone()).await.unwrap(), durable.plus(n));
    }
    // A device that claims such a topic was refused, and waits like everybody else.
    let claimed = Frame { refused: Some(schemas::reject::RejectReason::BadTopic), ..alarm };
    let waits = tokio::time::timeout(std::time::Duration::from_millis(50), log.append(claimed)).await;
    assert!(waits.is_err() && log.durable() == durable.plus(10));
    until("it is still full", || log.trouble().is_some()).await;
    log.close();
    devices.await.unwrap();
}

#[tokio::test]
async fn closing_a_full_log_answers_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let small =
        Settings { segment_bytes: 1500, max_bytes: 6000, max_frame_bytes: 1000, queue_frames: 16, reserve_bytes: 0 };
    let log = Log::open(dir.path(), &small, &mut Registry::default()).unwrap();
    let appending = {
        let log = log.clone();
        tokio::spawn(async move { futures::future::join_all((0..400).map(|n| log.append(frame(n)))).await })
    };
    until("the log is full", || log.trouble().is_some()).await;
    log.close();
    let answers = appending.await.unwrap();
    let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(log.durable(), LogOffset(acknowledged));
    log.close();
    let again = Log::open(dir.path(), &small, &mut Registry::default()).unwrap();
    assert_eq!(read(&again), tests::frames(0..acknowledged));
}
