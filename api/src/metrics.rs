//! What the service side counts. One sentence each, in the registry that the whole process shares.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use schemas::{advisory::Decision, alarm::AlarmState};

use crate::{alarm::store::Taken, prognosis::rules::Word};

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    pub(crate) route: String,
    pub(crate) method: String,
    pub(crate) status: u16,
}

/// Label of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Route {
    pub(crate) route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spoken {
    word: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    decision: &'static str,
}

/// Why an event stream ended before its client wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client took nothing for too long.
    Slow,
    /// The database did not answer.
    Database,
}

/// The counters of this crate; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Requests answered.
    pub(crate) requests: Family<Answered, Counter>,
    /// Seconds until the head of the answer.
    pub(crate) seconds: Family<Route, Histogram, fn() -> Histogram>,
    /// Tickets opened.
    pub(crate) tickets_opened: Counter,
    /// Tickets reopened.
    pub(crate) tickets_reopened: Counter,
    alarms: Family<State, Counter>,
    /// Alarm events that told nothing new.
    pub(crate) alarms_repeated: Counter,
    advisories: Family<Decided, Counter>,
    /// Advisories that were known.
    pub(crate) advisories_repeated: Counter,
    /// Advisories about a component as it was before its last ticket was resolved or over.
    pub(crate) advisories_stale: Counter,
    /// Alarms raised in a planned outage.
    pub(crate) alarms_planned: Counter,
    prognosis_first: Family<Spoken, Counter>,
    /// Service problems opened.
    pub(crate) service_problems: Counter,
    /// Tickets held for a service problem.
    pub(crate) tickets_held: Counter,
    /// Event streams open now.
    pub(crate) streams: Gauge,
    cut: Family<Reason, Counter>,
    /// Outcomes given to the lake.
    pub(crate) outcomes: Counter,
    /// Attempts to give an outcome that failed.
    pub(crate) outcomes_failed: Counter,
    /// Connections refused or closed because nothing moved.
    pub(crate) stalled: Counter,
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0])
}

impl Metrics {
    /// Makes the counters and puts them into the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            tickets_opened: Counter::default(),
            tickets_reopened: Counter::default(),
            alarms: Family::default(),
            alarms_repeated: Counter::default(),
            advisories: Family::default(),
            advisories_repeated: Counter::default(),
            advisories_stale: Counter::default(),
            alarms_planned: Counter::default(),
            prognosis_first: Family::default(),
            service_problems: Counter::default(),
            tickets_held: Counter::default(),
            streams: Gauge::default(),
            cut: Family::default(),
            outcomes: Counter::default(),
            outcomes_failed: Counter::default(),
            stalled: Counter::default(),
        };
        for state in [AlarmState::Raised, AlarmState::Cleared] {
            drop(metrics.alarms.get_or_create(&State { state: state.as_str() }));
        }
        for decision in Decision::ALL {
            drop(metrics.advisories.get_or_create(&Decided { decision: decision.as_str() }));
        }
        for word in Word::ALL {
            drop(metrics.prognosis_first.get_or_create(&Spoken { word: word.as_str() }));
        }
        for reason in ["slow", "database"] {
            drop(metrics.cut.get_or_create(&Reason { reason }));
        }
        let r = registry;
        r.register(
            "forewarn_http_requests",
            "Requests answered, by route, method and status",
            metrics.requests.clone(),
        );
        r.register("forewarn_http_seconds", "Seconds until the head of an answer, by route", metrics.seconds.clone());
        r.register(
            "forewarn_tickets_opened",
            "Tickets opened, by alarms, advisories and agents",
            metrics.tickets_opened.clone(),
        );
        r.register(
            "forewarn_tickets_reopened",
            "Resolved tickets whose fault came back",
            metrics.tickets_reopened.clone(),
        );
        r.register("forewarn_alarms", "Alarm events that told something new, by state", metrics.alarms.clone());
        r.register("forewarn_alarms_repeated", "Alarm events that told nothing new", metrics.alarms_repeated.clone());
        r.register("forewarn_advisories", "Advisories that were new, by decision", metrics.advisories.clone());
        r.register("forewarn_advisories_repeated", "Advisories that were known", metrics.advisories_repeated.clone());
        r.register(
            "forewarn_advisories_stale",
            "Advisories about a component as it was before its last ticket was resolved or over",
            metrics.advisories_stale.clone(),
        );
        r.register("forewarn_alarms_planned", "Alarms raised in a planned outage", metrics.alarms_planned.clone());
        r.register(
            "forewarn_prognosis_first",
            "What alarms that waited for prognosis were told, by word; unlikely ones wait on",
            metrics.prognosis_first.clone(),
        );
        r.register("forewarn_service_problems", "Service problems opened", metrics.service_problems.clone());
        r.register("forewarn_tickets_held", "Tickets held for a service problem", metrics.tickets_held.clone());
        r.register("forewarn_event_streams", "Event streams open now", metrics.streams.clone());
        r.register("forewarn_event_streams_cut", "Event streams ended by the server, by reason", metrics.cut.clone());
        r.register("forewarn_outcomes", "Outcomes given to the lake", metrics.outcomes.clone());
        r.register(
            "forewarn_outcomes_failed",
            "Attempts to give an outcome that failed",
            metrics.outcomes_failed.clone(),
        );
        r.register("forewarn_http_stalled", "Connections closed because nothing moved", metrics.stalled.clone());
        metrics
    }

    pub(crate) fn alarm(&self, state: AlarmState) {
        self.alarms.get_or_create(&State { state: state.as_str() }).inc();
    }

    pub(crate) fn advisory(&self, decision: Decision) {
        self.advisories.get_or_create(&Decided { decision: decision.as_str() }).inc();
    }

    /// Counts alarms that waited for a word, and what it was.
    pub(crate) fn prognosis_first(&self, word: Word, alarms: u32) {
        self.prognosis_first.get_or_create(&Spoken { word: word.as_str() }).inc_by(u64::from(alarms));
    }

    /// Counts what an alarm did to tickets.
    pub(crate) fn taken(&self, taken: &Taken) {
        self.tickets_opened.inc_by(u64::from(taken.opened));
        self.tickets_reopened.inc_by(u64::from(taken.reopened));
        self.alarms_planned.inc_by(u64::from(taken.planned));
        self.service_problems.inc_by(u64::from(taken.storm));
        self.tickets_held.inc_by(u64::from(taken.held));
    }

    pub(crate) fn cut(&self, why: Cut) {
        let reason = match why {
            Cut::Slow => "slow",
            Cut::Database => "database",
        };
        self.cut.get_or_create(&Reason { reason }).inc();
    }
}
