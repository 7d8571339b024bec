use super::*;

#[test]
fn every_builtin_profile_is_legal_and_bears_its_name() {
    let profiles = Profiles::builtin();
    for (name, _) in BUILTIN {
        let profile = profiles.get(name).unwrap();
        assert!(!profile.metrics.is_empty(), "{name} measures nothing");
        assert!(!profile.components.is_empty(), "{name} has no component");
    }
    for name in ["washing_machine", "refrigerator", "air_conditioner", "smartphone", "disk_drive"] {
        let profile = profiles.get(name).unwrap();
        assert!(!profile.rules.is_empty() && !profile.faults.is_empty(), "{name} is watched by nothing");
    }
}

const HEAD: &str = "name = \"pump\"\ntitle = \"Pump\"\nversion = 1\ncadence = \"60s\"\nlate_after = \"1h\"\n";
const BODY: &str = r#"
[[metric]]
name = "vibration_mm_s"
unit = "mm/s"
type = "float"
min = 0
max = 100
description = "Velocity of the housing."
[[component]]
name = "bearing"
title = "Bearing"
skills = ["mechanical"]
repair = "1h"
"#;
const RULE: &str = r#"
[[rule]]
name = "bearing_vibration"
metric = "vibration_mm_s"
raise_above = 7.1
clear_below = 4.5
for = "30m"
severity = "major"
fault_key = "bearing/wear"
probable_cause = "The bearing wears."
customer_text = "A part wears out."
"#;

#[test]
fn a_rule_is_read() {
    let pump = Profile::parse(&format!("{HEAD}{BODY}{RULE}")).unwrap();
    let (metric, limit) = pump.rules[0].threshold().unwrap();
    assert_eq!((metric, limit.side, limit.raise, limit.clear), ("vibration_mm_s", Side::Above, 7.1, 4.5));
    assert_eq!(limit.hold, Duration::from_secs(1800));
    assert_eq!(limit.max_gap, Duration::from_secs(3000));
}

const PROGNOSIS: &str = r#"horizon = "30d"
self_test = "spin"
cost = { visit = 1, failure = 8, false_alarm = 0.5 }
"#;

const COMMANDS: &str =
    "[[command]]\nname = \"spin\"\ntitle = \"Spin\"\n[[command]]\nname = \"drain\"\ntitle = \"Drain\"\n";

#[test]
fn a_component_says_what_failing_costs_and_how_far_ahead_to_look() {
    let pump = Profile::parse(&format!("{HEAD}{BODY}{PROGNOSIS}{RULE}{COMMANDS}")).unwrap();
    let bearing = pump.component("bearing").unwrap();
    assert_eq!(bearing.costs, Costs { visit: 1.0, failure: 8.0, false_alarm: 0.5 });
    assert_eq!((bearing.horizon, bearing.self_test.as_deref()), (Duration::from_secs(30 * 86_400), Some("spin")));
    let silent = Profile::parse(&format!("{HEAD}{BODY}{RULE}")).unwrap();
    let bearing = silent.component("bearing").unwrap();
    assert_eq!((bearing.costs, bearing.horizon, bearing.self_test.as_ref()), (COSTS, HORIZON, None));
    let table = "[component.cost]\nvisit = 1\nfailure = 8\nfalse_alarm = 0\n";
    assert_eq!(Profile::parse(&format!("{HEAD}{BODY}{table}{RULE}")).unwrap().components[0].costs.failure, 8.0);
}

#[test]
fn what_is_illegal_is_said_by_key() {
    let whole = format!("{HEAD}{BODY}{PROGNOSIS}{RULE}{COMMANDS}");
    for (from, to, said) in [
        ("cadence = \"60s\"", "cadence = \"60\"", "no span"),
        ("max = 100", "", "numbers have min and max"),
        ("max = 100", "max = -1", "min must be below max"),
        ("name = \"vibration_mm_s\"", "name = \"event_time\"", "column that every telemetry table has"),
        ("metric = \"vibration_mm_s\"", "metric = \"speed\"", "\"speed\" is no numeric"),
        ("fault_key = \"bearing/wear\"", "fault_key = \"seal/leak\"", "no [[component]]"),
        ("clear_below = 4.5", "clear_below = 9", "beyond where it raises"),
        ("clear_below = 4.5", "clear_above = 4.5", "raise_above with clear_below"),
        ("visit = 1", "visit = 0", "component bearing.cost.visit: is 0: above 0, and at most 1000000000"),
        ("failure = 8", "failure = 1", "component bearing.cost.failure: is 1: above cost.visit, 1,"),
        ("failure = 8", "failure = nan", "cost.failure: is NaN"),
        ("false_alarm = 0.5", "false_alarm = -1", "cost.false_alarm: is -1: from 0,"),
        ("false_alarm = 0.5", "false = 0.5", "unknown field `false`"),
        ("horizon = \"30d\"", "horizon = \"30\"", "component bearing.horizon: "),
        ("horizon = \"30d\"", "horizon = \"10m\"", "component bearing.horizon: is \"10m\": from \"1h\" to"),
        ("self_test = \"spin\"", "self_test = \"Spin!\"", "component bearing.self_test: \"Spin!\""),
        (
            "self_test = \"spin\"",
            "self_test = \"swing\"",
            "component bearing.self_test: \"swing\": no [[command]] has that name; legal: spin, drain",
        ),
        ("title = \"Pump\"", "titel = \"Pump\"", "titel"),
    ] {
        assert!(whole.contains(from), "{from}");
        let error = Profile::parse(&whole.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn indicators_are_read_or_follow_from_the_metrics() {
    let plain = Profile::parse(&format!("{HEAD}{BODY}{RULE}")).unwrap();
    let names: Vec<&str> = plain.indicators.iter().map(|indicator| indicator.name.as_str()).collect();
    assert!(names.contains(&"vibration_mm_s_slope_7d"), "{names:?}");
    let own = "[[indicator]]\nmetric = \"vibration_mm_s\"\nstatistic = \"max\"\nwindow = \"2d\"\n";
    let told = Profile::parse(&format!("{HEAD}{BODY}{RULE}{own}")).unwrap();
    assert_eq!(told.indicators, [Indicator::new("vibration_mm_s", indicator::Statistic::Max, 2, None)]);
    for (from, to, said) in [
        ("\"2d\"", "\"36h\"", "whole days"),
        ("\"2d\"", "\"29d\"", "\"1d\" to \"28d\""),
        ("\"max\"", "\"median\"", "median"),
        ("metric = \"vibration_mm_s\"\nstatistic", "metric = \"speed\"\nstatistic", "\"speed\" is no numeric"),
    ] {
        let error = Profile::parse(&format!("{HEAD}{BODY}{RULE}{}", own.replacen(from, to, 1))).unwrap_err();
        assert!(error.to_string().contains(said), "{to}: {error}");
    }
    let washer = Profiles::builtin().get("washing_machine").cloned().unwrap();
    let spinning = washer.indicators.iter().find(|indicator| indicator.metric == "vibration_mm_s").unwrap();
    assert_eq!(spinning.when.as_ref().unwrap().metric, "drum_speed_rpm", "a rule's regime is its indicators' too");
}
