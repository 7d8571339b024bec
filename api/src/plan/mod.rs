//! The planner: where in the technicians' days one more visit fits, and at what price in travel.
//!
//! In: one visit, the technicians with their working stretches and fixed bookings, as values. Out: offers of arrival
//! windows, earliest first, or the constraint that leaves none. Promise: an offer keeps skills, shifts (the way home
//! included), travel and every booking that stands; the same problem gives the same offers. Never: a clock, a
//! database, or a moved booking.
//!
//! The drum bearing of a washing machine in Getafe takes 90 minutes and the skill `appliance`. Ana works from 08:00
//! and has a visit at 11:00: there is room before it, so the offer says `08:00 to 10:00`, planned start 08:25, and how
//! much travel it adds.

pub mod insertion;
pub(crate) mod rules;
pub mod site;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use schemas::time::Instant;

pub use crate::technician::{Place, Stretch, Zone};
pub use insertion::EarliestInsertion;
pub use site::router;

/// Least time from asking to the first window: a technician must hear of it and pack the parts.
pub const LEAD: Duration = Duration::from_secs(2 * 3600);
/// How far ahead windows are offered; shifts further out are seldom settled.
pub const HORIZON: Duration = Duration::from_secs(14 * 86_400);
/// Length of the arrival window promised to a customer.
pub const WINDOW: Duration = Duration::from_secs(2 * 3600);
/// Offers made when the caller does not say how many.
pub const DEFAULT_OFFERS: usize = 5;
/// Most offers in one answer: each holds capacity while the customer thinks.
pub const MAX_OFFERS: usize = 20;

/// A time at which a technician is bound already. It is never moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Booking {
    /// Work starts.
    pub start: Instant,
    /// Work ends.
    pub end: Instant,
    /// Where.
    pub place: Place,
}

/// A technician as the planner sees one.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Who.
    pub technician_id: String,
    /// For people.
    pub name: String,
    /// What they can do.
    pub skills: Vec<String>,
    /// Where each stretch begins and ends.
    pub home: Place,
    /// When they work: in order, apart from one another, whole even where they reach out of the asked-for time.
    pub stretches: Vec<Stretch>,
    /// What stands already, in order of time: confirmed visits, and slots held for other tickets.
    pub bookings: Vec<Booking>,
}

/// One visit to place.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferProblem {
    /// Where the device stands.
    pub site: Place,
    /// Windows begin on the full hour of this zone.
    pub zone: Zone,
    /// All of these are needed.
    pub skills: Vec<String>,
    /// Time on site.
    pub duration: Duration,
    /// No window begins before this.
    pub from: Instant,
    /// No window ends after this.
    pub until: Instant,
    /// Most offers wanted.
    pub count: usize,
    /// Active technicians.
    pub technicians: Vec<Candidate>,
}

/// A window that can be promised.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Who would come.
    pub technician_id: String,
    /// The customer is told: between here
    pub window_start: Instant,
    /// and here.
    pub window_end: Instant,
    /// When work is planned to start, within the window.
    pub start: Instant,
    /// When work is planned to end.
    pub end: Instant,
    /// Travel that this visit adds to the technician's day.
    pub travel_added: Duration,
    /// One sentence for the agent.
    pub why: String,
}

/// The constraint that leaves no offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortfall {
    /// There is no active technician at all.
    NoTechnician,
    /// Nobody has all the skills; those that nobody has at all, or all needed ones where no one has them together.
    Skill(Vec<String>),
    /// Those with the skills do not work in the asked-for time.
    NoShift,
    /// Even an empty stretch is too short for the way there, the work and the way home.
    TooFar {
        /// One way, in minutes, for the nearest technician with the skills.
        minutes: u64,
    },
    /// There is a shift long enough, and what is left of it is taken.
    Full,
}

impl Shortfall {
    /// The word in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTechnician => "no_technician",
            Self::Skill(_) => "skill",
            Self::NoShift => "no_shift",
            Self::TooFar { .. } => "too_far",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTechnician => f.write_str("there is no active technician"),
            Self::Skill(skills) if skills.len() == 1 => write!(f, "no technician has the skill {}", skills[0]),
            Self::Skill(skills) => write!(f, "no technician has all of the skills {}", skills.join(", ")),
            Self::NoShift => f.write_str("no technician with the skills has a shift in this time"),
            Self::TooFar { minutes } => write!(
                f,
                "too far: the nearest technician with the skills travels {minutes} minutes each way, and no shift is \
                 long enough for that and the work"
            ),
            Self::Full => f.write_str("every technician with the skills is taken in this time"),
        }
    }
}

/// What a planner answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Offers {
    /// Earliest first; windows do not overlap.
    pub offers: Vec<Offer>,
    /// Set where there is no offer.
    pub shortfall: Option<Shortfall>,
}

/// Places visits. A later planner takes the place of [`EarliestInsertion`] behind this.
pub trait Planner: Send + Sync + fmt::Debug {
    /// Windows for one more visit; nothing that stands is moved.
    fn offers(&self, problem: &OfferProblem) -> Offers;

    /// Whether the technician could still start this visit at exactly `start`.
    fn fits(&self, technician: &Candidate, site: Place, start: Instant, duration: Duration) -> bool;
}

/// The planner in force.
pub fn planner() -> &'static dyn Planner {
    &EarliestInsertion
}
