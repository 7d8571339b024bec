//! Names that were checked once.
//!
//! ```
//! use schemas::id::DeviceId;
//! let device: DeviceId = "wm-000017".parse().unwrap();
//! assert_eq!(device.to_string(), "wm-000017");
//! assert!("pump/7".parse::<DeviceId>().is_err());
//! ```

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A name that breaks the grammar of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not legal: {rule}")]
pub struct IdError {
    /// What was being parsed, such as `device id`.
    pub kind: &'static str,
    /// The text as it came, cut to 200 characters.
    pub text: String,
    /// The grammar in words.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:literal, $rule:literal, $legal:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The longest legal name, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Parses and checks; the error says what is legal.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let legal: fn(&str) -> bool = $legal;
                if text.is_empty() || text.len() > $max || !legal(text) {
                    let text = text.chars().take(200).collect();
                    return Err(IdError { kind: $kind, text, rule: $rule });
                }
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().into()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

fn snake(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

name!(
    /// The maker whose devices these are; no row crosses from one tenant to another.
    TenantId, "tenant", 64, "1 to 64 of A-Z a-z 0-9 . _ : -", word
);
name!(
    /// One appliance, phone or drive; unique within its tenant.
    DeviceId, "device id", 128, "1 to 128 of A-Z a-z 0-9 . _ : -", word
);
name!(
    /// The kind of device, such as `washing_machine`; part of a table's name.
    ProfileName, "profile", 48, "1 to 48 of a-z 0-9 _, first a letter", snake
);
name!(
    /// Maintainable item and failure mode (ISO 14224), such as `drum_bearing/wear`: what makes two alarms one fault.
    FaultKey, "fault key", 97, "item/mode, each of a-z 0-9 _, first a letter",
    |text| text.split_once('/').is_some_and(|(item, mode)| snake(item) && snake(mode))
);

impl FaultKey {
    /// The maintainable item: a component of the profile.
    pub fn component(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(item, _)| item)
    }

    /// The failure mode (ISO 14224: what is observed).
    pub fn failure_mode(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(_, mode)| mode)
    }
}

/// A place in the write-ahead log: how many frames lie before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogOffset(pub u64);

impl LogOffset {
    /// The place after `frames` more frames.
    pub fn plus(self, frames: u64) -> Self {
        Self(self.0 + frames)
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_grammar() {
        for (text, legal) in [
            ("wm-1", true),
            ("MJ0351YNG9Z0XA", true),
            ("a:b.c_d", true),
            ("", false),
            ("a/b", false),
            ("a+b", false),
            ("gerät", false),
            ("a b", false),
        ] {
            assert_eq!(DeviceId::parse(text).is_ok(), legal, "{text:?}");
        }
        assert!(DeviceId::parse(&"x".repeat(128)).is_ok());
        assert!(DeviceId::parse(&"x".repeat(129)).is_err());
        assert!(ProfileName::parse("washing_machine").is_ok());
        assert!(ProfileName::parse("Washing").is_err());
    }

    #[test]
    fn a_fault_key_has_an_item_and_a_mode() {
        let key = FaultKey::parse("drum_bearing/wear").unwrap();
        assert_eq!((key.component(), key.failure_mode()), ("drum_bearing", "wear"));
        assert!(FaultKey::parse("drum_bearing").is_err());
        assert!(FaultKey::parse("a/b/c").is_err());
    }

    #[test]
    fn a_refused_name_says_what_is_legal() {
        let error = DeviceId::parse("pump/7").unwrap_err();
        assert_eq!(error.to_string(), r#"device id "pump/7" is not legal: 1 to 128 of A-Z a-z 0-9 . _ : -"#);
    }
}
