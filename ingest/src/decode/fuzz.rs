//! Every payload form and the topic grammar, with changed valid inputs: see [`crate::fuzz`].

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray},
    datatypes::{Field, Schema},
    ipc::writer::StreamWriter,
};
use bytes::Bytes;
use schemas::{
    door::Frame,
    id::LogOffset,
    topic::{SparkplugTopic, Topic},
};

use super::{
    Decoder,
    tests::{decoder, frame},
};
use crate::fuzz::run;

/// A decoder is made anew after so many inputs: what it remembers is part of what is tried.
const LIFE: u64 = 64;

const CHANNELS: [&str; 4] = ["telemetry", "fault", "status", "reply"];

/// Valid JSON for every channel; every form is made of it.
fn texts() -> Vec<String> {
    let readings = |from: i64| -> String {
        let one = |seq| {
            format!(
                r#"{{"profile":"pump","boot":3,"seq":{seq},"ts":{},"m":{{"pressure_bar":{}.5,"starts":{seq},"running":true,"mode":"eco","odd":-1e3}}}}"#,
                1_795_255_100_000 + seq,
                seq % 9
            )
        };
        (from..from + 4).map(one).collect::<Vec<_>>().join(",")
    };
    vec![
        readings(7).split_inclusive("}}").next().unwrap().to_owned(),
        format!("[{}]", readings(10)),
        r#"{"profile":"fan","boot":1,"seq":40,"ts":["2026-11-21T09:00:00Z","2026-11-21T09:01:00.25Z"],"m":{"pressure_bar":[1.5,null],"mode":["a","\u00e4\ud83d\ude00"]}}"#.into(),
        r#"{"profile":"pump","boot":2,"seq":5,"ts":1795255200000,"code":"E9","active":false,"freeze":{"t":[1,{"a":null}]}}"#.into(),
        r#"{"boot":3,"ts":"2026-11-21T10:00:00+02:00","state":"online","profile":"pump","firmware":"1.4.2"}"#.into(),
        r#"{"id":"018f-7","ok":true,"result":{"pump":"turns","list":[1,2.5,"x"]}}"#.into(),
    ]
}

fn json() -> Vec<Vec<u8>> {
    texts().into_iter().map(String::into_bytes).collect()
}

fn cbor() -> Vec<Vec<u8>> {
    /// cbor4ii writes serde_json's null as an empty array.
    struct Nullable<'a>(&'a serde_json::Value);
    impl serde::Serialize for Nullable<'_> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde_json::Value;
            match self.0 {
                Value::Null => to.serialize_none(),
                Value::Array(items) => to.collect_seq(items.iter().map(Nullable)),
                Value::Object(fields) => to.collect_map(fields.iter().map(|(name, value)| (name, Nullable(value)))),
                scalar => scalar.serialize(to),
            }
        }
    }
    let encode = |text: String| {
        let value = serde_json::from_str(&text).unwrap();
        cbor4ii::serde::to_vec(Vec::new(), &Nullable(&value)).unwrap()
    };
    texts().into_iter().map(encode).collect()
}

fn arrow() -> Vec<Vec<u8>> {
    let stream = |columns: Vec<(&str, ArrayRef)>, batches: usize| {
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let told = [("profile", "pump"), ("boot", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let schema = Schema::new_with_metadata(columns.iter().map(field).collect::<Vec<_>>(), told.into());
        let schema = Arc::new(schema);
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        for _ in 0..batches {
            let columns = columns.iter().map(|(_, array)| array.clone()).collect();
            writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
        }
        writer.into_inner().unwrap()
    };
    let ts: ArrayRef = Arc::new(Int64Array::from(vec![1_795_255_100_000, 1_795_255_101_000]));
    let seq: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    let pressure: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    let running: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let mode: ArrayRef = Arc::new(StringArray::from(vec!["eco", "boost"]));
    vec![
        stream(vec![("ts", ts.clone()), ("seq", seq), ("pressure_bar", pressure.clone())], 1),
        stream(vec![("ts", ts), ("running", running), ("mode", mode), ("pressure_bar", pressure)], 2),
    ]
}

fn sparkplug() -> Vec<Frame> {
    let line = |line: &str| {
        let (topic, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        frame(topic, (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
    };
    include_str!("fixtures/sparkplug.hex").lines().map(line).collect()
}

/// Any input is one message's end: rows, a duplicate, or a dead letter.
fn check(decoder: &mut Decoder, at: u64, frame: &Frame) {
    let sum = |decoder: &Decoder| {
        let totals = decoder.totals();
        totals.stored + totals.duplicates + totals.dead_letters + totals.refused
    };
    let before = sum(decoder);
    decoder.frame(LogOffset(at), frame);
    assert_eq!(sum(decoder), before + 1);
    for rows in decoder.take() {
        assert!(rows.batch.num_rows() > 0, "an empty batch of {}", rows.table);
    }
}

fn payloads(target: &str, valid: &[Vec<u8>], content_type: Option<&str>) {
    let (mut at, mut current) = (0, decoder());
    run(target, valid, |input, chance| {
        if at % LIFE == 0 {
            current = decoder();
        }
        let topic = format!("fw/v1/acme/pump-{}/{}", chance.below(3), CHANNELS[chance.below(5).min(3)]);
        let content_type = content_type.map(str::to_owned).filter(|_| chance.below(4) == 0);
        check(&mut current, at, &Frame { content_type, ..frame(&topic, input) });
        at += 1;
    });
}

#[test]
fn fuzz_json() {
    payloads("json", &json(), Some("application/json"));
}

#[test]
fn fuzz_cbor() {
    payloads("cbor", &cbor(), Some("application/cbor"));
}

#[test]
fn fuzz_arrow() {
    payloads("arrow", &arrow(), Some("application/vnd.apache.arrow.stream"));
}

#[test]
fn fuzz_zstd() {
    // Changed before and after it is packed: the frame itself, and what comes out of a sound one.
    let mut valid: Vec<Vec<u8>> = [json(), cbor(), arrow()].concat();
    let (mut at, mut current) = (0, decoder());
    valid.push(vec![b'x'; 50_000]);
    run("zstd", &valid, |input, chance| {
        if at % LIFE == 0 {
            current = decoder();
        }
        let mut packed = zstd::bulk::compress(input, 1).unwrap();
        if chance.below(2) == 0 {
            let like = [packed.clone()];
            crate::fuzz::mutate(&mut packed, &like, chance);
        }
        let content_type = (chance.below(3) == 0).then(|| "application/json+zstd".to_owned());
        check(&mut current, at, &Frame { content_type, ..frame("fw/v1/acme/pump-1/telemetry", packed) });
        at += 1;
    });
}

#[test]
fn fuzz_sparkplug() {
    let frames = sparkplug();
    let valid: Vec<Vec<u8>> = frames.iter().map(|frame| frame.payload.to_vec()).collect();
    let (mut at, mut current) = (0, decoder());
    run("sparkplug", &valid, |input, chance| {
        if at % LIFE == 0 {
            current = decoder();
            // Born, so that data finds its aliases.
            frames.iter().take(3).for_each(|frame| check(&mut current, at, frame));
        }
        let topic = frames[chance.below(frames.len())].topic.clone();
        check(&mut current, at, &Frame { topic, payload: Bytes::copy_from_slice(input), ..frames[0].clone() });
        at += 1;
    });
}

#[test]
fn fuzz_topic() {
    let valid = [
        "fw/v1/acme/wm-17/telemetry",
        "fw/v1/a.b:c_d-e/0/fault",
        "fw/v1/acme/line-4:pump-7/reply",
        "spBv1.0/acme/NBIRTH/line-4",
        "spBv1.0/acme/DDATA/line-4/pump-7",
        "fw/v1/acme/wm-17/alarm",
    ]
    .map(|topic| topic.as_bytes().to_vec());
    let (mut at, mut current) = (0, decoder());
    run("topic", &valid, |input, _| {
        let topic = String::from_utf8_lossy(input).into_owned();
        // What is a topic is written as it was read, and nothing else is.
        if let Ok(parsed) = topic.parse::<Topic>() {
            assert_eq!(parsed.to_string(), topic);
            assert!(parsed.tenant.as_str().len() <= 64 && parsed.device.as_str().len() <= 128);
        }
        if let Ok(parsed) = topic.parse::<SparkplugTopic>() {
            assert_eq!(parsed.to_string(), topic);
        }
        let channel = topic.rsplit('/').next().unwrap_or_default();
        if !matches!(channel, "alarm" | "outcome") {
            if at % LIFE == 0 {
                current = decoder();
            }
            check(&mut current, at, &frame(&topic, r#"{"profile":"pump","ts":1795255100000,"m":{"starts":1}}"#));
            at += 1;
        }
    });
}
