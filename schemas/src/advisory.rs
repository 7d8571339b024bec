//! What prognosis expects of one component, and what was decided about it: an advisory (ISO 13374 advisory generation).
//!
//! An advisory's id follows from what it is about, so scoring the same device as of the same time with the same model
//! gives the same id, however often it is done.
//!
//! ```
//! use schemas::advisory::{Costs, Decision};
//! let bearing = Costs { visit: 1.0, failure: 6.0, false_alarm: 0.5 };
//! assert_eq!(bearing.decide(0.5), Decision::Auto);
//! assert_eq!(bearing.decide(0.3), Decision::Assist);
//! assert_eq!(bearing.decide(0.2), Decision::Watch);
//! ```

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    alarm::PerceivedSeverity,
    id::{DeviceId, FaultKey, ProfileName, TenantId},
    profile::Part,
    time::Instant,
};

words!(
    /// How the probability was found.
    Method {
        /// A trained model, calibrated.
        Model = "model",
        /// Cold start: how often this rule was right in the fleet, or what is assumed until somebody looked.
        RulePrior = "rule_prior",
        /// A degradation trend on its way to a threshold.
        Trend = "trend",
    }
);

words!(
    /// What is done about it.
    Decision {
        /// A ticket is opened and the customer contacted, without asking anybody.
        Auto = "auto",
        /// A ticket waits for an agent's yes.
        Assist = "assist",
        /// Nothing is opened; it is written down.
        Watch = "watch",
    }
);

/// How wrong the costs of a profile may be: nobody knows better than by a factor of two what a failure costs. Where a
/// visit pays, but would not if a failure cost half of what is written down, an agent decides.
pub const COST_DOUBT: f64 = 2.0;

/// What acting and not acting cost. The unit is free, the same for all three: only their ratios decide. The builtin
/// profiles take a planned visit with its part as 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// A planned visit, with the part.
    pub visit: f64,
    /// A failure that comes unannounced: the urgent visit, what spoils, the customer's trust.
    pub failure: f64,
    /// What a visit that finds nothing costs beyond the visit.
    pub false_alarm: f64,
}

impl Costs {
    /// The probability from which going costs less than waiting. Going costs `visit + (1 - p) * false_alarm`, waiting
    /// costs `p * failure`: they are equal at `(visit + false_alarm) / (failure + false_alarm)`.
    pub fn threshold(&self) -> f64 {
        ((self.visit + self.false_alarm) / (self.failure + self.false_alarm)).clamp(0.0, 1.0)
    }

    /// The probability from which going costs less than waiting even if a failure costs [`COST_DOUBT`] times less.
    pub fn sure_threshold(&self) -> f64 {
        Self { failure: self.failure / COST_DOUBT, ..*self }.threshold()
    }

    /// What to do at this probability. One that is no number is watched.
    pub fn decide(&self, probability: f64) -> Decision {
        match probability {
            p if p >= self.sure_threshold() => Decision::Auto,
            p if p >= self.threshold() => Decision::Assist,
            _ => Decision::Watch,
        }
    }
}

/// Which model spoke.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Its name in the registry, such as `washing_machine.drum_bearing`.
    pub name: String,
    /// Its version in the registry.
    pub version: String,
}

/// How long the component has left, in hours of event time: so much with 90, 50 and 10 percent certainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RemainingUsefulLife {
    /// One in ten fails before.
    pub p10_hours: f64,
    /// Half fail before.
    pub p50_hours: f64,
    /// Nine in ten fail before.
    pub p90_hours: f64,
}

/// One thing that speaks for or against a failure, in the profile's words and units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The condition indicator, such as `vibration_mm_s_mean_1d`.
    pub indicator: String,
    /// The metric it is made of; none for age, counts of fault codes and the like.
    pub metric: Option<String>,
    /// Unit of `value`; empty for a count or a share.
    pub unit: String,
    /// What it is for this device.
    pub value: f64,
    /// How far it moves the answer: log-odds for a probability, cycles or hours for a trend; positive speaks for
    /// failure.
    pub contribution: f64,
    /// One phrase for a person.
    pub words: String,
}

/// One advisory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advisory {
    /// 32 hexadecimal digits, of [`Advisory::id`].
    pub advisory_id: String,
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device_id: DeviceId,
    /// The device's kind.
    pub profile: ProfileName,
    /// The device's firmware at that time, if told.
    pub firmware: Option<String>,
    /// Maintainable item and failure mode.
    pub fault_key: FaultKey,
    /// The maintainable item alone: a component of the profile.
    pub component: String,
    /// As of when: nothing later was looked at.
    pub event_time: Instant,
    /// When Forewarn said so.
    pub advisory_reporting_time: Instant,
    /// The probability is that of a failure within this time from `event_time`.
    pub horizon_hours: f64,
    /// Calibrated, 0 to 1.
    pub probability: f64,
    /// How long is left, where that was estimated.
    pub remaining_useful_life: Option<RemainingUsefulLife>,
    /// Which model spoke.
    pub model: ModelVersion,
    /// How the probability was found.
    pub method: Method,
    /// What is done about it.
    pub decision: Decision,
    /// The probability from which it is `auto`.
    pub threshold: f64,
    /// The costs behind the threshold.
    pub costs: Costs,
    /// What speaks for it and against it, strongest first.
    pub evidence: Vec<Contribution>,
    /// What a technician takes along.
    pub parts: Vec<Part>,
    /// What a technician must be able to do.
    pub skills: Vec<String>,
    /// The command by which the device tests the component itself, if the profile has one: asked for first.
    pub self_test: Option<String>,
    /// One sentence for a person: what is expected, and why it was decided so.
    pub reason: String,
}

impl Advisory {
    /// The id of what this model says of this fault on this device as of this time: the first 128 bits of SHA-256 over
    /// the parts, zero-separated.
    pub fn id(
        tenant: &TenantId,
        device: &DeviceId,
        fault_key: &FaultKey,
        event_time: Instant,
        model: &ModelVersion,
    ) -> String {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        for part in [tenant.as_str(), device.as_str(), fault_key.as_str(), &model.name, &model.version] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(event_time.micros().to_be_bytes());
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Severity in X.733's words: a failure is near where it is more likely than not within the horizon; otherwise a
    /// fault may come and nothing is lost yet.
    pub fn perceived_severity(&self) -> PerceivedSeverity {
        if self.probability >= 0.5 { PerceivedSeverity::Major } else { PerceivedSeverity::Warning }
    }
}
