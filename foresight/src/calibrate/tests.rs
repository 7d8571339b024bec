use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::measure::calibration_error;

/// Margins between -4 and 2 and events whose true log-odds are `form` of them.
fn cases(count: usize, seed: u64, form: impl Fn(f64) -> f64) -> (Vec<f64>, Vec<bool>, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let margins: Vec<f64> = (0..count).map(|_| rng.random_range(-4.0..2.0)).collect();
    let events = margins.iter().map(|margin| rng.random::<f64>() < logistic(form(*margin))).collect();
    (margins, events, vec![1.0; count])
}

#[test]
fn more_events_allow_a_freer_form() {
    let kind = |count| {
        let (margins, events, weights) = cases(count, 1, |margin| margin);
        match Calibration::fit(&margins, &events, &weights) {
            Calibration::Shift(_) => "shift",
            Calibration::Platt(_) => "platt",
            Calibration::Isotonic(_) => "isotonic",
        }
    };
    assert_eq!([0, 20, 400, 10_000].map(kind), ["shift", "shift", "platt", "isotonic"]);
}

#[test]
fn slope_and_intercept_are_found() {
    let (margins, events, weights) = cases(40_000, 2, |margin| 0.5 * margin - 1.0);
    let platt = Platt::fit(&margins, &events, &weights);
    assert!((platt.slope - 0.5).abs() < 0.03 && (platt.intercept + 1.0).abs() < 0.04, "{platt:?}");
}

#[test]
fn weights_count_like_copies() {
    let (margins, events, _) = cases(300, 3, |margin| margin);
    let weights: Vec<f64> = (0..300).map(|case| f64::from(case % 3)).collect();
    let copies = |case: &usize| vec![*case; case % 3];
    let order: Vec<usize> = (0..300).flat_map(|case| copies(&case)).collect();
    let copied: Vec<f64> = order.iter().map(|case| margins[*case]).collect();
    let copied_events: Vec<bool> = order.iter().map(|case| events[*case]).collect();
    let ones = vec![1.0; order.len()];
    let (one, other) = (Platt::fit(&margins, &events, &weights), Platt::fit(&copied, &copied_events, &ones));
    assert!((one.slope - other.slope).abs() < 1e-6 && (one.intercept - other.intercept).abs() < 1e-6);
    let (one, other) = (Isotonic::fit(&margins, &events, &weights), Isotonic::fit(&copied, &copied_events, &ones));
    assert!(margins.iter().all(|margin| (one.share(*margin) - other.share(*margin)).abs() < 1e-9));
}

#[test]
fn a_model_that_ranks_the_wrong_way_round_tells_everybody_the_mean() {
    let (margins, events, weights) = cases(2_000, 4, |margin| -margin - 2.0);
    let platt = Platt::fit(&margins, &events, &weights);
    let share = events.iter().filter(|event| **event).count() as f64 / 2_000.0;
    assert_eq!(platt.slope, 0.0);
    assert!((platt.probability(1.0) - share).abs() < 1e-3);
}

#[test]
fn a_form_that_is_not_logistic_is_met_by_steps() {
    let bent = |margin: f64| if margin < -1.0 { -3.0 } else { 1.0 };
    let (margins, events, weights) = cases(20_000, 5, bent);
    let calibration = Calibration::fit(&margins, &events, &weights);
    let (fresh, came, _) = cases(20_000, 6, bent);
    let said: Vec<f64> = fresh.iter().map(|margin| calibration.probability(*margin)).collect();
    assert!(calibration_error(&said, &came, 10).unwrap() < 0.015);
}

#[test]
fn without_a_case_the_margin_is_believed_and_without_an_event_nobody_is_safe() {
    assert_eq!(Calibration::fit(&[], &[], &[]).probability(0.0), 0.5);
    let none = Calibration::fit(&[0.0; 98], &[false; 98], &[1.0; 98]);
    assert!((none.probability(0.0) - 0.01).abs() < 1e-6, "{none:?}");
    assert!(none.probability(-1e9) > 0.0 && none.probability(1e9) < 1.0);
}

proptest! {
    #[test]
    fn steps_never_fall_keep_the_mean_and_survive_writing(
        cases in proptest::collection::vec((-20i32..20, any::<bool>(), 0.5..3.0f64), 1..120),
    ) {
        let margins: Vec<f64> = cases.iter().map(|case| f64::from(case.0) / 4.0).collect();
        let events: Vec<bool> = cases.iter().map(|case| case.1).collect();
        let weights: Vec<f64> = cases.iter().map(|case| case.2).collect();
        let isotonic = Isotonic::fit(&margins, &events, &weights);
        let grid: Vec<f64> = (-60..60).map(|step| isotonic.probability(f64::from(step) / 10.0)).collect();
        prop_assert!(grid.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
        prop_assert!(grid.iter().all(|said| *said > 0.0 && *said < 1.0));
        let told: f64 = margins.iter().zip(&weights).map(|(margin, weight)| weight * isotonic.share(*margin)).sum();
        let came: f64 = events.iter().zip(&weights).map(|(event, weight)| f64::from(*event) * weight).sum();
        prop_assert!((told - came).abs() < 1e-9, "{} {}", told, came);
        let read: Isotonic = serde_json::from_str(&serde_json::to_string(&isotonic).unwrap()).unwrap();
        prop_assert_eq!(read, isotonic);
    }

    #[test]
    fn any_calibration_never_falls(seed: u64, count in 0usize..3000) {
        let (margins, events, weights) = self::cases(count, seed, |margin| margin);
        let calibration = Calibration::fit(&margins, &events, &weights);
        let grid: Vec<f64> = (-60..60).map(|step| calibration.probability(f64::from(step) / 10.0)).collect();
        prop_assert!(grid.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
