//! The Arrow schema of every table, in one place.
//!
//! Types are those that Delta knows: instants are microseconds in UTC, counts are signed 64-bit. Every table has
//! `tenant` first and `date` (of event time; of arrival for dead letters and the ledger) last: the partition column.

use std::{fmt, str::FromStr, sync::Arc};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::{
    id::{IdError, ProfileName},
    profile::{MetricType, Profile},
    rollup::Span,
};

/// The columns that every telemetry table has beside its metrics.
pub const TELEMETRY_COLUMNS: [&str; 10] =
    ["tenant", "device_id", "boot", "seq", "event_time", "arrival_time", "late", "firmware", "extra", "date"];

/// The partition column of every table.
pub const PARTITION: &str = "date";

/// The application whose Delta transactions a table's commits carry: its version is the offset in the log before which all
/// rows are in the table. The shard is the log's; there is one log per process.
pub const TRANSACTION: &str = "forewarn/shard-0";

/// A table of the lake.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableName {
    /// Wide rows, one column per metric of the profile.
    Telemetry(ProfileName),
    /// The same summed up by device, firmware and span ([`crate::rollup`]).
    Rollup(Span, ProfileName),
    /// Fault codes with freeze frame.
    Fault,
    /// Births and deaths.
    Status,
    /// Answers to commands.
    Reply,
    /// What could not be stored, and why.
    DeadLetter,
    /// What detection raised and why.
    Alarm,
    /// What prognosis expects, how likely, and what was decided.
    Advisory,
    /// What visits found.
    Outcome,
    /// What each device sent, hour by hour.
    Ledger,
}

impl TableName {
    /// The tables that exist whatever the profiles are.
    pub const FIXED: [Self; 8] = [
        Self::Fault,
        Self::Status,
        Self::Reply,
        Self::DeadLetter,
        Self::Alarm,
        Self::Advisory,
        Self::Outcome,
        Self::Ledger,
    ];
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Telemetry(profile) => write!(f, "telemetry_{profile}"),
            Self::Rollup(span, profile) => write!(f, "rollup_{span}_{profile}"),
            Self::Fault => f.write_str("fault"),
            Self::Status => f.write_str("status"),
            Self::Reply => f.write_str("reply"),
            Self::DeadLetter => f.write_str("dead_letter"),
            Self::Alarm => f.write_str("alarm"),
            Self::Advisory => f.write_str("advisory"),
            Self::Outcome => f.write_str("outcome"),
            Self::Ledger => f.write_str("ledger"),
        }
    }
}

impl FromStr for TableName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(profile) = text.strip_prefix("telemetry_") {
            return Ok(Self::Telemetry(profile.parse()?));
        }
        if let Some((span, profile)) = text.strip_prefix("rollup_").and_then(|rest| rest.split_once('_')) {
            return Ok(Self::Rollup(span.parse()?, profile.parse()?));
        }
        Self::FIXED.into_iter().find(|table| table.to_string() == text).ok_or_else(|| IdError {
            kind: "table",
            text: text.chars().take(200).collect(),
            rule: "telemetry_{profile}, rollup_{span}_{profile}, fault, status, reply, dead_letter, alarm, advisory, outcome or ledger",
        })
    }
}

fn required(name: &str, r#type: DataType) -> Field {
    Field::new(name, r#type, false)
}

fn optional(name: &str, r#type: DataType) -> Field {
    Field::new(name, r#type, true)
}

/// The type of every instant: microseconds, UTC.
pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The type of `extra`: metric name to value as text. Entries are named as Delta names them.
pub fn text_map() -> DataType {
    let entries = Fields::from(vec![required("key", DataType::Utf8), optional("value", DataType::Utf8)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
}

/// The Arrow type of a metric's column.
pub fn metric_type(r#type: MetricType) -> DataType {
    match r#type {
        MetricType::Float => DataType::Float64,
        MetricType::Integer => DataType::Int64,
        MetricType::Boolean => DataType::Boolean,
        MetricType::Text => DataType::Utf8,
    }
}

/// `telemetry_{profile}`: the fixed columns, the metrics in the profile's order, `extra`, `date`.
pub fn telemetry(profile: &Profile) -> SchemaRef {
    let mut fields = vec![
        required("tenant", DataType::Utf8),
        required("device_id", DataType::Utf8),
        required("boot", DataType::Int64),
        optional("seq", DataType::Int64),
        required("event_time", instant()),
        required("arrival_time", instant()),
        required("late", DataType::Boolean),
        optional("firmware", DataType::Utf8),
    ];
    fields.extend(profile.metrics.iter().map(|metric| optional(&metric.name, metric_type(metric.r#type))));
    fields.push(optional("extra", text_map()));
    fields.push(required(PARTITION, DataType::Date32));
    Arc::new(Schema::new(fields))
}

/// The schema of a table that does not depend on a profile; none for telemetry and its rollups.
pub fn fixed(table: &TableName) -> Option<SchemaRef> {
    let text = || DataType::Utf8;
    let mut fields = vec![required("tenant", text())];
    match table {
        TableName::Telemetry(_) | TableName::Rollup(..) => return None,
        TableName::Fault => fields.extend([
            required("device_id", text()),
            required("profile", text()),
            required("boot", DataType::Int64),
            optional("seq", DataType::Int64),
            required("event_time", instant()),
            required("arrival_time", instant()),
            required("late", DataType::Boolean),
            optional("firmware", text()),
            required("code", text()),
            required("active", DataType::Boolean),
            optional("freeze", text()),
        ]),
        TableName::Status => fields.extend([
            required("device_id", text()),
            optional("profile", text()),
            required("boot", DataType::Int64),
            required("event_time", instant()),
            required("arrival_time", instant()),
            required("state", text()),
            optional("firmware", text()),
        ]),
        TableName::Reply => fields.extend([
            required("device_id", text()),
            required("arrival_time", instant()),
            required("id", text()),
            required("ok", DataType::Boolean),
            optional("result", text()),
        ]),
        TableName::DeadLetter => fields.extend([
            optional("device_id", text()),
            required("topic", text()),
            optional("content_type", text()),
            required("payload", DataType::Binary),
            required("reason", text()),
            required("detail", text()),
            required("arrival_time", instant()),
        ]),
        TableName::Alarm => fields.extend([
            required("device_id", text()),
            required("profile", text()),
            optional("firmware", text()),
            required("alarm_id", text()),
            required("state", text()),
            required("specific_problem", text()),
            required("source", text()),
            required("fault_key", text()),
            required("perceived_severity", text()),
            required("probable_cause", text()),
            required("alarm_raised_time", instant()),
            required("alarm_reporting_time", instant()),
            optional("alarm_cleared_time", instant()),
            required("evidence", text()),
        ]),
        TableName::Advisory => fields.extend([
            required("device_id", text()),
            required("profile", text()),
            optional("firmware", text()),
            required("advisory_id", text()),
            required("fault_key", text()),
            required("component", text()),
            required("event_time", instant()),
            required("advisory_reporting_time", instant()),
            required("horizon_hours", DataType::Float64),
            required("probability", DataType::Float64),
            optional("remaining_useful_life_p10_hours", DataType::Float64),
            optional("remaining_useful_life_p50_hours", DataType::Float64),
            optional("remaining_useful_life_p90_hours", DataType::Float64),
            required("model_name", text()),
            required("model_version", text()),
            required("method", text()),
            required("decision", text()),
            required("threshold", DataType::Float64),
            required("cost_visit", DataType::Float64),
            required("cost_failure", DataType::Float64),
            required("cost_false_alarm", DataType::Float64),
            required("evidence", text()),
            required("parts", text()),
            required("skills", text()),
            optional("self_test", text()),
            required("reason", text()),
        ]),
        TableName::Outcome => fields.extend([
            required("device_id", text()),
            optional("profile", text()),
            required("outcome_id", text()),
            optional("ticket_id", text()),
            optional("advisory_id", text()),
            required("fault_key", text()),
            required("event_time", instant()),
            optional("failure_time", instant()),
            required("disposition", text()),
            optional("confirms_fault", DataType::Boolean),
            optional("failure_mode", text()),
            optional("failure_mechanism", text()),
            optional("failure_cause", text()),
            optional("detection_method", text()),
            optional("maintenance_activity", text()),
            optional("part_replaced", text()),
        ]),
        // Counts of several rows of one hour add up; `missing` and `gaps` hold as of the row with the greatest `revision`.
        TableName::Ledger => fields.extend([
            required("device_id", text()),
            optional("channel", text()),
            required("hour", instant()),
            required("received", DataType::Int64),
            required("stored", DataType::Int64),
            required("duplicate", DataType::Int64),
            required("rejected", DataType::Int64),
            required("late", DataType::Int64),
            required("missing", DataType::Int64),
            required("gaps", text()),
            required("revision", DataType::Int64),
        ]),
    }
    fields.push(required(PARTITION, DataType::Date32));
    Some(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;

    #[test]
    fn a_table_name_prints_what_it_parsed() {
        for text in ["telemetry_disk_drive", "rollup_1h_disk_drive", "rollup_all_pump", "dead_letter"] {
            assert_eq!(text.parse::<TableName>().unwrap().to_string(), text);
        }
        for table in TableName::FIXED {
            assert_eq!(table.to_string().parse::<TableName>().unwrap(), table);
        }
        assert!("users".parse::<TableName>().is_err());
    }

    #[test]
    fn every_table_begins_with_tenant_and_ends_with_date() {
        let profiles = Profiles::builtin();
        let telemetry = profiles.iter().map(|profile| telemetry(profile));
        for schema in telemetry.chain(TableName::FIXED.iter().filter_map(fixed)) {
            assert_eq!(schema.field(0).name(), "tenant");
            assert_eq!(schema.fields().last().unwrap().name(), PARTITION);
        }
        assert!(fixed(&TableName::Telemetry("pump".parse().unwrap())).is_none());
    }

    #[test]
    fn the_fixed_columns_are_those_named() {
        let profiles = Profiles::builtin();
        let profile = profiles.get("disk_drive").unwrap();
        let schema = telemetry(profile);
        let fixed: Vec<&str> =
            schema.fields().iter().map(|f| f.name().as_str()).filter(|n| profile.metric(n).is_none()).collect();
        assert_eq!(fixed, TELEMETRY_COLUMNS);
    }
}
