//! Dead letters, sent through the log once more after their cause was mended.
//!
//! In: a tenant's rows of `dead_letter`. Out: their messages, at the log, as if they arrived now. Promise: a letter is
//! sent once; what of it was stored before is found to be a duplicate; what is still refused is a new letter, which can
//! be sent again. Never: another tenant's letter, a message that was refused for its topic or its size,
//! nor one of Sparkplug.
//!
//! A letter's identity is the hash of topic, content type, payload and arrival: the letters of one message (one per
//! refused reading) are sent as the one message that they were. That it was sent is noted in the service database after
//! the log took it; a kill in between has it sent twice, which deduplication then sees, as with any device that repeats
//! itself: exact for numbered readings, for unnumbered ones within the last 256 of the device's channel.

pub mod routes;
pub mod rules;
pub mod store;

use bytes::Bytes;
use schemas::{id::ProfileName, reject::RejectReason, time::Instant};

/// A letter's identity.
pub type LetterId = [u8; 32];

/// A row of `dead_letter`, as far as it is needed to send it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The topic as published.
    pub topic: String,
    /// MQTT 5 content type, if given.
    pub content_type: Option<String>,
    /// The payload as published.
    pub payload: Bytes,
    /// When it came in.
    pub arrival: Instant,
}

/// Which letters to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// For one of these.
    pub reasons: Vec<RejectReason>,
    /// Only of devices of this kind.
    pub profile: Option<ProfileName>,
    /// Arrived at it or later.
    pub since: Option<Instant>,
    /// Arrived before it: what is refused once more meanwhile is not sent in a circle.
    pub until: Instant,
}
