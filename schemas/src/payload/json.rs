//! JSON payloads: [`super::fields`] out of text.

use serde_json::value::RawValue;

use super::{
    FaultReport, MAX_READINGS, ReplyReport, StatusReport, Telemetry,
    fields::{self, Json, Object},
};
use crate::reject::{Reject, RejectReason};

impl Json for &RawValue {
    fn text(&self) -> String {
        self.get().to_owned()
    }
}

fn malformed(error: &serde_json::Error) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("JSON: {error}"))
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
        told.rejects.push(fields::missing("reading", "an array needs at least one"));
    }
    if objects.len() > MAX_READINGS {
        told.rejects.push(fields::too_many(objects.len()));
        return told;
    }
    for object in objects {
        match serde_json::from_str::<Object<'_, &RawValue>>(object.get()) {
            Ok(object) => fields::read(object, &mut told),
            Err(error) => told.rejects.push(malformed(&error)),
        }
    }
    told
}

fn object(payload: &[u8]) -> Result<Object<'_, &RawValue>, Reject> {
    serde_json::from_slice(payload).map_err(|error| malformed(&error))
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
