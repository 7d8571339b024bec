//! The topic grammar of Sparkplug B: `spBv1.0/{group}/{type}/{node}[/{device}]`.
//!
//! The group is the tenant. An edge node is the device of its own name; a device behind it is `{node}:{device}`, since
//! Sparkplug's device ids are unique within their node only, and so that a node's credential covers its devices and no
//! others. A node with devices therefore has no colon in its name.

use std::{fmt, str::FromStr};

use super::{Channel, TopicError};
use crate::id::{DeviceId, TenantId};

/// What precedes the group in every Sparkplug topic.
pub const SPARKPLUG_PREFIX: &str = "spBv1.0/";

/// What a Sparkplug message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SparkplugType {
    /// An edge node is there, with these metrics.
    NodeBirth,
    /// An edge node has gone: its will.
    NodeDeath,
    /// An edge node's metrics.
    NodeData,
    /// To an edge node.
    NodeCommand,
    /// A device is there, with these metrics.
    DeviceBirth,
    /// A device has gone, says its edge node.
    DeviceDeath,
    /// A device's metrics.
    DeviceData,
    /// To a device.
    DeviceCommand,
}

impl SparkplugType {
    /// All types.
    pub const ALL: [Self; 8] = [
        Self::NodeBirth,
        Self::NodeDeath,
        Self::NodeData,
        Self::NodeCommand,
        Self::DeviceBirth,
        Self::DeviceDeath,
        Self::DeviceData,
        Self::DeviceCommand,
    ];

    /// The level of the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeBirth => "NBIRTH",
            Self::NodeDeath => "NDEATH",
            Self::NodeData => "NDATA",
            Self::NodeCommand => "NCMD",
            Self::DeviceBirth => "DBIRTH",
            Self::DeviceDeath => "DDEATH",
            Self::DeviceData => "DDATA",
            Self::DeviceCommand => "DCMD",
        }
    }

    /// Whether it names a device behind the node.
    pub fn of_device(self) -> bool {
        matches!(self, Self::DeviceBirth | Self::DeviceDeath | Self::DeviceData | Self::DeviceCommand)
    }

    /// The channel of the same meaning.
    pub fn channel(self) -> Channel {
        match self {
            Self::NodeBirth | Self::NodeDeath | Self::DeviceBirth | Self::DeviceDeath => Channel::Status,
            Self::NodeData | Self::DeviceData => Channel::Telemetry,
            Self::NodeCommand | Self::DeviceCommand => Channel::Command,
        }
    }
}

/// A Sparkplug topic.
///
/// ```
/// use schemas::topic::SparkplugTopic;
/// let topic: SparkplugTopic = "spBv1.0/acme/DDATA/line-4/pump-7".parse().unwrap();
/// assert_eq!(topic.device_id.as_str(), "line-4:pump-7");
/// assert_eq!(topic.to_string(), "spBv1.0/acme/DDATA/line-4/pump-7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SparkplugTopic {
    /// The group.
    pub tenant: TenantId,
    /// What it is about.
    pub r#type: SparkplugType,
    /// The edge node.
    pub node: DeviceId,
    /// Whom it is about: the node, or `{node}:{device}`.
    pub device_id: DeviceId,
}

/// Whether a topic is one of Sparkplug's.
pub fn is_sparkplug(topic: &str) -> bool {
    topic.starts_with(SPARKPLUG_PREFIX)
}

impl FromStr for SparkplugTopic {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Self, TopicError> {
        let shape = || TopicError::Sparkplug(text.chars().take(200).collect());
        let mut levels = text.strip_prefix(SPARKPLUG_PREFIX).ok_or_else(shape)?.split('/');
        let (Some(tenant), Some(told), Some(node), device, None) =
            (levels.next(), levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return Err(shape());
        };
        let r#type = SparkplugType::ALL.into_iter().find(|known| known.as_str() == told).ok_or_else(shape)?;
        let (tenant, node) = (tenant.parse()?, node.parse::<DeviceId>()?);
        let device_id = match device {
            None if !r#type.of_device() => node.clone(),
            Some(device) if r#type.of_device() && !node.as_str().contains(':') => {
                let device: DeviceId = device.parse()?;
                format!("{node}:{device}").parse()?
            }
            _ => return Err(shape()),
        };
        Ok(Self { tenant, r#type, node, device_id })
    }
}

impl SparkplugTopic {
    /// The device behind the node, by Sparkplug's name.
    pub fn device(&self) -> Option<&str> {
        let device = self.device_id.as_str().strip_prefix(self.node.as_str())?.strip_prefix(':')?;
        self.r#type.of_device().then_some(device)
    }

    /// Whether a device's credential covers it: the node's own does, and that of a device behind it.
    pub fn belongs_to(&self, tenant: &TenantId, device_id: &DeviceId) -> bool {
        self.tenant == *tenant && (self.node == *device_id || self.device_id == *device_id)
    }
}

impl fmt::Display for SparkplugTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SPARKPLUG_PREFIX}{}/{}/{}", self.tenant, self.r#type.as_str(), self.node)?;
        self.device().map_or(Ok(()), |device| write!(f, "/{device}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_sparkplugs_topics_parse() {
        for text in [
            "spBv1.0/acme/NDATA",
            "spBv1.0/acme/NDATA/node/device",
            "spBv1.0/acme/DDATA/node",
            "spBv1.0/acme/DDATA/no:de/device",
            "spBv1.0/acme/DDATA/node/device/x",
            "spBv1.0/acme/XDATA/node",
            "spBv1.0/acme/NDATA/no de",
            "spBv1.0/STATE/host",
            "spAv1.0/acme/NDATA/node",
            "fw/v1/acme/pump/telemetry",
        ] {
            assert!(text.parse::<SparkplugTopic>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_nodes_credential_covers_its_devices_and_no_others() {
        let topic: SparkplugTopic = "spBv1.0/acme/DDATA/line-4/pump-7".parse().unwrap();
        for (tenant, device, covers) in [
            ("acme", "line-4", true),
            ("acme", "line-4:pump-7", true),
            ("acme", "pump-7", false),
            ("acme", "line-4:pump-8", false),
            ("else", "line-4", false),
        ] {
            assert_eq!(topic.belongs_to(&tenant.parse().unwrap(), &device.parse().unwrap()), covers, "{device}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_prints_what_it_parsed(
            tenant in "[A-Za-z0-9._:-]{1,64}", node in "[A-Za-z0-9._-]{1,60}", device in "[A-Za-z0-9._:-]{1,60}",
            at in 0usize..8,
        ) {
            let r#type = SparkplugType::ALL[at];
            let mut text = format!("spBv1.0/{tenant}/{}/{node}", r#type.as_str());
            if r#type.of_device() {
                text += &format!("/{device}");
            }
            prop_assert_eq!(text.parse::<SparkplugTopic>().unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_a_topic_or_an_error(text in "spBv1.0/(acme|a:b)/[NDA-Z]{2,7}/\\PC{0,20}(/\\PC{0,10})?") {
            if let Ok(topic) = text.parse::<SparkplugTopic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
