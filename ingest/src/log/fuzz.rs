//! The log's reader with changed segments and records: see [`crate::fuzz`].

use schemas::{door::Principal, reject::RejectReason, time::Instant};

use super::{
    scan::{Scan, Step},
    segment::{Head, Header, decode, encode},
    *,
};
use crate::fuzz::run;

fn frames() -> Vec<Frame> {
    (0..12_u64)
        .map(|n| Frame {
            topic: format!("fw/v1/acme/wm-{n}/telemetry"),
            content_type: (n % 3 == 0).then(|| "application/json".into()),
            payload: "x".repeat(17 * n as usize).into(),
            arrival: Instant::from_millis(1_795_255_200_000 + n as i64),
            refused: (n % 4 == 0).then_some(RejectReason::ForeignTopic),
            sender: (n % 4 == 0)
                .then(|| Principal { tenant: "acme".parse().unwrap(), device_id: "wm-1".parse().unwrap() }),
        })
        .collect()
}

fn segment(salt: u32, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Header { first: 100, previous_end: 100, salt }.bytes().to_vec();
    for (offset, frame) in (100..).zip(frames) {
        let body = encode(frame);
        bytes.extend(Head { len: body.len(), offset, body_crc: crc32c::crc32c(&body) }.bytes(salt));
        bytes.extend(body);
    }
    bytes
}

#[test]
fn fuzz_log_segment() {
    let frames = frames();
    let bodies: Vec<Vec<u8>> = frames.iter().map(encode).collect();
    let valid = [segment(1, &frames), segment(2, &frames[..3])];
    // In memory where there is such a folder: a million files.
    let shm = std::path::Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let path = folder.path().join("segment");
    run("log segment", &valid, |input, _| {
        std::fs::write(&path, input).unwrap();
        let Ok(mut scan) = Scan::open(&path).unwrap() else { return };
        if scan.first() != 100 {
            // A header that was changed has a wrong checksum.
            panic!("first offset {}", scan.first());
        }
        let mut last = None;
        for steps in 0.. {
            assert!(steps <= input.len(), "it goes on and on");
            match scan.step(input.len() as u64).unwrap() {
                Step::Record(offset) => {
                    assert!(last.is_none_or(|last| last < offset), "{offset} after {last:?}");
                    assert!(scan.body() == bodies[(offset - 100) as usize], "record {offset} is not what was written");
                    last = Some(offset);
                }
                Step::Damaged => {}
                Step::End | Step::Torn | Step::Lost => break,
            }
        }
    });
}

#[test]
fn fuzz_log_record() {
    let valid: Vec<Vec<u8>> = frames().iter().map(encode).collect();
    run("log record", &valid, |input, _| {
        if let Some(frame) = decode(input) {
            // Instants that nobody can write down are brought to the nearest that one can.
            let read = [&frame.arrival.micros().to_le_bytes()[..], &input[8..]].concat();
            assert!(encode(&frame) == read, "it is not written as it was read");
        }
    });
}
