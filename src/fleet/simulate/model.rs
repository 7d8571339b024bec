//! What each kind of appliance measures, healthy or worn: a base with the spread of manufacture, noise, the rhythm of
//! day and season, and on top what wear adds. Limits are those of the profiles; the numbers here are chosen so that a
//! healthy device keeps clear of them and a failing one does not.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use schemas::time::Instant;

use super::Planted;

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
}

impl Character {
    /// Draws one.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self { first: normal(rng, 0.0, 1.0), second: normal(rng, 0.0, 1.0), usage: rng.random_range(0.6..1.4) }
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

/// One reading of an appliance whose planted fault, if any, is `planted`.
pub fn read(
    profile: &str,
    character: &Character,
    planted: Option<&Planted>,
    age_days: f64,
    at: Instant,
    rng: &mut ChaCha8Rng,
) -> Metrics {
    let wear = |key: &str| planted.filter(|p| p.fault_key.as_str() == key).map_or(0.0, |p| p.wear(at));
    match profile {
        "washing_machine" => washing_machine(character, &wear, age_days, at, rng),
        "refrigerator" => refrigerator(character, &wear, at, rng),
        "air_conditioner" => air_conditioner(character, &wear, at, rng),
        _ => smartphone(character, &wear, age_days, at, rng),
    }
}

fn washing_machine(
    character: &Character,
    wear: &dyn Fn(&str) -> f64,
    age_days: f64,
    at: Instant,
    rng: &mut ChaCha8Rng,
) -> Metrics {
    let washes = (7.0..22.0).contains(&hour(at)) && rng.random_bool(0.35 * character.usage / 1.4);
    let cycles = (400.0 + age_days * 2.0 * character.usage).floor();
    if !washes {
        return vec![
            ("drum_speed_rpm", 0.0),
            ("vibration_mm_s", normal(rng, 0.1, 0.02).abs()),
            ("cycle_count", cycles),
        ];
    }
    let speed = [800.0, 1000.0, 1200.0, 1400.0][rng.random_range(0..4)];
    let bearing = wear("drum_bearing/wear");
    let pump = wear("drain_pump/blocked");
    let vibration = 2.2 + 0.3 * character.first + 0.6 * (speed - 1000.0) / 400.0 + 11.0 * bearing;
    vec![
        ("drum_speed_rpm", speed + normal(rng, 0.0, 5.0)),
        ("vibration_mm_s", (vibration * normal(rng, 1.0, 0.08)).max(0.05)),
        ("motor_current_a", (2.5 + 0.2 * character.second + 1.5 * bearing + normal(rng, 0.0, 0.1)).max(0.1)),
        ("water_temperature_c", [30.0, 40.0, 60.0][rng.random_range(0..3)] + normal(rng, 0.0, 1.0)),
        ("heating_minutes", (18.0 + 2.0 * character.second + normal(rng, 0.0, 1.5)).max(1.0)),
        ("drain_seconds", (65.0 + 6.0 * character.first + 210.0 * pump + normal(rng, 0.0, 5.0)).max(5.0)),
        ("cycle_count", cycles),
    ]
}

fn refrigerator(character: &Character, wear: &dyn Fn(&str) -> f64, at: Instant, rng: &mut ChaCha8Rng) -> Metrics {
    let ambient = 21.0 + 2.0 * day_rhythm(at) + 3.0 * season_rhythm(at) + normal(rng, 0.0, 0.3);
    let compressor = wear("compressor/efficiency_loss");
    let drift = wear("temperature_sensor/drift");
    let doors = if (6.0..23.0).contains(&hour(at)) { rng.random_range(0.0..90.0) * character.usage } else { 0.0 };
    let needed = 36.0 + 3.0 * character.first + 1.2 * (ambient - 21.0) + doors / 20.0 + 75.0 * compressor;
    let warmth = (compressor - 0.85).max(0.0) * 45.0;
    vec![
        ("compartment_temperature_c", 4.5 + 0.3 * character.second + warmth - 14.0 * drift + normal(rng, 0.0, 0.4)),
        ("freezer_temperature_c", -18.0 + 0.4 * character.second + warmth + normal(rng, 0.0, 0.5)),
        ("ambient_temperature_c", ambient),
        ("compressor_duty_percent", (needed + normal(rng, 0.0, 2.0)).clamp(0.0, 100.0)),
        ("compressor_power_w", (85.0 + 4.0 * character.first + 20.0 * compressor + normal(rng, 0.0, 2.0)).max(0.0)),
        ("door_open_seconds", doors),
    ]
}

fn air_conditioner(character: &Character, wear: &dyn Fn(&str) -> f64, at: Instant, rng: &mut ChaCha8Rng) -> Metrics {
    let outdoor = 27.0 + 5.0 * day_rhythm(at) + 3.0 * season_rhythm(at) + normal(rng, 0.0, 0.7);
    let leak = wear("refrigerant_circuit/leak");
    let compressor = wear("compressor/efficiency_loss");
    let duty = (5.0 * (outdoor - 20.0) * (1.0 + leak) + normal(rng, 0.0, 4.0)).clamp(0.0, 100.0);
    let mut metrics = vec![
        ("outdoor_temperature_c", outdoor),
        ("room_temperature_c", 24.0 + (outdoor - 27.0) * 0.1 + normal(rng, 0.0, 0.4)),
        ("compressor_duty_percent", duty),
        ("filter_pressure_pa", (35.0 + 3.0 * character.second + normal(rng, 0.0, 2.0)).max(0.0)),
    ];
    if duty > 1.0 {
        let delta = (11.0 + 0.5 * character.first) * (1.0 - 0.75 * leak.min(1.2)) * (1.0 - 0.1 * compressor);
        let current = 8.5 + 0.4 * character.second + 0.1 * (outdoor - 27.0) + 8.0 * compressor;
        metrics.push(("supply_delta_k", delta + normal(rng, 0.0, 0.4)));
        metrics.push(("compressor_current_a", (current + normal(rng, 0.0, 0.25)).max(0.0)));
        metrics.push(("fan_speed_rpm", 900.0 + 10.0 * character.first + normal(rng, 0.0, 8.0)));
    }
    metrics
}

fn smartphone(
    character: &Character,
    wear: &dyn Fn(&str) -> f64,
    age_days: f64,
    at: Instant,
    rng: &mut ChaCha8Rng,
) -> Metrics {
    let fade = wear("battery/capacity_fade");
    let swelling = wear("battery/swelling");
    let healthy = 95.0 + 1.3 * character.first - 0.003 * age_days * character.usage;
    let charging = (21.0..24.0).contains(&hour(at));
    vec![
        ("battery_capacity_percent", (healthy - (healthy - 68.0) * fade + normal(rng, 0.0, 0.4)).clamp(0.0, 110.0)),
        ("battery_resistance_mohm", (75.0 + 5.0 * character.second + 90.0 * fade + normal(rng, 0.0, 2.0)).max(10.0)),
        ("battery_temperature_c", 29.0 + if charging { 7.0 } else { 0.0 } + 8.0 * swelling + normal(rng, 0.0, 1.5)),
        ("battery_thickness_um", 50.0 + 10.0 * character.second + 1000.0 * swelling + normal(rng, 0.0, 12.0)),
        ("charge_cycles", (250.0 + age_days * 0.9 * character.usage).floor()),
        ("flash_life_used_percent", 12.0 + 0.02 * age_days * character.usage),
        ("unexpected_restarts", if rng.random_bool(0.01) { 1.0 } else { 0.0 }),
    ]
}
