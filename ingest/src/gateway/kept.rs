//! What of a session outlives its connection.
//!
//! In: sessions of devices that went and asked for theirs to be kept. Out: the same when they come back. Promise: a
//! session is kept for as long as was granted, at most [`super::Settings::session_expiry`] and as long as this process
//! runs; at most `max_sessions` are, and what is not kept is counted and told (session present 0). Never: a command or
//! a message; those wait in the service database and in the log.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU16,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ntex_mqtt::QoS;
use tokio::{sync::oneshot, time::Instant};

use super::gate::Identity;

/// A session, while somebody is connected or not.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The device is subscribed to its commands.
    pub(super) subscribed: Option<QoS>,
    /// The command that was sent and not acknowledged, and its packet id.
    pub(super) sent: Option<(String, NonZeroU16)>,
    /// The packet id that was used last.
    pub(super) last_id: u16,
    /// Packet ids of QoS 2 publishes that are stored and not yet released.
    pub(super) received: HashSet<NonZeroU16>,
    /// The will that waits: told, it is void; dropped, it is published at once.
    pub(super) will: Option<oneshot::Sender<()>>,
}

impl Kept {
    /// A packet id for the next command.
    pub(super) fn next_id(&mut self) -> NonZeroU16 {
        let id = NonZeroU16::new(self.last_id.wrapping_add(1)).unwrap_or(NonZeroU16::MIN);
        self.last_id = id.get();
        id
    }
}

/// The sessions of devices that are not connected.
#[derive(Debug)]
pub(super) struct Sessions {
    most: usize,
    of: Mutex<HashMap<Identity, (Kept, Instant)>>,
}

impl Sessions {
    pub(super) fn new(most: usize) -> Self {
        Self { most, of: Mutex::default() }
    }

    /// The session of who comes back, if it is still kept.
    pub(super) fn take(&self, identity: &Identity, now: Instant) -> Option<Kept> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, until) = of.remove(identity)?;
        (now < until).then_some(kept)
    }

    /// Keeps a session; false where there is no room.
    pub(super) fn put(&self, identity: &Identity, kept: Kept, expiry: Duration, now: Instant) -> bool {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() >= self.most {
            of.retain(|_, (_, until)| now < *until);
        }
        if of.len() >= self.most {
            return false;
        }
        of.insert(identity.clone(), (kept, now + expiry));
        true
    }
}

#[cfg(test)]
mod tests {
    use schemas::door::Principal;

    use super::*;

    fn identity(name: &str) -> Identity {
        (Principal { tenant: "acme".parse().unwrap(), device_id: name.parse().unwrap() }, name.into())
    }

    #[test]
    fn sessions_are_kept_for_their_time_and_only_so_many() {
        let sessions = Sessions::new(2);
        let (minute, start) = (Duration::from_secs(60), Instant::now());
        let subscribed = || Kept { subscribed: Some(QoS::AtLeastOnce), ..Kept::default() };
        assert!(sessions.put(&identity("a"), subscribed(), minute, start));
        assert!(sessions.put(&identity("b"), subscribed(), 3 * minute, start));
        assert!(!sessions.put(&identity("c"), subscribed(), minute, start), "there is no room");
        assert!(sessions.take(&identity("a"), start).is_some());
        assert!(sessions.take(&identity("a"), start).is_none(), "taken once");
        assert!(sessions.put(&identity("a"), subscribed(), minute, start));
        let later = start + 2 * minute;
        assert!(sessions.put(&identity("c"), subscribed(), minute, later), "a's time is over");
        assert!(sessions.take(&identity("a"), later).is_none());
        assert!(sessions.take(&identity("b"), later).is_some());
    }

    #[test]
    fn packet_ids_go_round_without_zero() {
        let mut kept = Kept { last_id: u16::MAX - 1, ..Kept::default() };
        assert_eq!([kept.next_id(), kept.next_id(), kept.next_id()].map(NonZeroU16::get), [u16::MAX, 1, 2]);
    }
}
