use proptest::prelude::*;

use super::*;

mod forms;

fn told(payload: &str) -> (Vec<Reading<'_>>, Vec<String>) {
    let told = telemetry(Form::Json, payload.as_bytes());
    (told.readings, told.rejects.iter().map(ToString::to_string).collect())
}

#[test]
fn one_reading() {
    let (readings, rejects) = told(
        r#"{"profile":"washing_machine","boot":3,"seq":1041,"ts":"2026-11-21T10:00:00.000Z","firmware":"1.4.2",
            "m":{"drum_speed_rpm":800,"vibration_mm_s":2.1,"door":"shut","heating":true,"x":null}}"#,
    );
    assert!(rejects.is_empty(), "{rejects:?}");
    let reading = &readings[0];
    assert_eq!(reading.profile.as_deref(), Some("washing_machine"));
    assert_eq!((reading.boot, reading.seq), (3, Some(1041)));
    assert_eq!(reading.event_time.to_string(), "2026-11-21T10:00:00Z");
    assert_eq!(reading.metrics[0], ("drum_speed_rpm".into(), Value::Integer(800)));
    assert_eq!(reading.metrics[1], ("vibration_mm_s".into(), Value::Number(2.1)));
    assert_eq!(reading.metrics[2], ("door".into(), Value::Text("shut".into())));
}

#[test]
fn a_bad_reading_in_an_array_costs_only_itself() {
    let (readings, rejects) = told(r#"[{"ts":1,"m":{"a":1}},{"m":{"a":1}},{"ts":"soon","m":{}},{"ts":4,"m":{"a":4}}]"#);
    assert_eq!(readings.iter().map(|r| r.event_time).collect::<Vec<_>>(), [1, 4].map(Instant::from_millis));
    assert_eq!(rejects.len(), 2);
    assert!(rejects[0].starts_with("missing_field: ts is missing"), "{rejects:?}");
    assert!(rejects[1].contains("\"soon\""), "{rejects:?}");
}

#[test]
fn columns_count_up_from_the_first_seq() {
    let (readings, rejects) = told(r#"{"boot":1,"seq":7,"ts":[1000,2000],"m":{"a":[1.5,2.5],"b":[true,null]}}"#);
    assert!(rejects.is_empty(), "{rejects:?}");
    assert_eq!(readings.iter().map(|r| r.seq).collect::<Vec<_>>(), [Some(7), Some(8)]);
    assert_eq!(readings[1].metrics, [("a".into(), Value::Number(2.5)), ("b".into(), Value::Null)]);
}

#[test]
fn what_is_wrong_is_said_by_name() {
    for (payload, said) in [
        ("{", "malformed_payload: JSON: EOF"),
        ("[]", "missing_field: reading is missing"),
        (r#"{"ts":1}"#, "missing_field: m is missing"),
        (r#"{"ts":1,"m":3}"#, "missing_field: m is no object"),
        (r#"{"ts":1,"seq":-1,"m":{}}"#, "missing_field: seq is -1"),
        (r#"{"ts":1,"seq":1.5,"m":{}}"#, "missing_field: seq is a number"),
        (r#"{"ts":1,"profile":7,"m":{}}"#, "missing_field: profile is a whole number"),
        (r#"{"ts":[1,2],"m":{"a":[1]}}"#, "malformed_payload: metric \"a\" has 1 values and ts has 2"),
        (r#"{"ts":[1,2],"m":{"a":1}}"#, "malformed_payload: metric \"a\" is no array"),
        (r#"{"ts":true,"m":{}}"#, "missing_field: ts is a boolean"),
    ] {
        let (readings, rejects) = told(payload);
        assert!(readings.is_empty(), "{payload}");
        assert!(rejects[0].starts_with(said), "{payload}: {rejects:?}");
    }
}

#[test]
fn limits_hold() {
    let many = format!("[{}]", vec![r#"{"ts":1,"m":{}}"#; MAX_READINGS + 1].join(","));
    assert!(told(&many).1[0].starts_with("too_many_readings"));
    let column = format!(r#"{{"ts":[{}],"m":{{}}}}"#, vec!["1"; MAX_READINGS + 1].join(","));
    assert!(told(&column).1[0].starts_with("too_many_readings"));
    let wide: Vec<String> = (0..=MAX_METRICS).map(|n| format!("\"m{n}\":1")).collect();
    assert!(told(&format!(r#"{{"ts":1,"m":{{{}}}}}"#, wide.join(","))).1[0].starts_with("too_many_readings"));
    let deep = format!(r#"{{"ts":1,"m":{{"a":{}1{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(told(&deep).0[0].metrics, [("a".into(), Value::Nested)]);
}

#[test]
fn a_fault_has_a_code_and_a_freeze_frame() {
    let report =
        fault(Form::Json, br#"{"boot":3,"seq":17,"ts":5,"code":"E21","active":false,"freeze":{"level_mm":12}}"#)
            .unwrap();
    assert_eq!((report.code.as_ref(), report.active), ("E21", false));
    assert_eq!(report.freeze.as_deref(), Some(r#"{"level_mm":12}"#));
    assert!(fault(Form::Json, br#"{"ts":5}"#).unwrap_err().detail.starts_with("code is missing"));
}

#[test]
fn a_will_needs_no_time() {
    let report = status(Form::Json, br#"{"boot":3,"state":"offline"}"#).unwrap();
    assert_eq!((report.state, report.event_time), (Presence::Offline, None));
    assert!(status(Form::Json, br#"{"state":"asleep"}"#).is_err());
}

#[test]
fn content_type_decides_then_the_first_bytes() {
    assert_eq!(Form::of(Some("application/json; charset=utf-8"), b"x"), Ok(Form::Json));
    assert_eq!(Form::of(None, b"  [1]"), Ok(Form::Json));
    for (content_type, payload) in [(Some("text/plain"), &b"{}"[..]), (None, b"hello"), (None, b"")] {
        assert_eq!(Form::of(content_type, payload).unwrap_err().reason, RejectReason::MalformedPayload);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_readings_or_rejects(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let told = telemetry(Form::Json, &payload);
        prop_assert!(!told.readings.is_empty() || !told.rejects.is_empty());
        let _ = (fault(Form::Json, &payload), status(Form::Json, &payload), reply(Form::Json, &payload));
    }

    #[test]
    fn near_misses_are_readings_or_rejects(
        cut in 0usize..150, put in "[\\[\\]{}:,\"0-9a-z.-]{0,4}",
    ) {
        let good = r#"[{"profile":"p","boot":3,"seq":1,"ts":"2026-11-21T10:00:00Z","m":{"a":1,"b":[2],"c":"x"}},{"ts":[1,2],"m":{"a":[1,2]}}]"#;
        let at = cut.min(good.len());
        let payload = format!("{}{put}{}", &good[..at], &good[(at + put.len()).min(good.len())..]);
        let told = telemetry(Form::Json, payload.as_bytes());
        prop_assert!(!told.readings.is_empty() || !told.rejects.is_empty());
    }

    #[test]
    fn a_reading_comes_back_as_it_was_sent(
        seq in 0i64.., millis in -62_135_596_800_000i64..253_402_207_200_000, value in -1e9f64..1e9, text in "\\PC{0,20}",
    ) {
        let sent = serde_json::json!({"boot": 1, "seq": seq, "ts": millis, "m": {"v": value, "t": text}}).to_string();
        let told = telemetry(Form::Json, sent.as_bytes());
        prop_assert_eq!(told.rejects.len(), 0);
        let reading = &told.readings[0];
        prop_assert_eq!(reading.seq, Some(seq));
        prop_assert_eq!(reading.event_time, Instant::from_millis(millis));
        for (name, got) in &reading.metrics {
            match (name.as_ref(), got) {
                ("v", Value::Number(got)) => prop_assert_eq!(*got, value),
                ("v", Value::Integer(got)) => prop_assert_eq!(*got as f64, value),
                ("t", Value::Text(got)) => prop_assert_eq!(got, &text),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
