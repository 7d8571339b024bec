//! Rows of the tables that do not depend on a profile, as Arrow builders.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder,
        RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
};
use schemas::{
    advisory::Advisory,
    alarm::{Alarm, AlarmState},
    id::LogOffset,
    outcome::Outcome,
    payload::{FaultReport, ReplyReport, StatusReport},
    reject::Reject,
    table::{self, TableName},
    time::Instant,
    topic::Channel,
};

use super::ledger::Entry;

/// Where a message came from, and when.
pub(super) struct Origin<'a> {
    pub(super) tenant: &'a str,
    pub(super) device: &'a str,
    pub(super) arrival: Instant,
}

trait Column {
    fn empty() -> Self;
}

macro_rules! columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn empty() -> Self {
                Self::new()
            }
        }
    )*};
}
columns!(StringBuilder, BinaryBuilder, BooleanBuilder, Int64Builder, Float64Builder, Date32Builder);

impl Column for TimestampMicrosecondBuilder {
    fn empty() -> Self {
        instants()
    }
}

/// A column of instants, as every table has them.
pub(super) fn instants() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_data_type(table::instant())
}

macro_rules! rows {
    ($name:ident of $table:ident { $($column:ident: $type:ty,)* }) => {
        pub(super) struct $name {
            schema: SchemaRef,
            $($column: $type,)*
        }

        impl $name {
            pub(super) const TABLE: TableName = TableName::$table;

            pub(super) fn new() -> Self {
                Self {
                    schema: table::fixed(&Self::TABLE).expect("the table does not depend on a profile"),
                    $($column: Column::empty(),)*
                }
            }

            pub(super) fn len(&self) -> usize {
                self.date.len()
            }

            /// The rows so far, and begins anew.
            pub(super) fn finish(&mut self) -> RecordBatch {
                let columns: Vec<ArrayRef> = vec![$(Arc::new(self.$column.finish()),)*];
                RecordBatch::try_new(self.schema.clone(), columns).expect("the builders follow the table's schema")
            }
        }
    };
}

rows!(FaultRows of Fault {
    tenant: StringBuilder,
    device_id: StringBuilder,
    profile: StringBuilder,
    boot: Int64Builder,
    seq: Int64Builder,
    event_time: TimestampMicrosecondBuilder,
    arrival_time: TimestampMicrosecondBuilder,
    late: BooleanBuilder,
    firmware: StringBuilder,
    code: StringBuilder,
    active: BooleanBuilder,
    freeze: StringBuilder,
    date: Date32Builder,
});

impl FaultRows {
    pub(super) fn append(&mut self, origin: &Origin<'_>, fault: &FaultReport<'_>, profile: &str, late: bool) {
        self.tenant.append_value(origin.tenant);
        self.device_id.append_value(origin.device);
        self.profile.append_value(profile);
        self.boot.append_value(fault.boot);
        self.seq.append_option(fault.seq);
        self.event_time.append_value(fault.event_time.micros());
        self.arrival_time.append_value(origin.arrival.micros());
        self.late.append_value(late);
        self.firmware.append_option(fault.firmware.as_deref());
        self.code.append_value(&fault.code);
        self.active.append_value(fault.active);
        self.freeze.append_option(fault.freeze.as_deref());
        self.date.append_value(fault.event_time.days());
    }
}

rows!(StatusRows of Status {
    tenant: StringBuilder,
    device_id: StringBuilder,
    profile: StringBuilder,
    boot: Int64Builder,
    event_time: TimestampMicrosecondBuilder,
    arrival_time: TimestampMicrosecondBuilder,
    state: StringBuilder,
    firmware: StringBuilder,
    date: Date32Builder,
});

impl StatusRows {
    pub(super) fn append(&mut self, origin: &Origin<'_>, status: &StatusReport<'_>) {
        let event_time = status.event_time.unwrap_or(origin.arrival);
        self.tenant.append_value(origin.tenant);
        self.device_id.append_value(origin.device);
        self.profile.append_option(status.profile.as_deref());
        self.boot.append_value(status.boot);
        self.event_time.append_value(event_time.micros());
        self.arrival_time.append_value(origin.arrival.micros());
        self.state.append_value(status.state.as_str());
        self.firmware.append_option(status.firmware.as_deref());
        self.date.append_value(event_time.days());
    }
}

rows!(ReplyRows of Reply {
    tenant: StringBuilder,
    device_id: StringBuilder,
    arrival_time: TimestampMicrosecondBuilder,
    id: StringBuilder,
    ok: BooleanBuilder,
    result: StringBuilder,
    date: Date32Builder,
});

impl ReplyRows {
    pub(super) fn append(&mut self, origin: &Origin<'_>, reply: &ReplyReport<'_>) {
        self.tenant.append_value(origin.tenant);
        self.device_id.append_value(origin.device);
        self.arrival_time.append_value(origin.arrival.micros());
        self.id.append_value(&reply.id);
        self.ok.append_value(reply.ok);
        self.result.append_option(reply.result.as_deref());
        self.date.append_value(origin.arrival.days());
    }
}

rows!(DeadLetterRows of DeadLetter {
    tenant: StringBuilder,
    device_id: StringBuilder,
    topic: StringBuilder,
    content_type: StringBuilder,
    payload: BinaryBuilder,
    reason: StringBuilder,
    detail: StringBuilder,
    arrival_time: TimestampMicrosecondBuilder,
    date: Date32Builder,
});

impl DeadLetterRows {
    /// `tenant` is empty where the topic does not tell it.
    pub(super) fn append(&mut self, tenant: &str, device: Option<&str>, frame: &schemas::door::Frame, reject: &Reject) {
        self.tenant.append_value(tenant);
        self.device_id.append_option(device);
        self.topic.append_value(&frame.topic);
        self.content_type.append_option(frame.content_type.as_deref());
        self.payload.append_value(&frame.payload);
        self.reason.append_value(reject.reason.as_str());
        self.detail.append_value(&reject.detail);
        self.arrival_time.append_value(frame.arrival.micros());
        self.date.append_value(frame.arrival.days());
    }

    /// Bytes of payload that wait.
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.values_slice().len()
    }
}

rows!(LedgerRows of Ledger {
    tenant: StringBuilder,
    device_id: StringBuilder,
    channel: StringBuilder,
    hour: TimestampMicrosecondBuilder,
    received: Int64Builder,
    stored: Int64Builder,
    duplicate: Int64Builder,
    rejected: Int64Builder,
    late: Int64Builder,
    missing: Int64Builder,
    gaps: StringBuilder,
    revision: Int64Builder,
    date: Date32Builder,
});

impl LedgerRows {
    pub(super) fn append(&mut self, tenant: &str, device: &str, entry: &Entry, gaps: (i64, String), at: LogOffset) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let hour = entry.hour();
        self.tenant.append_value(tenant);
        self.device_id.append_value(device);
        self.channel.append_option(entry.channel.map(Channel::as_str));
        self.hour.append_value(hour.micros());
        self.received.append_value(number(entry.counts.received()));
        self.stored.append_value(number(entry.counts.stored));
        self.duplicate.append_value(number(entry.counts.duplicate));
        self.rejected.append_value(number(entry.counts.rejected));
        self.late.append_value(number(entry.counts.late));
        self.missing.append_value(gaps.0);
        self.gaps.append_value(gaps.1);
        self.revision.append_value(number(at.0));
        self.date.append_value(hour.days());
    }
}

rows!(AlarmRows of Alarm {
    tenant: StringBuilder,
    device_id: StringBuilder,
    profile: StringBuilder,
    firmware: StringBuilder,
    alarm_id: StringBuilder,
    state: StringBuilder,
    specific_problem: StringBuilder,
    source: StringBuilder,
    fault_key: StringBuilder,
    perceived_severity: StringBuilder,
    probable_cause: StringBuilder,
    alarm_raised_time: TimestampMicrosecondBuilder,
    alarm_reporting_time: TimestampMicrosecondBuilder,
    alarm_cleared_time: TimestampMicrosecondBuilder,
    evidence: StringBuilder,
    date: Date32Builder,
});

impl AlarmRows {
    pub(super) fn append(&mut self, alarm: &Alarm) {
        self.tenant.append_value(&alarm.tenant);
        self.device_id.append_value(&alarm.device_id);
        self.profile.append_value(&alarm.profile);
        self.firmware.append_option(alarm.firmware.as_deref());
        self.alarm_id.append_value(&alarm.alarm_id);
        self.state.append_value(alarm.state.as_str());
        self.specific_problem.append_value(&alarm.specific_problem);
        self.source.append_value(alarm.source.as_str());
        self.fault_key.append_value(&alarm.fault_key);
        self.perceived_severity.append_value(alarm.perceived_severity.as_str());
        self.probable_cause.append_value(&alarm.probable_cause);
        self.alarm_raised_time.append_value(alarm.alarm_raised_time.micros());
        self.alarm_reporting_time.append_value(alarm.alarm_reporting_time.micros());
        self.alarm_cleared_time.append_option(alarm.alarm_cleared_time.map(Instant::micros));
        let evidence = serde_json::to_string(&alarm.evidence).expect("evidence has text keys only");
        self.evidence.append_value(evidence);
        let event_time = match alarm.state {
            AlarmState::Raised => alarm.alarm_raised_time,
            AlarmState::Cleared => alarm.alarm_cleared_time.unwrap_or(alarm.alarm_raised_time),
        };
        self.date.append_value(event_time.days());
    }
}

rows!(AdvisoryRows of Advisory {
    tenant: StringBuilder,
    device_id: StringBuilder,
    profile: StringBuilder,
    firmware: StringBuilder,
    advisory_id: StringBuilder,
    fault_key: StringBuilder,
    component: StringBuilder,
    event_time: TimestampMicrosecondBuilder,
    advisory_reporting_time: TimestampMicrosecondBuilder,
    horizon_hours: Float64Builder,
    probability: Float64Builder,
    p10_hours: Float64Builder,
    p50_hours: Float64Builder,
    p90_hours: Float64Builder,
    model_name: StringBuilder,
    model_version: StringBuilder,
    method: StringBuilder,
    decision: StringBuilder,
    threshold: Float64Builder,
    cost_visit: Float64Builder,
    cost_failure: Float64Builder,
    cost_false_alarm: Float64Builder,
    evidence: StringBuilder,
    parts: StringBuilder,
    skills: StringBuilder,
    self_test: StringBuilder,
    reason: StringBuilder,
    date: Date32Builder,
});

impl AdvisoryRows {
    pub(super) fn append(&mut self, advisory: &Advisory) {
        let life = advisory.remaining_useful_life;
        self.tenant.append_value(&advisory.tenant);
        self.device_id.append_value(&advisory.device_id);
        self.profile.append_value(&advisory.profile);
        self.firmware.append_option(advisory.firmware.as_deref());
        self.advisory_id.append_value(&advisory.advisory_id);
        self.fault_key.append_value(&advisory.fault_key);
        self.component.append_value(&advisory.component);
        self.event_time.append_value(advisory.event_time.micros());
        self.advisory_reporting_time.append_value(advisory.advisory_reporting_time.micros());
        self.horizon_hours.append_value(advisory.horizon_hours);
        self.probability.append_value(advisory.probability);
        self.p10_hours.append_option(life.map(|life| life.p10_hours));
        self.p50_hours.append_option(life.map(|life| life.p50_hours));
        self.p90_hours.append_option(life.map(|life| life.p90_hours));
        self.model_name.append_value(&advisory.model.name);
        self.model_version.append_value(&advisory.model.version);
        self.method.append_value(advisory.method.as_str());
        self.decision.append_value(advisory.decision.as_str());
        self.threshold.append_value(advisory.threshold);
        self.cost_visit.append_value(advisory.costs.visit);
        self.cost_failure.append_value(advisory.costs.failure);
        self.cost_false_alarm.append_value(advisory.costs.false_alarm);
        self.evidence.append_value(json(&advisory.evidence));
        self.parts.append_value(json(&advisory.parts));
        self.skills.append_value(json(&advisory.skills));
        self.self_test.append_option(advisory.self_test.as_deref());
        self.reason.append_value(&advisory.reason);
        self.date.append_value(advisory.event_time.days());
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("lists of plain structs have text keys only")
}

rows!(OutcomeRows of Outcome {
    tenant: StringBuilder,
    device_id: StringBuilder,
    profile: StringBuilder,
    outcome_id: StringBuilder,
    ticket_id: StringBuilder,
    advisory_id: StringBuilder,
    fault_key: StringBuilder,
    event_time: TimestampMicrosecondBuilder,
    failure_time: TimestampMicrosecondBuilder,
    disposition: StringBuilder,
    confirms_fault: BooleanBuilder,
    failure_mode: StringBuilder,
    failure_mechanism: StringBuilder,
    failure_cause: StringBuilder,
    detection_method: StringBuilder,
    maintenance_activity: StringBuilder,
    part_replaced: StringBuilder,
    date: Date32Builder,
});

impl OutcomeRows {
    pub(super) fn append(&mut self, outcome: &Outcome) {
        self.tenant.append_value(&outcome.tenant);
        self.device_id.append_value(&outcome.device_id);
        self.profile.append_option(outcome.profile.as_ref());
        self.outcome_id.append_value(&outcome.outcome_id);
        self.ticket_id.append_option(outcome.ticket_id.as_deref());
        self.advisory_id.append_option(outcome.advisory_id.as_deref());
        self.fault_key.append_value(&outcome.fault_key);
        self.event_time.append_value(outcome.event_time.micros());
        self.failure_time.append_option(outcome.failure_time.map(Instant::micros));
        self.disposition.append_value(outcome.disposition.as_str());
        self.confirms_fault.append_option(outcome.disposition.confirms_fault());
        self.failure_mode.append_option(outcome.failure_mode.as_deref());
        self.failure_mechanism.append_option(outcome.failure_mechanism.as_deref());
        self.failure_cause.append_option(outcome.failure_cause.as_deref());
        self.detection_method.append_option(outcome.detection_method.as_deref());
        self.maintenance_activity.append_option(outcome.maintenance_activity.as_deref());
        self.part_replaced.append_option(outcome.part_replaced.as_deref());
        self.date.append_value(outcome.event_time.days());
    }
}
