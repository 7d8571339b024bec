use std::sync::Arc;

use schemas::profile::{Profile, Profiles};

use super::*;
use crate::detect::{rulebook::Rulebook, standing::Standings, tests::PUMP};

/// Steps a rule of the pump over `(minute, reading)` and prints what comes out. A reading is the rule's value, `-`
/// where the rule sees none, `!` a report of the fault that it counts, with `late` behind it where it came late.
fn check(rule: &str, series: &[(u64, &str)], expected: &[&str]) {
    let mut profiles = Profiles::default();
    profiles.insert(Profile::parse(PUMP).unwrap());
    let (pump, book) = (Arc::clone(profiles.get("pump").unwrap()), Rulebook::of(&profiles).unwrap());
    let entry = book.page("pump").unwrap().entries.iter().find(|entry| entry.rule.name == rule).unwrap();
    let terms = entry.terms().unwrap();
    let (tenant, device_id) = ("acme".parse().unwrap(), "p-1".parse().unwrap());
    let (mut rules, mut previous, mut events) = (Standings::default(), None, Vec::new());
    for (minute, reading) in series {
        let at = Instant::EPOCH.plus(Duration::from_secs(minute * 60));
        let (value, late) = reading.split_once(' ').map_or((*reading, false), |(value, _)| (value, true));
        let reading = Reading { at, previous, value: value.parse().ok(), late };
        let subject = Subject {
            tenant: &tenant,
            device_id: &device_id,
            profile: &pump.name,
            firmware: Some("1.0"),
            reported: Instant::MAX,
        };
        let event = match value {
            "!" => rules.fault(&terms, &reading, &subject),
            _ => {
                previous = Some(at);
                rules.reading(&terms, &reading, &subject)
            }
        };
        // What is written down and read back goes on as if nothing had been.
        rules = serde_json::from_str(&serde_json::to_string(&rules).unwrap()).unwrap();
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

#[test]
fn a_rate_raises_on_a_robust_slope_and_not_on_a_step_or_a_spike() {
    // 0.2 l a minute down, over ten minutes; a reading every minute.
    let falling: Vec<(u64, String)> = (0..12).map(|m| (m, format!("{}", 50.0 - 0.2 * m as f64))).collect();
    let flat = (12..40).map(|m| (m, "47.8".to_owned()));
    let series: Vec<(u64, String)> = falling.into_iter().chain(flat).collect();
    let series: Vec<(u64, &str)> = series.iter().map(|(minute, value)| (*minute, value.as_str())).collect();
    check(
        "level_falls",
        &series,
        &[
            "5: raised: rate of level_l was -0.2 l/m, at or below -0.1 l/m (1970-01-01T00:05:00Z)",
            "18: cleared: rate of level_l came back to 0 l/m after 13 min (since 1970-01-01T00:05:00Z), lowest -0.2 l/m",
        ],
    );
    let spike: Vec<(u64, &str)> = (0..30).map(|m| (m, if m == 15 { "0" } else { "50" })).collect();
    check("level_falls", &spike, &[]);
    let late: Vec<(u64, &str)> =
        (0..12).map(|m| (m, ["50 late", "48 late", "46 late", "44 late"][m as usize / 3])).collect();
    check("level_falls", &late, &[]);
}

#[test]
fn a_count_of_faults_raises_at_the_nth_and_clears_when_none_is_left() {
    check(
        "often_hot",
        &[(0, "!"), (10, "!"), (15, "-"), (20, "!"), (30, "-"), (75, "-"), (81, "-")],
        &[
            "20: raised: count of E1 within 1 h was 3, at or above 3 (1970-01-01T00:20:00Z)",
            "81: cleared: count of E1 within 1 h came back to 0 after 1 h 1 min (since 1970-01-01T00:20:00Z), highest 3",
        ],
    );
    // Spread over more than the span.
    check("often_hot", &[(0, "!"), (40, "!"), (61, "!"), (99, "-"), (105, "!")], &[]);
    // In another order than they happened: the next row in order raises.
    check(
        "often_hot",
        &[(30, "!"), (31, "-"), (10, "!"), (20, "!"), (32, "-")],
        &["32: raised: count of E1 within 1 h was 3, at or above 3 (1970-01-01T00:32:00Z)"],
    );
}

#[test]
fn late_reports_are_counted_and_do_not_raise() {
    check("often_hot", &[(0, "! late"), (1, "! late"), (2, "! late"), (3, "- late")], &[]);
    check(
        "often_hot",
        &[(0, "! late"), (1, "! late"), (2, "! late"), (3, "-")],
        &["3: raised: count of E1 within 1 h was at or above 3 for 1 min (since 1970-01-01T00:02:00Z), highest 3"],
    );
}

#[test]
fn a_count_of_readings_counts_those_beyond_its_value() {
    check(
        "often_shaking",
        &[(0, "9"), (10, "2"), (20, "9"), (30, "9"), (40, "2"), (119, "2"), (120, "9"), (139, "2"), (140, "2")],
        &[
            "30: raised: count of vibration_mm_s at or above 9 mm/s within 2 h was 3, at or above 3 (1970-01-01T00:30:00Z)",
            "140: cleared: count of vibration_mm_s at or above 9 mm/s within 2 h came back to 2 after 1 h 50 min (since 1970-01-01T00:30:00Z), highest 3",
        ],
    );
}

#[test]
fn an_alarm_that_comes_and_goes_is_flapping_and_stays_until_it_was_calm() {
    // Three within ten minutes.
    let series = [
        (0, "2"),
        (1, "0"),
        (2, "1"),
        (3, "0"),
        (4, "1"),
        (5, "0"),
        (6, "1"),
        (7, "0"),
        (16, "0"),
        (17, "1"),
        (18, "0"),
    ];
    let series = series.map(|(minute, value)| (minute, if value == "0" { "0" } else { "9" }));
    check(
        "loud",
        &series,
        &[
            "0: raised: vibration_mm_s was 9 mm/s, at or above 8.5 mm/s (1970-01-01T00:00:00Z)",
            "1: cleared: vibration_mm_s came back to 0 mm/s after 1 min (since 1970-01-01T00:00:00Z), highest 9 mm/s",
            "2: raised: vibration_mm_s was 9 mm/s, at or above 8.5 mm/s (1970-01-01T00:02:00Z)",
            "3: cleared: vibration_mm_s came back to 0 mm/s after 1 min (since 1970-01-01T00:02:00Z), highest 9 mm/s",
            "4: raised: vibration_mm_s was 9 mm/s, at or above 8.5 mm/s (1970-01-01T00:04:00Z); it is flapping, raised 3 times since 1970-01-01T00:00:00Z: it stays until it was calm for 10 min",
            "16: cleared: vibration_mm_s came back to 0 mm/s after 12 min (since 1970-01-01T00:04:00Z), highest 9 mm/s",
            "17: raised: vibration_mm_s was 9 mm/s, at or above 8.5 mm/s (1970-01-01T00:17:00Z)",
            "18: cleared: vibration_mm_s came back to 0 mm/s after 1 min (since 1970-01-01T00:17:00Z), highest 9 mm/s",
        ],
    );
}
