//! The topic grammar: `fw/v1/{tenant}/{device}/{channel}`, and that of Sparkplug B ([`SparkplugTopic`]).
//!
//! ```
//! use schemas::topic::Topic;
//! let topic: Topic = "fw/v1/acme/wm-17/telemetry".parse().unwrap();
//! assert_eq!(topic.to_string(), "fw/v1/acme/wm-17/telemetry");
//! ```

mod sparkplug;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::sparkplug::{SPARKPLUG_PREFIX, SparkplugTopic, SparkplugType, is_sparkplug};
use crate::id::{DeviceId, IdError, TenantId};

/// What a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Readings, from the device.
    Telemetry,
    /// Fault codes the device found itself, from the device.
    Fault,
    /// Birth and will, from the device.
    Status,
    /// Answers to commands, from the device.
    Reply,
    /// Commands, to the device.
    Command,
    /// Alarms that detection raised: written to the log by Forewarn itself, refused from a device.
    Alarm,
    /// What a visit found: written to the log by Forewarn itself, refused from a device.
    Outcome,
    /// What prognosis expects: written to the log by Forewarn itself, refused from a device.
    Advisory,
}

impl Channel {
    /// All channels, in topic order.
    pub const ALL: [Self; 8] = [
        Self::Telemetry,
        Self::Fault,
        Self::Status,
        Self::Reply,
        Self::Command,
        Self::Alarm,
        Self::Outcome,
        Self::Advisory,
    ];

    /// The last level of the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Fault => "fault",
            Self::Status => "status",
            Self::Reply => "reply",
            Self::Command => "command",
            Self::Alarm => "alarm",
            Self::Outcome => "outcome",
            Self::Advisory => "advisory",
        }
    }

    /// Whether only Forewarn itself writes here.
    pub fn is_internal(self) -> bool {
        matches!(self, Self::Alarm | Self::Outcome | Self::Advisory)
    }

    /// Whether a device may publish here.
    pub fn from_device(self) -> bool {
        matches!(self, Self::Telemetry | Self::Fault | Self::Status | Self::Reply)
    }
}

/// Whether a topic's last level is one that only Forewarn itself writes.
pub fn is_internal(topic: &str) -> bool {
    let last = topic.strip_prefix(PREFIX).and_then(|rest| rest.rsplit('/').next());
    Channel::ALL.iter().any(|channel| channel.is_internal() && last == Some(channel.as_str()))
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One device's channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device: DeviceId,
    /// What it carries.
    pub channel: Channel,
}

/// Why a topic is not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The levels do not fit.
    #[error("topic {0:?} is not fw/v1/{{tenant}}/{{device}}/{{channel}}")]
    Shape(String),
    /// The levels do not fit Sparkplug's grammar.
    #[error(
        "topic {0:?} is not spBv1.0/{{group}}/{{NBIRTH, NDEATH, NDATA}}/{{node}} or \
         spBv1.0/{{group}}/{{DBIRTH, DDEATH, DDATA}}/{{node}}/{{device}}, the node without a colon"
    )]
    Sparkplug(String),
    /// A level's name is not legal.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The last level is none of the channels.
    #[error("channel {0:?} is none of telemetry, fault, status, reply, command")]
    Channel(String),
}

/// What precedes the tenant in every topic.
pub const PREFIX: &str = "fw/v1/";

impl Topic {
    /// A topic from its parts.
    pub fn new(tenant: TenantId, device: DeviceId, channel: Channel) -> Self {
        Self { tenant, device, channel }
    }
}

impl FromStr for Topic {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Self, TopicError> {
        let shape = || TopicError::Shape(text.chars().take(200).collect());
        let mut levels = text.strip_prefix(PREFIX).ok_or_else(shape)?.split('/');
        let (Some(tenant), Some(device), Some(channel), None) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return Err(shape());
        };
        let channel = Channel::ALL
            .into_iter()
            .find(|c| c.as_str() == channel)
            .ok_or_else(|| TopicError::Channel(channel.chars().take(60).collect()))?;
        Ok(Self { tenant: tenant.parse()?, device: device.parse()?, channel })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}/{}", self.tenant, self.device, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_our_topics_parse() {
        for text in [
            "",
            "fw/v1",
            "fw/v1/acme/wm-17",
            "fw/v1/acme/wm-17/telemetry/x",
            "fw/v2/acme/wm-17/telemetry",
            "fw/v1/acme//telemetry",
            "fw/v1/+/wm/telemetry",
            "fw/v1/acme/wm-17/gossip",
            "$SYS/broker",
        ] {
            assert!(text.parse::<Topic>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_prints_what_it_parsed(
            tenant in "[A-Za-z0-9._:-]{1,64}", device in "[A-Za-z0-9._:-]{1,128}", channel in 0usize..8,
        ) {
            let text = format!("fw/v1/{tenant}/{device}/{}", Channel::ALL[channel]);
            prop_assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_a_topic_or_an_error(text in "\\PC{0,200}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
