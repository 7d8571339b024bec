//! Batch and streaming are the same numbers.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use foresight::{
    daily::{self, Days},
    indicator::{Computer, Definition, Statistic as Streamed, Window},
};
use proptest::prelude::*;
use schemas::profile::indicator::Statistic;

use super::{Reading, begin, profile, readings};
use crate::prognosis::{
    feature::{self, Features},
    frame::{self, Known},
    rows,
};

/// Readings out of order, late, with gaps, in and out of the regime; no two of one device at one instant.
fn fleet() -> impl Strategy<Value = Vec<Reading>> {
    let minute = 1u64..12 * 24 * 60;
    let reading =
        (0usize..3, minute, 0u64..72 * 60, prop::bool::weighted(0.8), -20.0..40.0f64, prop::bool::weighted(0.9));
    prop::collection::vec(reading, 1..300).prop_map(|rows| {
        let mut seen = std::collections::BTreeSet::new();
        let rows = rows.into_iter().filter(|(device, minute, ..)| seen.insert((*device, *minute)));
        let minutes = |minutes: u64| std::time::Duration::from_secs(minutes * 60);
        rows.map(|(device, minute, delay, spins, vibration, measured)| Reading {
            device: format!("wm-{device}"),
            at: begin().plus(minutes(minute)),
            arrived: begin().plus(minutes(minute + delay)),
            speed: Some(if spins { 1000.0 } else { 100.0 }),
            vibration: measured.then_some(vibration),
        })
        .collect()
    })
}

fn near(left: f64, right: f64) -> bool {
    (left.is_nan() && right.is_nan())
        || left == right
        || (left - right).abs() <= 1e-9 * (1.0 + left.abs().max(right.abs()))
}

fn both(batches: &[RecordBatch], known: Known) -> [BTreeMap<String, Days>; 2] {
    let features = Features::of(&profile());
    [
        frame::days(batches, features.channels(), known).unwrap(),
        rows::days(batches, features.channels(), known).unwrap(),
    ]
}

/// The window's statistics by the streaming computer: rows in order of event time, and one without values at midnight.
fn streamed(rows: &[Reading], device: &str, landmark: i32, days: u32) -> Vec<(Statistic, f64)> {
    const BOTH: [(Statistic, Streamed); 8] = [
        (Statistic::Count, Streamed::Count),
        (Statistic::Last, Streamed::Last),
        (Statistic::Mean, Streamed::Mean),
        (Statistic::Std, Streamed::Std),
        (Statistic::Min, Streamed::Min),
        (Statistic::Max, Streamed::Max),
        (Statistic::Change, Streamed::Change),
        (Statistic::Slope, Streamed::Slope),
    ];
    let midnight = schemas::time::Instant::from_micros(daily::landmark_micros(landmark));
    let window = Window::Time { seconds: f64::from(days) * 86_400.0 };
    let definitions = BOTH.map(|(_, statistic)| Definition::of("vibration_mm_s", statistic, window));
    let mut computer = Computer::new(&["vibration_mm_s".to_owned()], &definitions).unwrap();
    let mut own: Vec<&Reading> =
        rows.iter().filter(|row| row.device == device && row.at <= midnight && row.arrived <= midnight).collect();
    own.sort_by_key(|row| row.at);
    for row in own {
        let value = row.vibration.filter(|_| row.speed >= Some(600.0));
        assert!(computer.push(row.at, &[value]), "in order");
    }
    computer.push(midnight, &[None]);
    BOTH.iter().map(|(statistic, _)| *statistic).zip(computer.values()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Cut into two batches at any place: Polars, row by row, and the streaming computer say the same.
    #[test]
    fn batch_and_streaming_agree(rows in fleet(), cut in 0.0..1.0f64, landmark in 1i32..15, days in 1u32..14) {
        let cut = (rows.len() as f64 * cut) as usize;
        let batches = [readings(&rows[..cut]), readings(&rows[cut..])];
        let [batch, by_row] = both(&batches, Known::Arrival);
        prop_assert_eq!(batch.keys().collect::<Vec<_>>(), by_row.keys().collect::<Vec<_>>());
        let features = Features::of(&profile());
        let landmark = begin().days() + landmark;
        let channel = features.channels().iter().position(|channel| channel.metric == "vibration_mm_s").unwrap();
        for (device, days_of) in &batch {
            let windows = days_of.windows(landmark, i32::MIN, &[days, 28], features.channels().len());
            let (window, baseline) = (windows[channel * 2], windows[channel * 2 + 1]);
            for (statistic, streamed) in streamed(&rows, device, landmark, days) {
                let merged = feature::statistic(statistic, &window, &baseline);
                prop_assert!(near(merged, streamed), "{statistic:?} of {device}: {merged} and {streamed}");
            }
            let (left, right) = (
                features.row(days_of, landmark, i32::MIN),
                features.row(&by_row[device], landmark, i32::MIN),
            );
            for ((left, right), name) in left.iter().zip(&right).zip(features.names()) {
                prop_assert!(near(*left, *right), "{name} of {device}: {left} by Polars, {right} by row");
            }
        }
    }
}

#[test]
fn a_replayed_year_counts_by_event_time_and_leaves_late_readings_out() {
    let day = std::time::Duration::from_secs(86_400);
    let reading = |hour: u64, delay_days: u32| Reading {
        device: "wm-1".into(),
        at: begin().plus(std::time::Duration::from_secs(hour * 3600)),
        arrived: begin().plus(std::time::Duration::from_secs(hour * 3600)).plus(day * delay_days),
        speed: Some(1000.0),
        vibration: Some(hour as f64),
    };
    // The second is late by the profile's own measure; the mark of the table says so.
    let batches = [readings(&[reading(5, 0), reading(6, 3)])];
    for days in both(&batches, Known::Event) {
        let features = Features::of(&profile());
        let row = features.row(&days["wm-1"], begin().days() + 1, i32::MIN);
        let place = features.names().iter().position(|name| name == "vibration_mm_s_mean_7d").unwrap();
        assert_eq!(row[place], 5.0);
    }
}

#[test]
fn nothing_is_no_device() {
    assert!(both(&[], Known::Arrival).iter().all(BTreeMap::is_empty));
}
