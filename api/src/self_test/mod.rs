//! Self-tests: before anybody drives, the device tests its component itself.
//!
//! In: tickets; alarms of rules that want a self-test first ([`schemas::profile::Rule::self_test_first`]); devices' replies.
//! Out: a command in the device's line ([`crate::command`]), an event; with the ticket what came of it; a ticket, where the
//! test came first. Promise: one self-test of a ticket, however many advisories join it, and none before an agent's yes
//! where one is needed; before a ticket one at a time for a fault; wanted in the transaction of what it follows from;
//! ordered under the id it was wanted with, and acted upon once, whatever is repeated after a crash. An alarm that waits
//! for a test gets a ticket or ends. Never: a ticket that is closed by a self-test: an agent reads it and decides.
//!
//! ```text
//! on a ticket     wanted --relay--> ordered --reply--> passed or failed, noted with the ticket
//!                                        '--- what else becomes of a command: refused, expired
//!
//! before one      wanted --relay--> ordered --reply--> failed --> a ticket
//!                   ^                    |        '--> passed --> again a day later, as long as the alarm is raised;
//!                   '--------------------|-------------'          after a week a ticket that waits for an agent's yes
//!                                        '-- a day without an answer --> a ticket
//! ```
//!
//! A device's reply has `ok` and `result`. A list `failed` in the result names the components that did not pass; without it
//! `passed` decides, and without that word `ok`.

pub mod order;
pub mod rules;
pub mod store;
pub mod verdict;

use serde::Serialize;
use utoipa::ToSchema;

use schemas::{
    id::{DeviceId, FaultKey, TenantId},
    time::Instant,
};

/// A self-test that waits for its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// In the order in which they were wanted.
    pub number: i64,
    /// The id of the command, for the device's reply.
    pub command_id: String,
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device_id: DeviceId,
    /// Of which fault.
    pub fault_key: FaultKey,
    /// The name of the command, such as `self_test`.
    pub name: String,
    /// The ticket that its reply belongs to; none where the test comes first.
    pub ticket_id: Option<String>,
    /// Since when.
    pub wanted: Instant,
}

/// A self-test of a ticket, or before one, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SelfTest {
    /// The id of its command.
    pub command_id: String,
    /// The name of the command, such as `self_test`.
    #[schema(example = "self_test")]
    pub name: String,
    /// Since when it was wanted.
    #[schema(value_type = String, format = DateTime)]
    pub wanted: Instant,
    /// Not ordered before.
    #[schema(value_type = String, format = DateTime)]
    pub due: Instant,
    /// `wanted` before it is ordered, `not_ordered` where it could not be, then as the command: `pending`, `delivered`,
    /// `answered`, `refused` or `expired`.
    pub state: String,
    /// When the device replied.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub replied: Option<Instant>,
    /// Whether the component passed; none where the device could not tell.
    pub passed: Option<bool>,
    /// What the device found.
    #[schema(value_type = Option<Object>)]
    pub result: Option<serde_json::Value>,
}
