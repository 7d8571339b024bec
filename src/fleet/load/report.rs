//! What came of a load.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use super::{Form, Options};
use crate::fleet::device::Answer;

/// Times up to an hour with three digits.
const MOST_MICROS: u64 = 3_600_000_000;

/// Counts and times of one connection, or of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) reconnects: u64,
    pub(super) resent: u64,
    pub(super) missed: u64,
    last: Option<Instant>,
    /// Microseconds from due to answered; made with the first.
    times: Option<Histogram<u64>>,
}

impl Tally {
    pub(super) fn answered(&self) -> u64 {
        self.acknowledged + self.refused
    }

    pub(super) fn answer(&mut self, answer: Answer, due: Instant, now: Instant) {
        match answer {
            Answer::Acknowledged => self.acknowledged += 1,
            Answer::Refused => self.refused += 1,
        }
        self.last = Some(now);
        let micros = u64::try_from(now.saturating_duration_since(due).as_micros()).unwrap_or(u64::MAX);
        if self.times.is_none() {
            self.times = Histogram::new_with_bounds(1, MOST_MICROS, 3).ok();
        }
        if let Some(times) = &mut self.times {
            times.saturating_record(micros.max(1));
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reconnects += other.reconnects;
        self.resent += other.resent;
        self.missed += other.missed;
        self.last = self.last.max(other.last);
        match (&mut self.times, other.times) {
            // Of the same bounds, so nothing is out of range.
            (Some(times), Some(other)) => drop(times.add(other)),
            (none @ None, other) => *none = other,
            (Some(_), None) => {}
        }
    }
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Times {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    devices: u32,
    connections: u32,
    /// Messages per second that were wished for; none where each connection kept its window full.
    rate: Option<f64>,
    batch: u32,
    form: &'static str,
    /// Answered.
    pub(super) messages: u64,
    /// In acknowledged messages.
    readings: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// Due before the end and never begun, because the connection's window was full.
    pub(super) missed: u64,
    pub(super) reconnects: u64,
    /// Sent once more after a reconnect.
    resent: u64,
    seconds: f64,
    messages_per_second: f64,
    readings_per_second: f64,
    /// From the moment a message was due to its PUBACK.
    puback_ms: Option<Times>,
}

impl Report {
    pub(super) fn new(options: &Options, devices: u32, start: Instant, tally: Tally) -> Self {
        let seconds = tally.last.map_or(0.0, |last| last.saturating_duration_since(start).as_secs_f64());
        let per_second = |count: u64| if seconds > 0.0 { (count as f64 / seconds).round() } else { 0.0 };
        let readings = tally.acknowledged * u64::from(options.batch);
        let times = tally.times.as_ref().map(|times| {
            let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
            Times { p50: ms(0.5), p90: ms(0.9), p99: ms(0.99), p999: ms(0.999), max: times.max() as f64 / 1000.0 }
        });
        Self {
            devices,
            connections: options.connections,
            rate: options.rate,
            batch: options.batch,
            form: match options.form {
                Form::Json => "json",
                Form::Columns => "columns",
            },
            messages: tally.answered(),
            readings,
            acknowledged: tally.acknowledged,
            refused: tally.refused,
            missed: tally.missed,
            reconnects: tally.reconnects,
            resent: tally.resent,
            seconds: (seconds * 1000.0).round() / 1000.0,
            messages_per_second: per_second(tally.answered()),
            readings_per_second: per_second(readings),
            puback_ms: times,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "messages      {} in {} s, {} per second", self.messages, self.seconds, self.messages_per_second)?;
        writeln!(f, "readings      {}, {} per second", self.readings, self.readings_per_second)?;
        writeln!(f, "acknowledged  {}, refused {}", self.acknowledged, self.refused)?;
        write!(f, "reconnects    {}, resent {}, missed {}", self.reconnects, self.resent, self.missed)?;
        if let Some(Times { p50, p90, p99, p999, max }) = self.puback_ms {
            write!(f, "\nPUBACK ms     p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")?;
        }
        Ok(())
    }
}
