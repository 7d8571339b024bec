//! What a device says, parsed. Decoding is total: readings and rejects, never an error.
//!
//! | channel | JSON |
//! |---|---|
//! | telemetry | `{"profile","boot","seq","ts","firmware","m":{…}}`, an array of them, or columns (`ts` and every metric an array) |
//! | fault | `{"profile","boot","seq","ts","code","active","freeze":{…}}` |
//! | status | `{"boot","ts","state":"online"\|"offline","profile","firmware"}` |
//! | reply | `{"id","ok","result"}` |
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

mod json;
#[cfg(test)]
mod tests;

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

/// How a payload is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// JSON (RFC 8259).
    Json,
}

impl Form {
    /// MQTT 5 content type decides; otherwise the first bytes do.
    pub fn of(content_type: Option<&str>, payload: &[u8]) -> Result<Self, Reject> {
        let malformed = |detail: String| Reject::new(RejectReason::MalformedPayload, detail);
        match content_type.map(|t| t.split(';').next().unwrap_or(t).trim()) {
            Some("application/json") => Ok(Self::Json),
            Some(other) => Err(malformed(format!("content type {other:?} is not application/json"))),
            None => match payload.iter().find(|b| !b.is_ascii_whitespace()) {
                Some(b'{' | b'[') => Ok(Self::Json),
                Some(first) => Err(malformed(format!("first byte {first:#04x} begins no JSON object or array"))),
                None => Err(malformed("payload is empty".into())),
            },
        }
    }
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

/// Takes a telemetry message apart. Never fails: what is wrong is a reject.
pub fn telemetry(form: Form, payload: &[u8]) -> Telemetry<'_> {
    match form {
        Form::Json => json::telemetry(payload),
    }
}

/// Takes a fault message apart.
pub fn fault(form: Form, payload: &[u8]) -> Result<FaultReport<'_>, Reject> {
    match form {
        Form::Json => json::fault(payload),
    }
}

/// Takes a status message apart.
pub fn status(form: Form, payload: &[u8]) -> Result<StatusReport<'_>, Reject> {
    match form {
        Form::Json => json::status(payload),
    }
}

/// Takes a reply apart.
pub fn reply(form: Form, payload: &[u8]) -> Result<ReplyReport<'_>, Reject> {
    match form {
        Form::Json => json::reply(payload),
    }
}
