//! Condition indicators: what the recent past of one metric of one device says, in one number.
//!
//! In: rows `(instant, one value per metric)` of one device in order of event time; NaN is missing. Out: one number per
//! [`Definition`], NaN where there is nothing to say. Promise: an indicator uses the newest row and those before it, never
//! one after; the same rows give the same numbers whether they come one by one or are computed again from a table.
//! Never: more than [`MAX_POINTS`] rows of a device in memory.
//!
//! **Which points are in a window.** A *row* is one push, whatever is missing in it; a *point* is a row whose value of the
//! definition's metric is present. `now` is the instant of the newest row.
//!
//! | [`Window`] | points of |
//! |---|---|
//! | `Rows { rows: n }` | the newest `n` rows, the newest included (fewer at the start of life) |
//! | `Time { seconds: s }` | rows with `now - s < instant <= now` |
//! | `Life` | all rows since the first |
//!
//! **What is computed** from the points `x_1 … x_n` (oldest first) at the instants `t_1 … t_n`:
//!
//! | [`Statistic`] | formula | NaN if |
//! |---|---|---|
//! | `Count` | n | never |
//! | `Last` | x_n | n = 0 |
//! | `Mean` | sum(x) / n | n = 0 |
//! | `Std` | sqrt(sum((x - mean)^2) / (n - 1)) (ddof 1) | n < 2 |
//! | `Min`, `Max` | least, greatest | n = 0 |
//! | `Change` | x_n - x_1 | n = 0 |
//! | `Slope` | least squares of x on t; per row (t counts rows) under `Rows`, per hour under `Time` and `Life` | n < 2, or all t equal |
//! | `Drift { baseline: b }` | mean of the window less the mean of the first b points of the device's life (of all so far, while fewer); b = 1: less the first | n = 0 |
//! | `Ewma` | e_1 = x_1; e_i = e_(i-1) + a_i (x_i - e_(i-1)) over all points since the first | no point yet |
//!
//! The weight of `Ewma` is a = 2 / (n + 1) under `Rows { rows: n }` (span n; missing rows do not count) and
//! a_i = 1 - 2^(-(t_i - t_(i-1)) / s) under `Time { seconds: s }` (half-life s). Under `Life` it is the mean of all points.
//!
//! [`regime`] takes the operating condition out of the metrics first, where it hides what wear does.

mod computer;
mod moments;
pub mod regime;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::computer::Computer;

/// Rows of a device that a window can hold: a day of readings at one in 20 seconds. Beyond it the oldest of a window are
/// left out and counted ([`Computer::cut`]).
pub const MAX_POINTS: usize = 4096;

/// Which number is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// How many points.
    Count,
    /// The newest point.
    Last,
    /// Arithmetic mean.
    Mean,
    /// Standard deviation, ddof 1.
    Std,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The newest less the oldest.
    Change,
    /// Least-squares trend.
    Slope,
    /// Mean less that of the first points of life.
    Drift {
        /// Points that make the baseline, at least 1.
        baseline: u32,
    },
    /// Exponentially weighted mean.
    Ewma,
}

/// Over which rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The newest rows: reports, cycles, discharges, whatever a row is.
    Rows {
        /// How many, 1 to [`MAX_POINTS`].
        rows: u32,
    },
    /// The newest stretch of event time.
    Time {
        /// How long, more than 0.
        seconds: f64,
    },
    /// Everything since the first row.
    Life,
}

/// One indicator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name, the feature's name in models and explanations.
    pub name: String,
    /// The metric it is computed from.
    pub metric: String,
    /// Which number.
    pub statistic: Statistic,
    /// Over which rows.
    pub window: Window,
}

impl Definition {
    /// An indicator with the name `metric_statistic_window`, such as `vibration_mm_s_mean_20`.
    pub fn of(metric: &str, statistic: Statistic, window: Window) -> Self {
        let what = match statistic {
            Statistic::Count => "count",
            Statistic::Last => "last",
            Statistic::Mean => "mean",
            Statistic::Std => "std",
            Statistic::Min => "min",
            Statistic::Max => "max",
            Statistic::Change => "change",
            Statistic::Slope => "slope",
            Statistic::Drift { .. } => "drift",
            Statistic::Ewma => "ewma",
        };
        let over = match window {
            Window::Rows { rows } => rows.to_string(),
            Window::Time { seconds } => format!("{seconds}s"),
            Window::Life => "life".into(),
        };
        Self { name: format!("{metric}_{what}_{over}"), metric: metric.into(), statistic, window }
    }

    fn check(&self) -> Result<(), IndicatorError> {
        let wrong =
            |field, value: String, legal| Err(IndicatorError::Setting { name: self.name.clone(), field, value, legal });
        match self.window {
            Window::Rows { rows } if !(1..=MAX_POINTS as u32).contains(&rows) => {
                return wrong("rows", rows.to_string(), "1 to 4096");
            }
            Window::Time { seconds } if !(seconds > 0.0 && seconds.is_finite()) => {
                return wrong("seconds", seconds.to_string(), "a number above 0");
            }
            _ => {}
        }
        match self.statistic {
            Statistic::Drift { baseline: 0 } => wrong("baseline", "0".into(), "at least 1"),
            _ => Ok(()),
        }
    }
}

/// Why there is no indicator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndicatorError {
    /// A definition is out of its range.
    #[error("indicator {name}: {field} = {value}: {legal}")]
    Setting {
        /// Of which indicator.
        name: String,
        /// Which field.
        field: &'static str,
        /// As given.
        value: String,
        /// What is legal.
        legal: &'static str,
    },
    /// A definition names a metric that rows do not have.
    #[error("indicator {name}: there is no metric {metric}")]
    Metric {
        /// Of which indicator.
        name: String,
        /// As given.
        metric: String,
    },
    /// Two definitions share a name.
    #[error("indicator {name} is defined twice")]
    Twice {
        /// Which.
        name: String,
    },
}
