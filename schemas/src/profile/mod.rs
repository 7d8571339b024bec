//! A device profile: what a kind of device measures, which fault codes it reports, what wears out, and which rules
//! watch it. A file of TOML; adding an appliance needs no recompile.
//!
//! ```
//! use schemas::profile::Profiles;
//! let profiles = Profiles::builtin();
//! let washer = profiles.get("washing_machine").unwrap();
//! assert_eq!(washer.metric("vibration_mm_s").unwrap().unit, "mm/s");
//! ```

mod file;
pub mod indicator;
mod rule;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::indicator::Indicator;
pub use self::rule::{COUNT_MAX, Counted, Flapping, Limit, Quantity, Regime, Rule, Side, Source, Watch};
use crate::{
    advisory::Costs,
    alarm::PerceivedSeverity,
    id::{FaultKey, ProfileName},
};

/// The type of a metric's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    /// 64-bit floating point; whole numbers are taken too.
    Float,
    /// 64-bit whole number; numbers without a fraction are taken too.
    Integer,
    /// True or false.
    Boolean,
    /// UTF-8 text.
    Text,
}

/// Something a device measures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Column name; the unit stands last, as in `vibration_mm_s`.
    pub name: String,
    /// In words of the field, such as `mm/s`; empty for a count or a state.
    pub unit: String,
    /// Column type.
    pub r#type: MetricType,
    /// Least legal value, for numbers.
    pub min: Option<f64>,
    /// Greatest legal value, for numbers.
    pub max: Option<f64>,
    /// One sentence.
    pub description: String,
}

/// A part to take along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The maker's part number.
    pub number: String,
    /// What it is.
    pub title: String,
}

/// A maintainable item (ISO 14224).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// The first half of a fault key.
    pub name: String,
    /// For people.
    pub title: String,
    /// What a technician must be able to do.
    pub skills: Vec<String>,
    /// What a technician takes along.
    pub parts: Vec<Part>,
    /// Time on site.
    pub repair: Duration,
    /// What a visit, a failure and a false alarm cost, in any unit; `[component.cost]`, else [`COSTS`].
    pub costs: Costs,
    /// How far ahead failures are foretold; [`HORIZON`] unless it says otherwise. As long as it takes to act, with some
    /// margin, and not as long as wear takes: within a longer one many devices fail that show nothing yet.
    pub horizon: Duration,
    /// The command by which the device tests this component itself.
    pub self_test: Option<String>,
}

/// Costs of a component that tells none. A planned visit with its part is 1. An unannounced failure costs four of them:
/// the visit itself, one more because it is urgent and comes without the right part, and two for what spoils and for the
/// customer. A visit that finds nothing costs half a visit of trust on top.
pub const COSTS: Costs = Costs { visit: 1.0, failure: 4.0, false_alarm: 0.5 };
/// Horizon of a component that tells none: two weeks are enough to send a part and agree on a day, and no more than
/// slow wear can be seen ahead.
pub const HORIZON: Duration = Duration::from_secs(14 * 86_400);

/// A fault code that the device reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// As in the payload, such as `E21`.
    pub code: String,
    /// Severity of the alarm it raises.
    pub severity: PerceivedSeverity,
    /// Component and failure mode it speaks of.
    pub fault_key: FaultKey,
    /// For the agent.
    pub title: String,
    /// For the customer.
    pub customer_text: String,
}

/// A command that the device understands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// As in the payload, such as `self_test`.
    pub name: String,
    /// For the agent.
    pub title: String,
}

/// Everything known of a kind of device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// In payloads and table names.
    pub name: ProfileName,
    /// For people.
    pub title: String,
    /// Goes up with each change.
    pub version: u32,
    /// How often a healthy device reports.
    pub cadence: Duration,
    /// Older than this behind the clock is late: stored, but raises no live alarm.
    pub late_after: Duration,
    /// What it measures, in column order.
    pub metrics: Vec<Metric>,
    /// What wears out.
    pub components: Vec<Component>,
    /// What it reports.
    pub faults: Vec<Fault>,
    /// What watches it, `[[anomaly]]` included.
    pub rules: Vec<Rule>,
    /// What it can be told; nothing else is sent to it.
    pub commands: Vec<Command>,
    /// What models look at.
    pub indicators: Vec<Indicator>,
}

impl Profile {
    /// Reads a profile's TOML; the error names the key, its value and what is legal.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        file::parse(text)
    }

    /// A metric by name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// A fault code.
    pub fn fault(&self, code: &str) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.code == code)
    }

    /// A command by name.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.name == name)
    }

    /// A component by name.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }
}

/// A profile that is not legal.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or not the TOML of a profile.
    #[error("read profile: {0}")]
    Toml(#[from] toml::de::Error),
    /// The parts do not fit together.
    #[error("profile {profile}: {key}: {problem}")]
    Illegal {
        /// Which profile.
        profile: String,
        /// Where in it, such as `rule drum_bearing_vibration.metric`.
        key: String,
        /// What is wrong and what is legal.
        problem: String,
    },
    /// A file could not be read.
    #[error("read profile {path}")]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

const BUILTIN: [(&str, &str); 7] = [
    ("washing_machine", include_str!("../../profiles/washing_machine.toml")),
    ("refrigerator", include_str!("../../profiles/refrigerator.toml")),
    ("air_conditioner", include_str!("../../profiles/air_conditioner.toml")),
    ("smartphone", include_str!("../../profiles/smartphone.toml")),
    ("disk_drive", include_str!("../../profiles/disk_drive.toml")),
    ("power_monitor", include_str!("../../profiles/power_monitor.toml")),
    ("industrial_machine", include_str!("../../profiles/industrial_machine.toml")),
];

/// The profiles in force.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<ProfileName, Arc<Profile>>);

impl Profiles {
    /// Those that come with Forewarn.
    #[allow(clippy::expect_used, reason = "a test parses each of them")]
    pub fn builtin() -> Self {
        let mut profiles = Self::default();
        for (name, text) in BUILTIN {
            profiles.insert(Profile::parse(text).unwrap_or_else(|error| panic!("builtin profile {name}: {error}")));
        }
        profiles
    }

    /// Adds every `*.toml` of a folder; a profile of the same name takes the place of the builtin one.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self, ProfileError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ProfileError::File { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(file_error(folder))? {
            let path = entry.map_err(file_error(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(file_error(&path))?;
            self.insert(Profile::parse(&text)?);
        }
        Ok(self)
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, profile: Profile) {
        self.0.insert(profile.name.clone(), Arc::new(profile));
    }

    /// One by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}
