//! The tables of the service database that analysts read beside the lake's: their names and Arrow schemas.
//!
//! They have no partition column and no versions: a row is what the service side says now.

use std::{fmt, str::FromStr, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::{id::IdError, table::instant};

/// A table of the service database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceTable {
    /// One row a device: what it is, where it stands, when it was heard of.
    Device,
    /// One row a ticket: what it is about, how it stands, how it ended.
    Ticket,
}

impl ServiceTable {
    /// Every table.
    pub const ALL: [Self; 2] = [Self::Device, Self::Ticket];

    /// Its columns.
    pub fn schema(self) -> SchemaRef {
        let required = |name: &str, r#type| Field::new(name, r#type, false);
        let optional = |name: &str, r#type| Field::new(name, r#type, true);
        let text = || DataType::Utf8;
        Arc::new(Schema::new(match self {
            Self::Device => vec![
                required("tenant", text()),
                required("device_id", text()),
                required("profile", text()),
                optional("model", text()),
                optional("firmware", text()),
                optional("batch", text()),
                optional("region", text()),
                optional("installed_at", instant()),
                required("first_seen", instant()),
                required("last_seen", instant()),
            ],
            Self::Ticket => vec![
                required("tenant", text()),
                required("ticket_id", text()),
                required("device_id", text()),
                optional("profile", text()),
                required("fault_key", text()),
                required("ticket_type", text()),
                required("channel", text()),
                required("status", text()),
                required("sub_status", text()),
                required("severity", text()),
                required("priority", text()),
                required("creation_date", instant()),
                required("last_update", instant()),
                optional("resolution_date", instant()),
                optional("disposition", text()),
                optional("failure_mode", text()),
                optional("part_replaced", text()),
                optional("repeat_of", text()),
                optional("service_problem_id", text()),
                required("reopen_count", DataType::Int64),
                required("alarm_count", DataType::Int64),
                required("advisory_count", DataType::Int64),
            ],
        }))
    }
}

impl fmt::Display for ServiceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Ticket => "ticket",
        })
    }
}

impl FromStr for ServiceTable {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL.into_iter().find(|table| table.to_string() == text).ok_or_else(|| IdError {
            kind: "service table",
            text: text.chars().take(200).collect(),
            rule: "device or ticket",
        })
    }
}
