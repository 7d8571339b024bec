//! CBOR payloads (RFC 8949): [`super::fields`] out of bytes. Tags are refused, but for the one that says "this is CBOR";
//! `freeze` and `result` are kept as the JSON of the same meaning.

use cbor4ii::{
    core::{
        dec::{Decode, IgnoredAny, Read, Reference},
        types::Array,
        utils::SliceReader,
    },
    serde::Deserializer,
};
use serde::Deserialize;

use super::{
    FaultReport, MAX_READINGS, ReplyReport, StatusReport, Telemetry,
    fields::{self, Json, Object},
};
use crate::reject::{Reject, RejectReason};

/// RFC 8949, 3.4.6: the tag that may stand before any CBOR.
pub(super) const SELF_DESCRIBED: &[u8] = &[0xd9, 0xd9, 0xf7];

impl Json for serde_json::Value {
    fn text(&self) -> String {
        self.to_string()
    }
}

fn malformed(error: impl std::fmt::Display) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("CBOR: {error}"))
}

/// Whether a first byte begins an array or a map.
pub(super) fn begins(byte: u8) -> bool {
    matches!(byte >> 5, 4 | 5)
}

pub(super) fn telemetry(payload: &[u8]) -> Telemetry<'_> {
    let payload = payload.strip_prefix(SELF_DESCRIBED).unwrap_or(payload);
    let mut told = Telemetry::default();
    let items = match payload.first() {
        Some(first) if first >> 5 == 4 => items(payload),
        _ => Ok(vec![payload]),
    };
    match items {
        Ok(items) if items.is_empty() => told.rejects.push(fields::missing("reading", "an array needs at least one")),
        Ok(items) => {
            for item in items {
                match object(item) {
                    Ok(object) => fields::read(object, &mut told),
                    Err(reject) => told.rejects.push(reject),
                }
            }
        }
        Err(reject) => told.rejects.push(reject),
    }
    told
}

/// The items of an array, each in its own bytes, so that one that is wrong costs only itself.
fn items(payload: &[u8]) -> Result<Vec<&[u8]>, Reject> {
    const BREAK: u8 = 0xff;
    let mut reader = SliceReader::new(payload);
    let count = Array::len(&mut reader).map_err(malformed)?;
    let mut items = Vec::new();
    let mut left = count;
    loop {
        let rest = self::rest(&mut reader);
        let start = payload.len() - rest.len();
        match left.as_mut() {
            Some(0) => {
                return if rest.is_empty() { Ok(items) } else { Err(malformed("bytes follow its end")) };
            }
            Some(left) => *left -= 1,
            None if rest.first() == Some(&BREAK) => {
                return if rest.len() == 1 { Ok(items) } else { Err(malformed("bytes follow its end")) };
            }
            None => {}
        }
        if items.len() == MAX_READINGS {
            return Err(fields::too_many(count.unwrap_or(MAX_READINGS + 1)));
        }
        IgnoredAny::decode(&mut reader).map_err(malformed)?;
        items.push(&payload[start..payload.len() - self::rest(&mut reader).len()]);
    }
}

/// What was not read yet.
fn rest<'a>(reader: &mut SliceReader<'a>) -> &'a [u8] {
    match reader.fill(usize::MAX) {
        Ok(Reference::Long(rest)) => rest,
        _ => &[],
    }
}

fn object(payload: &[u8]) -> Result<Object<'_, serde_json::Value>, Reject> {
    let payload = payload.strip_prefix(SELF_DESCRIBED).unwrap_or(payload);
    let mut from = Deserializer::new(SliceReader::new(payload));
    let object = Object::deserialize(&mut from).map_err(malformed)?;
    if rest(&mut from.into_inner()).is_empty() { Ok(object) } else { Err(malformed("bytes follow its end")) }
}

pub(super) fn fault(payload: &[u8]) -> Result<FaultReport<'_>, Reject> {
    fields::fault(object(payload)?)
}

pub(super) fn status(payload: &[u8]) -> Result<StatusReport<'_>, Reject> {
    fields::status(object(payload)?)
}

pub(super) fn reply(payload: &[u8]) -> Result<ReplyReport<'_>, Reject> {
    fields::reply(object(payload)?)
}
