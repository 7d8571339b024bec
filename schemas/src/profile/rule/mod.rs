//! The rules of a profile: what of a device is watched, and from when on it is an alarm.
//!
//! A rule either holds a number against a limit, or waits for a device that says nothing. The number comes from the
//! device's readings in one of four ways, and the limit is the same for all of them:
//!
//! | in TOML | quantity |
//! |---|---|
//! | `raise_above`, `raise_below` | the value itself: a metric, or an SQL expression over the metrics |
//! | `rate_above`, `rate_below`, `per`, `over` | how fast the value changes |
//! | `count`, `within` | how many fault reports, or readings beyond a value, lie in a span |
//! | `[[anomaly]]` | how unusual the value is for this device, 0 to 1 |
//! | `absent_for` | none: no report came for so long |

mod file;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::file::{AnomalyFile, Parts, RuleFile};
use crate::{alarm::PerceivedSeverity, id::FaultKey};

/// Most events that a rule may count: each is 8 bytes a device.
pub const COUNT_MAX: u32 = 1000;

/// On which side of its threshold a rule raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Raises at or above the threshold.
    Above,
    /// Raises at or below the threshold.
    Below,
}

impl Side {
    /// Whether a value lies at or beyond `limit` on this side.
    pub fn reached(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value >= limit,
            Self::Below => value <= limit,
        }
    }
}

/// Readings to which a rule looks: those whose metric lies at or above a value, such as spinning drums only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// A numeric metric of the profile.
    pub metric: String,
    /// Least value of that metric.
    pub at_least: f64,
}

/// A value that each reading has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A numeric metric of the profile.
    Metric(String),
    /// What SQL makes of the metrics.
    Expression {
        /// Such as `compressor_power_w / nullif(compressor_duty_percent, 0)`; whoever evaluates it checks it.
        sql: String,
        /// In words of the field; may be empty.
        unit: String,
    },
}

impl Source {
    /// The metric's name or the expression's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Metric(name) => name,
            Self::Expression { sql, .. } => sql,
        }
    }
}

/// What a rule counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Reports that a fault code is active.
    Fault(String),
    /// Readings whose value lies at or beyond a threshold.
    Readings {
        /// Which value.
        of: Source,
        /// On which side of the threshold.
        side: Side,
        /// The threshold.
        beyond: f64,
    },
}

/// The number that a limit is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The value itself.
    Value(Source),
    /// Change of the value per span of time, over the last readings.
    Rate {
        /// Which value.
        of: Source,
        /// Unit of time of the rate.
        per: Duration,
        /// How far back it looks.
        over: Duration,
    },
    /// Events within a span of time that ends with the reading.
    Count {
        /// Which events.
        of: Counted,
        /// The span.
        within: Duration,
    },
    /// How unusual a metric is for this device: a score from 0 to 1 with a known rate of false alarms.
    Anomaly {
        /// Which metric.
        metric: String,
        /// Alarms that a healthy device may give in a year.
        false_alarms_per_year: f64,
    },
}

/// A quantity, a threshold with hysteresis, and a minimum duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// What is held against it.
    pub quantity: Quantity,
    /// Where it raises.
    pub side: Side,
    /// The value that starts the condition.
    pub raise: f64,
    /// The value at which the condition ends; on the far side of `raise`, or equal to it.
    pub clear: f64,
    /// How long, in event time, the condition must hold; zero raises at once.
    pub hold: Duration,
    /// A longer silence than this starts the condition anew.
    pub max_gap: Duration,
    /// Which readings count; none means all.
    pub when: Option<Regime>,
}

/// From when on it is an alarm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// A number goes too far.
    Limit(Limit),
    /// Nothing is heard.
    Absence {
        /// For how long.
        after: Duration,
    },
}

/// From when on an alarm that comes and goes stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flapping {
    /// So many alarms of the rule on a device …
    pub count: u32,
    /// … within this span are one that stays raised until it was calm for as long.
    pub within: Duration,
}

/// What watches a kind of device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Unique in the profile; the alarm's `specific_problem`.
    pub name: String,
    /// What is watched.
    pub watch: Watch,
    /// When it counts as flapping.
    pub flapping: Flapping,
    /// Severity of its alarm.
    pub severity: PerceivedSeverity,
    /// What it speaks of.
    pub fault_key: FaultKey,
    /// For the agent, in words.
    pub probable_cause: String,
    /// For the customer.
    pub customer_text: String,
    /// Whether the device tests the component before its alarm opens a ticket: where something harmless looks like the fault.
    pub self_test_first: bool,
}

impl Rule {
    /// Its limit, unless it watches for absence.
    pub fn limit(&self) -> Option<&Limit> {
        match &self.watch {
            Watch::Limit(limit) => Some(limit),
            Watch::Absence { .. } => None,
        }
    }

    /// The metric and the limit of a rule that holds a metric itself against a threshold.
    pub fn threshold(&self) -> Option<(&str, &Limit)> {
        match &self.watch {
            Watch::Limit(limit @ Limit { quantity: Quantity::Value(Source::Metric(metric)), .. }) => {
                Some((metric, limit))
            }
            _ => None,
        }
    }

    /// How long a device may say nothing, for a rule that watches for that.
    pub fn absence(&self) -> Option<Duration> {
        match self.watch {
            Watch::Absence { after } => Some(after),
            Watch::Limit(_) => None,
        }
    }

    /// Its kind in a word, for metrics and lists.
    pub fn kind(&self) -> &'static str {
        match &self.watch {
            Watch::Absence { .. } => "absence",
            Watch::Limit(limit) => match &limit.quantity {
                Quantity::Value(Source::Metric(_)) => "threshold",
                Quantity::Value(Source::Expression { .. }) => "expression",
                Quantity::Rate { .. } => "rate",
                Quantity::Count { .. } => "count",
                Quantity::Anomaly { .. } => "anomaly",
            },
        }
    }

    /// The value of a reading that it looks at; none where it looks at none.
    pub fn source(&self) -> Option<&Source> {
        match &self.limit()?.quantity {
            Quantity::Value(of) | Quantity::Rate { of, .. } => Some(of),
            Quantity::Count { of: Counted::Readings { of, .. }, .. } => Some(of),
            Quantity::Count { of: Counted::Fault(_), .. } | Quantity::Anomaly { .. } => None,
        }
    }
}
