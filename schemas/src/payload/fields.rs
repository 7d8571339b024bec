//! What JSON and CBOR have in common: a message's fields, read leniently in one pass and then checked by name, so that
//! one bad reading in an array costs only itself.

use std::borrow::Cow;

pub(super) use super::lenient::{Object, Scalar};
use super::{
    FaultReport, MAX_METRIC_NAME, MAX_METRICS, MAX_READINGS, MAX_TEXT, Presence, Reading, ReplyReport, StatusReport,
    Telemetry, Value, lenient::Field,
};
use crate::{
    reject::{Reject, RejectReason},
    time::Instant,
};

/// A value that is kept as JSON text.
pub(super) trait Json {
    /// The text.
    fn text(&self) -> String;
}

pub(super) fn missing(field: &str, legal: &str) -> Reject {
    Reject::new(RejectReason::MissingField, format!("{field} is missing: {legal}"))
}

pub(super) fn wrong(field: &str, value: &Value<'_>, legal: &str) -> Reject {
    Reject::new(RejectReason::MissingField, format!("{field} is {}: {legal}", value.kind()))
}

pub(super) const TS: &str = "RFC 3339 text or whole milliseconds since 1970";
const COUNT: &str = "a whole number from 0 to 9223372036854775807";

pub(super) fn text<'a>(field: &str, value: Option<Scalar<'a>>) -> Result<Option<Cow<'a, str>>, Reject> {
    match value {
        None | Some(Scalar(Value::Null)) => Ok(None),
        Some(Scalar(Value::Text(text))) if text.len() <= MAX_TEXT => Ok(Some(text)),
        Some(Scalar(other)) => Err(wrong(field, &other, "text of at most 4096 bytes")),
    }
}

pub(super) fn count(field: &str, value: Option<Scalar<'_>>) -> Result<Option<i64>, Reject> {
    match value {
        None | Some(Scalar(Value::Null)) => Ok(None),
        Some(Scalar(Value::Integer(count))) if count >= 0 => Ok(Some(count)),
        Some(Scalar(Value::Integer(count))) => {
            Err(Reject::new(RejectReason::MissingField, format!("{field} is {count}: {COUNT}")))
        }
        Some(Scalar(other)) => Err(wrong(field, &other, COUNT)),
    }
}

pub(super) fn instant(value: &Value<'_>) -> Result<Instant, Reject> {
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

pub(super) fn too_many(count: usize) -> Reject {
    Reject::new(RejectReason::TooManyReadings, format!("{count} readings in one message: at most {MAX_READINGS}"))
}

/// One object: a reading, or columns.
pub(super) fn read<'a, R>(object: Object<'a, R>, told: &mut Telemetry<'a>) {
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
    metrics.iter().try_for_each(|(name, _)| metric_name(name))?;
    Ok(metrics)
}

/// Whether a metric may be called so.
pub(super) fn metric_name(name: &str) -> Result<(), Reject> {
    if (1..=MAX_METRIC_NAME).contains(&name.len()) {
        return Ok(());
    }
    let start: String = name.chars().take(20).collect();
    let detail = format!("metric name {start:?} has {} bytes: 1 to {MAX_METRIC_NAME}", name.len());
    Err(Reject::new(RejectReason::MissingField, detail))
}

fn row<R>(object: Object<'_, R>) -> Result<Reading<'_>, Reject> {
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

fn columns<'a, R>(object: Object<'a, R>, told: &mut Telemetry<'a>) -> Result<(), Reject> {
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

pub(super) fn fault<R: Json>(object: Object<'_, R>) -> Result<FaultReport<'_>, Reject> {
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
        freeze: object.freeze.as_ref().map(Json::text),
    })
}

pub(super) fn status<R>(object: Object<'_, R>) -> Result<StatusReport<'_>, Reject> {
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

pub(super) fn reply<R: Json>(object: Object<'_, R>) -> Result<ReplyReport<'_>, Reject> {
    Ok(ReplyReport {
        id: text("id", object.id)?.ok_or_else(|| missing("id", "the command's id as text"))?,
        ok: flag("ok", object.ok)?.ok_or_else(|| missing("ok", "true or false"))?,
        result: object.result.as_ref().map(Json::text),
    })
}
