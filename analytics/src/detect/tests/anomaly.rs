//! An anomaly rule, over chunks.

use std::sync::LazyLock;

use schemas::{
    alarm::{Alarm, AlarmState},
    id::LogOffset,
    profile::{Profile, Profiles},
};

use super::{
    reading,
    series::{Event, chunk},
};
use crate::detect::{
    Rulebook, checkpoint,
    device::{Devices, Reporting},
};

/// The pump with nothing but the rule; a reading a minute, so one false alarm in 20,000 readings.
static PUMP: LazyLock<Profiles> = LazyLock::new(|| {
    let rule = "[[anomaly]]\nname = \"odd\"\nmetric = \"vibration_mm_s\"\nfalse_alarms_per_year = 26\nseverity = \"minor\"\n\
                fault_key = \"bearing/wear\"\n";
    let mut pump = Profile::parse(&format!("{}{rule}", super::PUMP)).unwrap();
    pump.rules.retain(|rule| rule.name == "odd");
    let mut profiles = Profiles::default();
    profiles.insert(pump);
    profiles
});
static BOOK: LazyLock<Rulebook> = LazyLock::new(|| Rulebook::of(&PUMP).unwrap());

/// A pump that trembles around 3 mm/s, and jumps to 30 for ten minutes from minute 1500 on.
fn jump() -> Vec<Event> {
    let value = |minute: u64| match minute {
        1500..1510 => 30.0,
        // A fixed trembling: multiples of the golden ratio fill the unit interval evenly.
        _ => 3.0 + (minute as f64 * 0.618_034).fract(),
    };
    (0..1600).map(|minute| reading("p-1", minute, value(minute))).collect()
}

fn look(events: &[Event], size: usize, restart: bool) -> Vec<Alarm> {
    let (mut devices, mut found) = (Devices::default(), Vec::new());
    for (nth, part) in events.chunks(size).enumerate() {
        let chunk = chunk(&PUMP, (nth * size) as u64, part);
        found.extend(devices.look(&BOOK, &chunk, Reporting::EventTime, usize::MAX).unwrap().alarms);
        if restart {
            let bytes = futures::executor::block_on(checkpoint::encode(LogOffset(1), &devices)).unwrap();
            devices = checkpoint::decode(&bytes).unwrap().1;
        }
    }
    found
}

#[test]
fn a_jump_is_an_anomaly_and_nothing_else_is() {
    let found = look(&jump(), 1600, false);
    let minute = |alarm: &Alarm| alarm.alarm_raised_time.micros() / 60_000_000;
    let raised: Vec<_> = found.iter().filter(|alarm| alarm.state == AlarmState::Raised).map(minute).collect();
    assert_eq!(raised.first(), Some(&1500), "{found:?}");
    assert_eq!(raised.iter().filter(|minute| **minute < 1500).count(), 0);
    let evidence = &found[0].evidence;
    assert_eq!(evidence.indicator, "anomaly of vibration_mm_s");
    assert!(evidence.observed >= evidence.threshold, "{evidence:?}");
}

#[test]
fn cut_anywhere_and_restarted_the_alarms_are_the_same() {
    let whole = look(&jump(), 1600, false);
    assert!(!whole.is_empty());
    assert_eq!(whole, look(&jump(), 7, false));
    assert_eq!(whole, look(&jump(), 100, true));
}

#[test]
fn late_readings_teach_and_never_raise() {
    let mut events = jump();
    events.iter_mut().for_each(|event| event.late = true);
    assert!(look(&events, 1600, false).is_empty());
}
