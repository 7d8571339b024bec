//! What a device says, parsed. Decoding is total: readings and rejects, never an error.
//!
//! | channel | JSON |
//! |---|---|
//! | telemetry | `{"profile","boot","seq","ts","firmware","m":{…}}`, an array of them, or columns (`ts` and every metric an array) |
//! | fault | `{"profile","boot","seq","ts","code","active","freeze":{…}}` |
//! | status | `{"boot","ts","state":"online"\|"offline","profile","firmware"}` |
//! | reply | `{"id","ok","result"}` |
//!
//! CBOR has the same shape. An Arrow IPC stream carries telemetry: a column `ts`, optional columns `seq`, `boot`,
//! `profile` and `firmware`, and one column per metric. Any of them may be compressed with zstd. Sparkplug B, which
//! its topic tells, is in [`sparkplug`].
//!
//! | form | content type | first bytes |
//! |---|---|---|
//! | JSON | `application/json` | `{` or `[` |
//! | CBOR | `application/cbor` | 80 to bf, or d9 d9 f7 |
//! | Arrow IPC stream | `application/vnd.apache.arrow.stream` | ff ff ff ff |
//! | any of them in zstd | with `+zstd`, or without | 28 b5 2f fd |
//!
//! `ts` is RFC 3339 or epoch milliseconds. A missing `boot` is 0. Unknown fields are passed over, so that newer
//! devices can talk to older servers. In an array a bad reading is a reject and its neighbours are readings.
//!
//! ```
//! use schemas::payload::{self, Form};
//! let told = payload::telemetry(Form::Json, br#"{"boot":3,"seq":1,"ts":1000,"m":{"vibration_mm_s":2.1}}"#);
//! assert_eq!(told.readings[0].seq, Some(1));
//! assert!(told.rejects.is_empty());
//! ```

mod cbor;
mod fields;
mod ipc;
mod json;
mod lenient;
pub mod sparkplug;
#[cfg(test)]
mod tests;
mod unpack;

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    reject::{Reject, RejectReason},
    time::Instant,
};

/// Readings in one message at the most; a device with more sends another message.
pub const MAX_READINGS: usize = 10_000;
/// Metrics in one reading at the most; the widest profile of ours has 30.
pub const MAX_METRICS: usize = 512;
/// Longest name of a metric, in bytes.
pub const MAX_METRIC_NAME: usize = 64;
/// Longest text value kept, in bytes.
pub const MAX_TEXT: usize = 4096;

/// Bytes of a payload at the most, once it is decompressed: 1,600 for each of [`MAX_READINGS`], and a bound on
/// what few bytes can ask for.
pub const MAX_UNPACKED: usize = 16 << 20;

/// How a payload is written down, beside its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// JSON (RFC 8259).
    Json,
    /// CBOR (RFC 8949), of the same shape.
    Cbor,
    /// An Arrow IPC stream: telemetry only.
    Arrow,
}

/// The content types, with their forms.
const CONTENT_TYPES: [(&str, Form); 3] = [
    ("application/json", Form::Json),
    ("application/cbor", Form::Cbor),
    ("application/vnd.apache.arrow.stream", Form::Arrow),
];

impl Form {
    /// MQTT 5 content type decides; otherwise the first bytes do. The payload is decompressed, the content type may
    /// still say `+zstd`.
    pub fn of(content_type: Option<&str>, payload: &[u8]) -> Result<Self, Reject> {
        let malformed = |detail: String| Reject::new(RejectReason::MalformedPayload, detail);
        match content_type.map(base) {
            Some("" | "application/zstd") | None => {}
            Some(told) => {
                let name = told.strip_suffix("+zstd").unwrap_or(told);
                let form = CONTENT_TYPES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                return form.map(|(_, form)| form).ok_or_else(|| {
                    let told: String = told.chars().take(100).collect();
                    let legal = CONTENT_TYPES.map(|(known, _)| known).join(", ");
                    malformed(format!("content type {told:?} is none of {legal}, each with +zstd or without"))
                });
            }
        }
        if payload.starts_with(ipc::CONTINUATION) {
            return Ok(Self::Arrow);
        }
        if payload.starts_with(cbor::SELF_DESCRIBED) || payload.first().is_some_and(|first| cbor::begins(*first)) {
            return Ok(Self::Cbor);
        }
        match payload.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Ok(Self::Json),
            Some(first) => Err(malformed(format!("first byte {first:#04x} begins no JSON, CBOR or Arrow stream"))),
            None => Err(malformed("payload is empty".into())),
        }
    }
}

/// A content type without its parameters.
fn base(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or(content_type).trim()
}

/// A payload, decompressed and of known form. What was read out of it borrows from it.
pub struct Payload<'a>(Opened<'a>);

enum Opened<'a> {
    Objects(Form, Cow<'a, [u8]>),
    Table(ipc::Table),
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Payload").field(&self.form()).finish()
    }
}

impl<'a> Payload<'a> {
    /// Decompresses it where need be, and tells its form.
    pub fn open(content_type: Option<&str>, payload: &'a [u8]) -> Result<Self, Reject> {
        if content_type.is_some_and(|told| base(told).ends_with("zstd")) && !unpack::is_packed(payload) {
            let detail = "content type says zstd, and the first bytes do not";
            return Err(Reject::new(RejectReason::MalformedPayload, detail));
        }
        let payload = unpack::unpack(payload)?;
        Ok(Self(match Form::of(content_type, &payload)? {
            Form::Arrow => Opened::Table(ipc::open(&payload)?),
            form => Opened::Objects(form, payload),
        }))
    }

    /// How it is written down.
    pub fn form(&self) -> Form {
        match self.0 {
            Opened::Objects(form, _) => form,
            Opened::Table(_) => Form::Arrow,
        }
    }

    /// Hands each reading of a telemetry message on, in order. Readings that are wrong, and those that `each` refuses,
    /// are rejects; an error is a message of too many readings, none of which was handed on.
    pub fn readings<'s>(
        &'s self,
        rejects: &mut Vec<Reject>,
        mut each: impl FnMut(&Reading<'s>) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let (form, bytes) = match &self.0 {
            Opened::Objects(form, bytes) => (*form, bytes),
            Opened::Table(table) => {
                table.readings(rejects, each);
                return Ok(());
            }
        };
        let mut told = telemetry(form, bytes);
        let count = told.readings.len() + told.rejects.len();
        if count > MAX_READINGS {
            return Err(fields::too_many(count));
        }
        rejects.append(&mut told.rejects);
        for reading in &told.readings {
            rejects.extend(each(reading).err());
        }
        Ok(())
    }

    /// Takes a fault message apart.
    pub fn fault(&self) -> Result<FaultReport<'_>, Reject> {
        let (form, bytes) = self.objects()?;
        fault(form, bytes)
    }

    /// Takes a status message apart.
    pub fn status(&self) -> Result<StatusReport<'_>, Reject> {
        let (form, bytes) = self.objects()?;
        status(form, bytes)
    }

    /// Takes a reply apart.
    pub fn reply(&self) -> Result<ReplyReport<'_>, Reject> {
        let (form, bytes) = self.objects()?;
        reply(form, bytes)
    }

    fn objects(&self) -> Result<(Form, &[u8]), Reject> {
        match &self.0 {
            Opened::Objects(form, bytes) => Ok((*form, bytes)),
            Opened::Table(_) => Err(only_telemetry()),
        }
    }
}

fn only_telemetry() -> Reject {
    Reject::new(RejectReason::MalformedPayload, "Arrow: a stream carries telemetry only")
}

/// A whole number where it fits, else the nearest number.
fn unsigned<'a>(number: u64) -> Value<'a> {
    i64::try_from(number).map_or(Value::Number(number as f64), Value::Integer)
}

/// A metric's value as it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing was measured.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// An array or object where a scalar should be.
    Nested,
}

impl Value<'_> {
    /// The word for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Nested => "an array or object",
        }
    }
}

/// What was measured at one event time.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    /// The device's kind, if named; else its birth told it.
    pub profile: Option<Cow<'a, str>>,
    /// Boot counter; `seq` begins again with each.
    pub boot: i64,
    /// Counts up per (device, boot, channel).
    pub seq: Option<i64>,
    /// When it was measured.
    pub event_time: Instant,
    /// The firmware that measured it.
    pub firmware: Option<Cow<'a, str>>,
    /// Metrics by name, in the order they came.
    pub metrics: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl Reading<'_> {
    /// The same, borrowing nothing.
    pub fn owned(&self) -> Reading<'static> {
        fn own(text: &str) -> Cow<'static, str> {
            Cow::Owned(text.to_owned())
        }
        let metrics = self.metrics.iter().map(|(name, value)| {
            let value = match value {
                Value::Null => Value::Null,
                Value::Bool(flag) => Value::Bool(*flag),
                Value::Integer(number) => Value::Integer(*number),
                Value::Number(number) => Value::Number(*number),
                Value::Text(text) => Value::Text(own(text)),
                Value::Nested => Value::Nested,
            };
            (own(name), value)
        });
        Reading {
            profile: self.profile.as_deref().map(own),
            boot: self.boot,
            seq: self.seq,
            event_time: self.event_time,
            firmware: self.firmware.as_deref().map(own),
            metrics: metrics.collect(),
        }
    }
}

/// A telemetry message, taken apart.
#[derive(Debug, Default)]
pub struct Telemetry<'a> {
    /// The good readings.
    pub readings: Vec<Reading<'a>>,
    /// The bad ones.
    pub rejects: Vec<Reject>,
}

/// A fault code that the device found itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultReport<'a> {
    /// The device's kind, if named.
    pub profile: Option<Cow<'a, str>>,
    /// Boot counter.
    pub boot: i64,
    /// Counts up per (device, boot, channel).
    pub seq: Option<i64>,
    /// When the device found it.
    #[serde(rename = "ts")]
    pub event_time: Instant,
    /// The firmware that found it.
    pub firmware: Option<Cow<'a, str>>,
    /// The code, such as `E21`.
    pub code: Cow<'a, str>,
    /// Whether it holds now, or has ended.
    pub active: bool,
    /// The freeze frame: a JSON object as text, if any.
    #[serde(skip)]
    pub freeze: Option<String>,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// A birth.
    Online,
    /// A death, usually by will.
    Offline,
}

impl Presence {
    /// The word in columns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// A birth or a death.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReport<'a> {
    /// Boot counter.
    pub boot: i64,
    /// When; a will has none, and its arrival counts.
    #[serde(rename = "ts", skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Instant>,
    /// There or not.
    pub state: Presence,
    /// The device's kind, if named.
    pub profile: Option<Cow<'a, str>>,
    /// The firmware, if named.
    pub firmware: Option<Cow<'a, str>>,
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyReport<'a> {
    /// The command's id.
    pub id: Cow<'a, str>,
    /// Whether it was carried out.
    pub ok: bool,
    /// What came of it: JSON as text, if any.
    pub result: Option<String>,
}

/// Takes a telemetry message apart, which is not compressed. Never fails: what is wrong is a reject.
pub fn telemetry(form: Form, payload: &[u8]) -> Telemetry<'_> {
    match form {
        Form::Json => json::telemetry(payload),
        Form::Cbor => cbor::telemetry(payload),
        Form::Arrow => {
            let mut told = Telemetry::default();
            match ipc::open(payload) {
                Ok(table) => table.readings(&mut told.rejects, |reading| {
                    told.readings.push(reading.owned());
                    Ok(())
                }),
                Err(reject) => told.rejects.push(reject),
            }
            told
        }
    }
}

/// Takes a fault message apart.
pub fn fault(form: Form, payload: &[u8]) -> Result<FaultReport<'_>, Reject> {
    match form {
        Form::Json => json::fault(payload),
        Form::Cbor => cbor::fault(payload),
        Form::Arrow => Err(only_telemetry()),
    }
}

/// Takes a status message apart.
pub fn status(form: Form, payload: &[u8]) -> Result<StatusReport<'_>, Reject> {
    match form {
        Form::Json => json::status(payload),
        Form::Cbor => cbor::status(payload),
        Form::Arrow => Err(only_telemetry()),
    }
}

/// Takes a reply apart.
pub fn reply(form: Form, payload: &[u8]) -> Result<ReplyReport<'_>, Reject> {
    match form {
        Form::Json => json::reply(payload),
        Form::Cbor => cbor::reply(payload),
        Form::Arrow => Err(only_telemetry()),
    }
}
