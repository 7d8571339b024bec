use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Int64Type},
    util::pretty::pretty_format_batches,
};
use bytes::Bytes;
use proptest::prelude::*;
use schemas::{door::Principal, profile::Profile, table::TableName};

use super::*;

const PUMP: &str = r#"
name = "pump"
title = "Pump"
version = 1
cadence = "60s"
late_after = "1h"

[[metric]]
name = "pressure_bar"
unit = "bar"
type = "float"
min = 0
max = 10
description = "Pressure at the outlet."

[[metric]]
name = "starts"
type = "integer"
min = 0
max = 1000000
description = "Starts since it was built."

[[metric]]
name = "running"
type = "boolean"
description = "Whether it runs."

[[metric]]
name = "mode"
type = "text"
description = "What it is told to do."
"#;

/// 2026-11-21T10:00:00Z.
const ARRIVAL: i64 = 1_795_255_200_000;

pub(crate) fn profiles() -> Arc<Profiles> {
    let mut profiles = Profiles::default();
    profiles.insert(Profile::parse(PUMP).unwrap());
    profiles.insert(Profile::parse(&PUMP.replace("pump", "fan")).unwrap());
    Arc::new(profiles)
}

pub(crate) fn settings(clock: ClockKind) -> Settings {
    Settings { future_tolerance: Duration::from_secs(3600), max_devices: 1000, clock }
}

pub(crate) fn decoder() -> Decoder {
    Decoder::new(&profiles(), settings(ClockKind::System))
}

pub(crate) fn frame(topic: &str, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        topic: topic.into(),
        content_type: None,
        payload: Bytes::copy_from_slice(payload.as_ref()),
        arrival: Instant::from_millis(ARRIVAL),
        refused: None,
        sender: None,
    }
}

/// What became of one more frame, in one line: rows by table, the ending, and the rejects.
pub(crate) fn tell(decoder: &mut Decoder, at: u64, frame: &Frame) -> String {
    let before = decoder.totals();
    decoder.frame(LogOffset(at), frame);
    let after = decoder.totals();
    let mut told = match after {
        Totals { stored, .. } if stored > before.stored => "stored".to_owned(),
        Totals { duplicates, .. } if duplicates > before.duplicates => "duplicate".to_owned(),
        Totals { dead_letters, .. } if dead_letters > before.dead_letters => "dead letter".to_owned(),
        Totals { refused, .. } if refused > before.refused => "refused".to_owned(),
        _ => "internal".to_owned(),
    };
    for rows in decoder.take() {
        if rows.table != TableName::DeadLetter {
            told += &format!("; {} {}", rows.table, rows.batch.num_rows());
            continue;
        }
        let text = |name: &str| rows.batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        for row in 0..rows.batch.num_rows() {
            told += &format!("; {}: {}", text("reason").value(row), text("detail").value(row));
        }
    }
    told
}

fn telemetry(payload: &str) -> Frame {
    frame("fw/v1/acme/pump-1/telemetry", payload)
}

#[track_caller]
fn check(frames: &[(&str, &str)]) {
    let mut decoder = decoder();
    for (at, (message, expected)) in frames.iter().enumerate() {
        let (channel, payload) = message.split_once(' ').unwrap();
        let frame = frame(&format!("fw/v1/acme/pump-1/{channel}"), payload);
        assert_eq!(tell(&mut decoder, at as u64, &frame), *expected, "{message}");
    }
}

const READING: &str =
    r#"telemetry {"profile":"pump","boot":3,"seq":1,"ts":1795255200000,"m":{"pressure_bar":2.5,"starts":7}}"#;

#[test]
fn a_reading_becomes_a_row_of_its_profiles_table() {
    let mut decoder = decoder();
    let payload = r#"[
        {"profile":"pump","boot":3,"seq":1,"ts":"2026-11-21T09:59:00Z","firmware":"1.4",
         "m":{"pressure_bar":3,"starts":7.0,"running":true,"mode":"eco","zeal":2.5,"alpha":"x","alpha":true,"nil":null}},
        {"ts":1795255200000,"seq":2,"boot":3,"m":{"mode":null,"pressure_bar":1,"pressure_bar":2.5}},
        {"ts":"2026-11-21T08:59:59Z","m":{}}]"#;
    decoder.frame(LogOffset(0), &telemetry(payload));
    let rows = decoder.take();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].table.to_string(), "telemetry_pump");
    let shown = pretty_format_batches(&[rows[0].batch.clone()]).unwrap().to_string();
    let expected = "\
+--------+-----------+------+-----+----------------------+----------------------+-------+----------+--------------+--------+---------+------+---------------------------------+------------+
| tenant | device_id | boot | seq | event_time           | arrival_time         | late  | firmware | pressure_bar | starts | running | mode | extra                           | date       |
+--------+-----------+------+-----+----------------------+----------------------+-------+----------+--------------+--------+---------+------+---------------------------------+------------+
| acme   | pump-1    | 3    | 1   | 2026-11-21T09:59:00Z | 2026-11-21T10:00:00Z | false | 1.4      | 3.0          | 7      | true    | eco  | {alpha: true, nil: , zeal: 2.5} | 2026-11-21 |
| acme   | pump-1    | 3    | 2   | 2026-11-21T10:00:00Z | 2026-11-21T10:00:00Z | false |          | 2.5          |        |         |      |                                 | 2026-11-21 |
| acme   | pump-1    | 0    |     | 2026-11-21T08:59:59Z | 2026-11-21T10:00:00Z | true  |          |              |        |         |      |                                 | 2026-11-21 |
+--------+-----------+------+-----+----------------------+----------------------+-------+----------+--------------+--------+---------+------+---------------------------------+------------+";
    assert_eq!(shown, expected);
    assert_eq!(decoder.totals(), Totals { stored: 1, rows: 3, ..Totals::default() });
    assert!(decoder.take().is_empty());
}

#[test]
fn columns_are_rows_whose_numbers_count_up() {
    let mut decoder = decoder();
    let payload = r#"{"profile":"pump","boot":1,"seq":10,"ts":[1795255200000,1795255201000],"m":{"starts":[1,2]}}"#;
    decoder.frame(LogOffset(0), &telemetry(payload));
    let rows = decoder.take();
    assert_eq!(rows[0].batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>().values(), &[10, 11]);
    assert_eq!(tell(&mut decoder, 1, &telemetry(&payload.replace("10,", "11,"))), "stored; telemetry_pump 1");
}

#[test]
fn each_bad_input_has_its_reason() {
    for (message, expected) in [
        ("telemetry {\"m\":", "malformed_payload: JSON: EOF while parsing a value at line 1 column 5"),
        ("telemetry \u{1}", "malformed_payload: first byte 0x01 begins no JSON, CBOR or Arrow stream"),
        ("telemetry {}", "missing_field: ts is missing: RFC 3339 text or whole milliseconds since 1970"),
        (
            r#"telemetry {"ts":1795255200000,"m":{}}"#,
            "unknown_profile: no profile is named, and no birth has told one that is loaded",
        ),
        (
            r#"telemetry {"profile":"toaster","ts":1795255200000,"m":{}}"#,
            "unknown_profile: profile \"toaster\" is not loaded",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"pressure_bar":"high"}}"#,
            "wrong_type: metric \"pressure_bar\" is text: the profile says a number",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"starts":1.5}}"#,
            "wrong_type: metric \"starts\" is 1.5: the profile says a whole number",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"running":1}}"#,
            "wrong_type: metric \"running\" is a whole number: the profile says true or false",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"mode":{"a":1}}}"#,
            "wrong_type: metric \"mode\" is an array or object: the profile says text",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"novel":[1]}}"#,
            "wrong_type: metric \"novel\" is an array or object: the profile says a scalar",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"pressure_bar":10.1}}"#,
            "out_of_range: metric \"pressure_bar\" is 10.1 bar: legal is 0 to 10",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795255200000,"m":{"starts":-1}}"#,
            "out_of_range: metric \"starts\" is -1: legal is 0 to 1000000",
        ),
        (
            r#"telemetry {"profile":"pump","ts":1795258800001,"m":{}}"#,
            "future_timestamp: ts is 2026-11-21T11:00:00.001Z and arrived at 2026-11-21T10:00:00Z: legal is up to 1h ahead",
        ),
        (r#"fault {"profile":"pump","ts":1795255200000}"#, "missing_field: code is missing: the fault code as text"),
        (
            r#"fault {"profile":"pump","ts":1895255200000,"code":"E1"}"#,
            "future_timestamp: ts is 2030-01-21T19:46:40Z and arrived at 2026-11-21T10:00:00Z: legal is up to 1h ahead",
        ),
        (
            r#"fault {"ts":1,"code":"E1"}"#,
            "unknown_profile: no profile is named, and no birth has told one that is loaded",
        ),
        (r#"status {"state":"tired"}"#, "missing_field: state is text: \"online\" or \"offline\""),
        (r#"reply {"id":"1"}"#, "missing_field: ok is missing: true or false"),
        (r#"command {"id":"1"}"#, "bad_topic: channel command is to devices, not from them"),
    ] {
        check(&[(message, &format!("dead letter; {expected}"))]);
    }
    check(&[(
        r#"alarm {"alarm_id":"1"}"#,
        "internal; malformed_payload: JSON: missing field `tenant` at line 1 column 16",
    )]);
}

#[test]
fn the_limits_themselves_are_legal() {
    for m in [r#""pressure_bar":0"#, r#""pressure_bar":10"#, r#""starts":null"#, r#""starts":1000000"#] {
        let message = format!(r#"telemetry {{"profile":"pump","ts":1795258800000,"m":{{{m}}}}}"#);
        check(&[(&message, "stored; telemetry_pump 1")]);
    }
}

#[test]
fn a_bad_topic_is_a_dead_letter_of_whose_it_seems_to_be() {
    let mut decoder = decoder();
    for (topic, tenant, detail) in [
        ("$SYS/broker", "", r#"topic "$SYS/broker" is not fw/v1/{tenant}/{device}/{channel}"#),
        (
            "fw/v1/acme/a/b/telemetry",
            "acme",
            r#"topic "fw/v1/acme/a/b/telemetry" is not fw/v1/{tenant}/{device}/{channel}"#,
        ),
        ("fw/v1/acme/pump-1/gossip", "acme", r#"channel "gossip" is none of telemetry, fault, status, reply, command"#),
        ("fw/v1/a+b/pump-1/fault", "", r#"tenant "a+b" is not legal: 1 to 64 of A-Z a-z 0-9 . _ : -"#),
        ("fw/v1/acme/pump 1/fault", "acme", r#"device id "pump 1" is not legal: 1 to 128 of A-Z a-z 0-9 . _ : -"#),
    ] {
        decoder.frame(LogOffset(0), &frame(topic, "{}"));
        let rows = decoder.take();
        let text = |name: &str| rows[0].batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!((text("tenant").as_str(), text("detail").as_str()), (tenant, detail));
        assert_eq!((text("reason").as_str(), text("topic").as_str()), ("bad_topic", topic));
    }
    assert_eq!(decoder.totals().dead_letters, 5);
    assert_eq!(decoder.devices(), 0);
}

#[test]
fn what_the_gateway_refused_is_a_dead_letter_only() {
    let mut decoder = decoder();
    let good = telemetry(READING.split_once(' ').unwrap().1);
    let thief = Principal { tenant: "other".parse().unwrap(), device_id: "thief".parse().unwrap() };
    let refused = Frame { refused: Some(RejectReason::ForeignTopic), sender: Some(thief), ..good.clone() };
    assert_eq!(
        tell(&mut decoder, 0, &refused),
        "refused; foreign_topic: the topic names another tenant or device than the credential"
    );
    assert_eq!(tell(&mut decoder, 1, &good), "stored; telemetry_pump 1");
    assert_eq!(decoder.totals(), Totals { refused: 1, stored: 1, rows: 1, ..Totals::default() });

    // The letter is the sender's, not of the tenant whose topic it named.
    decoder.frame(LogOffset(2), &refused);
    let letters = decoder.take().remove(0).batch;
    let text = |name: &str| letters.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!((text("tenant").as_str(), text("device_id").as_str()), ("other", "thief"));
    assert_eq!(text("topic"), "fw/v1/acme/pump-1/telemetry");
}

#[test]
fn repeats_are_counted_and_make_no_row() {
    check(&[(READING, "stored; telemetry_pump 1"), (READING, "duplicate"), (READING, "duplicate")]);
    let unnumbered = READING.replace(r#""seq":1,"#, "");
    let other = unnumbered.replace("2.5", "2.6");
    check(&[
        (&unnumbered, "stored; telemetry_pump 1"),
        (&unnumbered, "duplicate"),
        (&other, "stored; telemetry_pump 1"),
        (&unnumbered, "duplicate"),
    ]);
    for message in [
        r#"fault {"profile":"pump","boot":1,"seq":1,"ts":1,"code":"E1"}"#,
        r#"fault {"profile":"pump","ts":1,"code":"E1"}"#,
        r#"status {"state":"online","ts":1795255200000,"profile":"pump"}"#,
        r#"reply {"id":"1","ok":true,"result":{"a":[1]}}"#,
    ] {
        let table = message.split_once(' ').unwrap().0;
        check(&[(message, &format!("stored; {table} 1")), (message, "duplicate")]);
    }
}

#[test]
fn channels_and_boots_count_apart() {
    check(&[
        (r#"fault {"profile":"pump","boot":3,"seq":1,"ts":1,"code":"E1"}"#, "stored; fault 1"),
        (READING, "stored; telemetry_pump 1"),
        (&READING.replace(r#""boot":3"#, r#""boot":4"#), "stored; telemetry_pump 1"),
    ]);
}

#[test]
fn a_boot_that_is_too_old_to_tell_is_a_dead_letter() {
    let boots: Vec<String> =
        (10..18).map(|boot| READING.replace(r#""boot":3"#, &format!(r#""boot":{boot}"#))).collect();
    let mut frames: Vec<(&str, &str)> =
        boots.iter().map(|message| (message.as_str(), "stored; telemetry_pump 1")).collect();
    frames.push((
        READING,
        "dead letter; outside_dedup_window: boot 3, seq 1 lies too far back to tell whether it was stored before",
    ));
    check(&frames);
}

#[test]
fn what_was_rejected_may_come_again_when_it_is_mended() {
    let bad = READING.replace("2.5", "11");
    check(&[
        (&bad, "dead letter; out_of_range: metric \"pressure_bar\" is 11 bar: legal is 0 to 10"),
        (READING, "stored; telemetry_pump 1"),
        (READING, "duplicate"),
    ]);
}

#[test]
fn a_bad_reading_costs_only_itself() {
    check(&[
        (
            r#"telemetry [{"profile":"pump","seq":1,"ts":1,"m":{}},{"profile":"pump","seq":2,"ts":1,"m":{"starts":"x"}},7]"#,
            "stored; telemetry_pump 1; \
             malformed_payload: JSON: invalid type: integer `7`, expected struct Object at line 1 column 1; \
             wrong_type: metric \"starts\" is text: the profile says a whole number",
        ),
        (
            r#"telemetry [{"profile":"pump","seq":1,"ts":1,"m":{}},{"profile":"pump","seq":2,"ts":1,"m":{"starts":"x"}}]"#,
            "dead letter; wrong_type: metric \"starts\" is text: the profile says a whole number",
        ),
        (
            r#"telemetry [{"profile":"pump","seq":1,"ts":1,"m":{}},{"profile":"pump","seq":1,"ts":1,"m":{}}]"#,
            "duplicate",
        ),
    ]);
}

#[test]
fn a_birth_tells_the_profile() {
    let plain = r#"telemetry {"seq":1,"ts":1795255200000,"m":{}}"#;
    let none = "dead letter; unknown_profile: no profile is named, and no birth has told one that is loaded";
    check(&[
        (plain, none),
        (r#"status {"state":"online","profile":"pump"}"#, "stored; status 1"),
        (plain, "stored; telemetry_pump 1"),
        (r#"telemetry {"profile":"fan","seq":2,"ts":1795255200000,"m":{}}"#, "stored; telemetry_fan 1"),
        (r#"telemetry {"seq":3,"ts":1795255200000,"m":{}}"#, "stored; telemetry_fan 1"),
        (r#"fault {"seq":3,"ts":1795255200000,"code":"nobody knows it"}"#, "stored; fault 1"),
        (r#"status {"state":"online","profile":"toaster"}"#, "stored; status 1"),
        (r#"telemetry {"seq":4,"ts":1795255200000,"m":{}}"#, none),
    ]);
}

#[test]
fn a_will_without_time_repeats_only_at_once() {
    let birth = r#"status {"state":"online","boot":1}"#;
    let will = r#"status {"state":"offline","boot":1}"#;
    check(&[
        (birth, "stored; status 1"),
        (birth, "duplicate"),
        (will, "stored; status 1"),
        (birth, "stored; status 1"),
        (will, "stored; status 1"),
        (will, "duplicate"),
    ]);
}

#[test]
fn a_message_makes_at_most_a_hundred_dead_letters() {
    let readings: Vec<String> = (0..150)
        .map(|at| format!(r#"{{"profile":"pump","ts":1,"m":{{"starts":{}}}}}"#, if at < 120 { "-1" } else { "true" }))
        .collect();
    let mut decoder = decoder();
    decoder.frame(LogOffset(0), &telemetry(&format!("[{}]", readings.join(","))));
    let rows = decoder.take();
    assert_eq!(rows[0].batch.num_rows(), MAX_LETTERS);
    let detail = rows[0].batch.column_by_name("detail").unwrap().as_string::<i32>();
    assert_eq!(detail.value(98), "metric \"starts\" is -1: legal is 0 to 1000000");
    assert_eq!(
        detail.value(99),
        "metric \"starts\" is -1: legal is 0 to 1000000; and 50 more of this message: wrong_type 30 out_of_range 20"
    );
    let tally = decoder.take_tally();
    assert_eq!(tally.rejects[RejectReason::OutOfRange as usize], 120);
    assert_eq!(tally.rejects[RejectReason::WrongType as usize], 30);
    assert_eq!(decoder.totals(), Totals { dead_letters: 1, ..Totals::default() });

    let padded = format!("[{}]{}", readings.join(","), " ".repeat(MAX_LETTER_BYTES / 2));
    decoder.frame(LogOffset(1), &telemetry(&padded));
    assert_eq!(decoder.take()[0].batch.num_rows(), 1);
}

#[test]
fn more_readings_than_the_limit_are_refused_whole() {
    let columns = format!(r#"{{"profile":"pump","seq":1,"ts":[{}],"m":{{}}}}"#, vec!["1"; 6000].join(","));
    let message = format!("telemetry [{columns},{columns}]");
    check(&[(&message, "dead letter; too_many_readings: 12000 readings in one message: at most 10000")]);
}

#[test]
fn many_rows_fill_the_decoder() {
    let mut decoder = decoder();
    for at in 0..7 {
        assert!(!decoder.is_full());
        let ts = vec!["1"; 10_000].join(",");
        decoder.frame(
            LogOffset(at),
            &telemetry(&format!(r#"{{"profile":"pump","boot":{at},"seq":1,"ts":[{ts}],"m":{{}}}}"#)),
        );
    }
    assert!(decoder.is_full());
    decoder.take();
    assert!(!decoder.is_full());
}

#[test]
fn late_is_behind_arrival_or_behind_the_greatest_event_time() {
    let late = |clock: ClockKind, times: &[&str]| -> Vec<bool> {
        let mut decoder = Decoder::new(&profiles(), settings(clock));
        let times: Vec<String> = times.iter().map(|time| format!("\"{time}\"")).collect();
        let payload = format!(r#"{{"profile":"pump","seq":1,"ts":[{}],"m":{{}}}}"#, times.join(","));
        decoder.frame(LogOffset(0), &telemetry(&payload));
        let rows = decoder.take();
        let column = rows[0].batch.column_by_name("late").unwrap().as_boolean().clone();
        column.iter().map(Option::unwrap).collect()
    };
    let recorded = ["2013-04-10T00:00:00Z", "2013-04-11T00:00:00Z", "2013-04-10T23:00:00Z", "2013-04-10T22:59:59Z"];
    assert_eq!(late(ClockKind::System, &recorded), [true, true, true, true]);
    assert_eq!(late(ClockKind::Event, &recorded), [false, false, false, true]);
    // Refused for its future, so it moves nothing.
    let future = ["2013-04-10T00:00:00Z", "2030-01-01T00:00:00Z", "2013-04-09T23:30:00Z"];
    assert_eq!(late(ClockKind::Event, &future), [false, false]);
}

#[test]
fn alarms_advisories_and_outcomes_are_rows_once() {
    let alarm = r#"{"alarm_id":"a1","tenant":"acme","device_id":"pump-1","profile":"pump","firmware":null,
        "specific_problem":"low_pressure","source":"rule","fault_key":"seal/leak","perceived_severity":"major",
        "probable_cause":"a worn seal","state":"raised","alarm_raised_time":"2026-11-20T23:00:00Z",
        "alarm_reporting_time":"2026-11-21T10:00:00Z","alarm_cleared_time":null,
        "evidence":{"indicator":"pressure_bar","unit":"bar","threshold":1.0,"observed":0.5,
        "since":"2026-11-20T22:00:00Z","until":"2026-11-20T23:00:00Z","readings":60,"reason":"low for an hour"}}"#;
    let cleared = alarm.replace(r#""raised","alarm_raised"#, r#""cleared","alarm_raised"#);
    let outcome = r#"{"outcome_id":"o1","tenant":"acme","device_id":"pump-1","profile":"pump","ticket_id":null,
        "fault_key":"seal/leak","event_time":"2026-11-20T23:00:00Z","disposition":"part_replaced","failure_mode":"leak",
        "failure_mechanism":null,"failure_cause":null,"detection_method":null,"maintenance_activity":"replace",
        "part_replaced":"S-1"}"#;
    let advisory = r#"{"advisory_id":"d1","tenant":"acme","device_id":"pump-1","profile":"pump","firmware":null,
        "fault_key":"seal/leak","component":"seal","event_time":"2026-11-20T23:00:00Z",
        "advisory_reporting_time":"2026-11-21T10:00:00Z","horizon_hours":336,"probability":0.31,
        "remaining_useful_life":{"p10_hours":40,"p50_hours":200,"p90_hours":700.5},
        "model":{"name":"pump.seal","version":"2"},"method":"model","decision":"auto","threshold":0.25,
        "costs":{"visit":1,"failure":4,"false_alarm":0},"evidence":[{"indicator":"pressure_bar_mean_1d",
        "metric":"pressure_bar","unit":"bar","value":0.7,"contribution":1.3,"words":"pressure falls"}],
        "parts":[{"number":"S-1","title":"Seal"}],"skills":["mechanical"],"self_test":null,"reason":"it leaks soon"}"#;
    let message = |channel: &str, payload: &str| format!("{channel} {payload}");
    check(&[
        (&message("alarm", alarm), "internal; alarm 1"),
        (&message("alarm", alarm), "internal"),
        (&message("alarm", &cleared), "internal; alarm 1"),
        (&message("advisory", advisory), "internal; advisory 1"),
        (&message("advisory", advisory), "internal"),
        (&message("advisory", &advisory.replace(r#""d1""#, r#""d2""#)), "internal; advisory 1"),
        (
            &message("advisory", r#"{"advisory_id":"d3"}"#),
            "internal; malformed_payload: JSON: missing field `tenant` at line 1 column 20",
        ),
        (&message("outcome", outcome), "internal; outcome 1"),
        (&message("outcome", outcome), "internal"),
        (
            &message("outcome", &outcome.replace("pump-1", "pump-2")),
            "internal; foreign_topic: the payload is about acme/pump-2, the topic about acme/pump-1",
        ),
    ]);
    let mut decoder = decoder();
    decoder.frame(LogOffset(0), &frame("fw/v1/acme/pump-1/alarm", alarm));
    decoder.frame(LogOffset(1), &frame("fw/v1/acme/pump-1/outcome", outcome));
    decoder.frame(LogOffset(2), &frame("fw/v1/acme/pump-1/advisory", advisory));
    let rows = decoder.take();
    let evidence = rows[0].batch.column_by_name("evidence").unwrap().as_string::<i32>().value(0).to_owned();
    let evidence: schemas::alarm::Evidence = serde_json::from_str(&evidence).unwrap();
    assert_eq!(evidence.readings, 60);
    let text = |name: &str| rows[1].batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    let number = |name: &str| rows[1].batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!((text("model_version"), text("decision")), ("2".into(), "auto".into()));
    assert_eq!((number("remaining_useful_life_p90_hours"), number("cost_failure")), (700.5, 4.0));
    let evidence: Vec<schemas::advisory::Contribution> = serde_json::from_str(&text("evidence")).unwrap();
    assert_eq!(evidence[0].contribution, 1.3);
    assert!(rows[2].batch.column_by_name("confirms_fault").unwrap().as_boolean().value(0));
    assert_eq!(decoder.totals(), Totals { internal: 3, ..Totals::default() });
}

#[test]
fn a_fault_keeps_its_freeze_frame() {
    let mut decoder = decoder();
    let payload =
        r#"{"profile":"pump","boot":2,"seq":5,"ts":1795255200000,"code":"E9","active":false,"freeze":{"t": [1]}}"#;
    decoder.frame(LogOffset(0), &frame("fw/v1/acme/pump-1/fault", payload));
    let batch = &decoder.take()[0].batch;
    assert_eq!(batch.column_by_name("freeze").unwrap().as_string::<i32>().value(0), r#"{"t": [1]}"#);
    assert_eq!(batch.column_by_name("code").unwrap().as_string::<i32>().value(0), "E9");
    assert!(!batch.column_by_name("active").unwrap().as_boolean().value(0));
}

/// Messages of a few devices that repeat, err and change their profile.
pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    let topic = prop_oneof![
        9 => (0..3u8, prop_oneof![6 => Just("telemetry"), 2 => Just("fault"), 1 => Just("status"), 1 => Just("reply")])
            .prop_map(|(device, channel)| format!("fw/v1/acme/pump-{device}/{channel}")),
        1 => Just("fw/v1/acme/telemetry".to_owned()),
    ];
    let payload = prop_oneof![
        12 => (prop_oneof![5 => Just("pump"), 1 => Just("fan"), 1 => Just("toaster")], 0..3i64, 0..12i64, -3..13i64).prop_map(
            |(profile, boot, seq, pressure)| format!(
                r#"{{"profile":"{profile}","boot":{boot},"seq":{seq},"ts":{},"state":"online","code":"E{seq}",
                    "id":"{seq}","ok":true,"m":{{"pressure_bar":{pressure},"x{seq}":{boot}}}}}"#,
                ARRIVAL - seq * 1_000_000
            )
        ),
        3 => (0..5i64).prop_map(|starts| format!(r#"{{"ts":{ARRIVAL},"state":"offline","code":"E","m":{{"starts":{starts}}}}}"#)),
        1 => Just("nonsense".to_owned()),
    ];
    let refused = prop_oneof![20 => Just(None), 1 => Just(Some(RejectReason::ForeignTopic))];
    (topic, payload, refused).prop_map(|(topic, payload, refused)| Frame { refused, ..frame(&topic, payload) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn saving_and_loading_anywhere_changes_nothing(
        frames in prop::collection::vec(any_frame(), 1..120), stops in prop::collection::vec(any::<bool>(), 120), event: bool,
    ) {
        let settings = settings(if event { ClockKind::Event } else { ClockKind::System });
        let mut whole = Decoder::new(&profiles(), settings);
        let mut halting = Decoder::new(&profiles(), settings);
        for (at, frame) in frames.iter().enumerate() {
            if stops[at] {
                halting = Decoder::load(&profiles(), settings, &halting.save()).unwrap();
            }
            whole.frame(LogOffset(at as u64), frame);
            halting.frame(LogOffset(at as u64), frame);
            let (a, b) = (whole.take(), halting.take());
            prop_assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                prop_assert_eq!(&a.table, &b.table);
                prop_assert_eq!(&a.batch, &b.batch);
            }
        }
        let totals = whole.totals();
        prop_assert_eq!(totals, halting.totals());
        prop_assert_eq!(whole.now(), halting.now());
        prop_assert_eq!(totals.stored + totals.duplicates + totals.dead_letters + totals.refused, frames.len() as u64);
    }

    #[test]
    fn no_bytes_make_decoding_panic(topic in "fw/v1/acme/pump-1/(telemetry|fault|status|reply|alarm|advisory|outcome)", payload: Vec<u8>) {
        let mut decoder = decoder();
        decoder.frame(LogOffset(0), &frame(&topic, payload));
        prop_assert_eq!(decoder.take().len(), 1);
    }

    #[test]
    fn broken_state_is_an_error(bytes: Vec<u8>) {
        let _ = Decoder::load(&profiles(), settings(ClockKind::System), &bytes);
    }
}

#[test]
fn forgetting_devices_is_counted() {
    let mut decoder = Decoder::new(&profiles(), Settings { max_devices: 16, ..settings(ClockKind::System) });
    for at in 0..64 {
        let payload = r#"{"profile":"pump","seq":1,"ts":1,"m":{}}"#;
        decoder.frame(LogOffset(at), &frame(&format!("fw/v1/acme/pump-{at}/telemetry"), payload));
    }
    assert!(decoder.devices() <= 16);
    assert_eq!(decoder.take_tally().devices_forgotten, 64 - decoder.devices() as u64);
}

#[test]
fn every_column_of_a_dead_letter_is_filled() {
    let mut decoder = decoder();
    let bad = Frame { content_type: Some("text/plain".into()), ..telemetry("hello") };
    decoder.frame(LogOffset(0), &bad);
    let batch = &decoder.take()[0].batch;
    assert!(batch.columns().iter().all(|column| column.null_count() == 0));
    assert_eq!(batch.column_by_name("payload").unwrap().as_binary::<i32>().value(0), b"hello");
}
