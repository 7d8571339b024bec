//! What each kind of appliance measures, healthy or worn: a base with the spread of manufacture, noise, the rhythm of
//! day and season, and on top what wear and disturbances add. Limits are those of the profiles; the numbers here are
//! chosen so that an undisturbed healthy device keeps clear of them and wear of level 1 does not.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use schemas::time::Instant;

use super::{Planted, disturbance::Disturbance, fault::log_normal};

/// Metrics by name; one that is missing was not measured.
pub type Metrics = Vec<(&'static str, f64)>;

/// What differs from device to device of one kind, drawn once.
#[derive(Debug, Clone)]
pub struct Character {
    /// Standard normal, scales the first property of the kind.
    first: f64,
    /// Standard normal, scales the second.
    second: f64,
    /// How much it is used, 0.6 to 1.4.
    usage: f64,
    /// How noisy its sensors are: 1 is what the numbers here say.
    noise: f64,
}

impl Character {
    /// Draws one.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            first: normal(rng, 0.0, 1.0),
            second: normal(rng, 0.0, 1.0),
            usage: rng.random_range(0.6..1.4),
            noise: log_normal(rng, 1.0, NOISE_SPREAD).clamp(0.5, 2.5),
        }
    }

    /// Draws an error of measurement.
    fn error(&self, rng: &mut ChaCha8Rng, deviation: f64) -> f64 {
        normal(rng, 0.0, deviation * self.noise)
    }
}

/// Standard deviation of the logarithm of a device's noise: two in three lie between 0.7 and 1.4 times the usual.
const NOISE_SPREAD: f64 = 0.35;

/// A device's inner state at an instant.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The fault under way, or ahead.
    pub planted: &'a Planted,
    /// The disturbance of now, or ahead.
    pub disturbance: &'a Disturbance,
    /// Days since it was made.
    pub age_days: f64,
    /// Now.
    pub at: Instant,
}

impl State<'_> {
    /// Wear of this fault.
    fn wear(&self, key: &str) -> f64 {
        if self.planted.fault_key.as_str() == key { self.planted.wear(self.at) } else { 0.0 }
    }

    /// Strength of the disturbance of this number.
    fn disturbed(&self, which: usize) -> f64 {
        self.disturbance.strength(which, self.at)
    }
}

fn normal(rng: &mut ChaCha8Rng, mean: f64, deviation: f64) -> f64 {
    Normal::new(mean, deviation).map_or(mean, |normal| normal.sample(rng))
}

/// Hour of the day (UTC), 0 to 24.
fn hour(at: Instant) -> f64 {
    at.micros().rem_euclid(86_400_000_000) as f64 / 3.6e9
}

/// -1 in the coldest hour of the night, 1 in the warmest of the afternoon.
fn day_rhythm(at: Instant) -> f64 {
    ((hour(at) - 9.0) / 24.0 * std::f64::consts::TAU).sin()
}

/// -1 in January, 1 in July.
fn season_rhythm(at: Instant) -> f64 {
    let day = f64::from(at.days()).rem_euclid(365.25);
    ((day - 106.0) / 365.25 * std::f64::consts::TAU).sin()
}

/// One reading of an appliance in this state.
pub fn read(profile: &str, character: &Character, state: &State<'_>, rng: &mut ChaCha8Rng) -> Metrics {
    match profile {
        "washing_machine" => washing_machine(character, state, rng),
        "refrigerator" => refrigerator(character, state, rng),
        "air_conditioner" => air_conditioner(character, state, rng),
        _ => smartphone(character, state, rng),
    }
}

fn washing_machine(character: &Character, shown: &State<'_>, rng: &mut ChaCha8Rng) -> Metrics {
    let washes = (7.0..22.0).contains(&hour(shown.at)) && rng.random_bool(0.35 * character.usage / 1.4);
    let cycles = (400.0 + shown.age_days * 2.0 * character.usage).floor();
    if !washes {
        return vec![
            ("drum_speed_rpm", 0.0),
            ("vibration_mm_s", normal(rng, 0.1, 0.02).abs()),
            ("cycle_count", cycles),
        ];
    }
    let speed = [800.0, 1000.0, 1200.0, 1400.0][rng.random_range(0..4)];
    let (bearing, pump) = (shown.wear("drum_bearing/wear"), shown.wear("drain_pump/blocked"));
    // An uneven floor shakes the tub as a bearing does, but the motor does not work harder.
    let (uneven, filter) = (shown.disturbed(0), shown.disturbed(1));
    let vibration = 2.2 + 0.4 * character.first + 0.6 * (speed - 1000.0) / 400.0 + 11.0 * bearing + 9.0 * uneven;
    vec![
        ("drum_speed_rpm", speed + normal(rng, 0.0, 5.0)),
        ("vibration_mm_s", (vibration * (1.0 + character.error(rng, 0.1))).max(0.05)),
        ("motor_current_a", (2.5 + 0.2 * character.second + 1.5 * bearing + character.error(rng, 0.12)).max(0.1)),
        ("water_temperature_c", [30.0, 40.0, 60.0][rng.random_range(0..3)] + normal(rng, 0.0, 1.0)),
        ("heating_minutes", (18.0 + 2.0 * character.second + character.error(rng, 1.5)).max(1.0)),
        (
            "drain_seconds",
            (65.0 + 6.0 * character.first + 210.0 * pump + 190.0 * filter + character.error(rng, 6.0)).max(5.0),
        ),
        ("cycle_count", cycles),
    ]
}

fn refrigerator(character: &Character, shown: &State<'_>, rng: &mut ChaCha8Rng) -> Metrics {
    let at = shown.at;
    let (ajar, frozen) = (shown.disturbed(0), shown.disturbed(1));
    let ambient = 21.0 + 2.0 * day_rhythm(at) + 3.0 * season_rhythm(at) + 6.0 * ajar + normal(rng, 0.0, 0.3);
    let compressor = shown.wear("compressor/efficiency_loss");
    let drift = shown.wear("temperature_sensor/drift");
    let opened = if (6.0..23.0).contains(&hour(at)) { rng.random_range(0.0..90.0) * character.usage } else { 0.0 };
    // A door ajar is open for minutes of every hour, day and night.
    let doors = opened + 900.0 * ajar;
    let needed = 36.0 + 3.0 * character.first + 1.2 * (ambient - 21.0) + doors / 20.0 + 75.0 * compressor;
    let warmth = (compressor - 0.85).max(0.0) * 45.0;
    let setting = 4.5 + 0.3 * character.second - 10.0 * frozen;
    vec![
        ("compartment_temperature_c", setting + warmth - 14.0 * drift + character.error(rng, 0.5)),
        ("freezer_temperature_c", -18.0 + 0.4 * character.second + warmth + character.error(rng, 0.5)),
        ("ambient_temperature_c", ambient),
        ("compressor_duty_percent", (needed + character.error(rng, 2.5)).clamp(0.0, 100.0)),
        ("compressor_power_w", (85.0 + 4.0 * character.first + 20.0 * compressor + character.error(rng, 2.5)).max(0.0)),
        ("door_open_seconds", doors),
    ]
}

fn air_conditioner(character: &Character, shown: &State<'_>, rng: &mut ChaCha8Rng) -> Metrics {
    let at = shown.at;
    let outdoor = 27.0 + 5.0 * day_rhythm(at) + 3.0 * season_rhythm(at) + normal(rng, 0.0, 0.7);
    let leak = shown.wear("refrigerant_circuit/leak");
    let compressor = shown.wear("compressor/efficiency_loss");
    let (dirt, curtain) = (shown.disturbed(0), shown.disturbed(1));
    let duty = (5.0 * (outdoor - 20.0) * (1.0 + leak) + character.error(rng, 4.0)).clamp(0.0, 100.0);
    let mut metrics = vec![
        ("outdoor_temperature_c", outdoor),
        ("room_temperature_c", 24.0 + (outdoor - 27.0) * 0.1 + normal(rng, 0.0, 0.4)),
        ("compressor_duty_percent", duty),
        ("filter_pressure_pa", (35.0 + 3.0 * character.second + 70.0 * dirt + character.error(rng, 2.0)).max(0.0)),
    ];
    if duty > 1.0 {
        let cools = (1.0 - 0.75 * leak.min(1.3)) * (1.0 - 0.1 * compressor) * (1.0 - 0.6 * dirt);
        let delta = (11.0 + 0.6 * character.first) * cools;
        let current = 8.5 + 0.5 * character.second + 0.1 * (outdoor - 27.0) + 8.0 * compressor + 8.0 * curtain;
        metrics.push(("supply_delta_k", delta + character.error(rng, 0.5)));
        metrics.push(("compressor_current_a", (current + character.error(rng, 0.3)).max(0.0)));
        metrics.push(("fan_speed_rpm", 900.0 + 10.0 * character.first + character.error(rng, 8.0)));
    }
    metrics
}

fn smartphone(character: &Character, shown: &State<'_>, rng: &mut ChaCha8Rng) -> Metrics {
    let fade = shown.wear("battery/capacity_fade");
    let swelling = shown.wear("battery/swelling");
    let (cold, tight) = (shown.disturbed(0), shown.disturbed(1));
    let healthy = 95.0 + 1.3 * character.first - 0.003 * shown.age_days * character.usage;
    let charging = (21.0..24.0).contains(&hour(shown.at));
    let warm = 29.0 + if charging { 7.0 } else { 0.0 } + 8.0 * swelling - 12.0 * cold;
    vec![
        (
            "battery_capacity_percent",
            (healthy - (healthy - 68.0) * fade - 22.0 * cold + character.error(rng, 0.6)).clamp(0.0, 110.0),
        ),
        (
            "battery_resistance_mohm",
            (75.0 + 5.0 * character.second + 90.0 * fade + character.error(rng, 3.0)).max(10.0),
        ),
        ("battery_temperature_c", warm + normal(rng, 0.0, 1.5)),
        (
            "battery_thickness_um",
            50.0 + 10.0 * character.second + 1000.0 * swelling + 600.0 * tight + character.error(rng, 12.0),
        ),
        ("charge_cycles", (250.0 + shown.age_days * 0.9 * character.usage).floor()),
        ("flash_life_used_percent", 12.0 + 0.02 * shown.age_days * character.usage),
        ("unexpected_restarts", if rng.random_bool(0.01) { 1.0 } else { 0.0 }),
    ]
}
