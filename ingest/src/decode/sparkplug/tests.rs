//! What pysparkplug says, as `fixtures/sparkplug.py` has it say it.

use bytes::Bytes;
use proptest::prelude::*;
use schemas::{door::Frame, id::LogOffset};

use super::super::tests::{decoder, frame, profiles, settings, tell};
use super::super::{ClockKind, Decoder};

fn frames() -> Vec<Frame> {
    include_str!("../fixtures/sparkplug.hex")
        .lines()
        .map(|line| {
            let (topic, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            frame(topic, (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
        })
        .collect()
}

/// The telemetry rows of a frame, one a line: device, boot, seconds, the metrics, what the profile does not know.
fn rows(decoder: &mut Decoder, at: u64, frame: &Frame) -> String {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    decoder.frame(LogOffset(at), frame);
    let mut told = String::new();
    let options = FormatOptions::default().with_null("-");
    for rows in decoder.take() {
        let columns: Vec<ArrayFormatter<'_>> = [
            "device_id",
            "boot",
            "event_time",
            "firmware",
            "pressure_bar",
            "starts",
            "running",
            "mode",
            "state",
            "extra",
            "reason",
        ]
        .iter()
        .filter_map(|name| rows.batch.column_by_name(name))
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
        for row in 0..rows.batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            told += &format!("{}: {}\n", rows.table, cells.join(" "));
        }
    }
    told
}

#[test]
fn birth_data_rebirth_and_death_land_as_rows() {
    let mut decoder = decoder();
    let told: String = frames().iter().enumerate().map(|(at, frame)| rows(&mut decoder, at as u64, frame)).collect();
    let expected = "\
telemetry_pump: line-4 3 2026-11-21T10:00:00Z 1.4 2.5 7 true - {Vibration/offset: -5}
status: line-4 3 2026-11-21T10:00:00Z 1.4 online
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:00.010Z - 1.5 - - eco -
status: line-4:pump-7 3 2026-11-21T10:00:00.010Z - online
telemetry_pump: line-4 3 2026-11-21T10:00:01Z 1.4 3.5 - - - {Vibration/offset: -6}
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:02Z - 4.5 - - boost -
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:03Z - 5.5 - - - -
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:04Z - 6.5 - - - -
telemetry_pump: line-4 3 2026-11-21T10:00:05Z 1.4 2.5 7 true - {Vibration/offset: -5}
status: line-4 3 2026-11-21T10:00:05Z 1.4 online
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:05.010Z - 1.5 - - eco -
status: line-4:pump-7 3 2026-11-21T10:00:05.010Z - online
telemetry_pump: line-4 3 2026-11-21T10:00:06Z 1.4 - 9 - - -
telemetry_fan: line-4:pump-7 3 2026-11-21T10:00:06.100Z - - - - off -
dead_letter: line-4:pump-7 no_birth
status: line-4:pump-7 3 2026-11-21T10:00:07Z - offline
telemetry_fan: line-4:pump-8 3 2026-11-21T10:00:07.010Z - 1.5 - - eco -
status: line-4:pump-8 3 2026-11-21T10:00:07.010Z - online
dead_letter: line-4 no_birth
status: line-4 3 2026-11-21T10:00:00Z - offline
status: line-4:pump-8 3 2026-11-21T10:00:00Z - offline
";
    let told: String = told.lines().map(|line| line.replace(" null", " -") + "\n").collect();
    assert_eq!(told, expected, "{told}");
    assert_eq!(decoder.take_tally().sparkplug_missing, 1);
}

#[test]
fn what_comes_again_is_a_duplicate() {
    let mut decoder = decoder();
    let (frames, told) = (frames(), |frame: &Frame, decoder: &mut Decoder| tell(decoder, 0, frame));
    for frame in &frames[..4] {
        assert!(told(frame, &mut decoder).starts_with("stored"));
        assert_eq!(told(frame, &mut decoder), "duplicate");
    }
    assert_eq!(decoder.take_tally().sparkplug_missing, 0);
}

#[test]
fn a_stranger_is_told_what_is_missing() {
    let frames = frames();
    let told = |frame: &Frame| tell(&mut decoder(), 0, frame);
    assert_eq!(
        told(&frames[2]),
        "dead letter; no_birth: a metric has no name and alias 1, which no birth at hand defines"
    );
    assert_eq!(
        told(&frame("spBv1.0/acme/NCMD/line-4", "")),
        "dead letter; bad_topic: a command is to devices, not from them"
    );
    assert!(told(&frame("spBv1.0/acme/DDATA/line-4", "")).starts_with("dead letter; bad_topic: topic"));
    assert!(told(&frame("spBv1.0/acme/NDATA/line-4", "")).starts_with("dead letter; missing_field: metric is missing"));
    assert!(told(&frame("spBv1.0/acme/NBIRTH/line-4", "")).starts_with("dead letter; missing_field: timestamp"));
    let named = [0x08, 0x05, 0x12, 0x08, 0x0a, 0x01, b'a', 0x20, 0x03, 0x50, 0x07, 0x38];
    assert!(
        told(&frame("spBv1.0/acme/NDATA/line-4", &named[..])).starts_with("dead letter; malformed_payload: Sparkplug")
    );
    let named = [0x08, 0x05, 0x12, 0x07, 0x0a, 0x01, b'a', 0x20, 0x03, 0x50, 0x07];
    assert!(told(&frame("spBv1.0/acme/NDATA/line-4", &named[..])).starts_with("dead letter; unknown_profile"));
    let many = [0x12, 0x00].repeat(20_000);
    assert!(
        told(&frame("spBv1.0/acme/NDATA/line-4", many)).starts_with("dead letter; too_many_readings: 20000 metrics")
    );
}

/// The session's messages, some left out, repeated or changed.
fn any_session() -> impl Strategy<Value = Vec<Frame>> {
    let frames = frames();
    let any = (0..frames.len(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..6), 0..4u8);
    prop::collection::vec(any, 1..40).prop_map(move |picks| {
        let pick = |(at, place, bytes, whole): (usize, prop::sample::Index, Vec<u8>, u8)| {
            let frame = frames[at].clone();
            if whole > 0 {
                return frame;
            }
            let mut payload = frame.payload.to_vec();
            let from = place.index(payload.len());
            payload.splice(from..(from + bytes.len()).min(payload.len()), bytes);
            Frame { payload: Bytes::from(payload), ..frame }
        };
        picks.into_iter().map(pick).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_session_ends_as_rows_and_survives_a_restart_anywhere(frames in any_session(), stops in any::<u64>()) {
        let settings = settings(ClockKind::System);
        let (mut whole, mut halting) = (Decoder::new(&profiles(), settings), Decoder::new(&profiles(), settings));
        for (at, frame) in frames.iter().enumerate() {
            if stops >> at & 1 == 1 {
                halting = Decoder::load(&profiles(), settings, &halting.save()).unwrap();
            }
            prop_assert_eq!(rows(&mut whole, at as u64, frame), rows(&mut halting, at as u64, frame));
        }
        let totals = whole.totals();
        prop_assert_eq!(totals, halting.totals());
        prop_assert_eq!(totals.stored + totals.duplicates + totals.dead_letters, frames.len() as u64);
    }

    #[test]
    fn no_bytes_make_sparkplug_panic(r#type in "spBv1.0/acme/(NBIRTH|NDATA|NDEATH)/n|spBv1.0/acme/D(BIRTH|DATA|DEATH)/n/d", payload: Vec<u8>) {
        let mut decoder = decoder();
        decoder.frame(LogOffset(0), &frame(&r#type, payload));
        prop_assert!(!decoder.take().is_empty());
    }
}
