use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn cases(seed: u64) -> (Matrix, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let first: Vec<f64> = (0..20_000).map(|_| rng.random_range(-1.0..1.0)).collect();
    let second: Vec<f64> = (0..20_000).map(|row| if row % 5 == 0 { f64::NAN } else { rng.random() }).collect();
    let target = first.iter().map(|x| f64::from(rng.random::<f64>() < logistic(2.0 * x - 1.0))).collect();
    let never = vec![0.1; 20_000];
    (Matrix::from_columns(vec![("first".into(), first), ("second".into(), second), ("never".into(), never)]), target)
}

#[test]
fn weights_are_found_and_what_says_nothing_gets_none() {
    let (matrix, target) = cases(1);
    let logit = Logit::fit(&matrix, &target, 1.0).unwrap();
    let raw = logit.terms[0].weight / logit.terms[0].deviation;
    assert!((raw - 2.0).abs() < 0.15, "{logit:?}");
    assert!(logit.terms[1].weight.abs() < 0.05 && logit.terms[2].weight == 0.0, "{logit:?}");
    let told: f64 = logit.margin(&matrix).unwrap().into_iter().map(logistic).sum();
    assert!((told / target.iter().sum::<f64>() - 1.0).abs() < 1e-3, "a free intercept keeps the mean");
}

#[test]
fn a_harder_ridge_makes_smaller_weights_and_missing_adds_nothing() {
    let (matrix, target) = cases(2);
    let size = |ridge| Logit::fit(&matrix, &target, ridge).unwrap().terms[0].weight;
    assert!(size(1.0) > size(1e3) && size(1e3) > size(1e5) && size(1e5) > 0.0);
    let logit = Logit::fit(&matrix, &target, 1.0).unwrap();
    assert_eq!(logit.contributions(&matrix).unwrap()[0][1], 0.0);
    assert!(logit.margin(&Matrix::default()).is_err());
}
