//! Condition indicators of a profile: which numbers of a device's recent days a model looks at.
//!
//! In a profile's file:
//!
//! ```toml
//! [[indicator]]
//! metric = "vibration_mm_s"
//! statistic = "slope"
//! window = "7d"
//! when = { metric = "drum_speed_rpm", at_least = 600 }
//! ```
//!
//! A profile without any gets a default set. Windows are whole days, since models look once a day, at midnight UTC.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Metric, MetricType, Regime, Rule};
use crate::time::span;

/// The longest window, in days. Wear that shows for longer than four weeks shows in every shorter window too.
pub const LONGEST_DAYS: u32 = 28;

/// Which number is computed of a window's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// How many points.
    Count,
    /// The newest.
    Last,
    /// Arithmetic mean.
    Mean,
    /// Standard deviation.
    Std,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The newest less the oldest.
    Change,
    /// Least-squares trend per hour.
    Slope,
    /// Mean of the window less the mean of the last 28 days, in standard deviations of those: how far a device has
    /// left its own past.
    Departure,
}

impl Statistic {
    /// The word in files, names and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Last => "last",
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Change => "change",
            Self::Slope => "slope",
            Self::Departure => "departure",
        }
    }
}

/// One indicator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Indicator {
    /// `{metric}_{statistic}_{days}d`: the feature's name in models.
    pub name: String,
    /// A numeric metric of the profile.
    pub metric: String,
    /// Which number.
    pub statistic: Statistic,
    /// Over how many days.
    pub window_days: u32,
    /// Which readings count; none means all.
    pub when: Option<Regime>,
}

impl Indicator {
    /// Named after what it is.
    pub fn new(metric: &str, statistic: Statistic, window_days: u32, when: Option<Regime>) -> Self {
        let name = format!("{metric}_{}_{window_days}d", statistic.as_str());
        Self { name, metric: metric.into(), statistic, window_days, when }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndicatorFile {
    pub(super) metric: String,
    statistic: Statistic,
    #[serde(with = "span")]
    window: Duration,
    pub(super) when: Option<Regime>,
}

impl IndicatorFile {
    /// The problem names the key.
    pub(super) fn check(self) -> Result<Indicator, (String, String)> {
        const DAY: u64 = 86_400;
        let (seconds, key) = (self.window.as_secs(), format!("indicator {}.window", self.metric));
        if !seconds.is_multiple_of(DAY) || !(1..=u64::from(LONGEST_DAYS)).contains(&(seconds / DAY)) {
            return Err((key, format!("{:?}: whole days, \"1d\" to \"{LONGEST_DAYS}d\"", span::text(self.window))));
        }
        Ok(Indicator::new(&self.metric, self.statistic, (seconds / DAY) as u32, self.when))
    }
}

/// What a model looks at where the profile says nothing: of every numeric metric the level of the last day and week,
/// its spread, extremes and trend, and how far the device has left its own past. Where a rule watches a metric in one
/// regime only, its indicators do too.
pub(super) fn default_set(metrics: &[Metric], rules: &[Rule]) -> Vec<Indicator> {
    const SET: [(Statistic, u32); 7] = [
        (Statistic::Mean, 1),
        (Statistic::Mean, 7),
        (Statistic::Std, 7),
        (Statistic::Min, 3),
        (Statistic::Max, 3),
        (Statistic::Slope, 7),
        (Statistic::Departure, 3),
    ];
    let numeric = metrics.iter().filter(|metric| matches!(metric.r#type, MetricType::Float | MetricType::Integer));
    let of = |metric: &Metric| {
        let watching = rules.iter().filter_map(Rule::threshold).filter(|(watched, _)| *watched == metric.name);
        let when = watching.into_iter().find_map(|(_, limit)| limit.when.clone());
        SET.map(|(statistic, days)| Indicator::new(&metric.name, statistic, days, when.clone()))
    };
    numeric.flat_map(of).collect()
}
