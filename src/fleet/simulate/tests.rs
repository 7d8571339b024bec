use schemas::{
    id::TenantId,
    payload::{self, Form, Value},
    profile::{Profiles, Side},
};

use super::*;

fn start() -> Instant {
    "2026-07-01T00:00:00Z".parse().unwrap()
}

fn tenant() -> TenantId {
    "dev".parse().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_fleet() {
    let reports = |seed| -> Vec<Vec<u8>> {
        let mut fleet = fleet(seed, 12, start());
        fleet.iter_mut().flat_map(|a| a.report(&tenant())).map(|m| m.payload).collect()
    };
    assert_eq!(reports(7), reports(7));
    assert_ne!(reports(7), reports(8));
}

#[test]
fn a_larger_fleet_has_the_same_first_devices() {
    let planted = |devices| -> Vec<Planted> {
        fleet(7, devices, start()).iter().take(40).flat_map(|a| a.planted().to_vec()).collect()
    };
    assert_eq!(planted(40), planted(400));
}

#[test]
fn every_planted_fault_is_of_its_profile() {
    let profiles = Profiles::builtin();
    for kind in KINDS {
        let profile = profiles.get(kind.profile).unwrap();
        let keys = kind.wear.iter().map(|(key, _)| *key).chain(kind.sudden.iter().map(|(key, _)| *key));
        for key in keys {
            assert!(profile.component(fault_key(key).component()).is_some(), "{key}");
        }
        for (key, _) in kind.wear {
            assert!(profile.rules.iter().any(|rule| rule.fault_key.as_str() == *key), "no rule sees {key}");
        }
        let codes = kind.wear.iter().filter_map(|(_, code)| *code).chain(kind.sudden.iter().map(|(_, code)| *code));
        for code in codes {
            assert!(profile.fault(code).is_some(), "{code}");
        }
    }
}

/// Reads `days` days of reports of a fleet, and asks per reading.
fn readings(days: u64, mut ask: impl FnMut(&Appliance, &payload::Reading<'_>)) {
    for mut appliance in fleet(3, 200, start()) {
        while appliance.next_report() < start().plus(DAY * days as u32) {
            for message in appliance.report(&tenant()) {
                if message.topic.channel == schemas::topic::Channel::Telemetry {
                    let told = payload::telemetry(Form::Json, &message.payload);
                    assert!(told.rejects.is_empty(), "{:?}", told.rejects);
                    told.readings.iter().for_each(|reading| ask(&appliance, reading));
                }
            }
        }
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

#[test]
fn what_is_measured_is_legal_and_a_healthy_device_keeps_clear_of_its_rules() {
    let profiles = Profiles::builtin();
    readings(10, |appliance, reading| {
        let profile = profiles.get(appliance.profile.as_str()).unwrap();
        let worn = appliance.planted().iter().any(|p| p.wear(reading.event_time) > 0.0);
        for (name, value) in &reading.metrics {
            let Some(number) = number(value) else { continue };
            let metric = profile.metric(name).unwrap_or_else(|| panic!("{name} is no metric"));
            assert!(metric.min.unwrap() <= number && number <= metric.max.unwrap(), "{name} = {number}");
            for rule in profile.rules.iter().filter(|rule| !worn && rule.metric == *name) {
                let clear = match rule.side {
                    Side::Above => number < rule.raise,
                    Side::Below => number > rule.raise,
                };
                assert!(clear, "{} reads {name} = {number} and is healthy", appliance.device_id);
            }
        }
    });
}

#[test]
fn wear_is_nothing_before_its_onset_and_one_at_the_failure() {
    let mut seen = 0;
    for appliance in fleet(3, 400, start()) {
        for planted in appliance.planted() {
            assert_eq!(planted.wear(planted.onset), 0.0);
            if planted.course == Course::Wear {
                seen += 1;
                assert!((planted.wear(planted.failure) - 1.0).abs() < 1e-9);
                assert!(planted.failure.since(planted.onset) >= DAY * 7);
            }
        }
    }
    assert!((60..140).contains(&seen), "{seen} of 400 devices wear");
}
