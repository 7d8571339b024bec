//! Technicians: what they can do, where they live, when they work.
//!
//! In: what an administrator tells. Out: trusted types, and shifts as stretches of instants for the planner. Promise:
//! a shift is local time in the technician's own zone, so it keeps its wall-clock hours through every change of the
//! clock; a day ends at local midnight, not 24 hours after it began. Never: an assignment; who goes where is
//! [`crate::plan`]'s matter.
//!
//! A week of Ana in Madrid: Monday 08:00 to 12:00 and 13:00 to 17:00. A night shift is two intervals, `22:00` to
//! `24:00` and, on the next day, `00:00` to `06:00`; the planner sees one stretch.

pub mod routes;
pub(crate) mod rules;
pub mod store;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use schemas::{id::TenantId, time::Instant};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use routes::router;

/// Most intervals in one day's shifts; more is a mistake, not a working day.
pub const MAX_INTERVALS: usize = 8;
/// Most skills of one technician; bounds what the planner compares.
pub const MAX_SKILLS: usize = 64;
/// Longest name, skill or address, in characters: what fits on a page and keeps a row small.
pub const MAX_TEXT: usize = 200;

/// A value that breaks its grammar; says what is legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {text:?} is not legal: {rule}")]
pub struct Illegal {
    /// Which value, such as `time_zone`.
    pub field: &'static str,
    /// As it came, cut to 200 characters.
    pub text: String,
    /// What is legal.
    pub rule: &'static str,
}

impl Illegal {
    pub(crate) fn new(field: &'static str, text: impl fmt::Display, rule: &'static str) -> Self {
        Self { field, text: text.to_string().chars().take(200).collect(), rule }
    }
}

/// A point on the earth, in WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Degrees", into = "Degrees")]
pub struct Place {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 40.3083)]
    lat: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = -3.7325)]
    lon: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Degrees {
    lat: f64,
    lon: f64,
}

impl Place {
    /// Latitude from -90 to 90, longitude from -180 to 180.
    pub fn new(lat: f64, lon: f64) -> Result<Self, Illegal> {
        if !(-90.0..=90.0).contains(&lat) {
            return Err(Illegal::new("lat", lat, "-90 to 90 degrees"));
        }
        if !(-180.0..=180.0).contains(&lon) {
            return Err(Illegal::new("lon", lon, "-180 to 180 degrees"));
        }
        Ok(Self { lat, lon })
    }

    /// Degrees north.
    pub fn lat(self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub fn lon(self) -> f64 {
        self.lon
    }
}

impl TryFrom<Degrees> for Place {
    type Error = Illegal;
    fn try_from(degrees: Degrees) -> Result<Self, Illegal> {
        Self::new(degrees.lat, degrees.lon)
    }
}
impl From<Place> for Degrees {
    fn from(place: Place) -> Self {
        Self { lat: place.lat, lon: place.lon }
    }
}

/// An IANA time zone that this machine knows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// The zone for calendar work.
    pub fn time_zone(&self) -> &jiff::tz::TimeZone {
        &self.0
    }

    /// Its name, such as `Europe/Madrid`.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl FromStr for Zone {
    type Err = Illegal;
    fn from_str(text: &str) -> Result<Self, Illegal> {
        let illegal = || Illegal::new("time_zone", text, "an IANA time zone such as Europe/Madrid");
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| illegal())?;
        if zone.is_unknown() || zone.iana_name().is_none() { Err(illegal()) } else { Ok(Self(zone)) }
    }
}
impl TryFrom<String> for Zone {
    type Error = Illegal;
    fn try_from(text: String) -> Result<Self, Illegal> {
        text.parse()
    }
}
impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name().to_owned()
    }
}
impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A wall-clock time of day to the minute; `24:00` is the midnight that ends the day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime(u16);

impl LocalTime {
    /// The midnight that ends a day.
    pub const END_OF_DAY: Self = Self(24 * 60);

    /// Minutes on the dial since the day's first midnight, up to 1440.
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for LocalTime {
    type Err = Illegal;
    fn from_str(text: &str) -> Result<Self, Illegal> {
        let illegal = || Illegal::new("time", text, "HH:MM from 00:00 to 24:00");
        let digits = |text: &str| {
            let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            if two { text.parse::<u16>().ok() } else { None }
        };
        let (hour, minute) = text.split_once(':').ok_or_else(illegal)?;
        let (hour, minute) = digits(hour).zip(digits(minute)).ok_or_else(illegal)?;
        let at = Self(hour * 60 + minute);
        if minute > 59 || at > Self::END_OF_DAY { Err(illegal()) } else { Ok(at) }
    }
}
impl TryFrom<String> for LocalTime {
    type Error = Illegal;
    fn try_from(text: String) -> Result<Self, Illegal> {
        text.parse()
    }
}
impl From<LocalTime> for String {
    fn from(at: LocalTime) -> String {
        at.to_string()
    }
}
impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}
impl fmt::Debug for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One piece of a working day, on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// When it begins.
    #[schema(value_type = String, example = "08:00")]
    pub start: LocalTime,
    /// When it ends, later on the same day.
    #[schema(value_type = String, example = "12:00")]
    pub end: LocalTime,
}

/// The shifts of a week; a day left out is free.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Week {
    /// Monday's intervals, in order.
    pub monday: Vec<Interval>,
    /// Tuesday's.
    pub tuesday: Vec<Interval>,
    /// Wednesday's.
    pub wednesday: Vec<Interval>,
    /// Thursday's.
    pub thursday: Vec<Interval>,
    /// Friday's.
    pub friday: Vec<Interval>,
    /// Saturday's.
    pub saturday: Vec<Interval>,
    /// Sunday's.
    pub sunday: Vec<Interval>,
}

impl Week {
    /// The intervals of one weekday.
    pub fn on(&self, day: jiff::civil::Weekday) -> &[Interval] {
        use jiff::civil::Weekday;
        match day {
            Weekday::Monday => &self.monday,
            Weekday::Tuesday => &self.tuesday,
            Weekday::Wednesday => &self.wednesday,
            Weekday::Thursday => &self.thursday,
            Weekday::Friday => &self.friday,
            Weekday::Saturday => &self.saturday,
            Weekday::Sunday => &self.sunday,
        }
    }
}

/// What an administrator tells of a technician.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// For people.
    pub name: String,
    /// As in the profiles' components, such as `refrigeration`; sorted, each once.
    pub skills: Vec<String>,
    /// Where every working stretch begins and ends.
    pub home: Place,
    /// The zone of the shifts.
    pub time_zone: Zone,
    /// When they work.
    pub shifts: Week,
    /// Whether they get new visits.
    pub active: bool,
}

/// Somebody who goes out and repairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Technician {
    /// Unique.
    pub technician_id: String,
    /// Whose technician.
    pub tenant: TenantId,
    /// All that can be changed.
    pub draft: Draft,
    /// When first told of.
    pub created_at: Instant,
    /// When last changed.
    pub changed_at: Instant,
}

/// An unbroken time at work, from leaving home to being home again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// First instant.
    pub start: Instant,
    /// After the last instant.
    pub end: Instant,
}
