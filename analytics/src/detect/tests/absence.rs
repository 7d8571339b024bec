//! Devices that say nothing, over chunks. The pump's rule allows 40 minutes; a step of the log's time counts ten.

use schemas::{alarm::AlarmState, id::LogOffset, time::Instant};

use super::{
    reading,
    series::{Event, What, arriving, pump},
};
use crate::detect::{
    Rulebook, checkpoint,
    device::{Devices, Reporting},
};

/// Feeds `(device, minute, late)` row by row and prints the absence alarms. Under the system clock rows arrive at
/// `minute`; what a device measured then is `behind` minutes older.
fn check(system: bool, behind: u64, rows: &[(&str, u64, bool)], expected: &[&str]) {
    let events: Vec<Event> = rows
        .iter()
        .map(|(device, minute, late)| Event { late: *late, ..reading(device, *minute, 1.0) })
        .map(|event| Event { minute: event.minute - behind, ..event })
        .collect();
    let reporting = if system { Reporting::At(Instant::MAX) } else { Reporting::EventTime };
    let (profiles, mut runs) = (pump(), Vec::new());
    let book = Rulebook::of(&profiles).unwrap();
    for (size, restart) in [(1, false), (3, true), (events.len(), false)] {
        let (mut devices, mut found) = (Devices::default(), Vec::new());
        for (nth, part) in events.chunks(size).enumerate() {
            let chunk = arriving(&profiles, (nth * size) as u64, part, |event, place| {
                event.at() + i64::try_from(behind).unwrap() * 60_000_000 + place
            });
            let chunk = devices.look(&book, &chunk, reporting, usize::MAX).unwrap();
            found.extend(chunk.alarms.into_iter().filter(|alarm| alarm.specific_problem == "silent"));
            if restart {
                let bytes = futures::executor::block_on(checkpoint::encode(LogOffset(1), &devices)).unwrap();
                devices = checkpoint::decode(&bytes).unwrap().1;
            }
        }
        let lines = found.iter().map(|alarm| {
            let at = match alarm.state {
                AlarmState::Raised => alarm.alarm_raised_time,
                AlarmState::Cleared => alarm.alarm_cleared_time.unwrap(),
            };
            let minute = at.since(Instant::EPOCH).as_secs() / 60;
            format!("{minute}: {} {}: {}", alarm.device_id, alarm.state.as_str(), alarm.evidence.reason)
        });
        runs.push(lines.collect::<Vec<_>>());
    }
    assert_eq!(runs[0], expected, "{rows:?}");
    assert_eq!(runs[1], expected, "with restarts");
    assert_eq!(runs[2], expected, "in one chunk");
}

/// A neighbour that reports every ten minutes.
fn neighbour(minutes: std::ops::Range<u64>) -> Vec<(&'static str, u64, bool)> {
    minutes.step_by(10).map(|minute| ("p-2", minute, false)).collect()
}

#[test]
fn a_device_that_says_nothing_is_missed_by_others_rows_and_comes_back() {
    for system in [false, true] {
        let mut rows = vec![("p-1", 5, false)];
        rows.extend(neighbour(10..70));
        rows.push(("p-1", 72, false));
        let expected = [
            "45: p-1 raised: no report for 40 min (the last was of 1970-01-01T00:05:00Z)",
            "72: p-1 cleared: it reported again at 1970-01-01T01:12:00Z, 1 h 7 min after 1970-01-01T00:05:00Z",
        ];
        check(system, 0, &rows, &expected);
    }
}

#[test]
fn time_that_nobody_reported_is_not_the_devices_silence() {
    // From minute 30 on nothing at all came for ten hours: Forewarn was down. Both come back, one after the other.
    let mut rows = neighbour(0..31);
    rows.insert(0, ("p-1", 0, false));
    rows.extend([("p-1", 28, false), ("p-2", 630, false), ("p-2", 635, false), ("p-1", 640, false)]);
    check(false, 0, &rows, &[]);
    rows.pop();
    rows.extend(neighbour(640..670));
    check(false, 0, &rows, &["68: p-1 raised: no report for 40 min (the last was of 1970-01-01T00:28:00Z)"]);
}

#[test]
fn a_device_alone_is_never_missed() {
    check(false, 0, &[("p-1", 0, false), ("p-1", 500, false), ("p-1", 501, false)], &[]);
}

#[test]
fn a_device_whose_log_is_back_filled_is_not_missed() {
    // Only late data is known of it.
    let mut rows = vec![("p-1", 1, true), ("p-1", 2, true)];
    rows.extend(neighbour(10..200));
    check(false, 0, &rows, &[]);
    // It was there, and then sends what it had kept: each row is a sign of life.
    let mut rows = vec![("p-1", 5, false)];
    for minute in (10..200).step_by(10) {
        rows.push(("p-2", minute, false));
        rows.push(("p-1", 5 + minute / 10, true));
    }
    check(false, 0, &rows, &[]);
}

#[test]
fn late_data_from_before_the_silence_does_not_end_it() {
    let mut rows = vec![("p-1", 5, false)];
    rows.extend(neighbour(10..60));
    rows.extend([("p-1", 3, true), ("p-1", 4, true)]);
    let raised = "45: p-1 raised: no report for 40 min (the last was of 1970-01-01T00:05:00Z)";
    check(false, 0, &rows, &[raised]);
    rows.push(("p-1", 6, true));
    let cleared = "6: p-1 cleared: it reported again at 1970-01-01T00:06:00Z, 1 min after 1970-01-01T00:05:00Z";
    check(false, 0, &rows, &[raised, cleared]);
}

#[test]
fn under_the_system_clock_arrival_counts_not_what_devices_say() {
    // All devices' clocks are an hour behind: nobody is missed for that.
    let mut rows = vec![("p-1", 100, false)];
    rows.extend(neighbour(100..140));
    rows.push(("p-1", 139, false));
    rows.extend(neighbour(140..170));
    check(true, 60, &rows, &[]);
}

#[test]
fn a_device_that_comes_and_goes_is_flapping() {
    // Its rule says three alarms within sixty cadences, an hour; its silences are 50 minutes, so two fit.
    let mut rows = Vec::new();
    for minute in 0..400 {
        if minute % 10 == 0 {
            rows.push(("p-2", minute, false));
        }
        if minute % 50 == 0 && minute <= 200 {
            rows.push(("p-1", minute, false));
        }
    }
    let events = rows.len();
    let found = {
        let (profiles, mut devices) = (pump(), Devices::default());
        let mut profile = profiles.get("pump").unwrap().as_ref().clone();
        for rule in &mut profile.rules {
            rule.flapping.within = std::time::Duration::from_secs(3 * 3600);
        }
        let mut changed = schemas::profile::Profiles::default();
        changed.insert(profile);
        let book = Rulebook::of(&changed).unwrap();
        let events: Vec<Event> = rows.iter().map(|(device, minute, _)| reading(device, *minute, 1.0)).collect();
        let chunk = arriving(&changed, 0, &events, |_, place| place);
        devices.look(&book, &chunk, Reporting::EventTime, usize::MAX).unwrap()
    };
    assert_eq!(events, 45);
    let told: Vec<_> = found.alarms.iter().filter(|alarm| alarm.device_id.as_str() == "p-1").collect();
    let states: Vec<_> = told.iter().map(|alarm| (alarm.state, alarm.evidence.flapping)).collect();
    use AlarmState::{Cleared, Raised};
    assert_eq!(states, [(Raised, false), (Cleared, false), (Raised, false), (Cleared, false), (Raised, true)]);
    let reason = &told[4].evidence.reason;
    assert!(reason.contains("it is flapping, raised 3 times since"), "{reason}");
}

#[test]
fn a_fault_report_is_a_sign_of_life() {
    let (profiles, mut devices) = (pump(), Devices::default());
    let book = Rulebook::of(&profiles).unwrap();
    let mut events = vec![reading("p-1", 0, 1.0)];
    for minute in (5..80).step_by(5) {
        events.push(reading("p-2", minute, 1.0));
        let what = What::Fault { code: "E1", active: false };
        events.push(Event { device: "p-1".into(), minute, late: false, what });
    }
    let chunk = arriving(&profiles, 0, &events, |_, place| place);
    let found = devices.look(&book, &chunk, Reporting::EventTime, usize::MAX).unwrap();
    assert!(found.alarms.is_empty(), "{:?}", found.alarms);
}
