use std::time::Duration;

use proptest::prelude::*;
use schemas::time::Instant;

use super::{
    ProblemStatus, Settings,
    rules::{self, Raised},
};

fn settings(devices: u32) -> Settings {
    Settings { devices, within: Duration::from_secs(600), share: 0.01 }
}

/// `minute` and device, as many as there are words.
fn raised(text: &str) -> Vec<Raised> {
    let one = |word: &str| {
        let (minute, device) = word.split_once(' ').unwrap();
        let minute: u64 = minute.parse().unwrap();
        let at = Instant::EPOCH.plus(Duration::from_secs(60 * minute));
        Raised { device_id: device.parse().unwrap(), at }
    };
    text.split(", ").filter(|word| !word.is_empty()).map(one).collect()
}

#[test]
fn a_storm_is_many_devices_within_the_span() {
    for (alarms, devices, expected) in [
        ("", 1, None),
        ("0 a", 1, Some("0 a")),
        ("0 a, 5 b, 9 c", 3, Some("0 a, 5 b, 9 c")),
        ("0 a, 5 b, 11 c", 3, None),
        ("0 a, 5 b, 11 c, 14 d", 3, Some("5 b, 11 c, 14 d")),
        // More than enough: all of them count towards the share of a large fleet.
        ("0 a, 5 b, 9 c, 10 d, 30 e", 3, Some("0 a, 5 b, 9 c, 10 d")),
        // One device that raises again and again is one device.
        ("0 a, 1 a, 2 a, 3 b", 3, None),
        ("0 a, 1 b, 2 a, 12 c", 3, None),
        ("12 c, 2 a, 3 b", 3, Some("2 a, 3 b, 12 c")),
    ] {
        assert_eq!(rules::storm(raised(alarms), &settings(devices)), expected.map(raised), "{alarms:?}");
    }
}

#[test]
fn the_share_bounds_the_fleet() {
    for (devices, share, fleet) in [(20, 0.01, 2000), (3, 0.5, 6), (3, 0.0, i64::MAX), (3, 1.0, 3)] {
        assert_eq!(rules::fleet(devices, &Settings { share, ..settings(3) }), fleet);
    }
}

#[test]
fn a_problem_that_is_over_stays_over() {
    for status in ProblemStatus::ALL {
        assert_eq!(status.is_open(), !rules::next(*status).is_empty(), "{status}");
        assert!(!rules::next(*status).contains(status));
    }
}

proptest! {
    #[test]
    fn the_order_of_alarms_makes_no_difference(
        mut alarms in prop::collection::vec((0u64..60, 0u8..9), 0..40), devices in 1u32..8, seed in any::<u64>(),
    ) {
        let read = |alarms: &[(u64, u8)]| {
            raised(&alarms.iter().map(|(minute, device)| format!("{minute} p-{device}")).collect::<Vec<_>>().join(", "))
        };
        let one = rules::storm(read(&alarms), &settings(devices));
        if !alarms.is_empty() {
            let middle = seed as usize % alarms.len();
            alarms.rotate_left(middle);
            alarms.reverse();
        }
        prop_assert_eq!(one.clone(), rules::storm(read(&alarms), &settings(devices)));
        if let Some(storm) = one {
            prop_assert!(rules::devices(&storm).len() >= devices as usize);
            prop_assert!(storm[storm.len() - 1].at.since(storm[0].at) <= Duration::from_secs(600));
        }
    }
}
