//! Simulated appliances with the truth about when they fail.
//!
//! In: a seed, a number of devices, a time. Out: readings as a device would send them, and for every planted fault its
//! onset and its failure. Promise: the same seed gives the same fleet, fault for fault. Never: a hint of the truth in
//! what a device sends, a number of the simulator in a profile's rules.
//!
//! | profile | wear that is planted | what shows it |
//! |---|---|---|
//! | `washing_machine` | drum bearing, drain pump | vibration and motor current; draining time |
//! | `refrigerator` | compressor efficiency, compartment sensor drift | duty and warmth; cold readings |
//! | `air_conditioner` | refrigerant leak, compressor efficiency | cooling per pass; current |
//! | `smartphone` | battery capacity, battery swelling | capacity and resistance; thickness |
//!
//! When wear begins, how it grows, how far it goes before the device fails, how noisy a device is and when it is silent is
//! drawn for each ([`fault`]). Beside wear, some faults come suddenly: the device reports its code at that moment and
//! nothing told of it before. And some devices are disturbed for a while: that looks like wear and goes away
//! ([`disturbance`]).
//!
//! A fleet is lived over the network ([`network`]), where devices obey orders too, or read off at full speed
//! ([`history()`]).

pub mod appliance;
pub mod disturbance;
pub mod fault;
pub mod history;
pub mod model;
pub mod network;
mod order;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemas::{
    id::{FaultKey, ProfileName},
    time::Instant,
};

use appliance::Appliance;
pub use fault::{Condition, Course, Planted};
pub use history::{History, history};

const DAY: Duration = Duration::from_secs(86_400);

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
    /// Commands that it understands: those of its profile.
    pub commands: &'static [&'static str],
    /// Components that its self-test tests: those that have one in its profile.
    pub tested: &'static [&'static str],
    /// The components that its two disturbances look like wear of (`disturbance.rs`).
    pub disturbed: [&'static str; 2],
}

/// The simulated kinds, dealt to devices in turn.
pub const KINDS: [Kind; 4] = [
    Kind {
        profile: "washing_machine",
        prefix: "wm",
        wear: &[("drum_bearing/wear", None), ("drain_pump/blocked", Some("E21"))],
        sudden: &[("control_board/breakdown", "E57"), ("inlet_valve/fail_to_open", "E17")],
        cadence: Duration::from_secs(3600),
        commands: &["self_test", "restart"],
        tested: &["drum_bearing", "drain_pump"],
        disturbed: ["drum_bearing", "drain_pump"],
    },
    Kind {
        profile: "refrigerator",
        prefix: "rf",
        wear: &[("compressor/efficiency_loss", Some("F10")), ("temperature_sensor/drift", Some("F04"))],
        sudden: &[("defrost_heater/breakdown", "F22")],
        cadence: Duration::from_secs(3600),
        commands: &["self_test", "restart"],
        tested: &["compressor"],
        disturbed: ["compressor", "temperature_sensor"],
    },
    Kind {
        profile: "air_conditioner",
        prefix: "ac",
        wear: &[("refrigerant_circuit/leak", None), ("compressor/efficiency_loss", Some("P4"))],
        sudden: &[("fan/breakdown", "F1")],
        cadence: Duration::from_secs(3600),
        commands: &["self_test", "restart"],
        tested: &["compressor"],
        disturbed: ["refrigerant_circuit", "compressor"],
    },
    Kind {
        profile: "smartphone",
        prefix: "ph",
        wear: &[("battery/capacity_fade", None), ("battery/swelling", Some("BAT_SWELL"))],
        sudden: &[("main_board/breakdown", "PMIC_FAIL")],
        cadence: Duration::from_secs(6 * 3600),
        commands: &["self_test"],
        tested: &["battery"],
        disturbed: ["battery", "battery"],
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
