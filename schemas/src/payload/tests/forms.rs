//! The same readings in every form; any bytes in every form.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
        TimestampMillisecondArray,
    },
    datatypes::{Field as ArrowField, Schema},
    ipc::writer::StreamWriter,
};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::{super::sparkplug, *};

#[derive(Debug, Clone)]
struct Row {
    millis: i64,
    a: Option<f64>,
    b: Option<i64>,
    c: Option<bool>,
    d: Option<String>,
}

fn any_row() -> impl Strategy<Value = Row> {
    let any = (
        -62_135_596_800_000i64..253_402_207_200_000,
        proptest::option::of(-1e12f64..1e12),
        proptest::option::of(any::<i64>()),
        any::<Option<bool>>(),
        proptest::option::of("\\PC{0,12}"),
    );
    any.prop_map(|(millis, a, b, c, d)| Row { millis, a, b, c, d })
}

fn objects(rows: &[Row]) -> Json {
    let object = |(at, row): (usize, &Row)| {
        json!({"profile": "pump", "boot": 3, "seq": 40 + at, "firmware": "1.4", "ts": row.millis,
               "m": {"a": row.a, "b": row.b, "c": row.c, "d": row.d}})
    };
    rows.iter().enumerate().map(object).collect()
}

fn columns(rows: &[Row]) -> Json {
    let column = |of: fn(&Row) -> Json| rows.iter().map(of).collect::<Json>();
    json!({"profile": "pump", "boot": 3, "seq": 40, "firmware": "1.4", "ts": column(|row| json!(row.millis)),
           "m": {"a": column(|row| json!(row.a)), "b": column(|row| json!(row.b)), "c": column(|row| json!(row.c)),
                 "d": column(|row| json!(row.d))}})
}

/// cbor4ii writes the unit, which is null for serde_json, as an empty array.
struct Nullable<'a>(&'a Json);

impl Serialize for Nullable<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => to.serialize_none(),
            Json::Array(items) => to.collect_seq(items.iter().map(Nullable)),
            Json::Object(fields) => to.collect_map(fields.iter().map(|(name, value)| (name, Nullable(value)))),
            scalar => scalar.serialize(to),
        }
    }
}

fn cbor(json: &Json) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), &Nullable(json)).unwrap()
}

fn stream(metadata: &[(&str, &str)], batches: &[Vec<(&str, ArrayRef)>]) -> Vec<u8> {
    let field = |(name, array): &(&str, ArrayRef)| ArrowField::new(*name, array.data_type().clone(), true);
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let schema = Arc::new(Schema::new_with_metadata(batches[0].iter().map(field).collect::<Vec<_>>(), metadata));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for batch in batches {
        let columns = batch.iter().map(|(_, array)| array.clone()).collect();
        writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

const TOLD: [(&str, &str); 4] = [("profile", "pump"), ("boot", "3"), ("seq", "40"), ("firmware", "1.4")];

/// Two batches, text of two kinds, what is the same in all rows in the metadata.
fn arrow(rows: &[Row]) -> Vec<u8> {
    let batch = |rows: &[Row]| -> Vec<(&str, ArrayRef)> {
        let text = rows.iter().map(|row| row.d.as_deref());
        vec![
            ("ts", Arc::new(rows.iter().map(|row| Some(row.millis)).collect::<TimestampMillisecondArray>())),
            ("a", Arc::new(rows.iter().map(|row| row.a).collect::<Float64Array>())),
            ("b", Arc::new(rows.iter().map(|row| row.b).collect::<Int64Array>())),
            ("c", Arc::new(rows.iter().map(|row| row.c).collect::<BooleanArray>())),
            (
                "d",
                if rows.len() < 1000 {
                    Arc::new(text.collect::<StringViewArray>())
                } else {
                    Arc::new(text.collect::<StringArray>())
                },
            ),
        ]
    };
    let (first, second) = rows.split_at(rows.len() / 2);
    stream(&TOLD, &[batch(first), batch(second)])
}

fn zstd(payload: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(payload, 3).unwrap()
}

/// As a sender does that does not know the length before.
fn zstd_stream(payload: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(payload, 3).unwrap()
}

fn read(content_type: Option<&str>, payload: &[u8]) -> (Vec<Reading<'static>>, Vec<String>) {
    let mut rejects = Vec::new();
    let mut readings = Vec::new();
    let result = Payload::open(content_type, payload).and_then(|payload| {
        payload.readings(&mut rejects, |reading| {
            readings.push(reading.owned());
            Ok(())
        })
    });
    rejects.extend(result.err());
    (readings, rejects.iter().map(ToString::to_string).collect())
}

proptest! {
    #[test]
    fn every_form_tells_the_same_readings(rows in proptest::collection::vec(any_row(), 1..20)) {
        let (expected, rejects) = read(None, objects(&rows).to_string().as_bytes());
        prop_assert_eq!(rejects, Vec::<String>::new());
        prop_assert_eq!(expected.len(), rows.len());
        let forms = [
            columns(&rows).to_string().into_bytes(), cbor(&objects(&rows)), cbor(&columns(&rows)), arrow(&rows),
        ];
        for form in &forms {
            for payload in [form.clone(), zstd(form), zstd_stream(form)] {
                let (readings, rejects) = read(None, &payload);
                prop_assert_eq!(rejects, Vec::<String>::new());
                prop_assert_eq!(&readings, &expected);
            }
        }
    }

    #[test]
    fn any_bytes_of_any_form_are_readings_or_rejects(
        start in prop_oneof![
            Just(&b""[..]), Just(&b"\xd9\xd9\xf7"[..]), Just(&b"\x9f\xbf"[..]), Just(&b"\xff\xff\xff\xff\x10\0\0\0"[..]),
            Just(&b"\x28\xb5\x2f\xfd"[..]), Just(&b"\x83\xa2\x62ts\x01\x61m"[..]),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..300), told in 0usize..5,
    ) {
        let payload = [start, &rest].concat();
        let content_type =
            [None, Some("application/cbor"), Some("application/vnd.apache.arrow.stream"), Some("application/json+zstd"),
             Some("application/zstd")][told];
        let (readings, rejects) = read(content_type, &payload);
        prop_assert!(!readings.is_empty() || !rejects.is_empty());
        if let Ok(payload) = Payload::open(content_type, &payload) {
            let _ = (payload.fault(), payload.status(), payload.reply());
        }
        let _ = sparkplug::Message::open(&Bytes::from(payload));
    }

    #[test]
    fn near_misses_of_any_form_are_readings_or_rejects(
        rows in proptest::collection::vec(any_row(), 1..6), form in 0usize..6, at: proptest::sample::Index,
        bytes in proptest::collection::vec(any::<u8>(), 0..8), cut in 0usize..4,
    ) {
        let mut payload = match form {
            0 => cbor(&objects(&rows)),
            1 => cbor(&columns(&rows)),
            2 | 3 => arrow(&rows),
            4 => zstd(&arrow(&rows)),
            _ => zstd_stream(&cbor(&objects(&rows))),
        };
        let at = at.index(payload.len());
        payload.splice(at..(at + bytes.len().max(cut)).min(payload.len()), bytes);
        let (readings, rejects) = read(None, &payload);
        prop_assert!(!readings.is_empty() || !rejects.is_empty());
    }
}

#[test]
fn a_bad_reading_in_a_cbor_array_costs_only_itself() {
    let told = json!([{"ts": 1, "m": {"a": 1}}, 7, {"m": {}}, {"ts": "soon", "m": {}}, {"ts": 5, "m": {"a": [1]}}]);
    let (readings, rejects) = read(None, &cbor(&told));
    assert_eq!(readings.iter().map(|r| r.event_time).collect::<Vec<_>>(), [1, 5].map(Instant::from_millis));
    assert_eq!(readings[1].metrics, [("a".into(), Value::Nested)]);
    assert_eq!(rejects.len(), 3);
    assert!(rejects[0].starts_with("malformed_payload: CBOR"), "{rejects:?}");
    assert!(rejects[1].starts_with("missing_field: ts is missing"), "{rejects:?}");
}

#[test]
fn cbor_has_reports_too() {
    let told = cbor(&json!({"boot": 3, "seq": 1, "ts": 5, "code": "E21", "freeze": {"level_mm": [1, 2.5]}}));
    let payload = Payload::open(Some("application/cbor"), &told).unwrap();
    let report = payload.fault().unwrap();
    assert_eq!((report.code.as_ref(), report.freeze.as_deref()), ("E21", Some(r#"{"level_mm":[1,2.5]}"#)));
    let told = cbor(&json!({"state": "offline"}));
    assert_eq!(Payload::open(None, &told).unwrap().status().unwrap().state, Presence::Offline);
    let told = zstd(br#"{"id":"1","ok":true}"#);
    assert!(Payload::open(None, &told).unwrap().reply().unwrap().ok);
    let rows = [Row { millis: 1, a: None, b: None, c: None, d: None }];
    let refused = Payload::open(None, &arrow(&rows)).unwrap().fault().unwrap_err();
    assert_eq!(refused.detail, "Arrow: a stream carries telemetry only");
}

#[test]
fn cbor_of_other_makers_is_read() {
    // Indefinite lengths, half floats, the tag that says "CBOR"; an epoch tag is not taken for milliseconds.
    let (readings, rejects) = read(None, b"\xd9\xd9\xf7\x9f\xbf\x62ts\x05\x61m\xbf\x61a\xf9\x3e\x00\xff\xff\xff");
    assert_eq!((readings[0].metrics.as_slice(), rejects.len()), (&[("a".into(), Value::Number(1.5))][..], 0));
    assert!(read(None, b"\xa2\x62ts\xc1\x05\x61m\xa0").1[0].starts_with("malformed_payload: CBOR"));
    assert!(read(None, b"\xa2\x62ts\x05\x61m\xa0\x00").1[0].contains("bytes follow its end"));
    let deep = [&b"\xa2\x62ts\x05\x61m\xa1\x61a"[..], &[0x81; 5000], b"\x01"].concat();
    assert!(read(None, &deep).1[0].starts_with("malformed_payload: CBOR"));
}

#[test]
fn limits_of_every_form_hold() {
    let many = vec![Row { millis: 1, a: Some(1.0), b: None, c: None, d: None }; MAX_READINGS + 1];
    for payload in [cbor(&objects(&many)), cbor(&columns(&many)), arrow(&many)] {
        let (readings, rejects) = read(None, &payload);
        assert!(readings.is_empty());
        assert!(rejects[0].starts_with("too_many_readings"), "{rejects:?}");
    }
    assert_eq!(read(None, &arrow(&many[1..])).0.len(), MAX_READINGS);
    let bomb = vec![b' '; MAX_UNPACKED + 1];
    for payload in [zstd(&bomb), zstd_stream(&bomb), [zstd(&bomb[1..]), zstd(b" ")].concat()] {
        assert!(payload.len() < 10_000);
        assert!(read(None, &payload).1[0].starts_with("oversize_payload: zstd"));
    }
    let parts = [zstd(br#"{"ts":1,"#), zstd(br#""m":{}}"#)].concat();
    assert_eq!(read(None, &parts).0.len(), 1);
    assert!(read(None, &zstd(&zstd(b"{}"))).1[0].starts_with("malformed_payload: first byte 0x28"));
    assert!(read(Some("application/json+zstd"), b"{}").1[0].ends_with("the first bytes do not"));
}

#[test]
fn arrow_columns_say_what_metadata_would() {
    let ints = |values: &[Option<i64>]| -> ArrayRef { Arc::new(values.iter().copied().collect::<Int64Array>()) };
    let texts = |values: &[&str]| -> ArrayRef { Arc::new(values.iter().map(Some).collect::<StringArray>()) };
    let payload = stream(
        &TOLD,
        &[vec![
            ("ts", texts(&["2026-11-21T10:00:00Z", "soon", "1970-01-01T00:00:00Z"])),
            ("seq", ints(&[Some(7), Some(9), None])),
            ("boot", ints(&[Some(1), Some(2), Some(-1)])),
            ("profile", texts(&["fan", "fan", "fan"])),
            ("a", Arc::new(arrow::array::Float32Array::from(vec![1.5, 2.5, 3.5]))),
        ]],
    );
    let (readings, rejects) = read(Some("application/vnd.apache.arrow.stream"), &payload);
    assert_eq!(readings.len(), 1);
    let reading = &readings[0];
    assert_eq!((reading.profile.as_deref(), reading.boot, reading.seq), (Some("fan"), 1, Some(7)));
    assert_eq!(reading.firmware.as_deref(), Some("1.4"));
    assert_eq!(reading.metrics, [("a".into(), Value::Number(1.5))]);
    assert!(rejects[0].contains("\"soon\""), "{rejects:?}");
    assert_eq!(rejects[1], "missing_field: boot is -1: a whole number from 0 to 9223372036854775807");
    let without = stream(&[], &[vec![("a", ints(&[Some(1)]))]]);
    assert!(read(None, &without).1[0].starts_with("missing_field: ts is missing: a column"));
}
