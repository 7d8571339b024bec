use proptest::prelude::*;

use super::*;

fn at(minute: u64) -> Instant {
    Instant::from_micros(0).plus(Duration::from_secs(60 * minute))
}

fn cycles(powers: &[f64], merge_minutes: u64) -> Vec<(u64, f64)> {
    let mut detector = Detector::new(Settings { on_w: 10.0, merge: Duration::from_secs(60 * merge_minutes) });
    let mut found: Vec<Cycle> =
        powers.iter().enumerate().filter_map(|(minute, power)| detector.push(at(minute as u64), *power)).collect();
    found.extend(detector.finish());
    found.iter().map(|cycle| (cycle.duration().as_secs() / 60, cycle.peak_w)).collect()
}

#[test]
fn a_pause_parts_a_cycle_only_if_it_is_long() {
    let powers = [0.0, 20.0, 30.0, 0.0, 40.0, 0.0, 0.0, 0.0, 15.0, 0.0];
    assert_eq!(cycles(&powers, 0), [(1, 30.0), (0, 40.0), (0, 15.0)]);
    assert_eq!(cycles(&powers, 2), [(3, 40.0), (0, 15.0)]);
    assert_eq!(cycles(&powers, 9), [(7, 40.0)]);
}

proptest! {
    #[test]
    fn each_working_reading_is_in_exactly_one_cycle(powers in proptest::collection::vec(0.0..20.0f64, 0..200), merge in 0u64..5) {
        let mut detector = Detector::new(Settings { on_w: 10.0, merge: Duration::from_secs(60 * merge) });
        let mut found = Vec::new();
        for (minute, power) in powers.iter().enumerate() {
            found.extend(detector.push(at(minute as u64), *power));
            prop_assert_eq!(detector.working(), *power >= 10.0);
        }
        found.extend(detector.finish());
        let working = powers.iter().filter(|power| **power >= 10.0).count() as u32;
        prop_assert_eq!(found.iter().map(|cycle| cycle.readings).sum::<u32>(), working);
        prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
    }
}
