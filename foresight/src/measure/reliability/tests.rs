use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Probabilities, and events drawn with exactly those.
fn honest(cases: usize, seed: u64) -> (Vec<f64>, Vec<bool>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let said: Vec<f64> = (0..cases).map(|_| rng.random::<f64>().powi(3)).collect();
    let events = said.iter().map(|said| rng.random::<f64>() < *said).collect();
    (said, events)
}

#[test]
fn honest_probabilities_have_a_small_error_and_doubled_ones_a_large() {
    let (said, events) = honest(20_000, 1);
    assert!(calibration_error(&said, &events, 10).unwrap() < 0.01);
    let doubled: Vec<f64> = said.iter().map(|said| (2.0 * said).min(1.0)).collect();
    assert!(calibration_error(&doubled, &events, 10).unwrap() > 0.1);
    assert!(brier(&said, &events) < brier(&doubled, &events));
}

#[test]
fn right_probabilities_are_off_by_what_chance_gives() {
    // Each case stands 14 times, as the days of a horizon do.
    let (mut errors, mut by_chance) = (0.0, 0.0);
    for seed in 0..40 {
        let (said, events) = honest(200, seed);
        let said: Vec<f64> = said.iter().flat_map(|said| [*said; 14]).collect();
        let events: Vec<bool> = events.iter().flat_map(|event| [*event; 14]).collect();
        errors += calibration_error(&said, &events, 10).unwrap() / 40.0;
        by_chance += chance_error(&said, 10, 14.0).unwrap() / 40.0;
    }
    assert!((errors / by_chance - 1.0).abs() < 0.15, "{errors} against {by_chance}");
    assert!(chance_error(&[0.3; 100_000], 10, 1.0).unwrap() < 0.005, "many cases leave little to chance");
    assert_eq!(chance_error(&[], 10, 1.0), None);
}

#[test]
fn known_values() {
    let (said, events) = ([0.0, 0.5, 0.5, 1.0], [false, false, true, true]);
    assert_eq!(brier(&said, &events), Some(0.125));
    assert_eq!(calibration_error(&said, &events, 1), Some(0.0));
    assert_eq!(calibration_error(&said, &events, 2), Some(0.25));
    assert_eq!(brier(&[], &[]), None);
    assert_eq!(calibration_error(&[], &[], 10), None);
}

proptest! {
    #[test]
    fn bins_hold_every_case_once(cases in 0usize..200, bins in 1usize..20, seed: u64) {
        let (said, events) = honest(cases, seed);
        let table = reliability(&said, &events, bins);
        prop_assert_eq!(table.iter().map(|bin| bin.cases).sum::<usize>(), cases);
        let least = table.iter().map(|bin| bin.cases).min().unwrap_or(0);
        prop_assert!(table.iter().all(|bin| bin.cases - least <= 1));
        prop_assert!(table.windows(2).all(|pair| pair[0].said <= pair[1].said));
    }
}
