//! Failure trends: named questions about a fleet, as those who ask and those who answer know them.
//!
//! In: words of a request. Out: bounds that a trend has. Promise: a bound that is not legal, or that the trend has not,
//! is named with what is. The answers are `analytics`'; the routes are `api`'s.

use serde::Serialize;

use crate::{
    id::ProfileName,
    time::{Clock, Instant},
};

/// A column of a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its unit; empty for words.
    pub unit: &'static str,
    /// What it tells.
    pub about: &'static str,
}

/// A named question about a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// Its name; the SQL view is called `trend_` and this.
    pub name: &'static str,
    /// A heading.
    pub title: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// How its numbers are defined.
    pub definition: &'static str,
    /// Where its formula comes from.
    pub source: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
    /// What it can be told by; empty where it has no column `level`.
    pub levels: &'static [&'static str],
    /// Whether it can be told for one profile.
    pub by_profile: bool,
    /// What `from` bounds, if it can be told from an instant on.
    pub from: Option<&'static str>,
    /// What `until` bounds, if it can be told as of an instant.
    pub until: Option<&'static str>,
}

impl Trend {
    /// The view's name in SQL.
    pub fn view(&self) -> String {
        format!("trend_{}", self.name)
    }
}

/// What of a trend is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// One of [`Trend::levels`].
    pub level: Option<&'static str>,
    /// One kind of device.
    pub profile: Option<ProfileName>,
    /// From then on.
    pub from: Option<Instant>,
    /// Until then.
    pub until: Option<Instant>,
}

/// A bound that is not legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BoundError {
    /// Which.
    pub field: &'static str,
    /// What is wrong, and what is legal.
    pub problem: String,
}

/// Bounds as they were written.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// See [`Bounds::level`].
    pub level: Option<String>,
    /// See [`Bounds::profile`].
    pub profile: Option<String>,
    /// See [`Bounds::from`].
    pub from: Option<String>,
    /// See [`Bounds::until`].
    pub until: Option<String>,
}

impl Asked {
    /// Checks them against what the trend has.
    pub fn check(&self, trend: &Trend, clock: &dyn Clock) -> Result<Bounds, BoundError> {
        let error = |field, problem| BoundError { field, problem };
        let name = trend.name;
        let mut bounds = Bounds::default();
        if let Some(level) = &self.level {
            let legal = trend.levels.iter().find(|known| *known == level);
            bounds.level = Some(legal.ok_or_else(|| {
                let problem = match trend.levels {
                    [] => format!("trend {name} is told by one level only: leave level out"),
                    levels => format!("level is {:?}; legal is {}", short(level), levels.join(", ")),
                };
                error("level", problem)
            })?);
        }
        if let Some(profile) = &self.profile {
            if !trend.by_profile {
                return Err(error("profile", format!("trend {name} has no profile: leave profile out")));
            }
            bounds.profile = Some(profile.parse().map_err(|problem| error("profile", format!("{problem}")))?);
        }
        let has = [("from", &self.from, trend.from), ("until", &self.until, trend.until)];
        if let Some((field, ..)) = has.iter().find(|(_, given, has)| given.is_some() && has.is_none()) {
            return Err(error(field, format!("trend {name} has no {field}: leave {field} out")));
        }
        let instant = |field, given: &Option<String>| {
            let parsed = given.as_ref().map(|text| text.parse::<Instant>()).transpose();
            parsed.map_err(|problem| error(field, format!("{field}: {problem}")))
        };
        (bounds.from, bounds.until) = (instant("from", &self.from)?, instant("until", &self.until)?);
        let (ends, now) = (bounds.until, clock.now());
        if let Some(from) = bounds.from.filter(|from| *from >= ends.unwrap_or(now)) {
            let until = ends.map_or_else(|| format!("now, {now}"), |until| format!("until, {until}"));
            return Err(error("from", format!("from is {from}; legal is before {until}")));
        }
        Ok(bounds)
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const TREND: Trend = Trend {
        name: "failure_rate",
        title: "",
        question: "",
        definition: "",
        source: "",
        columns: &[],
        levels: &["model", "batch"],
        by_profile: true,
        from: Some("the watch"),
        until: None,
    };

    fn check(field: &str, text: &str, trend: &Trend) -> Result<Bounds, BoundError> {
        let text = Some(text.to_owned());
        let none = Asked::default();
        let asked = match field {
            "level" => Asked { level: text, ..none },
            "profile" => Asked { profile: text, ..none },
            "from" => Asked { from: text, ..none },
            _ => Asked { until: text, ..none },
        };
        asked.check(trend, &ManualClock::at("2026-11-21T10:00:00Z".parse().unwrap()))
    }

    #[test]
    fn a_bound_that_is_not_legal_is_named_with_what_is() {
        assert_eq!(check("level", "batch", &TREND).unwrap().level, Some("batch"));
        let from = check("from", "2026-11-01T00:00:00+01:00", &TREND).unwrap().from.unwrap();
        assert_eq!(from.to_string(), "2026-10-31T23:00:00Z");
        for (field, text, says) in [
            ("level", "colour", "level is \"colour\"; legal is model, batch"),
            ("profile", "' or 1=1", "is not legal: 1 to 48 of"),
            ("from", "yesterday", "from: \"yesterday\" is no RFC 3339 instant"),
            ("from", "2027-01-01T00:00:00Z", "legal is before now, 2026-11-21T10:00:00Z"),
            ("until", "2026-01-01T00:00:00Z", "trend failure_rate has no until: leave until out"),
        ] {
            let error = check(field, text, &TREND).unwrap_err();
            assert!(error.field == field && error.problem.contains(says), "{error:?}");
        }
        let bare = Trend { levels: &[], by_profile: false, from: None, ..TREND };
        for field in ["level", "profile", "from"] {
            assert_eq!(check(field, "x", &bare).unwrap_err().field, field);
        }
    }
}
