//! How long rows are kept, by table and tenant.
//!
//! In: `[retention]` of the settings. Out: whether a tenant's rows of a date are past their time. Promise: by whole
//! days of event time; a row is never dropped early. Never: a default that drops anything.

use std::{collections::BTreeMap, time::Duration};

use schemas::{id::TenantId, rollup::Span, table::TableName};
use serde::{Deserialize, Serialize};

use super::merge::Fate;

/// A span that rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keep(#[serde(with = "schemas::time::span")] pub Duration);

/// How long each table's rows are kept; for ever where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of every `telemetry_{profile}`.
    pub telemetry: Option<Keep>,
    /// Of every `rollup_1m_{profile}`.
    pub rollup_1m: Option<Keep>,
    /// Of every `rollup_1h_{profile}`.
    pub rollup_1h: Option<Keep>,
    /// Of every `rollup_1d_{profile}`.
    pub rollup_1d: Option<Keep>,
    /// Of `fault`.
    pub fault: Option<Keep>,
    /// Of `status`.
    pub status: Option<Keep>,
    /// Of `reply`.
    pub reply: Option<Keep>,
    /// Of `dead_letter`.
    pub dead_letter: Option<Keep>,
    /// Of `alarm`.
    pub alarm: Option<Keep>,
    /// Of `advisory`.
    pub advisory: Option<Keep>,
    /// Of `outcome`.
    pub outcome: Option<Keep>,
    /// Of `ledger`.
    pub ledger: Option<Keep>,
    /// Of single tenants; what is not said here is as for all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenant: BTreeMap<TenantId, Retention>,
}

impl Retention {
    /// What is wrong with it, in words.
    pub fn problem(&self) -> Option<String> {
        let nested = self.tenant.iter().find(|(_, own)| !own.tenant.is_empty());
        nested.map(|(tenant, _)| format!("retention.tenant.{tenant}.tenant: a tenant has no tenants"))
    }

    fn own(&self, table: &TableName) -> Option<Duration> {
        let keep = match table {
            TableName::Telemetry(_) => self.telemetry,
            TableName::Rollup(Span::Minute, _) => self.rollup_1m,
            TableName::Rollup(Span::Hour, _) => self.rollup_1h,
            TableName::Rollup(Span::Day, _) => self.rollup_1d,
            // One row a device, of no day.
            TableName::Rollup(Span::All, _) => None,
            TableName::Fault => self.fault,
            TableName::Status => self.status,
            TableName::Reply => self.reply,
            TableName::DeadLetter => self.dead_letter,
            TableName::Alarm => self.alarm,
            TableName::Advisory => self.advisory,
            TableName::Outcome => self.outcome,
            TableName::Ledger => self.ledger,
        };
        keep.map(|keep| keep.0)
    }

    /// Who of a table's tenants is past their time in a partition whose youngest row is `age` old.
    pub(in super::super) fn expired(&self, table: &TableName, age: Duration) -> Expired {
        let all = self.own(table);
        let past = |keep: Option<Duration>| keep.is_some_and(|keep| age >= keep);
        let others = past(all);
        let differ = self.tenant.iter().filter(|(_, own)| past(own.own(table).or(all)) != others);
        Expired { others, differ: differ.map(|(tenant, _)| tenant.to_string()).collect() }
    }
}

/// Whose rows of one partition are past their time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Expired {
    /// Those of every tenant not in `differ`.
    others: bool,
    /// With these it is the other way round.
    differ: Vec<String>,
}

/// What retention wants of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Wanted {
    /// Nothing.
    Stay,
    /// Some of its rows may have to go.
    Rewrite,
    /// All of its rows go.
    Go,
}

impl Expired {
    /// Whether this tenant's rows go.
    fn tenant(&self, tenant: &str) -> bool {
        self.others != self.differ.iter().any(|other| other == tenant)
    }

    /// Whether anybody's rows go.
    pub(in super::super) fn any(&self) -> bool {
        self.others || !self.differ.is_empty()
    }

    /// Tenants that no file may reach across once it is rewritten, or it would be rewritten again and again.
    pub(in super::super) fn cuts(&self) -> &[String] {
        &self.differ
    }

    /// What becomes of a tenant's rows when a file is rewritten.
    pub(in super::super) fn fate(&self, tenant: &str) -> Fate {
        match self.tenant(tenant) {
            true => Fate::Drop,
            false if self.others => Fate::Apart,
            false => Fate::Keep,
        }
    }

    /// What becomes of a file with tenants from `first` to `last`.
    pub(in super::super) fn file(&self, first: &str, last: &str) -> Wanted {
        let inside = self.differ.iter().any(|tenant| (first..=last).contains(&tenant.as_str()));
        match () {
            () if first == last && self.tenant(first) => Wanted::Go,
            () if first == last => Wanted::Stay,
            () if inside => Wanted::Rewrite,
            () if self.others => Wanted::Go,
            () => Wanted::Stay,
        }
    }
}
