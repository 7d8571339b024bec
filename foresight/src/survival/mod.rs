//! Lifetimes: how long things last, when many are still running.
//!
//! In: [`Lifetime`]s, each a failure seen exactly or between two looks, or an age survived, with a count. Out: the
//! [`KaplanMeier`] curve, a fitted [`Law`] with intervals, [`Incidence`] per competing cause, and from each the number an
//! advisory needs: the probability to fail within a horizon at a given age. Promise: a count weighs like as many rows;
//! what the lifetimes cannot tell is an error that says what is missing. Never: a parameter that was not at a maximum.
//!
//! Sources: Meeker and Escobar, *Statistical Methods for Reliability Data* (1998), chapters 3, 8 and 11; Aalen and
//! Johansen (1978); Cody (1969) for the normal integral.

mod competing;
mod fit;
mod kaplan_meier;
mod likelihood;
mod normal;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use self::normal::{quantile as normal_quantile, two_sided as normal_two_sided};
pub use self::{
    competing::{Ended, Incidence, cause_specific},
    fit::{Fit, Interval, fit, weibayes},
    kaplan_meier::{KaplanMeier, Step},
    likelihood::Law,
};

/// What was seen of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It failed at this age.
    Failed(f64),
    /// It was running at this age, and nothing is known later (right-censored).
    Survived(f64),
    /// It was found failed at this age (left-censored).
    FailedBefore(f64),
    /// It was running at the first age and found failed at the second (interval-censored).
    FailedBetween(f64, f64),
}

/// One or more units of which the same was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetime {
    seen: Seen,
    count: f64,
    /// Ages outside of which the unit could not have been seen at all.
    window: (f64, f64),
}

impl Lifetime {
    /// What was seen of `count` units.
    ///
    /// ```
    /// use foresight::survival::{Lifetime, Seen};
    /// assert!(Lifetime::new(Seen::Failed(1200.0), 1.0).is_ok());
    /// assert!(Lifetime::new(Seen::Failed(0.0), 1.0).is_err(), "no law has room for a failure at age zero");
    /// ```
    pub fn new(seen: Seen, count: f64) -> Result<Self, SurvivalError> {
        let seen = match seen {
            Seen::FailedBetween(after, before) if after == before => Seen::Failed(after),
            Seen::FailedBetween(0.0, before) => Seen::FailedBefore(before),
            other => other,
        };
        let (least, legal) = match seen {
            Seen::Failed(at) | Seen::FailedBefore(at) => (at, at.is_finite() && at > 0.0),
            Seen::Survived(until) => (until, until.is_finite() && until >= 0.0),
            Seen::FailedBetween(after, before) => (after, after > 0.0 && before.is_finite() && before > after),
        };
        if !legal {
            return Err(SurvivalError::Age { age: least, seen });
        }
        if !(count.is_finite() && count > 0.0) {
            return Err(SurvivalError::Count { count });
        }
        Ok(Self { seen, count, window: (0.0, f64::INFINITY) })
    }

    /// The unit is in the data only because its failure lies within these ages (truncation): one that was sold used
    /// enters late (`from`), one from a list of repairs up to a day is there because it failed by then (`to`).
    pub fn within(self, from: f64, to: f64) -> Result<Self, SurvivalError> {
        let (least, greatest) = match self.seen {
            Seen::FailedBefore(at) => (if at > from { at } else { f64::NEG_INFINITY }, at),
            _ => self.bounds(),
        };
        let legal = from >= 0.0 && from < to && least >= from && (greatest <= to || greatest.is_infinite());
        legal.then_some(Self { window: (from, to), ..self }).ok_or(SurvivalError::Window { from, to, seen: self.seen })
    }

    /// What was seen.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Of how many units.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// From which age on the unit could be seen at all.
    pub fn entered(&self) -> f64 {
        self.window.0
    }

    /// Whether a failure was seen, exactly or not.
    pub fn failed(&self) -> bool {
        !matches!(self.seen, Seen::Survived(_))
    }

    /// The ages between which the failure lies; a left-censored one began with its window.
    fn bounds(&self) -> (f64, f64) {
        match self.seen {
            Seen::Failed(at) => (at, at),
            Seen::Survived(until) => (until, f64::INFINITY),
            Seen::FailedBefore(at) => (self.window.0.min(at), at),
            Seen::FailedBetween(after, before) => (after, before),
        }
    }
}

/// What the lifetimes do not tell.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SurvivalError {
    /// An age that cannot be.
    #[error("age {age} in {seen:?}: failures need a finite age above zero, survivals at least zero, intervals grow")]
    Age {
        /// The age.
        age: f64,
        /// Where it stood.
        seen: Seen,
    },
    /// A count that cannot be.
    #[error("count {count}: a finite number above zero is needed")]
    Count {
        /// The count.
        count: f64,
    },
    /// A window that does not hold what was seen.
    #[error("seen {seen:?} outside of its window {from} to {to}")]
    Window {
        /// First age of the window.
        from: f64,
        /// Last age of the window.
        to: f64,
        /// What was seen.
        seen: Seen,
    },
    /// Nothing failed.
    #[error("no failures among {units} units: only a lower limit can be told (weibayes with a known shape)")]
    NoFailures {
        /// How many units survived.
        units: f64,
    },
    /// The likelihood grows without end as the spread goes to zero.
    #[error(
        "the shape has no finite estimate: {failures} failures fit one single age ({why}); \
         two failures at different ages are needed, or a known shape (weibayes)"
    )]
    NoSpread {
        /// How many failed.
        failures: f64,
        /// What was found.
        why: &'static str,
    },
    /// The likelihood grows without end in another way.
    #[error("the likelihood has no maximum: {why}")]
    NoMaximum {
        /// What was found.
        why: &'static str,
    },
    /// A method that needs exact ages.
    #[error("{method} takes exact failures and survivals, not {seen:?}")]
    Inexact {
        /// Which method.
        method: &'static str,
        /// What was given.
        seen: Seen,
    },
}
