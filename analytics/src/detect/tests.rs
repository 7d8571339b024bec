//! Detection over chunks: the pure core by property, the task over a real channel and a real folder.

mod absence;
mod anomaly;
mod series;
mod task;

use std::{collections::HashMap, sync::LazyLock};

use proptest::{prelude::*, strategy::ValueTree};
use schemas::{alarm::AlarmState, id::LogOffset, profile::Profiles, time::Instant};

use self::series::{Event, What, chunk, pump};
use super::{
    Rulebook, checkpoint,
    device::{Devices, Found, Reporting},
};

pub(super) const PUMP: &str = r#"
name = "pump"
title = "Pump"
version = 1
cadence = "60s"
late_after = "1h"
[[metric]]
name = "vibration_mm_s"
unit = "mm/s"
type = "float"
min = 0
max = 100
description = "Velocity of the housing."
[[metric]]
name = "speed_rpm"
unit = "rpm"
type = "integer"
min = 0
max = 5000
description = "Shaft speed."
[[metric]]
name = "level_l"
unit = "l"
type = "float"
min = 0
max = 100
description = "Oil."
[[metric]]
name = "restarts"
type = "integer"
min = 0
max = 1000
description = "Restarts of the controller."
[[component]]
name = "bearing"
title = "Bearing"
skills = ["mechanical"]
repair = "1h"
[[fault]]
code = "E1"
severity = "critical"
fault_key = "bearing/overheating"
title = "Bearing is hot"
customer_text = "A part is hot."
[[rule]]
name = "vibration"
metric = "vibration_mm_s"
raise_above = 7.1
clear_below = 4.5
for = "30m"
when = { metric = "speed_rpm", at_least = 1000 }
severity = "major"
fault_key = "bearing/wear"
probable_cause = "The bearing wears."
customer_text = "A part wears out."
[[rule]]
name = "level"
metric = "level_l"
raise_below = 2
clear_above = 3
severity = "minor"
fault_key = "bearing/dry"
probable_cause = "Oil is low."
customer_text = "Oil is low."
[[rule]]
name = "restarts"
metric = "restarts"
raise_above = 1
severity = "warning"
fault_key = "bearing/control"
probable_cause = "The controller restarts."
customer_text = "The controller restarts."
flapping = { count = 100, within = "1d" }
[[rule]]
name = "level_falls"
metric = "level_l"
rate_below = -0.1
clear_above = -0.02
per = "1m"
over = "10m"
severity = "minor"
fault_key = "bearing/leak"
probable_cause = "Oil is lost."
customer_text = "Oil is lost."
[[rule]]
name = "shakes_more"
metric = "vibration_mm_s"
rate_above = 0.01
clear_below = 0
per = "1m"
over = "4h"
severity = "minor"
fault_key = "bearing/wear"
probable_cause = "It shakes ever more."
customer_text = "It shakes."
[[rule]]
name = "often_hot"
fault = "E1"
count = 3
within = "1h"
severity = "major"
fault_key = "bearing/overheating"
probable_cause = "The bearing is hot again and again."
customer_text = "A part is often hot."
[[rule]]
name = "often_shaking"
metric = "vibration_mm_s"
raise_above = 9
count = 3
clear_count = 2
within = "2h"
severity = "minor"
fault_key = "bearing/wear"
probable_cause = "It shakes again and again."
customer_text = "It shakes."
[[rule]]
name = "loud"
metric = "vibration_mm_s"
raise_above = 8.5
flapping = { count = 3, within = "10m" }
severity = "minor"
fault_key = "bearing/wear"
probable_cause = "It is loud."
customer_text = "It is loud."
[[rule]]
name = "shake_per_turn"
expression = "1000 * vibration_mm_s / nullif(speed_rpm, 0)"
unit = "µm/rev"
raise_above = 50
severity = "minor"
fault_key = "bearing/wear"
probable_cause = "It shakes at rest."
customer_text = "It shakes."
[[rule]]
name = "silent"
absent_for = "40m"
severity = "warning"
fault_key = "bearing/control"
probable_cause = "The controller is not reached."
customer_text = "We do not hear of your pump."
"#;

/// Made once: a property asks it thousands of times.
static BOOK: LazyLock<Rulebook> = LazyLock::new(|| Rulebook::of(&pump()).unwrap());

/// Looks at `events`, cut where `cuts` says; with `restart`, through a checkpoint at every cut.
fn look(profiles: &Profiles, events: &[Event], cuts: &[bool], restart: bool) -> Found {
    let (mut devices, mut all, mut begin) = (Devices::default(), Found::default(), 0);
    for end in 1..=events.len() {
        if end < events.len() && !cuts[end] {
            continue;
        }
        let found = devices
            .look(&BOOK, &chunk(profiles, begin as u64, &events[begin..end]), Reporting::EventTime, usize::MAX)
            .unwrap();
        all.alarms.extend(found.alarms);
        all.seen.extend(found.seen);
        all.tally.readings += found.tally.readings;
        all.tally.out_of_order += found.tally.out_of_order;
        begin = end;
        if restart {
            let bytes = futures::executor::block_on(checkpoint::encode(LogOffset(end as u64), &devices)).unwrap();
            let offset;
            (offset, devices) = checkpoint::decode(&bytes).unwrap();
            assert_eq!(offset, LogOffset(end as u64));
        }
    }
    all
}

fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        6 => (0u8..14, any::<bool>(), 0u8..5, 0i64..2).prop_map(|(vibration, fast, level, restarts)| What::Reading {
            vibration: (vibration > 0).then(|| f64::from(vibration)),
            speed: Some(if fast { 1400 } else { 200 }),
            level: Some(f64::from(level)),
            restarts: Some(restarts),
        }),
        2 => any::<bool>().prop_map(|active| What::Fault { code: "E1", active }),
    ];
    (0u8..3, 0u64..400, prop::bool::weighted(0.3), what).prop_map(|(device, minute, late, what)| Event {
        device: format!("p-{device}"),
        minute,
        late,
        what,
    })
}

/// Mostly in order: event times grow with the place in the series and jump back now and then.
fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..120).prop_map(|mut events| {
        for (place, event) in events.iter_mut().enumerate() {
            event.minute = place as u64 * 10 + event.minute % if event.minute > 350 { 350 } else { 15 };
        }
        events
    })
}

proptest! {
    // A case is up to 120 chunks of one row, each with the expression of a rule: more cases are minutes.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_log_is_cut_the_alarms_are_the_same(
        events in events(), cuts in prop::collection::vec(any::<bool>(), 120),
    ) {
        let profiles = pump();
        let whole = look(&profiles, &events, &[false; 120], false);
        let mut cut = look(&profiles, &events, &cuts, true);
        let mut one_by_one = look(&profiles, &events, &[true; 120], true);
        // Within a chunk alarms of different devices may stand in another order: by device, all is the same.
        let mut whole_alarms = whole.alarms;
        for alarms in [&mut whole_alarms, &mut cut.alarms, &mut one_by_one.alarms] {
            alarms.sort_by(|a, b| a.device_id.cmp(&b.device_id));
        }
        prop_assert_eq!(&whole_alarms, &cut.alarms);
        prop_assert_eq!(&whole_alarms, &one_by_one.alarms);
        prop_assert_eq!(whole.tally, cut.tally);
    }

    #[test]
    fn a_log_that_is_told_twice_gives_each_alarm_once(events in events()) {
        let profiles = pump();
        let ids = |found: Found| -> std::collections::BTreeSet<String> {
            found.alarms.into_iter().map(|alarm| format!("{} {}", alarm.alarm_id, alarm.state.as_str())).collect()
        };
        let once = ids(look(&profiles, &events, &[false; 120], false));
        let again = ids(look(&profiles, &events, &[true; 120], true));
        prop_assert_eq!(&once, &again);
        let raised = once.iter().filter(|id| id.ends_with("raised")).count();
        let found = look(&profiles, &events, &[false; 120], false);
        let told = found.alarms.iter().filter(|alarm| alarm.state == AlarmState::Raised).count();
        prop_assert_eq!(raised, told, "no id is given to two alarms");
    }

    #[test]
    fn no_second_alarm_before_the_first_is_cleared(events in events()) {
        let profiles = pump();
        let mut open = HashMap::new();
        for alarm in look(&profiles, &events, &[true; 120], false).alarms {
            let about = (alarm.device_id.clone(), alarm.specific_problem.clone());
            match alarm.state {
                AlarmState::Raised => prop_assert!(open.insert(about, alarm.alarm_id).is_none()),
                AlarmState::Cleared => prop_assert_eq!(open.remove(&about), Some(alarm.alarm_id)),
            }
        }
    }

    #[test]
    fn late_data_alone_raises_nothing(mut events in events()) {
        events.iter_mut().for_each(|event| event.late = true);
        let found = look(&pump(), &events, &[true; 120], false);
        prop_assert!(found.alarms.is_empty());
        prop_assert_eq!(found.tally.readings, events.len() as u64);
    }
}

#[test]
fn the_series_of_the_properties_raise_and_clear_by_every_way() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut ways = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let series = events().new_tree(&mut runner).unwrap().current();
        for alarm in look(&pump(), &series, &[true; 120], false).alarms {
            // A fault that was remembered while late is raised by another row than its own.
            let remembered = alarm.specific_problem == "E1" && alarm.evidence.since != alarm.alarm_raised_time;
            let how = if remembered { " remembered" } else { "" };
            let flapping = if alarm.evidence.flapping { " flapping" } else { "" };
            ways.insert(format!("{} {}{how}{flapping}", alarm.specific_problem, alarm.state.as_str()));
        }
    }
    for rule in ["E1", "level", "restarts", "vibration", "shakes_more", "often_hot", "often_shaking", "loud", "silent"]
    {
        for state in ["raised", "cleared"] {
            assert!(ways.contains(&format!("{rule} {state}")), "{rule} {state} in {ways:?}");
        }
    }
    for way in ["E1 raised remembered", "shake_per_turn raised", "shake_per_turn raised flapping"] {
        assert!(ways.contains(way), "{way} in {ways:?}");
    }
}

fn reading(device: &str, minute: u64, vibration: f64) -> Event {
    let what = What::Reading { vibration: Some(vibration), speed: Some(1400), level: Some(50.0), restarts: Some(0) };
    Event { device: device.to_owned(), minute, late: false, what }
}

#[test]
fn a_reading_at_or_before_the_last_is_passed_over_but_all_rules_see_the_others() {
    let what = What::Reading { vibration: None, speed: None, level: Some(1.0), restarts: Some(1) };
    let both = Event { device: "p-1".into(), minute: 10, late: false, what: what.clone() };
    let again = Event { minute: 10, ..both.clone() };
    let before = Event { minute: 9, ..both.clone() };
    let found = look(&pump(), &[both, again, before], &[false; 3], false);
    let problems: Vec<&str> = found.alarms.iter().map(|alarm| alarm.specific_problem.as_str()).collect();
    assert_eq!(problems, ["level", "restarts"]);
    assert_eq!(found.tally.out_of_order, 2);
}

#[test]
fn a_device_is_told_when_new_when_changed_and_after_an_hour() {
    let events = [reading("p-1", 0, 1.0), reading("p-1", 59, 1.0), reading("p-2", 59, 1.0), reading("p-1", 60, 1.0)];
    let found = look(&pump(), &events, &[true; 4], false);
    let seen: Vec<String> =
        found.seen.iter().map(|device| format!("{} {}", device.device_id, device.last_seen)).collect();
    assert_eq!(seen, ["p-1 1970-01-01T00:00:00Z", "p-2 1970-01-01T00:59:00Z", "p-1 1970-01-01T01:00:00Z"]);
}

#[test]
fn an_unknown_code_or_profile_raises_nothing_and_is_counted() {
    let what = What::Fault { code: "E99", active: true };
    let events = [Event { device: "p-1".into(), minute: 0, late: false, what }];
    let profiles = pump();
    let chunk = chunk(&profiles, 0, &events);
    let empty = Rulebook::of(&Profiles::default()).unwrap();
    let found = Devices::default().look(&BOOK, &chunk, Reporting::EventTime, 9).unwrap();
    assert_eq!((found.alarms.len(), found.seen.len(), found.tally.unknown_fault), (0, 1, 1));
    let found = Devices::default().look(&empty, &chunk, Reporting::EventTime, 9).unwrap();
    assert_eq!((found.alarms.len(), found.seen.len(), found.tally.unknown_profile), (0, 1, 1));
}

#[test]
fn the_least_recently_heard_device_is_forgotten() {
    let profiles = pump();
    let events = ["p-1", "p-2", "p-1", "p-3"].map(|device| reading(device, 0, 1.0));
    let mut devices = Devices::default();
    let found = devices.look(&BOOK, &chunk(&profiles, 0, &events), Reporting::EventTime, 2).unwrap();
    assert_eq!((found.tally.forgotten, devices.count()), (1, 2));
    let again = [reading("p-1", 1, 1.0), reading("p-2", 1, 1.0)];
    let found = devices.look(&BOOK, &chunk(&profiles, 4, &again), Reporting::EventTime, 2).unwrap();
    assert_eq!(found.seen.len(), 1, "p-1 was kept, p-2 is new");
}

#[test]
fn the_reporting_time_follows_the_clock() {
    let profiles = pump();
    let what = What::Reading { vibration: None, speed: None, level: Some(1.0), restarts: None };
    let events = [Event { device: "p-1".into(), minute: 10, late: false, what }];
    let chunk = chunk(&profiles, 0, &events);
    let raised = Instant::from_millis(600_000);
    for (reporting, expected) in [(Reporting::EventTime, raised), (Reporting::At(Instant::MAX), Instant::MAX)] {
        let found = Devices::default().look(&BOOK, &chunk, reporting, 9).unwrap();
        assert_eq!((found.alarms[0].alarm_raised_time, found.alarms[0].alarm_reporting_time), (raised, expected));
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let profiles = pump();
    let mut devices = Devices::default();
    devices.look(&BOOK, &chunk(&profiles, 0, &[reading("p-1", 0, 9.0)]), Reporting::EventTime, 9).unwrap();
    let bytes = futures::executor::block_on(checkpoint::encode(LogOffset(1), &devices)).unwrap();
    assert!(checkpoint::decode(&bytes).is_ok());
    for cut in 0..bytes.len() {
        assert!(checkpoint::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for place in bytes.iter().position(|b| *b == b'\n').unwrap() + 1..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(checkpoint::decode(&changed).is_err(), "changed at {place}");
    }
}
