use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use proptest::prelude::*;
use schemas::{
    door::{Frame, Principal},
    id::LogOffset,
    reject::RejectReason,
    table::TableName,
    time::{ClockKind, Instant},
};

use super::{HOUR, MAX_GAPS};
use crate::decode::{
    Decoder, Settings,
    tests::{frame, profiles},
};

/// 2026-11-21T10:00:00Z.
const TEN: i64 = 1_795_255_200_000_000;
const MINUTE: i64 = 60_000_000;

fn settings(max_devices: usize) -> Settings {
    Settings { future_tolerance: Duration::from_secs(3600), max_devices, clock: ClockKind::System }
}

fn reading(device: &str, boot: i64, seq: i64, event: i64, arrival: i64) -> Frame {
    let payload = format!(
        r#"{{"profile":"pump","boot":{boot},"seq":{seq},"ts":{},"m":{{"pressure_bar":1}}}}"#,
        event.div_euclid(1000)
    );
    at(frame(&format!("fw/v1/acme/{device}/telemetry"), payload), arrival)
}

fn at(frame: Frame, arrival: i64) -> Frame {
    Frame { arrival: Instant::from_micros(arrival), ..frame }
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    device: String,
    channel: Option<String>,
    hour: i64,
    /// received, stored, duplicate, rejected, late
    counts: [i64; 5],
    missing: i64,
    gaps: String,
    revision: i64,
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    let number = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
    let hour = batch.column_by_name("hour").unwrap().as_primitive::<TimestampMicrosecondType>();
    (0..batch.num_rows())
        .map(|row| Row {
            device: text("device_id").value(row).to_owned(),
            channel: text("channel").is_valid(row).then(|| text("channel").value(row).to_owned()),
            hour: hour.value(row),
            counts: ["received", "stored", "duplicate", "rejected", "late"].map(|name| number(name).value(row)),
            missing: number("missing").value(row),
            gaps: text("gaps").value(row).to_owned(),
            revision: number("revision").value(row),
        })
        .collect()
}

/// The ledger's rows since this was last asked; other tables' are dropped.
fn ledger(decoder: &mut Decoder) -> Vec<Row> {
    let taken = decoder.take();
    taken.iter().filter(|taken| taken.table == TableName::Ledger).flat_map(|taken| rows(&taken.batch)).collect()
}

#[test]
fn an_hour_that_is_over_is_a_row_with_its_gaps() {
    let mut decoder = Decoder::new(&profiles(), settings(100));
    let thief = Principal { tenant: "acme".parse().unwrap(), device_id: "pump-1".parse().unwrap() };
    let foreign = frame("fw/v1/acme/pump-2/telemetry", "{}");
    let foreign = Frame { refused: Some(RejectReason::ForeignTopic), sender: Some(thief), ..foreign };
    let bad = frame("fw/v1/acme/pump-1/telemetry", "nonsense");
    let fault = frame("fw/v1/acme/pump-1/fault", r#"{"profile":"pump","boot":1,"seq":1,"ts":1,"code":"E1"}"#);
    let frames = [
        reading("pump-1", 7, 5, TEN, TEN),
        reading("pump-1", 7, 9, TEN, TEN + 1),
        reading("pump-1", 7, 9, TEN, TEN + 2),
        reading("pump-1", 8, 3, TEN - 2 * HOUR, TEN + 3),
        reading("pump-1", 8, 1, TEN, TEN + 4),
        at(bad, TEN + 5),
        at(fault, TEN + 6),
        at(foreign, TEN + HOUR - 1),
        // The next hour, and not long enough over the full hour.
        reading("pump-1", 8, 4, TEN + HOUR, TEN + HOUR + MINUTE - 1),
    ];
    for (place, frame) in frames.iter().enumerate() {
        decoder.frame(LogOffset(place as u64), frame);
    }
    assert_eq!(ledger(&mut decoder), []);
    decoder.frame(LogOffset(9), &reading("pump-3", 1, 1, TEN, TEN + HOUR + MINUTE));
    let row = |channel: Option<&str>, counts, missing, gaps: &str| Row {
        device: "pump-1".into(),
        channel: channel.map(str::to_owned),
        hour: TEN,
        counts,
        missing,
        gaps: gaps.into(),
        revision: 9,
    };
    assert_eq!(
        ledger(&mut decoder),
        [
            row(Some("telemetry"), [6, 4, 1, 1, 1], 4, "[[7,6,8],[8,2,2]]"),
            row(Some("fault"), [1, 1, 0, 0, 1], 0, "[]"),
            row(None, [1, 0, 0, 1, 0], 0, "[]"),
        ]
    );
    // A gap that is filled later is gone from the later row.
    decoder.frame(LogOffset(10), &reading("pump-1", 8, 2, TEN, TEN + HOUR + 2 * MINUTE));
    decoder.frame(LogOffset(11), &reading("pump-3", 1, 2, TEN, TEN + 9 * HOUR));
    let later = ledger(&mut decoder);
    assert_eq!((later[0].hour, later[0].counts, later[0].gaps.as_str()), (TEN + HOUR, [2, 2, 0, 0, 1], "[[7,6,8]]"));
}

#[test]
fn a_row_lists_the_newest_gaps_and_counts_all() {
    let mut decoder = Decoder::new(&profiles(), settings(100));
    for seq in 0..200 {
        decoder.frame(LogOffset(seq), &reading("pump-1", 1, seq as i64 * 3, TEN, TEN));
    }
    decoder.frame(LogOffset(200), &reading("pump-1", 1, i64::MAX - 1, TEN, TEN));
    decoder.frame(LogOffset(201), &reading("pump-2", 1, 1, TEN, TEN + 2 * HOUR));
    let row = ledger(&mut decoder).remove(0);
    assert_eq!(row.gaps.matches(',').count() + 1, 3 * MAX_GAPS);
    assert!(row.gaps.starts_with("[[1,") && row.gaps.ends_with(&format!("[1,598,{}]]", i64::MAX - 2)), "{}", row.gaps);
    assert_eq!(row.missing, 199 * 2 + (i64::MAX - 2 - 598 + 1));
}

#[test]
fn a_clock_set_back_costs_rows_and_no_count() {
    let mut decoder = Decoder::new(&profiles(), settings(100));
    let arrivals = [TEN, TEN + 5 * HOUR, TEN + 1, TEN + 2, TEN + 5 * HOUR + 1, TEN + 9 * HOUR];
    let mut written = Vec::new();
    for (place, arrival) in arrivals.into_iter().enumerate() {
        decoder.frame(LogOffset(place as u64), &reading("pump-1", 1, place as i64, arrival, arrival));
        written.extend(ledger(&mut decoder).iter().map(|row| ((row.hour - TEN) / HOUR, row.counts[0])));
    }
    assert_eq!(written, [(0, 1), (5, 1), (0, 2), (5, 1)]);
}

#[test]
fn devices_that_give_way_leave_their_counts() {
    let mut decoder = Decoder::new(&profiles(), settings(16));
    let mut sums = 0;
    for place in 0..200 {
        let device = format!("pump-{}", place % 50);
        decoder.frame(LogOffset(place), &reading(&device, 1, place as i64, TEN, TEN + place as i64));
        sums += ledger(&mut decoder).iter().map(|row| row.counts[0]).sum::<i64>();
    }
    assert!(decoder.devices() <= 16);
    assert!(decoder.hours.len <= 17, "{}", decoder.hours.len);
    assert!(decoder.take_tally().ledger_early > 0);
    decoder.frame(LogOffset(200), &reading("pump-x", 1, 1, TEN, TEN + 2 * HOUR));
    sums += ledger(&mut decoder).iter().map(|row| row.counts[0]).sum::<i64>();
    assert_eq!(sums, 200);
}

/// A device that only ever sent nonsense is not remembered for longer than its hour.
#[test]
fn strangers_are_dropped_with_their_hour() {
    let mut decoder = Decoder::new(&profiles(), settings(100));
    decoder.frame(LogOffset(0), &at(frame("fw/v1/acme/spam/telemetry", "nonsense"), TEN));
    assert_eq!(decoder.devices(), 1);
    decoder.frame(LogOffset(1), &at(frame("fw/v1/acme/other/telemetry", "nonsense"), TEN + 2 * HOUR));
    assert_eq!(ledger(&mut decoder)[0].counts, [1, 0, 0, 1, 0]);
    assert_eq!(decoder.devices(), 1);
}

/// What a plain count says of a device's hour.
type Recount = BTreeMap<(String, i64), [i64; 5]>;

/// device, boot, number, minutes of event time before arrival, whether it is nonsense, seconds since the one before
type Sent = (u8, i64, i64, i64, bool, i64);

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let one = (
        0..4u8,
        0..3i64,
        0..40i64,
        0..120i64,
        prop::bool::weighted(0.1),
        prop_oneof![9 => -20..600i64, 1 => -9000..9000i64],
    );
    prop::collection::vec(one, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_ledger_is_a_recount_of_the_frames(
        sent in sent(), stops in prop::collection::vec(prop::bool::weighted(0.1), 300), few: bool,
    ) {
        // Where few are remembered, duplicates are not all found: then only what was received is compared.
        let settings = settings(if few { 2 } else { 100 });
        let mut whole = Decoder::new(&profiles(), settings);
        let mut halting = Decoder::new(&profiles(), settings);
        let mut expected = Recount::new();
        let mut seen: BTreeMap<(String, i64), BTreeSet<i64>> = BTreeMap::new();
        let (mut found, mut latest) = (Recount::new(), BTreeMap::<String, Row>::new());
        let mut arrival = TEN;
        let end = sent.len();
        // Two frames behind everything close all hours.
        let last = [(9, 1, 1, 0, false, 1_000_000), (9, 1, 2, 0, false, 1_000_000)];
        for (place, (device, boot, seq, age, nonsense, pause)) in sent.into_iter().chain(last).enumerate() {
            arrival += pause * 1_000_000;
            let name = format!("pump-{device}");
            let event = arrival - age * MINUTE;
            let frame = match nonsense {
                true => at(frame(&format!("fw/v1/acme/{name}/telemetry"), "nonsense"), arrival),
                false => reading(&name, boot, seq, event, arrival),
            };
            if place < end {
                let hour = arrival.div_euclid(HOUR) * HOUR;
                let sum = expected.entry((name.clone(), hour)).or_default();
                sum[0] += 1;
                if nonsense {
                    sum[3] += 1;
                } else if seen.entry((name, boot)).or_default().insert(seq) {
                    sum[1] += 1;
                    // What the pump's profile calls late.
                    sum[4] += i64::from(age > 60);
                } else {
                    sum[2] += 1;
                }
            }
            if stops.get(place).copied().unwrap_or_default() {
                halting = Decoder::load(&profiles(), settings, &halting.save()).unwrap();
            }
            whole.frame(LogOffset(place as u64), &frame);
            halting.frame(LogOffset(place as u64), &frame);
            let written = ledger(&mut halting);
            prop_assert_eq!(&ledger(&mut whole), &written);
            for row in written.into_iter().filter(|row| row.device != "pump-9") {
                let sum = found.entry((row.device.clone(), row.hour)).or_default();
                sum.iter_mut().zip(row.counts).for_each(|(sum, count)| *sum += count);
                prop_assert_eq!(row.counts[0], row.counts[1] + row.counts[2] + row.counts[3]);
                latest.insert(row.device.clone(), row);
            }
        }
        if few {
            let received = |counts: &Recount| -> Vec<_> { counts.iter().map(|(key, sum)| (key.clone(), sum[0])).collect() };
            prop_assert_eq!(received(&found), received(&expected));
            return Ok(());
        }
        prop_assert_eq!(found, expected);
        for (device, row) in latest {
            let missing: i64 = seen
                .iter()
                .filter(|((name, _), _)| *name == device)
                .map(|(_, seen)| seen.last().unwrap() - seen.first().unwrap() + 1 - seen.len() as i64)
                .sum();
            // Numbers are seen in later hours too: the row with the greatest revision knows them all.
            prop_assert_eq!(row.missing, missing, "{:?}", row);
        }
    }

    #[test]
    fn broken_hours_are_an_error(bytes: Vec<u8>) {
        let _ = super::Hours::load(&mut crate::packed::Reader::new(&bytes));
        let _ = super::Account::load(&mut crate::packed::Reader::new(&bytes));
    }
}

#[test]
fn a_profile_need_not_be_known_to_be_counted() {
    let mut decoder = Decoder::new(&Arc::default(), settings(100));
    decoder.frame(LogOffset(0), &reading("pump-1", 1, 1, TEN, TEN));
    decoder.frame(LogOffset(1), &reading("pump-1", 1, 2, TEN, TEN + 2 * HOUR));
    assert_eq!(ledger(&mut decoder)[0].counts, [1, 0, 0, 1, 0]);
}
