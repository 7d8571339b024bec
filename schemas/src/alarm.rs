//! What detection raises and triage takes: an alarm, with the names of TM Forum 642 and X.733.
//!
//! An alarm's id follows from what it is about, so detecting the same thing again after a crash gives the same id.

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, FaultKey, ProfileName, TenantId},
    time::Instant,
};

/// X.733 perceived severity, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerceivedSeverity {
    /// Not known.
    Indeterminate,
    /// A fault may come; nothing is lost yet.
    Warning,
    /// Something is lost, service goes on.
    Minor,
    /// Service is badly degraded, or a failure is near.
    Major,
    /// Service is lost, or people are in danger.
    Critical,
}

impl PerceivedSeverity {
    /// The word in columns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Indeterminate => "indeterminate",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

/// What an alarm event tells of its alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// The condition began to hold.
    Raised,
    /// The condition ended.
    Cleared,
}

impl AlarmState {
    /// The word in columns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

/// What found it: the rule of a profile, or the device itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmSource {
    /// A rule of the device's profile (ISO 13374 state detection).
    Rule,
    /// A fault code that the device reported.
    Device,
}

impl AlarmSource {
    /// The word in columns and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Device => "device",
        }
    }
}

/// Why an alarm was raised, in numbers (X.733 threshold information).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The metric, expression or rate that crossed, what was counted, or the fault code that came.
    pub indicator: String,
    /// Unit of `observed` and `threshold`; empty for a count or a fault code.
    pub unit: String,
    /// The value that was crossed; none for a fault code.
    pub threshold: Option<f64>,
    /// The most extreme value while the condition held; none for a fault code.
    pub observed: Option<f64>,
    /// Event time at which the condition began to hold.
    pub since: Instant,
    /// Event time of the last reading looked at.
    pub until: Instant,
    /// How many readings held the condition.
    pub readings: u64,
    /// Whether it came and went so often that it stays raised until it was calm for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flapping: bool,
    /// One sentence for a person.
    pub reason: String,
}

/// One event in an alarm's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// 32 hexadecimal digits; the same alarm has the same id, however often it is detected.
    pub alarm_id: String,
    /// Whose device.
    pub tenant: TenantId,
    /// `alarmedObject`: the device.
    pub device_id: DeviceId,
    /// The device's kind.
    pub profile: ProfileName,
    /// The device's firmware at that time, if told.
    pub firmware: Option<String>,
    /// `specificProblem`: the rule's name, or the fault code.
    pub specific_problem: String,
    /// What found it.
    pub source: AlarmSource,
    /// Maintainable item and failure mode: several alarms with one root cause share it.
    pub fault_key: FaultKey,
    /// Severity of this alarm.
    pub perceived_severity: PerceivedSeverity,
    /// In words of the profile.
    pub probable_cause: String,
    /// What the event tells.
    pub state: AlarmState,
    /// Event time of the reading that raised it.
    pub alarm_raised_time: Instant,
    /// When Forewarn raised it.
    pub alarm_reporting_time: Instant,
    /// Event time of the reading that cleared it.
    pub alarm_cleared_time: Option<Instant>,
    /// The numbers behind it.
    pub evidence: Evidence,
}

impl Alarm {
    /// The id of the alarm that `specific_problem` on this device raised at this event time: the first 128 bits of
    /// SHA-256 over the parts, zero-separated.
    pub fn id(tenant: &TenantId, device: &DeviceId, specific_problem: &str, raised: Instant) -> String {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        for part in [tenant.as_str(), device.as_str(), specific_problem] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(raised.micros().to_be_bytes());
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
