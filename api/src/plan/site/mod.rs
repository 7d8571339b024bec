//! Where a device stands: what the planner travels to and what the customer's clock shows there.
//!
//! In: an agent's word. Out: a [`Site`]. Promise: without a site no visit is offered. Never: an address in an event.

pub mod routes;
pub mod store;

use schemas::{id::DeviceId, time::Instant};

use super::{Place, Zone};

pub use routes::router;

/// Where a device stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Which device.
    pub device_id: DeviceId,
    /// For travel.
    pub place: Place,
    /// For the technician and the calendar, if told.
    pub address: Option<String>,
    /// Of the customer's clock.
    pub time_zone: Zone,
    /// When last told.
    pub changed_at: Instant,
}
