//! JSON payloads. Fields are read leniently in one pass, then checked by name, so that one bad reading in an array
//! costs only itself.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    FaultReport, MAX_METRIC_NAME, MAX_METRICS, MAX_READINGS, MAX_TEXT, Presence, Reading, ReplyReport, StatusReport,
    Telemetry, Value,
};
use crate::{
    reject::{Reject, RejectReason},
    time::Instant,
};

/// Any JSON value: a scalar, a column of scalars, metrics by name, or something deeper that is passed over.
enum Field<'a> {
    Scalar(Value<'a>),
    Column(Vec<Value<'a>>),
    Metrics(Vec<(Cow<'a, str>, Field<'a>)>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Null))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Bool(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Integer(v)))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(i64::try_from(v).map_or(Value::Number(v as f64), Value::Integer)))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Number(v)))
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Text(Cow::Borrowed(v))))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Text(Cow::Owned(v.to_owned()))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut column = Vec::new();
                while let Some(Scalar(value)) = seq.next_element()? {
                    if column.len() <= MAX_READINGS {
                        column.push(value);
                    }
                }
                Ok(Field::Column(column))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut metrics = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let value = map.next_value::<Leaf>()?.0;
                    if metrics.len() <= MAX_METRICS {
                        metrics.push((name, value));
                    }
                }
                Ok(Field::Metrics(metrics))
            }
        }
        from.deserialize_any(Any)
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(v.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

macro_rules! scalar_visits {
    ($wrap:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
            Ok($wrap(Value::Bool(v)))
        }
        fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Integer(v)))
        }
        fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
            Ok($wrap(i64::try_from(v).map_or(Value::Number(v as f64), Value::Integer)))
        }
        fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(v)))
        }
        fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
            Ok($wrap(Value::Text(Cow::Borrowed(v))))
        }
        fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
            Ok($wrap(Value::Text(Cow::Owned(v.to_owned()))))
        }
    };
}

/// A scalar; anything deeper is [`Value::Nested`].
struct Scalar<'a>(Value<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;
            scalar_visits!(Scalar);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Nested))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Nested))
            }
        }
        from.deserialize_any(Any)
    }
}

/// A metric's value: a scalar or a column of scalars.
struct Leaf<'a>(Field<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Leaf<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        fn leaf(value: Value<'_>) -> Leaf<'_> {
            Leaf(Field::Scalar(value))
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Leaf<'de>;
            scalar_visits!(leaf);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut column = Vec::new();
                while let Some(Scalar(value)) = seq.next_element()? {
                    if column.len() <= MAX_READINGS {
                        column.push(value);
                    }
                }
                Ok(Leaf(Field::Column(column)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(leaf(Value::Nested))
            }
        }
        from.deserialize_any(Any)
    }
}

/// The fields of any message of ours, unread.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    profile: Option<Scalar<'a>>,
    #[serde(borrow)]
    boot: Option<Scalar<'a>>,
    #[serde(borrow)]
    seq: Option<Scalar<'a>>,
    #[serde(borrow)]
    ts: Option<Field<'a>>,
    #[serde(borrow)]
    firmware: Option<Scalar<'a>>,
    #[serde(borrow)]
    m: Option<Field<'a>>,
    #[serde(borrow)]
    code: Option<Scalar<'a>>,
    #[serde(borrow)]
    active: Option<Scalar<'a>>,
    #[serde(borrow)]
    state: Option<Scalar<'a>>,
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    ok: Option<Scalar<'a>>,
    #[serde(borrow)]
    freeze: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fn malformed(error: &serde_json::Error) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("JSON: {error}"))
}

fn missing(field: &str, legal: &str) -> Reject {
    Reject::new(RejectReason::MissingField, format!("{field} is missing: {legal}"))
}

fn wrong(field: &str, value: &Value<'_>, legal: &str) -> Reject {
    Reject::new(RejectReason::MissingField, format!("{field} is {}: {legal}", value.kind()))
}

const TS: &str = "RFC 3339 text or whole milliseconds since 1970";
const COUNT: &str = "a whole number from 0 to 9223372036854775807";

fn text<'a>(field: &str, value: Option<Scalar<'a>>) -> Result<Option<Cow<'a, str>>, Reject> {
    match value {
        None | Some(Scalar(Value::Null)) => Ok(None),
        Some(Scalar(Value::Text(text))) if text.len() <= MAX_TEXT => Ok(Some(text)),
        Some(Scalar(other)) => Err(wrong(field, &other, "text of at most 4096 bytes")),
    }
}

fn count(field: &str, value: Option<Scalar<'_>>) -> Result<Option<i64>, Reject> {
    match value {
        None | Some(Scalar(Value::Null)) => Ok(None),
        Some(Scalar(Value::Integer(count))) if count >= 0 => Ok(Some(count)),
        Some(Scalar(Value::Integer(count))) => {
            Err(Reject::new(RejectReason::MissingField, format!("{field} is {count}: {COUNT}")))
        }
        Some(Scalar(other)) => Err(wrong(field, &other, COUNT)),
    }
}

fn instant(value: &Value<'_>) -> Result<Instant, Reject> {
    match value {
        Value::Integer(millis) => Ok(Instant::from_millis(*millis)),
        Value::Text(text) => {
            text.parse().map_err(|error| Reject::new(RejectReason::MissingField, format!("ts: {error}; {TS}")))
        }
        other => Err(wrong("ts", other, TS)),
    }
}

fn scalar_ts(ts: Option<Field<'_>>) -> Result<Option<Instant>, Reject> {
    match ts {
        None | Some(Field::Scalar(Value::Null)) => Ok(None),
        Some(Field::Scalar(value)) => instant(&value).map(Some),
        Some(Field::Column(_) | Field::Metrics(_)) => Err(wrong("ts", &Value::Nested, TS)),
    }
}

fn flag(field: &str, value: Option<Scalar<'_>>) -> Result<Option<bool>, Reject> {
    match value {
        None | Some(Scalar(Value::Null)) => Ok(None),
        Some(Scalar(Value::Bool(flag))) => Ok(Some(flag)),
        Some(Scalar(other)) => Err(wrong(field, &other, "true or false")),
    }
}

pub(super) fn telemetry(payload: &[u8]) -> Telemetry<'_> {
    let mut told = Telemetry::default();
    let objects = match payload.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => serde_json::from_slice::<Vec<&RawValue>>(payload),
        _ => serde_json::from_slice::<&RawValue>(payload).map(|one| vec![one]),
    };
    let objects = match objects {
        Ok(objects) => objects,
        Err(error) => {
            told.rejects.push(malformed(&error));
            return told;
        }
    };
    if objects.is_empty() {
        told.rejects.push(missing("reading", "an array needs at least one"));
    }
    if objects.len() > MAX_READINGS {
        told.rejects.push(too_many(objects.len()));
        return told;
    }
    for object in objects {
        match serde_json::from_str::<Object<'_>>(object.get()) {
            Ok(object) => read(object, &mut told),
            Err(error) => told.rejects.push(malformed(&error)),
        }
    }
    told
}

fn too_many(count: usize) -> Reject {
    Reject::new(RejectReason::TooManyReadings, format!("{count} readings in one message: at most {MAX_READINGS}"))
}

/// One object: a reading, or columns.
fn read<'a>(object: Object<'a>, told: &mut Telemetry<'a>) {
    let result = match object.ts {
        Some(Field::Column(_)) => columns(object, told),
        _ => row(object).map(|reading| told.readings.push(reading)),
    };
    if let Err(reject) = result {
        told.rejects.push(reject);
    }
}

fn metrics(m: Option<Field<'_>>) -> Result<Vec<(Cow<'_, str>, Field<'_>)>, Reject> {
    let metrics = match m {
        Some(Field::Metrics(metrics)) => metrics,
        None => return Err(missing("m", "an object of metrics by name")),
        Some(_) => {
            return Err(Reject::new(RejectReason::MissingField, "m is no object: metrics by name"));
        }
    };
    if metrics.len() > MAX_METRICS {
        return Err(Reject::new(
            RejectReason::TooManyReadings,
            format!("m has more than {MAX_METRICS} metrics in one reading"),
        ));
    }
    if let Some((name, _)) = metrics.iter().find(|(name, _)| name.is_empty() || name.len() > MAX_METRIC_NAME) {
        let start: String = name.chars().take(20).collect();
        return Err(Reject::new(
            RejectReason::MissingField,
            format!("metric name {start:?} has {} bytes: 1 to {MAX_METRIC_NAME}", name.len()),
        ));
    }
    Ok(metrics)
}

fn row(object: Object<'_>) -> Result<Reading<'_>, Reject> {
    let event_time = scalar_ts(object.ts)?.ok_or_else(|| missing("ts", TS))?;
    let metrics = metrics(object.m)?
        .into_iter()
        .map(|(name, field)| match field {
            Field::Scalar(value) => (name, value),
            Field::Column(_) | Field::Metrics(_) => (name, Value::Nested),
        })
        .collect();
    Ok(Reading {
        profile: text("profile", object.profile)?,
        boot: count("boot", object.boot)?.unwrap_or(0),
        seq: count("seq", object.seq)?,
        event_time,
        firmware: text("firmware", object.firmware)?,
        metrics,
    })
}

fn columns<'a>(object: Object<'a>, told: &mut Telemetry<'a>) -> Result<(), Reject> {
    let Some(Field::Column(ts)) = object.ts else { return Err(missing("ts", TS)) };
    if ts.len() > MAX_READINGS {
        return Err(too_many(ts.len()));
    }
    if ts.is_empty() {
        return Err(missing("ts", "columns need at least one reading"));
    }
    let profile = text("profile", object.profile)?;
    let boot = count("boot", object.boot)?.unwrap_or(0);
    let first_seq = count("seq", object.seq)?;
    let firmware = text("firmware", object.firmware)?;
    let mut columns = Vec::new();
    for (name, field) in metrics(object.m)? {
        match field {
            Field::Column(values) if values.len() == ts.len() => columns.push((name, values.into_iter())),
            Field::Column(values) => {
                return Err(Reject::new(
                    RejectReason::MalformedPayload,
                    format!(
                        "metric {name:?} has {} values and ts has {}: columns are equally long",
                        values.len(),
                        ts.len()
                    ),
                ));
            }
            Field::Scalar(_) | Field::Metrics(_) => {
                return Err(Reject::new(
                    RejectReason::MalformedPayload,
                    format!("metric {name:?} is no array, and ts is one"),
                ));
            }
        }
    }
    for (index, ts) in ts.iter().enumerate() {
        let metrics =
            columns.iter_mut().map(|(name, values)| (name.clone(), values.next().unwrap_or(Value::Null))).collect();
        match instant(ts) {
            Ok(event_time) => told.readings.push(Reading {
                profile: profile.clone(),
                boot,
                seq: first_seq.and_then(|first| first.checked_add(index as i64)),
                event_time,
                firmware: firmware.clone(),
                metrics,
            }),
            Err(reject) => told.rejects.push(reject),
        }
    }
    Ok(())
}

fn object(payload: &[u8]) -> Result<Object<'_>, Reject> {
    serde_json::from_slice(payload).map_err(|error| malformed(&error))
}

pub(super) fn fault(payload: &[u8]) -> Result<FaultReport<'_>, Reject> {
    let object = object(payload)?;
    let code = text("code", object.code)?.ok_or_else(|| missing("code", "the fault code as text"))?;
    if code.is_empty() || code.len() > MAX_METRIC_NAME {
        return Err(Reject::new(RejectReason::MissingField, format!("code has {} bytes: 1 to 64", code.len())));
    }
    Ok(FaultReport {
        profile: text("profile", object.profile)?,
        boot: count("boot", object.boot)?.unwrap_or(0),
        seq: count("seq", object.seq)?,
        event_time: scalar_ts(object.ts)?.ok_or_else(|| missing("ts", TS))?,
        firmware: text("firmware", object.firmware)?,
        code,
        active: flag("active", object.active)?.unwrap_or(true),
        freeze: object.freeze.map(|raw| raw.get().to_owned()),
    })
}

pub(super) fn status(payload: &[u8]) -> Result<StatusReport<'_>, Reject> {
    let object = object(payload)?;
    let state = match object.state {
        Some(Scalar(Value::Text(text))) if text == "online" => Presence::Online,
        Some(Scalar(Value::Text(text))) if text == "offline" => Presence::Offline,
        Some(Scalar(other)) => return Err(wrong("state", &other, "\"online\" or \"offline\"")),
        None => return Err(missing("state", "\"online\" or \"offline\"")),
    };
    Ok(StatusReport {
        boot: count("boot", object.boot)?.unwrap_or(0),
        event_time: scalar_ts(object.ts)?,
        state,
        profile: text("profile", object.profile)?,
        firmware: text("firmware", object.firmware)?,
    })
}

pub(super) fn reply(payload: &[u8]) -> Result<ReplyReport<'_>, Reject> {
    let object = object(payload)?;
    Ok(ReplyReport {
        id: text("id", object.id)?.ok_or_else(|| missing("id", "the command's id as text"))?,
        ok: flag("ok", object.ok)?.ok_or_else(|| missing("ok", "true or false"))?,
        result: object.result.map(|raw| raw.get().to_owned()),
    })
}
