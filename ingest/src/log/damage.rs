//! Tests with damaged files.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use super::{
    segment::{HEAD_BYTES, HEADER_BYTES, body_bytes},
    tests::{append, cut, frame, frames, open, read, segments},
    *,
};

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    append(&log, 0..4).await;
    let kept = log.bytes();
    append(&log, 4..5).await;
    let (full, path) = (log.bytes(), segments(dir.path()).remove(0));
    log.close();
    let bytes = fs::read(&path).unwrap();
    for len in kept..full {
        for zeros in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(path.file_name().unwrap());
            fs::write(&path, &bytes[..len as usize]).unwrap();
            if zeros && len < kept + HEAD_BYTES as u64 {
                // Space that the file system had given and not written.
                cut(&path, kept);
                cut(&path, full + 4096);
            }
            let log = open(dir.path(), 1 << 20);
            assert_eq!(log.durable(), LogOffset(4), "{len}");
            assert_eq!(path.metadata().unwrap().len(), kept);
            assert_eq!(read(&log), frames(0..4));
            assert_eq!(append(&log, 4..6).await, [4, 5]);
            assert_eq!(read(&log), frames(0..6));
            assert_eq!(log.0.shared.metrics.corrupt_frames.get(), 0);
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_costs_one_frame_and_no_offset_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 330);
    append(&log, 1..9).await;
    log.close();
    let whole: Vec<_> = segments(dir.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert!(whole.len() >= 3);
    let all: Vec<_> = (0..8).map(|offset| (offset, frame(offset + 1))).collect();
    for (place, (bytes, path)) in whole.iter().enumerate() {
        for byte in 0..bytes.len() {
            let dir = tempfile::tempdir().unwrap();
            for (bytes, path) in &whole {
                fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
            }
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << (byte % 8);
            fs::write(dir.path().join(path.file_name().unwrap()), damaged).unwrap();

            let log = open(dir.path(), 330);
            let found = read(&log);
            let first = segment::first_of(path.file_name().unwrap().to_str().unwrap()).unwrap();
            let next = whole
                .get(place + 1)
                .map_or(8, |(_, path)| segment::first_of(path.file_name().unwrap().to_str().unwrap()).unwrap());
            let lost: Vec<_> = all.iter().filter(|frame| !found.contains(frame)).map(|(offset, _)| *offset).collect();
            let expected: Vec<_> = if byte < HEADER_BYTES as usize {
                (first..next).collect()
            } else {
                let mut end = HEADER_BYTES as usize;
                let hit = (first..next).find(|offset| {
                    end += HEAD_BYTES + body_bytes(&frame(offset + 1));
                    byte < end
                });
                hit.into_iter().collect()
            };
            assert_eq!(lost, expected, "segment {place} byte {byte}");
            assert!(found.iter().all(|frame| all.contains(frame)));
            let metrics = &log.0.shared.metrics;
            assert!(metrics.corrupt_frames.get() + metrics.torn_tail_bytes.get() > 0, "segment {place} byte {byte}");
            let counted = metrics.corrupt_frames.get();
            assert_eq!(read(&log), found);
            assert_eq!(metrics.corrupt_frames.get(), counted, "a second reader counted again");

            let new = append(&log, 100..101).await[0];
            assert!(new >= 8, "offset {new} was acknowledged before");
            log.close();
            let again = open(dir.path(), 330);
            assert_eq!(read(&again).last().unwrap(), &(new, frame(100)));
            assert_eq!(read(&again).len(), found.len() + 1);
        }
    }
}

#[tokio::test]
async fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    append(&log, 0..3).await;
    log.close();
    let copied = fs::read(&segments(dir.path())[0]).unwrap();
    // Records of another file, so with another salt, as a payload.
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20);
    log.append(Frame { payload: copied.into(), ..frame(0) }).await.unwrap();
    append(&log, 1..2).await;
    log.close();
    let file = OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    file.write_all_at(&[0xff], HEADER_BYTES).unwrap();
    let log = open(dir.path(), 1 << 20);
    assert_eq!(read(&log), [(1, frame(1))]);
}

#[tokio::test]
async fn another_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let header = segment::Header { first: 0, previous_end: 0, salt: 1 };
    let mut bytes = header.bytes();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    fs::write(dir.path().join(segment::file_name(0)), bytes).unwrap();
    let error = Log::open(dir.path(), &Settings::default(), &mut Registry::default()).unwrap_err();
    assert!(error.to_string().ends_with("has format version 2; this program reads version 1"), "{error}");
}
