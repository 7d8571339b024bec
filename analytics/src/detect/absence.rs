//! A device that says nothing any more.
//!
//! In: the rows of the log, each a sign of life of its device and a tick of [`LogTime`]. Out: an alarm raised although
//! no row of that device came, or the same alarm cleared by the next one. Promise: a replay of the log raises the same
//! alarms with the same ids: time is that of the log's rows, and the alarm's is that of the device's own last report.
//! Never: an alarm because Forewarn itself was down; an alarm about a device of which only late data is known, or
//! whose late data is coming in.
//!
//! The log's time is what [`schemas::door::Chunk::now`] tells, row by row: the greatest arrival, or under the event
//! clock the greatest event time. It moves with data only, and one step of it counts at most a quarter of the shortest
//! absence that a rule knows: where nobody at all reported for a day, it was us who did not listen, and every device
//! keeps three quarters of its patience to come back.

use std::time::Duration;

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState, Evidence},
    profile::Rule,
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::{
    flapping::Raises,
    rule::{Subject, flapping_reason, spoken},
};

/// A step of the log's time counts at most one in this many of the shortest absence.
pub(super) const STEP_SHARE: u32 = 4;

/// The time of the log's rows, without the gaps in which nobody reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTime {
    now: Option<Instant>,
    /// Of gaps, what does not count.
    lost: Duration,
}

impl LogTime {
    /// A row came at `to`; of the step to it counts at most `step`.
    pub fn advance(&mut self, to: Instant, step: Duration) {
        let Some(now) = self.now else {
            self.now = Some(to);
            return;
        };
        if to > now {
            self.lost += to.since(now).saturating_sub(step);
            self.now = Some(to);
        }
    }

    /// The time now, on a scale of its own: only differences mean something.
    pub fn at(&self) -> Instant {
        self.now.unwrap_or(Instant::EPOCH).minus(self.lost)
    }
}

/// Where an absence rule stands on a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It reports.
    #[default]
    Present,
    /// It does not, and the alarm is out.
    Absent {
        /// Event time of its last report.
        last: Instant,
        /// How long it must report again for the alarm to clear; zero unless flapping.
        calm: Duration,
        /// As it was raised.
        alarm: Box<Alarm>,
    },
    /// It reports again, but the alarm is flapping and stays until this has lasted.
    Returned {
        /// Event time of its first report.
        since: Instant,
        /// How long it must report.
        calm: Duration,
        /// As it was raised.
        alarm: Box<Alarm>,
    },
}

impl State {
    /// Whether [`State::overdue`] has nothing to say.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// The device was silent for `after`; `last` is the event time of its last report.
    pub fn overdue(
        self,
        rule: &Rule,
        after: Duration,
        last: Instant,
        raises: &mut Raises,
        subject: &Subject<'_>,
    ) -> (Self, Option<Alarm>) {
        match self {
            Self::Present => {
                let raised = last.plus(after);
                let flapping = raises.raise(&rule.flapping, raised);
                let mut reason = format!("no report for {} (the last was of {last})", spoken(after));
                let mut calm = Duration::ZERO;
                if let Some((times, since)) = flapping {
                    calm = rule.flapping.within;
                    reason += &flapping_reason(times, since, calm);
                }
                let alarm = Alarm {
                    alarm_id: Alarm::id(subject.tenant, subject.device_id, &rule.name, raised),
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
                    alarm_raised_time: raised,
                    alarm_reporting_time: subject.reported,
                    alarm_cleared_time: None,
                    evidence: Evidence {
                        indicator: "silence".into(),
                        unit: "s".into(),
                        threshold: Some(after.as_secs_f64()),
                        observed: Some(after.as_secs_f64()),
                        since: last,
                        until: raised,
                        readings: 0,
                        flapping: flapping.is_some(),
                        reason,
                    },
                };
                (Self::Absent { last, calm, alarm: Box::new(alarm.clone()) }, Some(alarm))
            }
            Self::Returned { calm, alarm, .. } => (Self::Absent { last, calm, alarm }, None),
            absent @ Self::Absent { .. } => (absent, None),
        }
    }

    /// A row of the device came. One that is no later than its last report before the silence is a back-fill: it does
    /// not end it.
    pub fn report(self, at: Instant) -> (Self, Option<Alarm>) {
        match self {
            Self::Absent { last, calm, alarm } if at > last => {
                if calm.is_zero() {
                    return (Self::Present, Some(cleared(*alarm, at)));
                }
                (Self::Returned { since: at, calm, alarm }, None)
            }
            Self::Returned { since, calm, alarm } if at.since(since) >= calm => {
                (Self::Present, Some(cleared(*alarm, at)))
            }
            state => (state, None),
        }
    }
}

fn cleared(alarm: Alarm, at: Instant) -> Alarm {
    let silence = at.since(alarm.evidence.since);
    let reason = format!("it reported again at {at}, {} after {}", spoken(silence), alarm.evidence.since);
    Alarm {
        state: AlarmState::Cleared,
        alarm_cleared_time: Some(at),
        evidence: Evidence { observed: Some(silence.as_secs_f64()), until: at, readings: 1, reason, ..alarm.evidence },
        ..alarm
    }
}
