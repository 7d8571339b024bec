//! Self-tests that are wanted of devices: the seam to whoever delivers commands.
//!
//! In: tickets whose component can test itself. Out: rows in the order in which they were wanted, and an event for each.
//! Promise: a ticket wants one self-test, however many advisories join it, and none before an agent's yes where one is
//! needed; wanted in the transaction of what it follows from. Never: a socket; whoever delivers it says that it took it.

pub mod store;

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
