use schemas::profile::Profile;

use super::*;
use crate::detect::tests::PUMP;

/// Steps a rule of the pump over `(minute, reading)` and prints what comes out. A reading is the metric's value, `-`
/// where the rule sees none, with `late` behind it where it came late.
fn check(rule: &str, series: &[(u64, &str)], expected: &[&str]) {
    let pump = Profile::parse(PUMP).unwrap();
    let rule = pump.rules.iter().find(|r| r.name == rule).unwrap();
    let unit = &pump.metric(&rule.metric).unwrap().unit;
    let (tenant, device_id) = ("acme".parse().unwrap(), "p-1".parse().unwrap());
    let (mut state, mut previous, mut events) = (State::Normal, None, Vec::new());
    for (minute, reading) in series {
        let at = Instant::EPOCH.plus(Duration::from_secs(minute * 60));
        let (value, late) = reading.split_once(' ').map_or((*reading, false), |(value, _)| (value, true));
        let reading = Reading { at, previous, value: value.parse().ok(), late };
        previous = Some(at);
        let subject = Subject {
            tenant: &tenant,
            device_id: &device_id,
            profile: &pump.name,
            firmware: Some("1.0"),
            reported: Instant::MAX,
        };
        let event;
        (state, event) = state.step(rule, unit, &reading, &subject);
        events.extend(event.map(|alarm| format!("{minute}: {}: {}", alarm.state.as_str(), alarm.evidence.reason)));
    }
    assert_eq!(events, expected, "{series:?}");
}

#[test]
fn a_condition_that_holds_long_enough_is_raised_once_and_cleared_once() {
    check(
        "vibration",
        &[(0, "2"), (10, "7.1"), (20, "9.3"), (39, "8"), (40, "8"), (50, "12"), (60, "4.5"), (70, "2")],
        &[
            "40: raised: vibration_mm_s was at or above 7.1 mm/s for 30 min (since 1970-01-01T00:10:00Z), highest 9.3 mm/s",
            "60: cleared: vibration_mm_s came back to 4.5 mm/s after 50 min (since 1970-01-01T00:10:00Z), highest 12 mm/s",
        ],
    );
}

#[test]
fn between_the_values_the_condition_goes_on_and_does_not_raise() {
    check(
        "vibration",
        &[(0, "8"), (20, "6"), (40, "6"), (50, "7.2")],
        &["50: raised: vibration_mm_s was at or above 7.1 mm/s in 2 of 4 readings and never back at 4.5 mm/s \
           for 50 min (since 1970-01-01T00:00:00Z), highest 8 mm/s"],
    );
    check("vibration", &[(0, "8"), (20, "6"), (40, "6")], &[]);
    check("vibration", &[(0, "6"), (40, "6")], &[]);
}

#[test]
fn a_return_past_clear_begins_anew() {
    check("vibration", &[(0, "8"), (20, "4"), (25, "8"), (40, "8")], &[]);
}

#[test]
fn readings_that_the_rule_does_not_see_neither_hold_nor_break() {
    let raised = "vibration_mm_s was at or above 7.1 mm/s for 40 min (since 1970-01-01T00:00:00Z), highest 8 mm/s";
    check("vibration", &[(0, "8"), (20, "-"), (35, "-"), (40, "8"), (50, "-")], &[&format!("40: raised: {raised}")]);
    check("vibration", &[(0, "8"), (20, "NaN"), (40, "8")], &[&format!("40: raised: {raised}")]);
}

#[test]
fn a_silence_begins_anew_while_pending_and_changes_nothing_when_raised() {
    // max_gap is 50 cadences of a minute.
    check("vibration", &[(0, "8"), (51, "8")], &[]);
    check("vibration", &[(0, "8"), (51, "-"), (52, "8")], &[]);
    check(
        "vibration",
        &[(0, "8"), (25, "-"), (50, "-"), (75, "8")],
        &[
            "75: raised: vibration_mm_s was at or above 7.1 mm/s for 1 h 15 min (since 1970-01-01T00:00:00Z), highest 8 mm/s",
        ],
    );
    check(
        "vibration",
        &[(0, "8"), (30, "8"), (3000, "8"), (3001, "1")],
        &[
            "30: raised: vibration_mm_s was at or above 7.1 mm/s for 30 min (since 1970-01-01T00:00:00Z), highest 8 mm/s",
            "3001: cleared: vibration_mm_s came back to 1 mm/s after 2 d 2 h (since 1970-01-01T00:00:00Z), highest 8 mm/s",
        ],
    );
}

#[test]
fn late_readings_move_the_state_and_never_raise() {
    check("vibration", &[(0, "8 late"), (30, "8 late"), (45, "8 late")], &[]);
    check("vibration", &[(0, "8 late"), (30, "8 late"), (60, "3")], &[]);
    check(
        "vibration",
        &[(0, "8 late"), (30, "9 late"), (60, "8")],
        &["60: raised: vibration_mm_s was at or above 7.1 mm/s for 1 h (since 1970-01-01T00:00:00Z), highest 9 mm/s"],
    );
    check(
        "level",
        &[(0, "1"), (1, "9 late"), (2, "1 late")],
        &[
            "0: raised: level_l was 1 l, at or below 2 l (1970-01-01T00:00:00Z)",
            "1: cleared: level_l came back to 9 l after 1 min (since 1970-01-01T00:00:00Z), lowest 1 l",
        ],
    );
}

#[test]
fn a_rule_without_duration_raises_at_once_and_one_below_looks_down() {
    check(
        "level",
        &[(0, "3"), (1, "2"), (2, "1"), (3, "2.5"), (4, "3")],
        &[
            "1: raised: level_l was 2 l, at or below 2 l (1970-01-01T00:01:00Z)",
            "4: cleared: level_l came back to 3 l after 3 min (since 1970-01-01T00:01:00Z), lowest 1 l",
        ],
    );
}

#[test]
fn equal_values_raise_at_and_clear_below() {
    check(
        "restarts",
        &[(0, "1"), (1, "1"), (2, "0"), (3, "1")],
        &[
            "0: raised: restarts was 1, at or above 1 (1970-01-01T00:00:00Z)",
            "2: cleared: restarts came back to 0 after 2 min (since 1970-01-01T00:00:00Z), highest 1",
            "3: raised: restarts was 1, at or above 1 (1970-01-01T00:03:00Z)",
        ],
    );
}

#[test]
fn spans_are_spoken_in_two_units() {
    for (seconds, words) in
        [(0, "0 ms"), (45, "45 s"), (90, "1 min 30 s"), (21_600, "6 h"), (86_460, "1 d"), (97_200, "1 d 3 h")]
    {
        assert_eq!(spoken(Duration::from_secs(seconds)), words);
    }
}
