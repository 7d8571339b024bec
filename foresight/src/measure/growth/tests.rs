use proptest::prelude::*;

use super::*;

/// The tail added up term by term.
fn summed(events: u64, before: u64, share: f64) -> f64 {
    let all = events + before;
    let mut term = (1.0 - share).powi(all as i32);
    let mut below = 0.0;
    for count in 0..events {
        below += term;
        term *= (all - count) as f64 / (count + 1) as f64 * share / (1.0 - share);
    }
    1.0 - below
}

#[test]
fn the_tail_is_that_of_the_binomial() {
    // Counted by hand: 3 of 3 in a quarter of the time; one of one.
    assert!((poisson_test(3, 1.0, 0, 3.0).unwrap() - 1.0 / 64.0).abs() < 1e-14);
    assert!((poisson_test(1, 1.0, 0, 8.0).unwrap() - 1.0 / 9.0).abs() < 1e-14);
    assert!((poisson_test(1, 1.0, 1, 1.0).unwrap() - 0.75).abs() < 1e-14);
    assert_eq!(poisson_test(0, 1.0, 5, 1.0), Some(1.0));
    assert_eq!(poisson_test(4, 0.0, 5, 1.0), None);
    assert_eq!(poisson_test(4, 1.0, 5, 0.0), None);
    assert_eq!(poisson_test(4, f64::NAN, 5, 1.0), None);
    // Far out it is small and not zero.
    let p = poisson_test(60, 1.0, 20, 8.0).unwrap();
    assert!(p > 0.0 && p < 1e-30, "{p}");
}

proptest! {
    #[test]
    fn it_is_the_sum_of_its_terms(events in 0_u64..60, before in 0_u64..60, exposure in 0.05_f64..5.0) {
        let p = poisson_test(events, exposure, before, 1.0).unwrap();
        let sum = summed(events, before, exposure / (exposure + 1.0));
        prop_assert!((p - sum).abs() < 1e-9, "{} {}", p, sum);
    }

    #[test]
    fn more_events_are_less_probable(events in 0_u64..500, before in 0_u64..500, exposure in 0.05_f64..5.0) {
        let p = |events| poisson_test(events, exposure, before, 1.0).unwrap();
        prop_assert!(p(events + 1) <= p(events) + 1e-12);
    }
}
