use proptest::prelude::*;
use rand_distr::{Distribution, Normal};

use super::*;

/// A bearing: vibration by day, with noise.
fn vibration(days: u32, noise: f64, seed: u64, truth: impl Fn(f64) -> f64) -> (Vec<f64>, Vec<f64>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let noise = Normal::new(0.0, noise).unwrap();
    (0..days).map(|day| (f64::from(day), truth(f64::from(day)) + noise.sample(&mut chance))).unzip()
}

#[test]
fn a_straight_a_growing_and_a_slowing_wear_are_told_apart() {
    type Case = (Shape, fn(f64) -> f64, f64);
    let cases: [Case; 3] = [
        (Shape::Linear, |day| 2.0 + 0.1 * day, 80.0),
        (Shape::Exponential, |day| 0.5 * (0.06 * day).exp(), (10.0_f64 / 0.5).ln() / 0.06),
        (Shape::Power, |day| 1.6 * (day + 1.0).powf(0.4), (10.0_f64 / 1.6).powf(2.5) - 1.0),
    ];
    for (shape, truth, reached) in cases {
        let (times, values) = vibration(40, 0.01, 3, truth);
        let trend = Trend::fit(&times, &values, 1).unwrap();
        assert_eq!(trend.shape(), shape);
        let life = trend.reaches(10.0, Side::Rising);
        let true_life = reached - 39.0;
        assert!((life.p50 - true_life).abs() < 0.1 * true_life, "{shape:?}: {life:?} for {true_life}");
        assert!(life.p10 <= life.p50 && life.p50 <= life.p90);
    }
}

#[test]
fn a_fifth_of_wrong_readings_does_not_move_the_threshold_far() {
    let (times, mut values) = vibration(40, 0.05, 4, |day| 2.0 + 0.1 * day);
    values.iter_mut().step_by(5).for_each(|value| *value = 30.0);
    let life = Trend::fit_shape(Shape::Linear, &times, &values, 1).unwrap().unwrap().reaches(10.0, Side::Rising);
    assert!((life.p50 - 41.0).abs() < 4.0, "{life:?}");
}

#[test]
fn the_interval_covers_about_as_often_as_it_says() {
    let covered = (0..200).filter(|seed| {
        let (times, values) = vibration(30, 0.2, 1000 + seed, |day| 9.0 - 0.1 * day);
        let trend = Trend::fit_shape(Shape::Linear, &times, &values, *seed).unwrap().unwrap();
        let life = trend.reaches(4.0, Side::Falling);
        (life.p10..=life.p90).contains(&21.0)
    });
    // 80 % of 200 is 160, with a standard error of 6.
    let covered = covered.count();
    assert!((145..=178).contains(&covered), "{covered} of 200");
}

#[test]
fn what_does_not_wear_never_arrives_and_what_is_there_has_arrived() {
    let (times, values) = vibration(40, 0.01, 5, |day| 2.0 + 0.1 * day);
    let trend = Trend::fit(&times, &values, 1).unwrap();
    assert_eq!(trend.reaches(1.0, Side::Falling).p50, f64::INFINITY);
    assert_eq!(trend.probability_within(1.0, Side::Falling, 1e9), 0.0);
    assert_eq!(trend.reaches(3.0, Side::Rising), Life { p10: 0.0, p50: 0.0, p90: 0.0 });
    assert_eq!(trend.probability_within(10.0, Side::Rising, 60.0), 1.0);
    assert!((trend.rate() - 0.1).abs() < 0.01);
}

#[test]
fn points_that_come_one_by_one_give_the_same_trend_and_stay_bounded() {
    let (times, values) = vibration(200, 0.1, 6, |day| 2.0 + 0.1 * day);
    let mut points = Points::default();
    for (time, value) in times.iter().zip(&values) {
        assert!(points.push(*time, *value));
    }
    assert!(!points.push(5.0, 1.0) && !points.push(500.0, f64::NAN));
    assert_eq!(points.0.len(), MAX_POINTS);
    assert_eq!(points.trend(9).unwrap(), Trend::fit(&times, &values, 9).unwrap());
}

#[test]
fn too_little_or_disorder_is_an_error() {
    let error = |times: &[f64], values: &[f64]| Trend::fit(times, values, 1).unwrap_err().to_string();
    assert_eq!(error(&[1.0, 2.0], &[1.0, 2.0]), "2 points: a trend needs at least 4 at different times");
    assert_eq!(error(&[1.0; 5], &[1.0; 5]), "5 points: a trend needs at least 4 at different times");
    assert_eq!(error(&[1.0, 2.0, 1.5, 3.0], &[1.0; 4]), "point 2 is older than the one before it");
}

proptest! {
    #[test]
    fn a_farther_threshold_is_reached_later(values in proptest::collection::vec(0.1..10.0_f64, 4..40), seed in 0..9_u64) {
        let times: Vec<f64> = (0..values.len()).map(|time| time as f64).collect();
        let trend = Trend::fit(&times, &values, seed).unwrap();
        let (near, far) = (trend.reaches(12.0, Side::Rising), trend.reaches(15.0, Side::Rising));
        prop_assert!(near.p10 <= far.p10 && near.p50 <= far.p50 && near.p90 <= far.p90);
        let within = |horizon| trend.probability_within(12.0, Side::Rising, horizon);
        prop_assert!(within(10.0) <= within(100.0) && (0.0..=1.0).contains(&within(10.0)));
    }
}
