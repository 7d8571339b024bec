//! Published life data, one table a file: the exact Weibull fit and what stands beside it.
//!
//! In: a CSV with ages, and as the table has them: events, counts, bounds, truncation, causes (the page of `table.rs` has
//! the rule by which columns are found). Out: [`Report`]. Promise: what a table lacks is said by name; a row that has no
//! place in a likelihood is counted with its reason.

mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::EvaluateError;
use crate::survival::{Ended, Fit, Interval, Law, Seen, cause_specific, fit};

/// Which table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The file, plain or in zstd.
    pub file: PathBuf,
    /// The column of ages, where the rule should not choose.
    pub time: Option<String>,
    /// The column of events, where the rule should not choose.
    pub event: Option<String>,
    /// The column of counts, where the rule should not choose.
    pub count: Option<String>,
}

impl Options {
    /// All columns by the rule.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

/// What the table says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Units.
    pub n: f64,
    /// Of them failed, whether seen exactly or not.
    pub failures: f64,
    /// Of them still running when last seen.
    pub right_censored: f64,
    /// Of the failures: found failed at the first look.
    pub left_censored: f64,
    /// Of the failures: found failed between two looks.
    pub interval_censored: f64,
    /// Age by which 63.2 % fail.
    pub eta: f64,
    /// Shape.
    pub beta: f64,
    /// Of the Weibull law, at its maximum.
    pub log_likelihood: f64,
    /// 95 %, from the profile likelihood.
    pub eta_interval: Interval,
    /// 95 %, from the profile likelihood.
    pub beta_interval: Interval,
    /// Standard error of `ln eta`, from the observed information.
    pub ln_eta_standard_error: f64,
    /// Standard error of `ln beta`.
    pub ln_beta_standard_error: f64,
    /// Ages by which 1, 10 and 50 % fail.
    pub quantiles: BTreeMap<String, f64>,
    /// The log-normal law beside it; `None` where its likelihood has no maximum.
    pub log_normal: Option<LogNormal>,
    /// Laws by cause, where the table tells causes.
    pub causes: BTreeMap<String, Cause>,
    /// Which columns were read as what.
    pub columns: BTreeMap<&'static str, String>,
    /// Rows without a place in the likelihood, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// What to know when reading the numbers.
    pub notes: Vec<String>,
}

/// The log-normal fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogNormal {
    /// Mean of `ln t`.
    pub mu: f64,
    /// Standard deviation of `ln t`.
    pub sigma: f64,
    /// At its maximum.
    pub log_likelihood: f64,
    /// 95 %, from the profile likelihood.
    pub mu_interval: Interval,
    /// 95 %, from the profile likelihood.
    pub sigma_interval: Interval,
}

/// The Weibull law of one cause; the others count as survivals.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cause {
    /// Fitted.
    Fitted {
        /// Failures by it.
        failures: f64,
        /// Age by which 63.2 % would fail by it alone.
        eta: f64,
        /// Shape.
        beta: f64,
        /// At its maximum.
        log_likelihood: f64,
    },
    /// Not to be told.
    Open {
        /// Failures by it.
        failures: f64,
        /// Why not.
        why: String,
    },
}

/// Fits the table.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let table = table::read(options)?;
    let refuse = |source| EvaluateError::Lifetimes { path: options.file.clone(), source };
    let weibull = fit(Law::Weibull, &table.lifetimes).map_err(refuse)?;
    let count = |of: fn(&Seen) -> bool| -> f64 {
        table
            .lifetimes
            .iter()
            .filter(|lifetime| of(&lifetime.seen()))
            .map(|lifetime| lifetime.count())
            .fold(0.0, |all, one| all + one)
    };
    let n = count(|_| true);
    let right_censored = count(|seen| matches!(seen, Seen::Survived(_)));
    let log_normal = fit(Law::LogNormal, &table.lifetimes).ok().map(|fit| LogNormal {
        mu: fit.location,
        sigma: fit.scale,
        log_likelihood: fit.log_likelihood,
        mu_interval: fit.location_interval,
        sigma_interval: fit.scale_interval,
    });
    let quantiles = [("b1", 0.01), ("b10", 0.1), ("b50", 0.5)];
    Ok(Report {
        n,
        failures: n - right_censored,
        right_censored,
        left_censored: count(|seen| matches!(seen, Seen::FailedBefore(_))),
        interval_censored: count(|seen| matches!(seen, Seen::FailedBetween(..))),
        eta: weibull.eta(),
        beta: weibull.beta(),
        log_likelihood: weibull.log_likelihood,
        eta_interval: weibull.eta_interval(),
        beta_interval: weibull.beta_interval(),
        ln_eta_standard_error: weibull.standard_error[0],
        ln_beta_standard_error: weibull.standard_error[1],
        quantiles: quantiles.map(|(name, share)| (name.to_owned(), weibull.quantile(share))).into(),
        log_normal,
        causes: causes(&table.ended).map_err(refuse)?,
        columns: table.columns,
        rejected: table.rejected,
        notes: table.notes,
    })
}

/// Laws by cause, where there are at least two.
fn causes(ended: &[Ended<String>]) -> Result<BTreeMap<String, Cause>, crate::survival::SurvivalError> {
    let mut failures: BTreeMap<&String, f64> = BTreeMap::new();
    for life in ended {
        if let Some(cause) = &life.cause {
            *failures.entry(cause).or_default() += life.count;
        }
    }
    if failures.len() < 2 {
        return Ok(BTreeMap::new());
    }
    let told = |(cause, fit): (String, Result<Fit, _>)| {
        let failures = failures.get(&cause).copied().unwrap_or_default();
        let said = match fit {
            Ok(fit) => {
                let (eta, beta) = (fit.eta(), fit.beta());
                Cause::Fitted { failures, eta, beta, log_likelihood: fit.log_likelihood }
            }
            Err(error) => Cause::Open { failures, why: format!("{error}") },
        };
        (cause, said)
    };
    Ok(cause_specific(Law::Weibull, ended)?.into_iter().map(told).collect())
}
