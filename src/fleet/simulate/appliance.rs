//! One appliance: what it measures and when, what it says of it, and what mending it changes.

use std::{collections::VecDeque, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{
    id::{DeviceId, ProfileName, TenantId},
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::{Map, Value, json};

use super::{
    Condition, Kind, Planted,
    disturbance::{Disturbance, Silence},
    model::{self, Character, Metrics},
    profile_name,
};
use crate::fleet::device::Message;

/// Readings in one message: devices report every few readings to spare the radio.
const READINGS_PER_REPORT: u32 = 6;

/// A simulated device.
#[derive(Debug)]
pub struct Appliance {
    /// Its name.
    pub device_id: DeviceId,
    /// Its kind.
    pub profile: ProfileName,
    pub(super) kind: Kind,
    firmware: &'static str,
    character: Character,
    columns: bool,
    made: Instant,
    next_reading: Instant,
    planted: Planted,
    history: Vec<Planted>,
    /// Faults that were repaired since this was last asked.
    repaired: Vec<(Instant, Planted)>,
    /// Every disturbance so far; the last one is that of now, or lies ahead.
    disturbances: Vec<Disturbance>,
    silence: Silence,
    code_told: bool,
    telemetry_seq: i64,
    fault_seq: i64,
    /// Chance of what is measured.
    rng: ChaCha8Rng,
    /// Chance of faults: a stream of its own, so that noise does not decide when a device fails.
    fault_rng: ChaCha8Rng,
    /// Chance of disturbances and silences.
    disturbance_rng: ChaCha8Rng,
    /// Chance of its network: a stream of its own, so that what is measured does not depend on what is sent.
    pub(super) network_rng: ChaCha8Rng,
    /// Chance of its self-tests.
    pub(super) test_rng: ChaCha8Rng,
    /// Chance of those who visit it.
    visit_rng: ChaCha8Rng,
    /// Orders that were obeyed, the latest last: each is obeyed once.
    pub(super) obeyed: VecDeque<String>,
}

impl Appliance {
    pub(super) fn new(kind: Kind, index: usize, start: Instant, mut rng: ChaCha8Rng) -> Self {
        // Streams beside the device's own: what they give depends on nothing else, and nothing on them.
        let beside = |which: u64| {
            let mut beside = rng.clone();
            beside.set_stream(rng.get_stream() | which << 32);
            beside
        };
        let (test_rng, visit_rng) = (beside(1), beside(2));
        let mut of_its_own = || ChaCha8Rng::seed_from_u64(rng.random());
        let (network_rng, mut fault_rng, mut disturbance_rng) = (of_its_own(), of_its_own(), of_its_own());
        #[allow(clippy::expect_used, reason = "letters, a dash and digits are a legal device id")]
        let device_id = DeviceId::parse(&format!("{}-{index:06}", kind.prefix)).expect("a legal device id");
        let character = Character::draw(&mut rng);
        let planted = Planted::draw(&kind, &device_id, start, true, &mut fault_rng);
        // Devices do not report at the same second.
        let offset = kind.cadence.mul_f64(rng.random_range(0.0..1.0));
        Self {
            profile: profile_name(kind.profile),
            firmware: ["1.4.2", "1.5.0"][rng.random_range(0..2)],
            columns: rng.random_bool(0.5),
            made: start.minus(Duration::from_secs(86_400 * rng.random_range(30..1500))),
            next_reading: start.plus(offset),
            history: vec![planted.clone()],
            repaired: Vec::new(),
            disturbances: vec![Disturbance::draw(start, &mut disturbance_rng)],
            silence: Silence::draw(start, &mut disturbance_rng),
            code_told: false,
            telemetry_seq: 0,
            fault_seq: 0,
            device_id,
            kind,
            character,
            planted,
            rng,
            fault_rng,
            disturbance_rng,
            network_rng,
            test_rng,
            visit_rng,
            obeyed: VecDeque::new(),
        }
    }

    /// Every disturbance so far, in order; the last one may lie ahead.
    pub fn disturbances(&self) -> &[Disturbance] {
        &self.disturbances
    }

    /// Every fault planted so far, in order; the last one may lie ahead.
    pub fn planted(&self) -> &[Planted] {
        &self.history
    }

    /// How a component is: the truth.
    pub fn condition(&self, component: &str, at: Instant) -> Condition<'_> {
        Condition::of(&self.history, component, at)
    }

    /// Somebody mends a component that wears or has failed: it is as new, a failure that lies ahead never comes, and a
    /// code that the device had no time to tell is never told. Readings taken before show what was. A sound component
    /// stays as it is: a new part wears as the old one would have.
    pub fn mend(&mut self, component: &str, at: Instant) {
        if let Condition::Sound { .. } = self.condition(component, at) {
            return;
        }
        self.planted.mended = Some(at);
        if let Some(last) = self.history.last_mut() {
            last.mended = Some(at);
        }
    }

    /// What somebody makes of what he sees is chance too: 0 to 1, of this device's own.
    pub fn chance_of_visits(&mut self) -> f64 {
        self.visit_rng.random()
    }

    /// Whether it is silent now: it measures nothing and hears nothing before a later time than usual.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.next_reading.since(now) > self.kind.cadence
    }

    /// When its next report is due.
    pub fn next_report(&self) -> Instant {
        self.next_reading.plus(self.kind.cadence * (READINGS_PER_REPORT - 1))
    }

    pub(super) fn topic(&self, tenant: &TenantId, channel: Channel) -> Topic {
        Topic::new(tenant.clone(), self.device_id.clone(), channel)
    }

    /// Its birth: retained, told at each connection.
    pub fn birth(&self, tenant: &TenantId, at: Instant) -> Message {
        let birth = json!({
            "boot": 1, "ts": at.to_string(), "state": "online",
            "profile": self.profile.as_str(), "firmware": self.firmware,
        });
        Message { topic: self.topic(tenant, Channel::Status), payload: birth.to_string().into(), retain: true }
    }

    /// The next report: telemetry, and a fault code where the device has just failed and notices.
    pub fn report(&mut self, tenant: &TenantId) -> Vec<Message> {
        let readings: Vec<(Instant, Metrics)> = (0..READINGS_PER_REPORT).map(|_| self.reading()).collect();
        let seq = self.telemetry_seq;
        self.telemetry_seq += readings.len() as i64;
        let payload = if self.columns { self.as_columns(seq, &readings) } else { self.as_array(seq, &readings) };
        let topic = self.topic(tenant, Channel::Telemetry);
        let mut messages = vec![Message { topic, payload: payload.to_string().into(), retain: false }];
        let now = readings.last().map_or(self.next_reading, |(at, _)| *at);
        messages.extend(self.fault(tenant, now));
        // Silence falls between reports, so that it is known beforehand when the next one is due.
        if self.next_reading >= self.silence.begin {
            let begin = self.next_reading;
            while self.next_reading < self.silence.end {
                self.next_reading = self.next_reading.plus(self.kind.cadence);
            }
            self.silence = Silence::draw(begin.max(self.silence.end), &mut self.disturbance_rng);
        }
        messages
    }

    /// What was repaired since this was last asked, and when.
    pub fn take_repaired(&mut self) -> Vec<(Instant, Planted)> {
        std::mem::take(&mut self.repaired)
    }

    fn reading(&mut self) -> (Instant, Metrics) {
        let at = self.next_reading;
        self.next_reading = at.plus(self.kind.cadence);
        let repair = self.planted.renewed();
        if at >= repair {
            let next = Planted::draw(&self.kind, &self.device_id, at, false, &mut self.fault_rng);
            let mut before = std::mem::replace(&mut self.planted, next);
            before.mended = Some(repair);
            if let Some(last) = self.history.last_mut() {
                last.mended = before.mended;
            }
            self.history.push(self.planted.clone());
            self.repaired.push((repair, before));
            self.code_told = false;
        }
        let mut disturbance = self.disturbances[self.disturbances.len() - 1];
        if disturbance.is_over(at) {
            disturbance = Disturbance::draw(disturbance.end(), &mut self.disturbance_rng);
            self.disturbances.push(disturbance);
        }
        let age_days = at.since(self.made).as_secs_f64() / 86_400.0;
        let state = model::State { planted: &self.planted, disturbance: &disturbance, age_days, at };
        let metrics = model::read(self.kind.profile, &self.character, &state, &mut self.rng);
        (at, metrics)
    }

    fn fault(&mut self, tenant: &TenantId, now: Instant) -> Option<Message> {
        let planted = &self.planted;
        let code = planted.code?;
        if self.code_told || now < planted.failure {
            return None;
        }
        self.code_told = true;
        let fault = json!({
            "profile": self.profile.as_str(), "boot": 1, "seq": self.fault_seq, "ts": planted.failure.to_string(),
            "firmware": self.firmware, "code": code, "active": true,
        });
        self.fault_seq += 1;
        Some(Message { topic: self.topic(tenant, Channel::Fault), payload: fault.to_string().into(), retain: false })
    }

    fn head(&self, seq: i64) -> Map<String, Value> {
        let head = json!({
            "profile": self.profile.as_str(), "boot": 1, "seq": seq, "firmware": self.firmware,
        });
        match head {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn as_array(&self, first_seq: i64, readings: &[(Instant, Metrics)]) -> Value {
        let objects = readings.iter().enumerate().map(|(index, (at, metrics))| {
            let mut object = self.head(first_seq + index as i64);
            object.insert("ts".into(), at.to_string().into());
            object.insert("m".into(), metrics.iter().map(|(name, value)| (*name, json!(rounded(*value)))).collect());
            Value::Object(object)
        });
        objects.collect()
    }

    fn as_columns(&self, first_seq: i64, readings: &[(Instant, Metrics)]) -> Value {
        let mut columns: Map<String, Value> = Map::new();
        for (row, (_, metrics)) in readings.iter().enumerate() {
            for (name, value) in metrics {
                let column = columns.entry(*name).or_insert_with(|| vec![Value::Null; readings.len()].into());
                column[row] = json!(rounded(*value));
            }
        }
        let mut object = self.head(first_seq);
        object.insert("ts".into(), readings.iter().map(|(at, _)| at.to_string()).collect());
        object.insert("m".into(), columns.into());
        Value::Object(object)
    }
}

/// Devices send three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
