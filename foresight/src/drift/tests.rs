use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn stability(then: &[f64], now: &[f64]) -> Stability {
    let mut stability = Stability::new(Reference::new(then));
    now.iter().for_each(|value| stability.add(*value));
    stability
}

#[test]
fn the_index_of_a_known_shift_is_that_of_the_formula() {
    // 0 and 1 in equal parts become one fifth and four fifths: (0.3)(ln 1.6) + (-0.3)(ln 0.4) = 0.4159.
    let then: Vec<f64> = (0..100_000).map(|place| f64::from(place % 2)).collect();
    let now: Vec<f64> = (0..100_000).map(|place| f64::from(u8::from(place % 5 > 0))).collect();
    let shifted = stability(&then, &now);
    assert!((shifted.index().unwrap() - 0.4159).abs() < 1e-3, "{:?}", shifted.index());
    assert_eq!(shifted.verdict(), Verdict::Drifted);
}

#[test]
fn missing_values_are_a_bin_of_their_own() {
    let then: Vec<f64> = (0..1000).map(f64::from).collect();
    let now: Vec<f64> = then.iter().map(|value| if value % 3.0 == 0.0 { f64::NAN } else { *value }).collect();
    assert_eq!(stability(&then, &now).verdict(), Verdict::Drifted);
}

#[test]
fn few_values_give_no_verdict_and_a_new_period_begins_empty() {
    let then: Vec<f64> = (0..1000).map(f64::from).collect();
    let mut few = stability(&then, &[5000.0; 50]);
    assert_eq!(few.verdict(), Verdict::Unknown);
    few.restart();
    assert_eq!((few.values(), few.index()), (0, None));
    let empty = stability(&[], &[1.0]);
    assert!(empty.index().unwrap().is_finite());
}

fn calibration(seed: u64, truth: impl Fn(f64) -> f64) -> Calibrated {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut calibration = Calibration::default();
    for _ in 0..4000 {
        let said: f64 = chance.random_range(0.02..0.6);
        calibration.add(said, chance.random_bool(truth(said)));
    }
    calibration.judge()
}

#[test]
fn more_failures_than_said_are_seen_and_so_is_a_wrong_spread() {
    assert_eq!(calibration(1, |p| p).verdict, Verdict::Stable);
    let more = calibration(1, |p| (p * 1.3).min(1.0));
    assert_eq!(more.verdict, Verdict::Drifted);
    assert!(more.z > 4.0);
    // As many as said in all, but all alike: only the spread tells.
    let alike = calibration(1, |_| 0.31);
    assert!(alike.z.abs() < 3.0 && alike.spiegelhalter_z.abs() > 4.0, "{alike:?}");
}

#[test]
fn what_is_no_probability_is_counted() {
    let mut calibration = Calibration::default();
    calibration.add(f64::NAN, true);
    calibration.add(1.2, true);
    let judged = calibration.judge();
    assert_eq!((judged.refused, judged.cases, judged.verdict), (2, 0, Verdict::Unknown));
}

proptest! {
    #[test]
    fn the_same_values_have_no_index(values in prop::collection::vec(-1e3_f64..1e3, 1..300)) {
        prop_assert!(stability(&values, &values).index().unwrap().abs() < 1e-12);
    }

    #[test]
    fn the_index_is_never_below_zero(
        then in prop::collection::vec(0.0_f64..10.0, 0..100), now in prop::collection::vec(0.0_f64..10.0, 1..100),
    ) {
        prop_assert!(stability(&then, &now).index().unwrap() >= 0.0);
    }
}
