//! Where the rules of a profile stand on one device, and what each remembers to know its quantity.
//!
//! In: the values that rules look at, reading by reading; reports of fault codes; silence. Out: alarms. Promise: what
//! is as on the first day costs no memory; what is remembered is bounded by the rule. Never: a clock.

use foresight::anomaly;
use schemas::{
    alarm::Alarm,
    profile::{Counted, Limit, Quantity, Rule},
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::{
    absence,
    count::Recent,
    flapping::Raises,
    rate::Window,
    rule::{self, Reading, Subject, Terms},
};

/// What makes a quantity of the values that came before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Memory {
    /// The value is the quantity.
    #[default]
    None,
    Rate(Box<Window>),
    Count(Box<Recent>),
    Anomaly(Box<anomaly::Detector>),
}

impl Memory {
    /// Whether a value is worth remembering on a device of which nothing is known yet.
    fn begins(limit: &Limit, value: Option<f64>) -> bool {
        let Some(value) = value.filter(|value| value.is_finite()) else { return false };
        match &limit.quantity {
            Quantity::Value(_) => rule::reached(limit, value),
            Quantity::Rate { .. } | Quantity::Anomaly { .. } => true,
            Quantity::Count { of: Counted::Readings { side, beyond, .. }, .. } => side.reached(value, *beyond),
            Quantity::Count { of: Counted::Fault(_), .. } => false,
        }
    }

    /// The quantity after this value.
    fn quantity(&mut self, limit: &Limit, at: Instant, value: Option<f64>) -> Option<f64> {
        let value = value.filter(|value| value.is_finite());
        match &limit.quantity {
            Quantity::Value(_) => value,
            Quantity::Rate { per, over, .. } => {
                if !matches!(self, Self::Rate(_)) {
                    *self = Self::Rate(Box::default());
                }
                let Self::Rate(window) = self else { return None };
                window.push(at, value?, *over);
                window.slope(*per, *over)
            }
            Quantity::Count { of, within } => {
                let recent = self.recent()?;
                if let (Counted::Readings { side, beyond, .. }, Some(value)) = (of, value)
                    && side.reached(value, *beyond)
                {
                    recent.push(at, most(limit));
                }
                recent.count(at, *within).map(f64::from)
            }
            Quantity::Anomaly { .. } => {
                if !matches!(self, Self::Anomaly(_)) {
                    *self = Self::Anomaly(Box::default());
                }
                let Self::Anomaly(detector) = self else { return None };
                let score = detector.score(at.micros().div_euclid(1000), value?);
                // Its rate, which what was said before does not lessen: an alarm goes on while it is unusual.
                Some(anomaly::score_at(score.false_alarm_rate))
            }
        }
    }

    fn recent(&mut self) -> Option<&mut Recent> {
        if !matches!(self, Self::Count(_)) {
            *self = Self::Count(Box::default());
        }
        match self {
            Self::Count(recent) => Some(recent),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Rate(_) | Self::Anomaly(_) => false,
            Self::Count(recent) => recent.is_empty(),
        }
    }
}

/// Events worth keeping: as many as raise.
fn most(limit: &Limit) -> usize {
    limit.raise as usize
}

/// Where one rule stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Standing {
    rule: String,
    #[serde(default, skip_serializing_if = "is_default")]
    state: rule::State,
    #[serde(default, skip_serializing_if = "is_default")]
    absence: absence::State,
    #[serde(default, skip_serializing_if = "is_default")]
    memory: Memory,
    #[serde(default, skip_serializing_if = "is_default")]
    raises: Raises,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Standing {
    fn is_idle(&self) -> bool {
        self.state == rule::State::Normal
            && self.absence == absence::State::Present
            && self.memory.is_empty()
            && self.raises.is_empty()
    }
}

/// By rule, those that are not as on the first day. Few: looked through from the front.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Standings(Vec<Standing>);

impl Standings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, rule: &Rule) -> Option<usize> {
        self.0.iter().position(|standing| standing.rule == rule.name)
    }

    fn of(&mut self, rule: &Rule) -> usize {
        self.find(rule).unwrap_or_else(|| {
            self.0.reserve_exact(1);
            self.0.push(Standing {
                rule: rule.name.clone(),
                state: rule::State::default(),
                absence: absence::State::default(),
                memory: Memory::default(),
                raises: Raises::default(),
            });
            self.0.len() - 1
        })
    }

    /// Changes the standing at a place, and forgets it if nothing of it is left to remember.
    fn change<T>(&mut self, place: usize, change: impl FnOnce(&mut Standing) -> T) -> T {
        let result = change(&mut self.0[place]);
        if self.0[place].is_idle() {
            self.0.remove(place);
        }
        result
    }

    /// Takes a reading of the device; its value is what the rule looks at.
    pub(super) fn reading(&mut self, terms: &Terms<'_>, reading: &Reading, subject: &Subject<'_>) -> Option<Alarm> {
        let place = match self.find(terms.rule) {
            Some(place) => place,
            // Most readings are normal: they cost no entry.
            None if Memory::begins(terms.limit, reading.value) => self.of(terms.rule),
            None => return None,
        };
        self.change(place, |standing| {
            let value = standing.memory.quantity(terms.limit, reading.at, reading.value);
            standing.step(terms, &Reading { value, ..*reading }, subject)
        })
    }

    /// Takes a report of a fault code that the rule counts.
    pub(super) fn fault(&mut self, terms: &Terms<'_>, report: &Reading, subject: &Subject<'_>) -> Option<Alarm> {
        let place = self.of(terms.rule);
        self.change(place, |standing| {
            let recent = standing.memory.recent()?;
            recent.push(report.at, most(terms.limit));
            let value = standing.memory.quantity(terms.limit, report.at, None);
            standing.step(terms, &Reading { value, ..*report }, subject)
        })
    }

    /// Whether the rule has said that the device is absent.
    pub(super) fn is_absent(&self, rule: &Rule) -> bool {
        self.find(rule).is_some_and(|place| self.0[place].absence.is_absent())
    }

    /// The device was silent for as long as the rule allows; `last` is the event time of its last report.
    pub(super) fn overdue(&mut self, rule: &Rule, last: Instant, subject: &Subject<'_>) -> Option<Alarm> {
        let after = rule.absence()?;
        let place = self.of(rule);
        self.change(place, |standing| {
            let alarm;
            let state = std::mem::take(&mut standing.absence);
            (standing.absence, alarm) = state.overdue(rule, after, last, &mut standing.raises, subject);
            alarm
        })
    }

    /// A row of the device came.
    pub(super) fn report(&mut self, rule: &Rule, at: Instant) -> Option<Alarm> {
        let place = self.find(rule)?;
        self.change(place, |standing| {
            let alarm;
            (standing.absence, alarm) = std::mem::take(&mut standing.absence).report(at);
            standing.raises.forget(&rule.flapping, at);
            alarm
        })
    }
}

impl Standing {
    fn step(&mut self, terms: &Terms<'_>, reading: &Reading, subject: &Subject<'_>) -> Option<Alarm> {
        let alarm;
        (self.state, alarm) = std::mem::take(&mut self.state).step(terms, reading, &mut self.raises, subject);
        self.raises.forget(&terms.rule.flapping, reading.at);
        alarm
    }
}
