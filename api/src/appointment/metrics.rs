//! What visits count: of the whole process, whichever tenant. One sentence each in [`register`].

use std::sync::LazyLock;

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// The counters; clones in the registry share them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) booked: Counter,
    pub(crate) rescheduled: Counter,
    pub(crate) offers: Counter,
    pub(crate) without_offer: Counter,
    pub(crate) expired: Counter,
}

pub(crate) static COUNTERS: LazyLock<Counters> = LazyLock::new(Counters::default);

/// Puts the counters into a registry.
pub fn register(registry: &mut Registry) {
    let Counters { booked, rescheduled, offers, without_offer, expired } = &*COUNTERS;
    let r = registry;
    r.register("forewarn_visits_booked", "Appointments confirmed for the first time", booked.clone());
    r.register("forewarn_visits_rescheduled", "Appointments moved with consent", rescheduled.clone());
    r.register("forewarn_slots_offered", "Slots offered and held", offers.clone());
    r.register(
        "forewarn_slots_unplannable",
        "Requests for slots that no technician could serve",
        without_offer.clone(),
    );
    r.register("forewarn_slot_holds_expired", "Held slots that nobody took in time", expired.clone());
}
