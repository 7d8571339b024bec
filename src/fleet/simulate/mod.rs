//! Simulated appliances with the truth about when they fail.
//!
//! In: a seed, a number of devices, a time. Out: readings as a device would send them, and for every planted fault its
//! onset and its failure. Promise: the same seed gives the same fleet, fault for fault. Never: a hint of the truth in
//! what a device sends.
//!
//! | profile | wear that is planted | what shows it |
//! |---|---|---|
//! | `washing_machine` | drum bearing, drain pump | vibration and motor current; draining time |
//! | `refrigerator` | compressor efficiency, compartment sensor drift | duty and warmth; cold readings |
//! | `air_conditioner` | refrigerant leak, compressor efficiency | cooling per pass; current |
//! | `smartphone` | battery capacity, battery swelling | capacity and resistance; thickness |
//!
//! Beside wear, some faults come suddenly: the device reports its code at that moment and nothing told of it before.

pub mod appliance;
pub mod model;
pub mod network;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{
    id::{DeviceId, FaultKey, ProfileName},
    time::Instant,
};
use serde::Serialize;

use appliance::Appliance;

const DAY: Duration = Duration::from_secs(86_400);

/// Share of devices whose next fault is wear, in percent.
const WEAR_PERCENT: u32 = 25;
/// Share of devices whose next fault comes suddenly, in percent.
const SUDDEN_PERCENT: u32 = 5;
/// Wear takes this many days from onset to failure.
const WEAR_DAYS: std::ops::Range<f64> = 8.0..14.0;
/// First failures fall into this many days after the start, and following ones after the repair.
const FAILURE_DAYS: std::ops::Range<f64> = 5.0..30.0;

/// How a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Slowly, and it can be seen.
    Wear,
    /// At once: nobody can foresee it.
    Sudden,
}

/// A fault that the simulator planted: the truth that no device tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planted {
    /// In which device.
    pub device_id: DeviceId,
    /// Component and failure mode.
    pub fault_key: FaultKey,
    /// How it comes.
    pub course: Course,
    /// When wear begins; for a sudden fault the failure itself.
    pub onset: Instant,
    /// When the device fails.
    pub failure: Instant,
    /// Exponent of wear over time, hidden from detection.
    pub shape: f64,
    /// The code the device reports when it fails, if it notices.
    pub code: Option<&'static str>,
}

impl Planted {
    /// 0 before the onset, 1 at the failure, a little more after it.
    pub fn wear(&self, at: Instant) -> f64 {
        if self.course == Course::Sudden || at <= self.onset {
            return 0.0;
        }
        let share = at.since(self.onset).as_secs_f64() / self.failure.since(self.onset).as_secs_f64();
        share.min(1.2).powf(self.shape)
    }
}

/// A kind of simulated appliance and the faults that can be planted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its profile.
    pub profile: &'static str,
    /// What its device ids begin with.
    pub prefix: &'static str,
    /// Wear: fault key, and the code reported at the failure.
    pub wear: &'static [(&'static str, Option<&'static str>)],
    /// Sudden faults: fault key and code.
    pub sudden: &'static [(&'static str, &'static str)],
    /// Time between readings.
    pub cadence: Duration,
}

/// The simulated kinds, dealt to devices in turn.
pub const KINDS: [Kind; 4] = [
    Kind {
        profile: "washing_machine",
        prefix: "wm",
        wear: &[("drum_bearing/wear", None), ("drain_pump/blocked", Some("E21"))],
        sudden: &[("control_board/breakdown", "E57"), ("inlet_valve/fail_to_open", "E17")],
        cadence: Duration::from_secs(3600),
    },
    Kind {
        profile: "refrigerator",
        prefix: "rf",
        wear: &[("compressor/efficiency_loss", Some("F10")), ("temperature_sensor/drift", Some("F04"))],
        sudden: &[("defrost_heater/breakdown", "F22")],
        cadence: Duration::from_secs(3600),
    },
    Kind {
        profile: "air_conditioner",
        prefix: "ac",
        wear: &[("refrigerant_circuit/leak", None), ("compressor/efficiency_loss", Some("P4"))],
        sudden: &[("fan/breakdown", "F1")],
        cadence: Duration::from_secs(3600),
    },
    Kind {
        profile: "smartphone",
        prefix: "ph",
        wear: &[("battery/capacity_fade", None), ("battery/swelling", Some("BAT_SWELL"))],
        sudden: &[("main_board/breakdown", "PMIC_FAIL")],
        cadence: Duration::from_secs(6 * 3600),
    },
];

/// A seeded fleet of `devices` appliances that begin at `start`.
pub fn fleet(seed: u64, devices: usize, start: Instant) -> Vec<Appliance> {
    (0..devices)
        .map(|index| {
            let kind = KINDS[index % KINDS.len()];
            // Each device has its own stream of chance, so that a larger fleet has the same first devices.
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64 + 1);
            Appliance::new(kind, index, start, rng)
        })
        .collect()
}

#[allow(clippy::expect_used, reason = "constants of this file, parsed by a test")]
fn fault_key(text: &str) -> FaultKey {
    text.parse().expect("a fault key of KINDS")
}

#[allow(clippy::expect_used, reason = "constants of this file, parsed by a test")]
fn profile_name(text: &str) -> ProfileName {
    text.parse().expect("a profile of KINDS")
}

/// Draws the next fault of a device that is whole at `from`; none where it stays whole for a year.
fn plant(kind: &Kind, device_id: &DeviceId, from: Instant, rng: &mut ChaCha8Rng) -> Option<Planted> {
    let failure = from.plus(DAY.mul_f64(rng.random_range(FAILURE_DAYS)));
    let shape = rng.random_range(1.2..2.2);
    let wear_time = DAY.mul_f64(rng.random_range(WEAR_DAYS));
    let which = rng.next_u32() as usize;
    match rng.random_range(0..100) {
        chance if chance < WEAR_PERCENT => {
            let (key, code) = kind.wear[which % kind.wear.len()];
            Some(Planted {
                device_id: device_id.clone(),
                fault_key: fault_key(key),
                course: Course::Wear,
                onset: failure.minus(wear_time),
                failure,
                shape,
                code,
            })
        }
        chance if chance < WEAR_PERCENT + SUDDEN_PERCENT => {
            let (key, code) = kind.sudden[which % kind.sudden.len()];
            Some(Planted {
                device_id: device_id.clone(),
                fault_key: fault_key(key),
                course: Course::Sudden,
                onset: failure,
                failure,
                shape,
                code: Some(code),
            })
        }
        _ => None,
    }
}
