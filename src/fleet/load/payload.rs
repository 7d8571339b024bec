//! What the devices of a load say: healthy washing machines.
//!
//! In: a shape and a seed. Out: telemetry payloads, `seq` counting up per device. Promise: legal and in range, so that
//! every reading becomes a row; the same seed measures the same. Never: two readings of a device at one event time.
//!
//! Values are drawn and written once per device and used again with each message; only `seq` and `ts` are new. So
//! the generator leaves the machine's time to what it measures.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{time::Instant, topic::Topic};

use super::Form;

/// Event times begin this long before now and go on by [`STEP_MILLIS`] per reading: room for millions of readings per
/// device before its event time is too far ahead.
pub(super) const BEGIN_BEFORE: Duration = Duration::from_secs(3600);
/// Event time from one reading of a device to the next.
const STEP_MILLIS: i64 = 1;
/// Different readings of a device.
const POOL: usize = 16;

/// Metric, middle, spread, decimals.
const METRICS: [(&str, f64, f64, usize); 7] = [
    ("drum_speed_rpm", 1100.0, 80.0, 1),
    ("vibration_mm_s", 1.9, 0.3, 3),
    ("motor_current_a", 3.4, 0.3, 3),
    ("water_temperature_c", 40.0, 1.5, 2),
    ("heating_minutes", 14.0, 1.0, 2),
    ("drain_seconds", 62.0, 4.0, 1),
    ("cycle_count", 800.0, 0.0, 0),
];

/// What all devices of a load have in common.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) batch: u32,
    pub(super) payload_bytes: usize,
    pub(super) boot: i64,
    pub(super) begin: Instant,
    pub(super) seed: u64,
}

/// One device.
#[derive(Debug)]
pub(super) struct Speaker {
    topic: String,
    /// Up to the digits of `seq`.
    head: String,
    /// Behind `ts`: `,"m":{…}}`, in the form `columns` of a whole batch, else of one reading.
    tails: Vec<String>,
    columns: bool,
    batch: u32,
    seq: i64,
    millis: i64,
}

impl Speaker {
    pub(super) fn new(topic: &Topic, index: u32, shape: &Shape) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(shape.seed.wrapping_mul(1 << 32).wrapping_add(index.into()));
        let head = format!(r#"{{"profile":"washing_machine","boot":{},"seq":"#, shape.boot);
        let columns = shape.form == Form::Columns && shape.batch > 1;
        let tails = (0..POOL).map(|_| match columns {
            true => tail(&mut rng, shape.batch),
            false => {
                // The longest digits of seq and ts are not known yet: thirteen and six are usual.
                let rest = head.len() + r#","ts":"#.len() + 13 + 6;
                padded(tail(&mut rng, 0), shape.payload_bytes.saturating_sub(rest))
            }
        });
        Self {
            topic: topic.to_string(),
            tails: tails.collect(),
            head,
            columns,
            batch: shape.batch,
            seq: 0,
            millis: shape.begin.micros() / 1000,
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The next message.
    pub(super) fn say(&mut self) -> Bytes {
        let mut text = String::with_capacity(
            (self.head.len() + self.tails[0].len() + 40) * if self.columns { 1 } else { self.batch as usize }
                + 14 * self.batch as usize,
        );
        let mut digits = Digits::default();
        match (self.columns, self.batch) {
            (true, batch) => {
                text.push_str(&self.head);
                text.push_str(digits.of(self.seq));
                text.push_str(r#","ts":["#);
                for index in 0..i64::from(batch) {
                    if index > 0 {
                        text.push(',');
                    }
                    text.push_str(digits.of(self.millis + index * STEP_MILLIS));
                }
                text.push(']');
                text.push_str(&self.tails[self.seq as usize / batch as usize % POOL]);
                self.seq += i64::from(batch);
                self.millis += i64::from(batch) * STEP_MILLIS;
            }
            (false, 1) => self.reading(&mut text, &mut digits),
            (false, batch) => {
                text.push('[');
                for index in 0..batch {
                    if index > 0 {
                        text.push(',');
                    }
                    self.reading(&mut text, &mut digits);
                }
                text.push(']');
            }
        }
        text.into()
    }

    fn reading(&mut self, text: &mut String, digits: &mut Digits) {
        text.push_str(&self.head);
        text.push_str(digits.of(self.seq));
        text.push_str(r#","ts":"#);
        text.push_str(digits.of(self.millis));
        text.push_str(&self.tails[self.seq as usize % POOL]);
        self.seq += 1;
        self.millis += STEP_MILLIS;
    }
}

/// Values of `batch` readings as columns, or with `batch` 0 those of one.
fn tail(rng: &mut ChaCha8Rng, batch: u32) -> String {
    let mut text = String::from(r#","m":{"#);
    for (place, (name, middle, spread, decimals)) in METRICS.into_iter().enumerate() {
        let mut value = || middle + spread * rng.random_range(-1.0..1.0);
        let comma = if place > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}\"{name}\":");
        if batch == 0 {
            let _ = write!(text, "{:.decimals$}", value());
        } else {
            let values: Vec<String> = (0..batch).map(|_| format!("{:.decimals$}", value())).collect();
            let _ = write!(text, "[{}]", values.join(","));
        }
    }
    text.push_str("}}");
    text
}

/// Makes a reading's end at least so long, with a field that nobody knows.
fn padded(mut tail: String, least: usize) -> String {
    const FIELD: &str = r#","pad":"""#;
    if tail.len() < least {
        let fill = least.saturating_sub(tail.len() + FIELD.len());
        tail.pop();
        let _ = write!(tail, r#","pad":"{:x>fill$}"}}"#, "");
    }
    tail
}

/// Decimal digits of a number that is not negative, without an allocation.
#[derive(Debug, Default)]
struct Digits([u8; 20]);

impl Digits {
    fn of(&mut self, number: i64) -> &str {
        let mut rest = number.unsigned_abs();
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        std::str::from_utf8(&self.0[at..]).unwrap_or_default()
    }
}
