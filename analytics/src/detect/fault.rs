//! One fault code of one device: the device's own diagnosis, turned into an alarm once.
//!
//! In: the device's reports of that code, and its other rows as signs that it has caught up. Out: an alarm raised, or
//! the same alarm cleared. Promise: as for a rule: no second alarm before the first has ended. Never: a channel, a
//! clock, a table.
//!
//! Reports move the state in the order of their event times; an older one that comes after is passed over, and of two
//! with the same event time the end wins. A late `active` is remembered as pending. It is raised by the first row of
//! the device that is not late and not older than the report, telemetry or fault, if no end of it has come by then;
//! `alarm_raised_time` is that row's event time, `evidence.since` the report's.

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState, Evidence},
    profile::Fault,
    time::Instant,
};
use serde::{Deserialize, Serialize};

use super::rule::{Subject, spoken};

/// A report of a code.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Event time.
    pub at: Instant,
    /// Whether the fault holds, or has ended.
    pub active: bool,
    /// Whether the report came late.
    pub late: bool,
}

/// Where a fault code stands on a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never heard of.
    #[default]
    Unheard,
    /// It has ended.
    Ended {
        /// Event time of the last report.
        at: Instant,
    },
    /// Active, but only late reports have said so.
    Pending {
        /// Event time of the first report.
        since: Instant,
        /// Event time of the last report.
        at: Instant,
        /// How many there were.
        reports: u64,
    },
    /// Active, and the alarm is out.
    Raised {
        /// Event time of the last report.
        at: Instant,
        /// How many there were.
        reports: u64,
        /// As it was raised.
        alarm: Box<Alarm>,
    },
}

impl State {
    /// Whether [`State::release`] may raise.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether a report comes out of order and is to be passed over.
    pub fn passes_over(&self, report: &Report) -> bool {
        match self {
            Self::Unheard => false,
            Self::Ended { at } | Self::Pending { at, .. } | Self::Raised { at, .. } => {
                report.at < *at || (report.at == *at && report.active)
            }
        }
    }

    /// Takes the device's next report of this code.
    pub fn step(self, fault: &Fault, report: &Report, subject: &Subject<'_>) -> (Self, Option<Alarm>) {
        if self.passes_over(report) {
            return (self, None);
        }
        let at = report.at;
        match (self, report.active) {
            (Self::Unheard | Self::Ended { .. }, true) if report.late => {
                (Self::Pending { since: at, at, reports: 1 }, None)
            }
            (Self::Unheard | Self::Ended { .. }, true) => raise(fault, at, at, at, 1, subject),
            (Self::Pending { since, reports, .. }, true) if report.late => {
                (Self::Pending { since, at, reports: reports + 1 }, None)
            }
            (Self::Pending { since, reports, .. }, true) => raise(fault, since, at, at, reports + 1, subject),
            (Self::Raised { reports, alarm, .. }, true) => (Self::Raised { at, reports: reports + 1, alarm }, None),
            (Self::Raised { reports, alarm, .. }, false) => (Self::Ended { at }, Some(cleared(*alarm, at, reports))),
            (Self::Unheard | Self::Ended { .. } | Self::Pending { .. }, false) => (Self::Ended { at }, None),
        }
    }

    /// Takes a row of the device that is not late: it has caught up, so what is pending is raised.
    pub fn release(self, fault: &Fault, row: Instant, subject: &Subject<'_>) -> (Self, Option<Alarm>) {
        match self {
            Self::Pending { since, at, reports } if row >= at => raise(fault, since, at, row, reports, subject),
            state => (state, None),
        }
    }
}

fn raise(
    fault: &Fault,
    since: Instant,
    at: Instant,
    raised: Instant,
    reports: u64,
    subject: &Subject<'_>,
) -> (State, Option<Alarm>) {
    let reason = if since == at {
        format!("the device reported {} ({}) at {at}", fault.code, fault.title)
    } else {
        format!("the device reported {} ({}) {reports} times since {since}", fault.code, fault.title)
    };
    let alarm = Alarm {
        alarm_id: Alarm::id(subject.tenant, subject.device_id, &fault.code, raised),
        tenant: subject.tenant.clone(),
        device_id: subject.device_id.clone(),
        profile: subject.profile.clone(),
        firmware: subject.firmware.map(str::to_owned),
        specific_problem: fault.code.clone(),
        source: AlarmSource::Device,
        fault_key: fault.fault_key.clone(),
        perceived_severity: fault.severity,
        probable_cause: fault.title.clone(),
        state: AlarmState::Raised,
        alarm_raised_time: raised,
        alarm_reporting_time: subject.reported,
        alarm_cleared_time: None,
        evidence: Evidence {
            indicator: fault.code.clone(),
            unit: String::new(),
            threshold: None,
            observed: None,
            since,
            until: at,
            readings: reports,
            flapping: false,
            reason,
        },
    };
    (State::Raised { at, reports, alarm: Box::new(alarm.clone()) }, Some(alarm))
}

fn cleared(alarm: Alarm, at: Instant, reports: u64) -> Alarm {
    let (code, since) = (&alarm.specific_problem, alarm.evidence.since);
    let reason = format!("the device reported the end of {code} after {} (since {since})", spoken(at.since(since)));
    Alarm {
        state: AlarmState::Cleared,
        alarm_cleared_time: Some(at),
        evidence: Evidence { until: at, readings: reports, reason, ..alarm.evidence },
        ..alarm
    }
}

#[cfg(test)]
mod tests;
