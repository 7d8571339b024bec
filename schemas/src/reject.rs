//! Why something was refused: one name for metric label, `dead_letter.reason` and log field.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a connection, a message or a reading was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum RejectReason { $($(#[$doc])* $variant,)* }

        impl RejectReason {
            /// Every reason, for documentation and for metrics that start at zero.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in metrics, in `dead_letter.reason` and in logs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// The payload is not of the form its content type or first bytes promise.
    MalformedPayload = "malformed_payload",
    /// The payload is well formed, but a required field is missing or of the wrong type.
    MissingField = "missing_field",
    /// No profile of this name is loaded, or none was named and no birth has told it.
    UnknownProfile = "unknown_profile",
    /// A metric's value is of another type than the profile says.
    WrongType = "wrong_type",
    /// A metric's value lies outside the profile's legal range.
    OutOfRange = "out_of_range",
    /// The event time lies further in the future than clocks may differ.
    FutureTimestamp = "future_timestamp",
    /// The sequence number lies so far back that it cannot be told whether it was stored before.
    OutsideDedupWindow = "outside_dedup_window",
    /// The topic does not follow the grammar, or its channel is not for devices.
    BadTopic = "bad_topic",
    /// The topic names another tenant or device than the credential.
    ForeignTopic = "foreign_topic",
    /// The packet is larger than the gateway's maximum.
    OversizePacket = "oversize_packet",
    /// User name or password is wrong.
    BadCredentials = "bad_credentials",
    /// The bytes on the connection are not MQTT 3.1.1 or 5.
    ProtocolError = "protocol_error",
    /// More readings in one message than the limit.
    TooManyReadings = "too_many_readings",
    /// More connections than the limit.
    TooManyConnections = "too_many_connections",
    /// New connections come faster than the limit.
    ConnectRate = "connect_rate",
    /// The payload is larger than the limit once it is decompressed.
    OversizePayload = "oversize_payload",
    /// A Sparkplug message that no birth at hand explains: an alias that none defined, or the death of another session.
    NoBirth = "no_birth",
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something refused, with the words that help whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason.
    pub reason: RejectReason,
    /// Names the field and the legal range.
    pub detail: String,
}

impl Reject {
    /// A reject with its detail.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_metric_use_one_name() {
        for reason in RejectReason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
    }
}
