//! Self-tests: before anybody drives, the device tests its component itself.
//!
//! In: tickets whose component can test itself; devices' replies. Out: a command in the device's line ([`crate::command`]),
//! an event, and with the ticket what came of it. Promise: a ticket wants one self-test, however many advisories join it,
//! and none before an agent's yes where one is needed; wanted in the transaction of what it follows from; ordered under
//! the id it was wanted with, so an order that is repeated after a crash orders nothing twice. Never: a ticket that is
//! opened or closed by a self-test: an agent reads it and decides.
//!
//! ```text
//! wanted --relay--> ordered --reply--> passed or failed, noted with the ticket
//!                      '--- what else becomes of a command: refused, expired
//! ```
//!
//! A device's reply has `ok` and `result`. `{"passed": false}` in the result is a test that was done and failed; without
//! that word `ok` decides.

pub mod order;
pub mod store;

use serde::Serialize;
use utoipa::ToSchema;

use schemas::{
    id::{DeviceId, TenantId},
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
    /// The name of the command, such as `self_test`.
    pub name: String,
    /// The ticket that its reply belongs to.
    pub ticket_id: String,
    /// Since when.
    pub wanted: Instant,
}

/// A self-test of a ticket and what came of it.
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
    /// `wanted` before it is ordered, `not_ordered` where it could not be, then as the command: `pending`, `delivered`,
    /// `answered`, `refused` or `expired`.
    pub state: String,
    /// When the device replied.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub replied: Option<Instant>,
    /// Whether the component passed.
    pub passed: Option<bool>,
    /// What the device found.
    #[schema(value_type = Option<Object>)]
    pub result: Option<serde_json::Value>,
}
