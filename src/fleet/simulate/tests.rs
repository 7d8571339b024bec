use schemas::{
    id::TenantId,
    outcome::Outcome,
    payload::{self, Form, Value},
    profile::Profiles,
    topic::Channel,
};

use super::*;
use crate::fleet::device::Message;

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
                if message.topic.channel == Channel::Telemetry {
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
fn what_is_measured_is_legal_and_an_undisturbed_healthy_device_keeps_clear_of_its_rules() {
    let profiles = Profiles::builtin();
    readings(10, |appliance, reading| {
        let profile = profiles.get(appliance.profile.as_str()).unwrap();
        let at = reading.event_time;
        let worn = appliance.planted().iter().any(|p| p.wear(at) > 0.0)
            || appliance.disturbances().iter().any(|it| it.strength(0, at) + it.strength(1, at) > 0.0);
        for (name, value) in &reading.metrics {
            let Some(number) = number(value) else { continue };
            let metric = profile.metric(name).unwrap_or_else(|| panic!("{name} is no metric"));
            assert!(metric.min.unwrap() <= number && number <= metric.max.unwrap(), "{name} = {number}");
            for (_, limit) in profile.rules.iter().filter_map(|rule| rule.threshold()).filter(|(of, _)| of == name) {
                let clear = worn || !limit.side.reached(number, limit.raise);
                assert!(clear, "{} reads {name} = {number} and is healthy", appliance.device_id);
            }
        }
    });
}

#[test]
fn wear_grows_from_nothing_at_its_onset_to_its_level_at_the_failure() {
    let (mut worn, mut sudden, mut days, mut levels) = (0, 0, Vec::new(), Vec::new());
    for appliance in fleet(3, 400, start()) {
        for planted in appliance.planted() {
            assert_eq!(planted.wear(planted.onset), 0.0);
            if planted.course == Course::Sudden {
                sudden += 1;
                assert_eq!(planted.onset, planted.failure);
                continue;
            }
            worn += 1;
            assert!((planted.wear(planted.failure) - planted.level).abs() < 1e-9, "{planted:?}");
            let lasts = planted.failure.since(planted.onset);
            let course: Vec<f64> = (0..=20).map(|part| planted.wear(planted.onset.plus(lasts * part / 20))).collect();
            assert!(course.is_sorted(), "{planted:?}: {course:?}");
            days.push(lasts.as_secs_f64() / 86_400.0);
            levels.push(planted.level);
        }
    }
    assert!((40..120).contains(&sudden) && worn + sudden == 400, "{worn} wear, {sudden} come suddenly");
    days.sort_by(f64::total_cmp);
    levels.sort_by(f64::total_cmp);
    let of = |sorted: &[f64], share: f64| sorted[(sorted.len() as f64 * share) as usize];
    assert!(of(&days, 0.1) < 8.0 && of(&days, 0.9) > 28.0, "{} to {} days", of(&days, 0.1), of(&days, 0.9));
    assert!(of(&levels, 0.1) < 0.6 && of(&levels, 0.9) > 1.1, "level {} to {}", of(&levels, 0.1), of(&levels, 0.9));
}

#[test]
fn disturbances_come_and_go_and_devices_fall_silent() {
    let (mut disturbed, mut silences, mut readings_seen) = (0_u32, 0_u32, 0_u32);
    let mut before: Option<(String, Instant)> = None;
    readings(60, |appliance, reading| {
        readings_seen += 1;
        let at = reading.event_time;
        disturbed += u32::from(appliance.disturbances().iter().any(|it| it.strength(0, at) + it.strength(1, at) > 0.1));
        let device = appliance.device_id.to_string();
        if let Some((_, last)) = before.as_ref().filter(|(known, _)| *known == device) {
            assert!(at > *last, "time goes on");
            silences += u32::from(at.since(*last) > DAY);
        }
        before = Some((device, at));
    });
    let share = f64::from(disturbed) / f64::from(readings_seen);
    assert!((0.02..0.12).contains(&share), "{share} of the readings are disturbed");
    assert!(silences > 100, "{silences} silences of more than a day in 200 devices and 60 days");
}

#[test]
fn the_past_is_the_same_messages_in_the_order_of_their_sending() {
    let end = start().plus(DAY * 20);
    let mut past = history(7, 40, &tenant(), start(), 20);
    let all: Vec<(Instant, Message)> = past.by_ref().collect();
    assert!(all.is_sorted_by_key(|(at, _)| *at));
    assert!(all.iter().all(|(at, _)| *at <= end));
    let mut by_hand: Vec<Vec<u8>> = Vec::new();
    for appliance in &mut fleet(7, 40, start()) {
        while appliance.next_report() <= end {
            by_hand.extend(appliance.report(&tenant()).into_iter().map(|message| message.payload));
        }
    }
    let of_devices = all.iter().filter(|(_, it)| it.topic.channel.from_device() && it.topic.channel != Channel::Status);
    let mut read: Vec<Vec<u8>> = of_devices.map(|(_, message)| message.payload.clone()).collect();
    by_hand.sort();
    read.sort();
    assert_eq!(read, by_hand);
    let fleet = past.into_fleet();
    assert!(fleet.iter().all(|appliance| appliance.next_report() > end), "each lives on after the end");
}

#[test]
fn every_repair_of_the_past_is_a_label() {
    let mut past = history(7, 100, &tenant(), start(), 90);
    let labels: Vec<Outcome> = past
        .by_ref()
        .filter(|(_, message)| message.topic.channel == Channel::Outcome)
        .map(|(_, message)| serde_json::from_slice(&message.payload).unwrap())
        .collect();
    assert!(labels.len() > 50, "{} labels", labels.len());
    let fleet = past.into_fleet();
    for label in labels {
        let appliance = fleet.iter().find(|appliance| appliance.device_id == label.device_id).unwrap();
        let failed = label.failure_time.unwrap();
        assert!(appliance.planted().iter().any(|it| it.failure == failed && it.fault_key == label.fault_key));
        assert!(label.event_time > failed && label.disposition.confirms_fault() == Some(true));
    }
}
