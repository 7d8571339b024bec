use std::time::Duration;

use super::*;
use crate::profile::Profile;

const PUMP: &str = r#"
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
name = "mode"
type = "text"
description = "What it does."
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
"#;
const WORDS: &str = r#"
severity = "major"
fault_key = "bearing/wear"
probable_cause = "The bearing wears."
customer_text = "A part wears out."
"#;

fn read(table: &str) -> Result<Rule, String> {
    let text = format!("{PUMP}\n{table}\n{}", if table.starts_with("[[anomaly]]") { "" } else { WORDS });
    Profile::parse(&text).map(|pump| pump.rules[0].clone()).map_err(|error| error.to_string())
}

fn span(text: &str) -> Duration {
    crate::time::span::parse(text).unwrap()
}

#[test]
fn each_kind_is_known_by_its_keys() {
    for (keys, kind, raise, clear) in [
        ("metric = \"vibration_mm_s\"\nraise_above = 7.1\nclear_below = 4.5", "threshold", 7.1, 4.5),
        ("expression = \"vibration_mm_s * 2\"\nunit = \"mm/s\"\nraise_below = 1", "expression", 1.0, 1.0),
        ("metric = \"vibration_mm_s\"\nrate_above = 0.4\nper = \"1d\"\nclear_below = 0.1", "rate", 0.4, 0.1),
        ("fault = \"E1\"\ncount = 3\nwithin = \"1d\"", "count", 3.0, 0.0),
        (
            "metric = \"vibration_mm_s\"\nraise_above = 9\ncount = 5\nclear_count = 2\nwithin = \"1h\"",
            "count",
            5.0,
            2.0,
        ),
    ] {
        let rule = read(&format!("[[rule]]\nname = \"r\"\n{keys}")).unwrap();
        let limit = rule.limit().unwrap();
        assert_eq!((rule.kind(), limit.raise, limit.clear), (kind, raise, clear), "{keys}");
    }
    let rule = read("[[rule]]\nname = \"r\"\nabsent_for = \"3h\"").unwrap();
    assert_eq!((rule.kind(), rule.absence()), ("absence", Some(span("3h"))));
}

#[test]
fn what_is_left_out_follows_from_the_cadence() {
    let rule = read("[[rule]]\nname = \"r\"\nmetric = \"vibration_mm_s\"\nrate_below = -1\nper = \"1m\"").unwrap();
    let over = span("24m");
    let limit = rule.limit().unwrap();
    let of = Source::Metric("vibration_mm_s".into());
    assert_eq!(limit.quantity, Quantity::Rate { of, per: span("1m"), over });
    assert_eq!(rule.flapping, Flapping { count: 3, within: span("1h") });
}

#[test]
fn an_anomaly_needs_little() {
    let head = "[[anomaly]]\nmetric = \"vibration_mm_s\"\nseverity = \"warning\"\nfalse_alarms_per_year = 2";
    let rule = read(head).unwrap();
    assert_eq!((rule.name.as_str(), rule.kind()), ("vibration_mm_s_anomaly", "anomaly"));
    assert_eq!(rule.fault_key.as_str(), "device/anomaly");
    assert!(read(&format!("{head}\nfault_key = \"bearing/wear\"")).is_ok());
    for (more, said) in [
        ("fault_key = \"seal/leak\"", "anomaly vibration_mm_s_anomaly.fault_key: seal/leak: no [[component]]"),
        ("name = \"E 1\"", "the name is of a-z 0-9 _"),
        ("raise_above = 3", "unknown field `raise_above`"),
    ] {
        let error = read(&format!("{head}\n{more}")).unwrap_err();
        assert!(error.contains(said), "{more}: {error}");
    }
    let error = read(&head.replace("= 2", "= 0")).unwrap_err();
    assert!(error.contains("false_alarms_per_year: is 0: above 0, at most 366"), "{error}");
}

#[test]
fn what_is_illegal_is_said_by_key_with_the_legal_range() {
    let metric = "metric = \"vibration_mm_s\"";
    for (keys, said) in [
        (metric.to_owned(), "rule r: is one of: raise_above or raise_below"),
        (
            format!("{metric}\nraise_above = 1\nrate_above = 1\nper = \"1d\""),
            "rule r.raise_above: has no place in a rate",
        ),
        (format!("{metric}\nrate_above = 1"), "rule r.per: is missing"),
        (format!("{metric}\nrate_above = 1\nper = \"0s\""), "rule r.per: is 0s: \"1s\" to \"366d\""),
        (format!("{metric}\nrate_above = 1\nper = \"1d\"\nover = \"2m\""), "rule r.over: is 2m: \"5m\" to \"366d\""),
        (format!("{metric}\nrate_above = 1\nper = \"1d\"\nclear_above = 2"), "has rate_above with clear_below"),
        (format!("{metric}\nrate_above = 1\nper = \"1d\"\nclear_below = 2"), "clears at 2, beyond where it raises, 1"),
        ("fault = \"E9\"\ncount = 3\nwithin = \"1d\"".into(), "rule r.fault: \"E9\": no [[fault]] has that code"),
        ("fault = \"E1\"\ncount = 0\nwithin = \"1d\"".into(), "rule r.count: is 0: 1 to 1000"),
        ("fault = \"E1\"\ncount = 3\nclear_count = 3\nwithin = \"1d\"".into(), "rule r.clear_count: is 3: 0 to 2"),
        ("fault = \"E1\"\ncount = 3".into(), "rule r.within: is missing"),
        ("fault = \"E1\"\ncount = 3\nwithin = \"2 moons\"".into(), "rule r.within: \"2 moons\" is no span"),
        ("fault = \"E1\"\ncount = 3\nwithin = \"400d\"".into(), "to \"366d\""),
        ("fault = \"E1\"\ncount = 3\nwithin = \"1d\"\nfor = \"1h\"".into(), "rule r.for: has no place in a count"),
        (format!("{metric}\ncount = 3\nwithin = \"1d\""), "counts a fault code (fault), or readings"),
        ("fault = \"E1\"\nraise_above = 3".into(), "rule r.fault: has no place in a threshold"),
        (
            format!("{metric}\nraise_above = 1\nself_test_first = true"),
            "rule r.self_test_first: component bearing has no self_test to come first",
        ),
        ("absent_for = \"90s\"".into(), "rule r.absent_for: is 1m 30s: \"2m\" to \"366d\""),
        ("absent_for = \"1d\"\nmax_gap = \"1d\"".into(), "rule r.max_gap: has no place in an absence"),
        ("raise_above = 1".into(), "rule r: looks at one value: metric, or expression"),
        (format!("{metric}\nunit = \"mm/s\"\nraise_above = 1"), "rule r.unit: goes with expression"),
        ("expression = \" \"\nraise_above = 1".into(), "rule r.expression: has 1 bytes: 1 to 2000"),
        ("metric = \"mode\"\nraise_above = 1".into(), "\"mode\" is no numeric [[metric]]"),
        (
            format!("{metric}\nraise_above = 1\nflapping = {{ count = 1, within = \"1d\" }}"),
            "flapping.count: is 1: 2 to 100",
        ),
        (format!("{metric}\nraise_above = nan"), "clears at NaN"),
        (format!("{metric}\nrise_above = 1"), "unknown field `rise_above`"),
    ] {
        let error = read(&format!("[[rule]]\nname = \"r\"\n{keys}")).unwrap_err();
        assert!(error.contains(said), "{keys}: {error}");
    }
}
