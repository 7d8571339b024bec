//! Devices that were heard of, and what they log in with.
//!
//! In: what the pipeline heard; credentials made by admins. Out: the list of devices, and [`Credentials`] for the
//! gateway. Promise: a login is answered from memory; user name, client id and device id are one name. Never: a
//! password kept in clear.

mod credential;
pub mod routes;
pub mod store;

use schemas::{
    id::{DeviceId, ProfileName},
    time::Instant,
};

pub use credential::{Credentials, DevCredentials};

/// A device that was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub device_id: DeviceId,
    /// Its kind.
    pub profile: ProfileName,
    /// Its firmware, if told.
    pub firmware: Option<String>,
    /// Least event time heard.
    pub first_seen: Instant,
    /// Greatest event time heard, to the hour.
    pub last_seen: Instant,
    /// What was told of it.
    pub nameplate: Nameplate,
}

/// What a device cannot tell of itself, and whoever sold or installed it can.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nameplate {
    /// The maker's model, finer than the profile.
    pub model: Option<String>,
    /// The production batch.
    pub batch: Option<String>,
    /// Where it stands, in the tenant's words.
    pub region: Option<String>,
    /// When it was put to use: its age counts from here.
    pub installed_at: Option<Instant>,
}
