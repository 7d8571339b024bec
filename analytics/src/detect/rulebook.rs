//! The profiles' rules made ready to run: expressions parsed, words of their alarms chosen.
//!
//! In: the profiles in force. Out: per profile its rules, each with what it looks at. Promise: what is wrong with an
//! expression is said once, when the profile is loaded, naming profile, rule and column. Never: a rule that is dropped
//! because it could not be made ready.

use std::{collections::HashMap, sync::Arc, time::Duration};

use foresight::anomaly;
use schemas::{
    alarm::{Alarm, AlarmSource},
    profile::{Counted, Limit, Profile, Profiles, Quantity, Rule, Source, Watch},
    table,
    time::span,
};

use super::{absence, rule::Terms};
use crate::query::{Expression, ExpressionError};

/// A rule that cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Its expression is not legal.
    #[error("profile {profile}: rule {rule}.expression {sql:?}")]
    Expression {
        /// Which profile.
        profile: String,
        /// Which rule.
        rule: String,
        /// The expression's text.
        sql: String,
        /// What is wrong and what is legal.
        source: ExpressionError,
    },
}

/// A rule, ready to run.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: Rule,
    pub(super) expression: Option<Expression>,
    indicator: String,
    unit: String,
}

impl Entry {
    fn of(profile: &Profile, rule: &Rule) -> Result<Self, RuleError> {
        let expression = match rule.source() {
            Some(Source::Expression { sql, .. }) => Some(parse(profile, rule, sql)?),
            _ => None,
        };
        let mut ready = rule.clone();
        if let Watch::Limit(limit) = &mut ready.watch {
            score(limit, profile.cadence);
        }
        let (indicator, unit) = words(profile, rule);
        Ok(Self { rule: ready, expression, indicator, unit })
    }

    /// The rule's terms, unless it watches for absence.
    pub(super) fn terms(&self) -> Option<Terms<'_>> {
        let limit = self.rule.limit()?;
        Some(Terms { rule: &self.rule, limit, indicator: &self.indicator, unit: &self.unit })
    }

    /// Whether it counts reports of this code.
    pub(super) fn counts(&self, code: &str) -> bool {
        let quantity = self.rule.limit().map(|limit| &limit.quantity);
        matches!(quantity, Some(Quantity::Count { of: Counted::Fault(counted), .. }) if counted == code)
    }
}

/// The rules of one profile.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) profile: Arc<Profile>,
    pub(super) entries: Vec<Entry>,
}

impl Page {
    fn of(profile: &Arc<Profile>) -> Result<Self, RuleError> {
        let entries = profile.rules.iter().map(|rule| Entry::of(profile, rule)).collect::<Result<_, _>>()?;
        Ok(Self { profile: Arc::clone(profile), entries })
    }

    /// Rules that watch for absence, with how long.
    pub(super) fn absences(&self) -> impl Iterator<Item = (&Rule, Duration)> {
        self.entries.iter().filter_map(|entry| Some((&entry.rule, entry.rule.absence()?)))
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct Rulebook {
    pages: HashMap<String, Page>,
    /// What a step of the log's time counts at most; none where no rule watches for absence.
    step: Option<Duration>,
}

impl Rulebook {
    /// Makes the rules of all profiles ready.
    pub fn of(profiles: &Profiles) -> Result<Self, RuleError> {
        let pages = profiles.iter().map(|profile| Ok((profile.name.to_string(), Page::of(profile)?)));
        let pages = pages.collect::<Result<HashMap<_, _>, _>>()?;
        let shortest = pages.values().flat_map(Page::absences).map(|(_, after)| after).min();
        Ok(Self { step: shortest.map(|after| after / absence::STEP_SHARE), pages })
    }

    /// Checks the rules of one profile.
    pub fn check(profile: &Profile) -> Result<(), RuleError> {
        profile.rules.iter().try_for_each(|rule| Entry::of(profile, rule).map(drop))
    }

    pub(super) fn page(&self, profile: &str) -> Option<&Page> {
        self.pages.get(profile)
    }

    pub(super) fn step(&self) -> Option<Duration> {
        self.step
    }

    /// The kind of rule that found an alarm; none for a device's own fault code.
    pub(super) fn kind(&self, alarm: &Alarm) -> Option<&'static str> {
        let page = self.page(alarm.profile.as_str()).filter(|_| alarm.source == AlarmSource::Rule)?;
        let entry = page.entries.iter().find(|entry| entry.rule.name == alarm.specific_problem)?;
        Some(entry.rule.kind())
    }
}

fn parse(profile: &Profile, rule: &Rule, sql: &str) -> Result<Expression, RuleError> {
    let columns: Vec<_> =
        profile.metrics.iter().map(|metric| (metric.name.as_str(), table::metric_type(metric.r#type))).collect();
    Expression::parse(sql, &columns).map_err(|source| RuleError::Expression {
        profile: profile.name.to_string(),
        rule: rule.name.clone(),
        sql: sql.to_owned(),
        source,
    })
}

/// An anomaly ends when it is so many times as usual as where it began: noise at the limit must not end it.
const ENDS_AT: f64 = 10.0;
const YEAR: Duration = Duration::from_secs(31_557_600);

/// The limit of an anomaly: the score that as many readings of a sound device reach as the rule allows.
fn score(limit: &mut Limit, cadence: Duration) {
    let Quantity::Anomaly { false_alarms_per_year, .. } = limit.quantity else { return };
    let rate = (false_alarms_per_year * cadence.as_secs_f64() / YEAR.as_secs_f64()).min(1.0);
    limit.raise = anomaly::score_at(rate);
    limit.clear = anomaly::score_at((rate * ENDS_AT).min(1.0));
}

/// What an alarm calls the quantity, and its unit.
fn words(profile: &Profile, rule: &Rule) -> (String, String) {
    let unit = |of: &Source| match of {
        Source::Metric(name) => profile.metric(name).map_or(String::new(), |metric| metric.unit.clone()),
        Source::Expression { unit, .. } => unit.clone(),
    };
    let Some(limit) = rule.limit() else { return ("silence".into(), "s".into()) };
    match &limit.quantity {
        Quantity::Value(of) => (of.as_str().to_owned(), unit(of)),
        Quantity::Rate { of, per, .. } => {
            let per = span::text(*per);
            // One of something is said without the one: 0.4 Pa/d.
            let per = per.strip_prefix('1').filter(|unit| unit.chars().all(char::is_alphabetic)).unwrap_or(&per);
            let per = if per == "24h" { "d" } else { per };
            (format!("rate of {}", of.as_str()), format!("{}/{per}", unit(of)))
        }
        Quantity::Count { of, within } => {
            let within = super::rule::spoken(*within);
            let indicator = match of {
                Counted::Fault(code) => format!("count of {code} within {within}"),
                Counted::Readings { of: value, side, beyond } => {
                    let word = match side {
                        schemas::profile::Side::Above => "at or above",
                        schemas::profile::Side::Below => "at or below",
                    };
                    format!("count of {} {word} {} {} within {within}", value.as_str(), beyond, unit(value))
                        .replace("  ", " ")
                }
            };
            (indicator, String::new())
        }
        Quantity::Anomaly { metric, .. } => (format!("anomaly of {metric}"), String::new()),
    }
}
