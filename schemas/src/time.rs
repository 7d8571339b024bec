//! Instants, spans, and the clock that comes in as an argument.
//!
//! One clock serves a whole process. Under [`EventClock`] recorded years behave like live data: now is the greatest
//! event time seen.
//!
//! ```
//! use schemas::time::{Clock, Instant, ManualClock};
//! let clock = ManualClock::at("2026-11-21T10:00:00Z".parse().unwrap());
//! clock.advance(std::time::Duration::from_secs(90));
//! assert_eq!(clock.now().to_string(), "2026-11-21T10:01:30Z");
//! ```

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z. Prints and parses as RFC 3339.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instant(i64);

/// Text that is no RFC 3339 instant between the years 1 and 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no RFC 3339 instant such as 2026-11-21T10:00:00Z")]
pub struct InstantError(String);

impl Instant {
    /// The first instant of 1970.
    pub const EPOCH: Self = Self(0);
    /// Latest instant that prints as RFC 3339: the end of the year 9999.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// From microseconds since 1970, cut to the years that RFC 3339 can print.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(-62_135_596_800_000_000, Self::MAX.0))
    }

    /// From milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1000))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This instant and `span` more.
    pub fn plus(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros_of(span)))
    }

    /// This instant less `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros_of(span)))
    }

    /// Time since `earlier`; zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Hours since `earlier`, negative where `earlier` is later.
    pub fn hours_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 3.6e9
    }

    /// Days since 1970-01-01 (UTC), as Arrow's Date32 counts them.
    pub fn days(self) -> i32 {
        i32::try_from(self.0.div_euclid(86_400_000_000)).unwrap_or(i32::MAX)
    }

    /// The same instant for calendar work.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl From<jiff::Timestamp> for Instant {
    fn from(at: jiff::Timestamp) -> Self {
        Self::from_micros(at.as_microsecond())
    }
}
impl FromStr for Instant {
    type Err = InstantError;
    fn from_str(text: &str) -> Result<Self, InstantError> {
        let at: jiff::Timestamp = text.parse().map_err(|_| InstantError(text.chars().take(60).collect()))?;
        Ok(at.into())
    }
}
impl TryFrom<String> for Instant {
    type Error = InstantError;
    fn try_from(text: String) -> Result<Self, InstantError> {
        text.parse()
    }
}
impl From<Instant> for String {
    fn from(at: Instant) -> String {
        at.to_string()
    }
}
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}
impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Spans in settings read like speech: `"5s"`, `"1h 30m"`, `"2d"`. Use as `#[serde(with = "schemas::time::span")]`.
pub mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Parses `"1h 30m"`; a day is 24 hours. The error shows the forms.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || format!("{text:?} is no span such as \"5s\", \"1h 30m\" or \"2d\"");
        let mut rest = text.trim();
        if let Some((days, tail)) = rest.split_once('d') {
            let days: u64 = days.trim().parse().map_err(|_| wrong())?;
            let tail = tail.trim();
            let tail = if tail.is_empty() { Duration::ZERO } else { parse(tail)? };
            return Ok(Duration::from_secs(days.checked_mul(86_400).ok_or_else(wrong)?) + tail);
        }
        if rest == "0" {
            rest = "0s";
        }
        let span: jiff::SignedDuration = rest.parse().map_err(|_| wrong())?;
        Duration::try_from(span).map_err(|_| wrong())
    }

    /// Writes the form that [`parse`] reads.
    pub fn text(span: Duration) -> String {
        format!("{:#}", jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).map_err(D::Error::custom)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(*span))
    }
}

/// Where a process takes its time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// The machine's clock.
    System,
    /// The machine's clock, faster: the demo's days pass in seconds.
    Scaled,
    /// The greatest event time seen: replays and backtests.
    Event,
    /// Turned by hand: tests.
    Manual,
}

/// Gives the time. Whoever needs time takes a clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present.
    fn now(&self) -> Instant;

    /// When a message that comes in at this moment is said to have arrived. Differs from [`Clock::now`] only for
    /// [`EventClock`], where it is the machine's time.
    fn arrival(&self) -> Instant {
        self.now()
    }

    /// Tells of an event time that was seen; only [`EventClock`] cares.
    fn observe(&self, _event_time: Instant) {}

    /// Which clock this is.
    fn kind(&self) -> ClockKind;
}

#[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
fn machine_now() -> Instant {
    jiff::Timestamp::now().into()
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        machine_now()
    }
    fn kind(&self) -> ClockKind {
        ClockKind::System
    }
}

/// Shows `origin` until it is started, then runs `speed` times as fast as the machine's clock.
#[derive(Debug, Clone)]
pub struct ScaledClock {
    origin: Instant,
    speed: f64,
    started: OnceLock<std::time::Instant>,
}

impl ScaledClock {
    /// `speed` is device seconds per second of the machine.
    pub fn new(origin: Instant, speed: f64) -> Self {
        Self { origin, speed, started: OnceLock::new() }
    }

    /// From here on it goes; again changes nothing.
    #[allow(clippy::disallowed_methods, reason = "a clock reads the machine's clock")]
    pub fn start(&self) {
        self.started.get_or_init(std::time::Instant::now);
    }

    /// Device seconds per second of the machine.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// How long to wait, on the machine, until this clock shows `at`, from its start where it stands.
    pub fn until(&self, at: Instant) -> Duration {
        Duration::from_secs_f64(at.since(self.now()).as_secs_f64() / self.speed)
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Instant {
        let passed = self.started.get().map_or(Duration::ZERO, std::time::Instant::elapsed);
        self.origin.plus(passed.mul_f64(self.speed))
    }
    fn kind(&self) -> ClockKind {
        ClockKind::Scaled
    }
}

/// Now is the greatest event time seen, so recorded years behave like live data.
#[derive(Debug, Default)]
pub struct EventClock(AtomicI64);

impl EventClock {
    /// Starts at `at`.
    pub fn at(at: Instant) -> Self {
        Self(AtomicI64::new(at.micros()))
    }
}

impl Clock for EventClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::Acquire))
    }
    fn arrival(&self) -> Instant {
        machine_now()
    }
    fn observe(&self, event_time: Instant) {
        self.0.fetch_max(event_time.micros(), Ordering::AcqRel);
    }
    fn kind(&self) -> ClockKind {
        ClockKind::Event
    }
}

/// Stands still until turned.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `at`.
    pub fn at(at: Instant) -> Self {
        Self(AtomicI64::new(at.micros()))
    }

    /// Turns it on by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(micros_of(span), Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::Acquire))
    }
    fn kind(&self) -> ClockKind {
        ClockKind::Manual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_prints_what_it_parsed() {
        for text in ["2026-11-21T10:00:00Z", "2013-04-10T00:00:00.000001Z", "1969-12-31T23:59:59.5Z"] {
            assert_eq!(text.parse::<Instant>().unwrap().to_string(), text);
        }
        assert_eq!("2026-11-21T12:00:00+02:00".parse::<Instant>().unwrap().to_string(), "2026-11-21T10:00:00Z");
        assert!("yesterday".parse::<Instant>().is_err());
        assert_eq!(Instant::MAX.to_string().parse::<Instant>().unwrap(), Instant::MAX);
        assert_eq!(
            Instant::from_micros(i64::MIN).to_string().parse::<Instant>().unwrap(),
            Instant::from_micros(i64::MIN)
        );
    }

    #[test]
    fn a_span_reads_like_speech() {
        for (text, seconds) in [("5s", 5), ("1h 30m", 5400), ("2d", 172_800), ("1d 6h", 108_000), ("0", 0)] {
            assert_eq!(span::parse(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(span::parse(&span::text(Duration::from_secs(seconds))), Ok(Duration::from_secs(seconds)));
        }
        assert!(span::parse("5").is_err());
        assert!(span::parse("-5s").is_err());
        assert!(span::parse("soon").is_err());
    }

    #[test]
    fn the_event_clock_never_goes_back() {
        let clock = EventClock::default();
        clock.observe(Instant::from_millis(2000));
        clock.observe(Instant::from_millis(1000));
        assert_eq!(clock.now(), Instant::from_millis(2000));
    }

    #[test]
    fn days_count_down_before_1970() {
        assert_eq!(Instant::from_micros(-1).days(), -1);
        assert_eq!("2013-04-10T23:59:59Z".parse::<Instant>().unwrap().days(), 15_805);
    }
}
