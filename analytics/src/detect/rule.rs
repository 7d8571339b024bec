//! One limit watching one device: threshold with hysteresis, minimum duration, regime. Whatever the quantity is (a
//! metric, an expression, a rate, a count, a score), this is what becomes of its values.
//!
//! In: the device's readings in the order of their event times, each with what the rule may see of it. Out: an
//! alarm raised, or the same alarm cleared. Promise: the outcome depends on nothing but the readings, the rule and
//! `reported`; after a raised alarm the next event is its end. Never: a channel, a clock, a table.
//!
//! For a pump whose bearing rule reads "at or above 7.1 mm/s for 30 min, cleared at 4.5 mm/s":
//!
//! ```text
//!             reaches 7.1               reaches 7.1, held 30 min, not late
//!   Normal ----------------> Pending ----------------------------------------> Raised
//!     ^                       |                                                  |
//!     +-- at 4.5 or below, ---+                                                  |
//!     |   or silent > max_gap                                                    |
//!     +------------------------------- at 4.5 or below --------------------------+
//! ```
//!
//! Between the two values the condition goes on, but such a reading does not raise: the alarm's last word is always a
//! reading beyond the threshold. A late reading (a back-fill) begins, continues and ends conditions like any other and
//! never raises. A reading outside the regime, or without the metric, counts only as a sign of life: the silence of
//! `max_gap` is silence of the device, not of the regime. An alarm that is flapping ([`super::flapping`]) is cleared
//! only by a reading that ends the condition when it has not held for the rule's span.

use std::time::Duration;

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState, Evidence},
    id::{DeviceId, ProfileName, TenantId},
    profile::{Limit, Rule, Side},
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::flapping::Raises;

/// A rule with its limit and the words of its alarms.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its limit.
    pub limit: &'a Limit,
    /// What is held against the limit, such as `vibration_mm_s` or `rate of filter_pressure_pa`.
    pub indicator: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// Of whom an alarm speaks, and when it is said to be reported.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Whose device.
    pub tenant: &'a TenantId,
    /// Which device.
    pub device_id: &'a DeviceId,
    /// Its kind.
    pub profile: &'a ProfileName,
    /// Its firmware, if told.
    pub firmware: Option<&'a str>,
    /// Becomes `alarm_reporting_time`.
    pub reported: Instant,
}

/// What a rule sees of a reading.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Event time; later than `previous`.
    pub at: Instant,
    /// Event time of the device's reading before, whatever that held.
    pub previous: Option<Instant>,
    /// The rule's quantity; none where it was not measured or the regime does not hold.
    pub value: Option<f64>,
    /// Whether the reading came late.
    pub late: bool,
}

/// A condition that holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Event time of the reading that began it.
    pub since: Instant,
    /// Event time of its last reading.
    pub until: Instant,
    /// Readings that held it.
    pub readings: u64,
    /// Those of them beyond the threshold; the others lie between it and the clearing value.
    pub beyond: u64,
    /// The highest value, or the lowest for a rule that raises below.
    pub extreme: f64,
}

impl Condition {
    fn begin(at: Instant, value: f64) -> Self {
        Self { since: at, until: at, readings: 1, beyond: 1, extreme: value }
    }

    fn go_on(self, limit: &Limit, at: Instant, value: f64) -> Self {
        Self {
            since: self.since,
            until: at,
            readings: self.readings + 1,
            beyond: self.beyond + u64::from(reached(limit, value)),
            extreme: match limit.side {
                Side::Above => self.extreme.max(value),
                Side::Below => self.extreme.min(value),
            },
        }
    }
}

/// Where a rule stands on a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The condition does not hold.
    #[default]
    Normal,
    /// It holds, but not long enough, or only late readings have said so.
    Pending(Condition),
    /// It held long enough and the alarm is out.
    Raised {
        /// Goes on until it clears.
        condition: Condition,
        /// How long the condition must be gone for the alarm to clear; zero unless it is flapping.
        #[serde(default, skip_serializing_if = "Duration::is_zero")]
        calm: Duration,
        /// As it was raised.
        alarm: Box<Alarm>,
    },
}

/// Whether a value begins the condition.
pub fn reached(limit: &Limit, value: f64) -> bool {
    limit.side.reached(value, limit.raise)
}

/// Whether a value ends the condition: at or beyond `clear`, and not beyond `raise` where the two are equal.
fn ended(limit: &Limit, value: f64) -> bool {
    !reached(limit, value)
        && match limit.side {
            Side::Above => value <= limit.clear,
            Side::Below => value >= limit.clear,
        }
}

impl State {
    /// Takes the device's next reading; `raises` are the rule's earlier alarms on the device.
    pub fn step(
        self,
        terms: &Terms<'_>,
        reading: &Reading,
        raises: &mut Raises,
        subject: &Subject<'_>,
    ) -> (Self, Option<Alarm>) {
        let limit = terms.limit;
        let silent = reading.previous.is_some_and(|previous| reading.at.since(previous) > limit.max_gap);
        let state = match self {
            Self::Pending(_) if silent => Self::Normal,
            state => state,
        };
        let Some(value) = reading.value.filter(|value| value.is_finite()) else { return (state, None) };
        match state {
            Self::Normal if reached(limit, value) => {
                pending(Condition::begin(reading.at, value), terms, reading, value, raises, subject)
            }
            Self::Normal => (Self::Normal, None),
            Self::Pending(_) if ended(limit, value) => (Self::Normal, None),
            Self::Pending(condition) => {
                pending(condition.go_on(limit, reading.at, value), terms, reading, value, raises, subject)
            }
            Self::Raised { condition, calm, alarm } if ended(limit, value) => {
                if reading.at.since(condition.until) < calm {
                    return (Self::Raised { condition, calm, alarm }, None);
                }
                let reason = cleared_reason(terms, &condition, value, reading.at);
                (Self::Normal, Some(cleared(*alarm, &condition, reading.at, reason)))
            }
            Self::Raised { condition, calm, alarm } => {
                (Self::Raised { condition: condition.go_on(limit, reading.at, value), calm, alarm }, None)
            }
        }
    }
}

fn pending(
    condition: Condition,
    terms: &Terms<'_>,
    reading: &Reading,
    value: f64,
    raises: &mut Raises,
    subject: &Subject<'_>,
) -> (State, Option<Alarm>) {
    let Terms { rule, limit, indicator, unit } = *terms;
    let long_enough = reading.at.since(condition.since) >= limit.hold;
    if reading.late || !long_enough || !reached(limit, value) {
        return (State::Pending(condition), None);
    }
    let flapping = raises.raise(&rule.flapping, reading.at);
    let mut reason = raised_reason(terms, &condition);
    let mut calm = Duration::ZERO;
    if let Some((times, since)) = flapping {
        calm = rule.flapping.within;
        reason += &flapping_reason(times, since, calm);
    }
    let alarm = Alarm {
        alarm_id: Alarm::id(subject.tenant, subject.device_id, &rule.name, reading.at),
        tenant: subject.tenant.clone(),
        device_id: subject.device_id.clone(),
        profile: subject.profile.clone(),
        firmware: subject.firmware.map(str::to_owned),
        specific_problem: rule.name.clone(),
        source: AlarmSource::Rule,
        fault_key: rule.fault_key.clone(),
        perceived_severity: rule.severity,
        probable_cause: rule.probable_cause.clone(),
        state: AlarmState::Raised,
        alarm_raised_time: reading.at,
        alarm_reporting_time: subject.reported,
        alarm_cleared_time: None,
        evidence: Evidence {
            indicator: indicator.to_owned(),
            unit: unit.to_owned(),
            threshold: Some(limit.raise),
            observed: Some(condition.extreme),
            since: condition.since,
            until: condition.until,
            readings: condition.readings,
            flapping: flapping.is_some(),
            reason,
        },
    };
    (State::Raised { condition, calm, alarm: Box::new(alarm.clone()) }, Some(alarm))
}

fn cleared(alarm: Alarm, condition: &Condition, at: Instant, reason: String) -> Alarm {
    Alarm {
        state: AlarmState::Cleared,
        alarm_cleared_time: Some(at),
        evidence: Evidence {
            observed: Some(condition.extreme),
            until: at,
            readings: condition.readings,
            reason,
            ..alarm.evidence
        },
        ..alarm
    }
}

fn words(side: Side) -> (&'static str, &'static str) {
    match side {
        Side::Above => ("at or above", "highest"),
        Side::Below => ("at or below", "lowest"),
    }
}

fn raised_reason(terms: &Terms<'_>, condition: &Condition) -> String {
    let Terms { limit, indicator, unit, .. } = *terms;
    let raise = quantity(limit.raise, unit);
    let (beyond, most) = words(limit.side);
    let extreme = quantity(condition.extreme, unit);
    let (since, span) = (condition.since, condition.until.since(condition.since));
    if span.is_zero() {
        return format!("{indicator} was {extreme}, {beyond} {raise} ({since})");
    }
    let span = spoken(span);
    if condition.beyond == condition.readings {
        format!("{indicator} was {beyond} {raise} for {span} (since {since}), {most} {extreme}")
    } else {
        let (some, all, clear) = (condition.beyond, condition.readings, quantity(limit.clear, unit));
        format!(
            "{indicator} was {beyond} {raise} in {some} of {all} readings and never back at {clear} for {span} \
             (since {since}), {most} {extreme}"
        )
    }
}

fn cleared_reason(terms: &Terms<'_>, condition: &Condition, value: f64, at: Instant) -> String {
    let Terms { limit, indicator, unit, .. } = *terms;
    let (_, most) = words(limit.side);
    let (value, extreme) = (quantity(value, unit), quantity(condition.extreme, unit));
    let (span, since) = (spoken(at.since(condition.since)), condition.since);
    format!("{indicator} came back to {value} after {span} (since {since}), {most} {extreme}")
}

/// What is added to the reason of an alarm that is flapping.
pub(super) fn flapping_reason(times: usize, since: Instant, calm: Duration) -> String {
    format!("; it is flapping, raised {times} times since {since}: it stays until it was calm for {}", spoken(calm))
}

/// A value with its unit; six digits are more than any sensor of ours resolves.
fn quantity(value: f64, unit: &str) -> String {
    let value: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    if unit.is_empty() { value.to_string() } else { format!("{value} {unit}") }
}

/// A span in its two greatest units: `6 h`, `1 d 4 h`, `90 s` as `1 min 30 s`.
pub(super) fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let Some(first) = parts.iter().position(|(count, _)| *count > 0) else {
        return format!("{} ms", span.as_millis());
    };
    let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
