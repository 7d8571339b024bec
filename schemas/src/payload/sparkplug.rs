//! Sparkplug B payloads: metrics by name or alias. What names, aliases and types mean, a birth has told before: to
//! remember that is the decoder's work, not this page's.
//!
//! The messages follow `sparkplug_b.proto` of Eclipse Tahu; only what can become a scalar is read, the rest (data sets,
//! templates, files, metadata) is passed over. Not understood: the compressed payloads of Sparkplug's own; zstd around
//! the whole payload is.
//!
//! ```
//! use schemas::payload::sparkplug::Message;
//! let message = Message::open(&[0x08, 0x05, 0x18, 0x07][..].into()).unwrap();
//! assert_eq!((message.timestamp, message.seq), (Some(5), Some(7)));
//! ```

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use prost::{
    Message as _,
    encoding::{DecodeContext, decode_key, skip_field},
};

use super::{MAX_READINGS, Value, unpack};
use crate::reject::{Reject, RejectReason};

/// Metrics in one message at the most: a metric takes two bytes on the wire and two hundred here.
pub const MAX_MESSAGE_METRICS: usize = MAX_READINGS;
/// Bytes of a metric's property set at the most; a longer one is passed over.
const MAX_PROPERTIES: usize = 4096;
/// What a payload of Sparkplug's own compression is called.
const COMPRESSED: &[u8] = b"SPBV1.0_COMPRESSED";

/// A payload.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// Milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// What was measured, or is defined.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// 0 to 255 over all messages of an edge node, but for its death.
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    uuid: Option<Bytes>,
}

/// One metric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    #[prost(bytes = "bytes", optional, tag = "1")]
    label: Option<Bytes>,
    /// Stands for the name, once a birth has told so.
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    /// Milliseconds since 1970, if other than the message's.
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    /// The type; may be left out once a birth has told it.
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    is_null: Option<bool>,
    #[prost(bytes = "bytes", optional, tag = "9")]
    properties: Option<Bytes>,
    #[prost(oneof = "Scalar", tags = "10, 11, 12, 13, 14, 15")]
    value: Option<Scalar>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Scalar {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(bytes = "bytes", tag = "15")]
    Text(Bytes),
}

#[derive(Clone, PartialEq, prost::Message)]
struct PropertySet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    keys: Vec<Bytes>,
    #[prost(message, repeated, tag = "2")]
    values: Vec<Property>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Property {
    #[prost(bytes = "bytes", optional, tag = "8")]
    text: Option<Bytes>,
}

fn malformed(detail: impl std::fmt::Display) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("Sparkplug: {detail}"))
}

fn text<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, Reject> {
    std::str::from_utf8(bytes).map_err(|_| malformed(format!("{what} is not UTF-8")))
}

impl Message {
    /// Reads a payload, out of zstd where need be.
    pub fn open(payload: &Bytes) -> Result<Self, Reject> {
        let payload = match unpack::unpack(payload)? {
            Cow::Borrowed(_) => payload.clone(),
            Cow::Owned(unpacked) => unpacked.into(),
        };
        let count = metrics(&payload).map_err(malformed)?;
        if count > MAX_MESSAGE_METRICS {
            let detail = format!("{count} metrics in one message: at most {MAX_MESSAGE_METRICS}");
            return Err(Reject::new(RejectReason::TooManyReadings, detail));
        }
        let message = Self::decode(payload).map_err(malformed)?;
        if message.uuid.as_deref() == Some(COMPRESSED) {
            return Err(malformed("its own compression is not understood: send it plain, or the whole in zstd"));
        }
        Ok(message)
    }
}

/// How many metrics there are, before any is read.
fn metrics(mut payload: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while payload.has_remaining() {
        let (tag, wire_type) = decode_key(&mut payload)?;
        count += usize::from(tag == 2);
        skip_field(wire_type, tag, &mut payload, DecodeContext::default())?;
    }
    Ok(count)
}

impl Metric {
    /// The name, if it is told; empty where an alias stands for it.
    pub fn name(&self) -> Result<Option<&str>, Reject> {
        self.label.as_deref().filter(|name| !name.is_empty()).map(|name| text("a metric's name", name)).transpose()
    }

    /// The value, of the type that it names or, where it names none, that its birth named (0: none is known).
    pub fn value(&self, born: u32) -> Result<Value<'_>, Reject> {
        // sparkplug_b.proto, enum DataType.
        const INT8: u32 = 1;
        const INT16: u32 = 2;
        const INT32: u32 = 3;
        const INT64: u32 = 4;
        if self.is_null == Some(true) {
            return Ok(Value::Null);
        }
        let datatype = self.datatype.filter(|datatype| *datatype != 0).unwrap_or(born);
        Ok(match (&self.value, datatype) {
            // Smaller ones are sent as 32 bits, some libraries extend their sign, some do not.
            (Some(Scalar::Int(bits)), INT8) => Value::Integer(i64::from(*bits as u8 as i8)),
            (Some(Scalar::Int(bits)), INT16) => Value::Integer(i64::from(*bits as u16 as i16)),
            (Some(Scalar::Int(bits)), INT32) => Value::Integer(i64::from(*bits as i32)),
            (Some(Scalar::Int(bits)), INT64) => Value::Integer(i64::from(*bits as i32)),
            (Some(Scalar::Int(number)), _) => Value::Integer(i64::from(*number)),
            (Some(Scalar::Long(bits)), INT8..=INT64) => Value::Integer(*bits as i64),
            (Some(Scalar::Long(number)), _) => super::unsigned(*number),
            (Some(Scalar::Float(number)), _) => Value::Number(f64::from(*number)),
            (Some(Scalar::Double(number)), _) => Value::Number(*number),
            (Some(Scalar::Boolean(flag)), _) => Value::Bool(*flag),
            (Some(Scalar::Text(bytes)), _) => Value::Text(Cow::Borrowed(text("a metric's text", bytes)?)),
            (None, _) => Value::Nested,
        })
    }

    /// A text of its property set.
    pub fn property(&self, key: &str) -> Option<String> {
        let set = self.properties.clone().filter(|set| set.len() <= MAX_PROPERTIES)?;
        let set = PropertySet::decode(set).ok()?;
        let at = set.keys.iter().position(|known| known == key.as_bytes())?;
        String::from_utf8(set.values.get(at)?.text.as_deref()?.to_vec()).ok()
    }
}
