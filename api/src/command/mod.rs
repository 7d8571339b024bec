//! Commands to devices, from an agent's order to the device's reply.
//!
//! In: orders over HTTP; receipts from the gateway; replies from the log. Out: each command to its device, in order, over
//! whatever connection it has. Promise: a command is kept until the device acknowledges it, refuses it or it expires;
//! a device gets one at a time, the oldest first; what was acknowledged is noted before the next is sent. Never: a
//! command that the device's profile does not name, more than [`rules::QUEUE`] waiting for one device.
//!
//! A command waits here, not in an MQTT session: it goes out as soon as the device is subscribed to its command topic,
//! whether its session is new or an old one taken up again. A device whose acknowledgement was lost with its
//! connection gets the command again; its id tells that it is the same.
//!
//! ```text
//! pending --PUBACK--> delivered --reply--> answered
//!    |------- refused by the device -----> refused
//!    '------- not acknowledged in time --> expired      (a reply counts from any state: the device had it)
//! ```

pub mod courier;
pub mod metrics;
pub mod replies;
pub mod routes;
pub mod rules;
pub mod store;

use schemas::{id::DeviceId, time::Instant};

pub use courier::Courier;

/// What has become of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for its device.
    Pending,
    /// The device has acknowledged it.
    Delivered {
        /// When.
        at: Instant,
    },
    /// The device has replied.
    Answered {
        /// When it acknowledged the command; none where the reply came first.
        delivered: Option<Instant>,
        /// When its reply came in.
        at: Instant,
        /// Whether it could do it.
        ok: bool,
        /// What it found: JSON.
        result: Option<String>,
    },
    /// The device would not have it.
    Refused {
        /// When.
        at: Instant,
        /// Its reason, in words.
        reason: String,
    },
    /// The device did not acknowledge it in time.
    Expired {
        /// When.
        at: Instant,
    },
}

impl State {
    /// The word in JSON and SQL.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered { .. } => "delivered",
            Self::Answered { .. } => "answered",
            Self::Refused { .. } => "refused",
            Self::Expired { .. } => "expired",
        }
    }
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its place in line.
    pub number: i64,
    /// Its id, which the reply names.
    pub command_id: String,
    /// To which device.
    pub device_id: DeviceId,
    /// As in the device's profile.
    pub name: String,
    /// A JSON object.
    pub args: String,
    /// Who ordered it.
    pub actor: String,
    /// When it was ordered.
    pub created: Instant,
    /// When it is of no use any more.
    pub expires: Instant,
    /// What has become of it.
    pub state: State,
}
