//! Planned outages: a device, or a whole model, is known to be off, tested or repaired from then till then.
//!
//! In: windows that agents tell. Out: whether an alarm was raised in one (`planned_outage_indicator` of TM Forum 642).
//! Promise: the alarm's event time decides, so the order in which alarms come makes no difference; such an alarm is
//! kept and marked, opens no ticket and counts for no storm. Never: an alarm that is forgotten: one that is still raised
//! [`GRACE`] after its window has ended gets its ticket then.

pub mod routes;
pub mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use schemas::{
    id::{DeviceId, ProfileName, TenantId},
    time::Instant,
};

/// After an outage a device has so long to show that it is well: rules clear on a reading, and the slowest profile
/// reports every six hours, six readings at a time.
pub const GRACE: Duration = Duration::from_secs(2 * 86_400);
/// Longest window: a longer outage is a device that is out of use.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// One device.
    Device(DeviceId),
    /// Every device of a model.
    Profile(ProfileName),
}

/// A planned outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// In the order of telling.
    pub number: i64,
    /// Its id.
    pub maintenance_window_id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What is out.
    pub object: Object,
    /// First instant.
    pub starts_at: Instant,
    /// After the last instant; the start where it was called off.
    pub ends_at: Instant,
    /// Why, for people.
    pub reason: String,
    /// Who told it.
    pub created_by: String,
    /// When.
    pub created_at: Instant,
    /// When it was changed last.
    pub changed_at: Instant,
}
