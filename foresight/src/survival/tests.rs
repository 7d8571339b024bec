use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn failed(age: f64) -> Lifetime {
    Lifetime::new(Seen::Failed(age), 1.0).unwrap()
}

fn survived(age: f64) -> Lifetime {
    Lifetime::new(Seen::Survived(age), 1.0).unwrap()
}

/// Ages of a law with known parameters; each unit is watched up to its own last day.
fn sample(law: Law, location: f64, scale: f64, units: usize, seed: u64) -> Vec<Lifetime> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let life = |p: f64| (location + scale * law.standard_quantile(p)).exp();
    (0..units)
        .map(|_| {
            let (age, last) = (life(chance.random_range(1e-9..1.0)), life(chance.random_range(0.2..1.0)));
            if age <= last { failed(age) } else { survived(last) }
        })
        .collect()
}

fn close(one: f64, other: f64, part: f64) -> bool {
    (one - other).abs() <= part * other.abs().max(1e-300)
}

#[test]
fn normal_tails_are_those_of_the_tables() {
    // scipy.stats.norm.logsf and norm.ppf
    for (z, ln) in [
        (0.0, -std::f64::consts::LN_2),
        (0.5, -1.175_911_761_593_618_5),
        (3.0, -6.607_726_221_510_349),
        (10.0, -53.231_285_150_512_48),
        (40.0, -804.608_442_013_754),
        (-2.0, -0.023_012_909_328_963_486),
    ] {
        assert!(close(normal::ln_above(z), ln, 1e-12), "{z}: {} for {ln}", normal::ln_above(z));
    }
    assert!(close(normal::quantile(0.975), 1.959_963_984_540_054, 1e-12));
    assert!(close(normal::quantile(1e-10), -6.361_340_902_404_056, 1e-11));
    assert!(close(normal::two_sided(1.959_963_984_540_054), 0.05, 1e-12));
}

#[test]
fn slopes_are_those_of_the_value() {
    let lifetimes = [
        failed(1.3),
        survived(2.1),
        Lifetime::new(Seen::FailedBefore(0.7), 2.0).unwrap(),
        Lifetime::new(Seen::FailedBetween(0.9, 3.0), 3.0).unwrap(),
        failed(1.1).within(0.4, 9.0).unwrap(),
        survived(1.0).within(0.5, f64::INFINITY).unwrap(),
    ];
    let step = 1e-5;
    for law in [Law::Weibull, Law::LogNormal] {
        let at = |mu: f64, tau: f64| likelihood::slope(law, &lifetimes, mu, tau);
        let (mu, tau) = (0.3, -0.2);
        let here = at(mu, tau);
        let by_mu = [at(mu + step, tau), at(mu - step, tau)];
        let by_tau = [at(mu, tau + step), at(mu, tau - step)];
        let rate = |of: fn(&likelihood::Slope) -> f64, ends: &[likelihood::Slope; 2]| {
            (of(&ends[0]) - of(&ends[1])) / (2.0 * step)
        };
        for (is, should) in [
            (here.gradient[0], rate(|s| s.value, &by_mu)),
            (here.gradient[1], rate(|s| s.value, &by_tau)),
            (here.hessian[0], rate(|s| s.gradient[0], &by_mu)),
            (here.hessian[1], rate(|s| s.gradient[0], &by_tau)),
            (here.hessian[1], rate(|s| s.gradient[1], &by_mu)),
            (here.hessian[2], rate(|s| s.gradient[1], &by_tau)),
        ] {
            assert!((is - should).abs() < 1e-6, "{law:?}: {is} for {should}");
        }
    }
}

#[test]
fn what_cannot_be_told_is_an_error_that_says_why() {
    let check = |lifetimes: &[Lifetime], says: &str| {
        let error = fit(Law::Weibull, lifetimes).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    check(&[survived(10.0), survived(20.0)], "no failures among 2 units");
    check(&[failed(10.0), failed(10.0)], "no finite estimate");
    check(&[failed(10.0), survived(4.0)], "no finite estimate");
    check(&[Lifetime::new(Seen::FailedBefore(3.0), 1.0).unwrap()], "none tells what it outlived");
    assert!(Lifetime::new(Seen::Failed(-1.0), 1.0).unwrap_err().to_string().contains("age -1"));
    assert!(Lifetime::new(Seen::Failed(1.0), 0.0).is_err());
    assert!(failed(1.0).within(2.0, 3.0).is_err());
    let found = Lifetime::new(Seen::FailedBefore(3.0), 1.0).unwrap();
    assert!(found.within(2.0, f64::INFINITY).is_ok() && found.within(3.0, f64::INFINITY).is_err());
}

#[test]
fn one_failure_has_a_shape_only_where_a_unit_outlived_it() {
    assert!(fit(Law::Weibull, &[failed(10.0), survived(12.0), survived(30.0)]).is_ok());
    let fit = weibayes(&[failed(10.0), survived(4.0)], 2.0).unwrap();
    assert!(close(fit.eta(), 116.0_f64.sqrt(), 1e-12), "eta^beta = sum t^beta / failures");
    let none = weibayes(&[survived(10.0), survived(10.0)], 1.0).unwrap();
    assert!(close(none.eta(), 20.0, 1e-12) && none.eta_interval().upper.is_none());
}

#[test]
fn a_unit_that_ages_is_nearer_to_its_end() {
    let fit = fit(Law::Weibull, &[failed(8.0), failed(10.0), failed(12.0), survived(11.0)]).unwrap();
    assert!(fit.fails_within(9.0, 1.0) > fit.fails_within(3.0, 1.0));
    assert!(close(fit.fails_within(0.0, fit.quantile(0.1)), 0.1, 1e-9));
    let left = fit.remaining_quantile(9.0, 0.5);
    assert!(close(fit.fails_within(9.0, left), 0.5, 1e-9));
    assert_eq!(fit.fails_within(5.0, 0.0), 0.0);
}

#[test]
fn a_curve_and_its_limits_are_those_of_the_books() {
    // Freireich's 6-MP arm (Kalbfleisch and Prentice, table 1.1): S(10) = 0.753, S(23) = 0.448.
    let gone = [6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0];
    let still = [6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0];
    let lifetimes: Vec<Lifetime> = gone.map(failed).into_iter().chain(still.map(survived)).collect();
    let curve = KaplanMeier::new(&lifetimes).unwrap();
    assert!((curve.survival(10.0) - 0.753).abs() < 5e-4 && (curve.survival(23.0) - 0.448).abs() < 5e-4);
    let last = curve.steps.last().unwrap();
    assert!((last.variance.sqrt() - 0.1346).abs() < 5e-4, "Greenwood {}", last.variance.sqrt());
    assert!(last.lower < last.survival && last.survival < last.upper && last.lower > 0.0);
    assert_eq!((curve.quantile(0.25), curve.quantile(0.5)), (Some(13.0), Some(23.0)));
    let found = Lifetime::new(Seen::FailedBefore(3.0), 1.0).unwrap();
    assert!(KaplanMeier::new(&[found]).is_err());
}

#[test]
fn a_unit_is_at_risk_from_its_entry_on() {
    let late = failed(5.0).within(3.0, f64::INFINITY).unwrap();
    let curve = KaplanMeier::new(&[failed(2.0), late, survived(9.0)]).unwrap();
    assert_eq!(curve.steps.iter().map(|step| step.at_risk).collect::<Vec<_>>(), [2.0, 2.0]);
}

#[test]
fn late_entry_does_not_move_a_law_that_forgets() {
    // Exponential data: cutting off what failed before 50 changes nothing once the entry is told.
    let lifetimes = sample(Law::Weibull, 100.0_f64.ln(), 1.0, 4000, 5);
    let seen: Vec<Lifetime> = (lifetimes.iter())
        .filter(|lifetime| matches!(lifetime.seen(), Seen::Failed(at) | Seen::Survived(at) if at > 50.0))
        .map(|lifetime| lifetime.within(50.0, f64::INFINITY).unwrap())
        .collect();
    let fit = fit(Law::Weibull, &seen).unwrap();
    let interval = fit.beta_interval();
    assert!(interval.lower.unwrap() < 1.0 && 1.0 < interval.upper.unwrap(), "{fit:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parameters_come_back_from_samples(seed in 0_u64..1_000_000, beta in 0.5_f64..5.0, normal in any::<bool>()) {
        let law = if normal { Law::LogNormal } else { Law::Weibull };
        let (location, scale) = (7.0, 1.0 / beta);
        let fit = fit(law, &sample(law, location, scale, 400, seed)).unwrap();
        // Five standard errors: one case in a million by chance.
        prop_assert!((fit.location - location).abs() < 5.0 * fit.standard_error[0], "{fit:?}");
        prop_assert!((fit.scale.ln() - scale.ln()).abs() < 5.0 * fit.standard_error[1], "{fit:?}");
        // With 400 units the profile is nearly a parabola: both kinds of interval agree within a fifth.
        let Interval { lower: Some(lower), upper: Some(upper) } = fit.location_interval else {
            return Err(TestCaseError::fail("open interval"));
        };
        prop_assert!(close(upper - lower, 2.0 * 1.96 * fit.standard_error[0], 0.2), "{fit:?}");
    }

    #[test]
    fn scale_of_the_ages_is_only_a_shift(seed in 0_u64..1_000_000, factor in 1e-6_f64..1e6) {
        let lifetimes = sample(Law::Weibull, 0.0, 0.5, 60, seed);
        let scaled: Vec<Lifetime> = (lifetimes.iter())
            .map(|lifetime| match lifetime.seen() {
                Seen::Failed(at) => failed(at * factor),
                Seen::Survived(at) => survived(at * factor),
                other => Lifetime::new(other, 1.0).unwrap(),
            })
            .collect();
        let (one, other) = (fit(Law::Weibull, &lifetimes).unwrap(), fit(Law::Weibull, &scaled).unwrap());
        prop_assert!(close(one.beta(), other.beta(), 1e-6));
        prop_assert!(close(one.eta() * factor, other.eta(), 1e-6));
    }

    #[test]
    fn a_count_is_that_many_rows(ages in prop::collection::vec((1.0_f64..100.0, any::<bool>(), 1_usize..4), 4..20)) {
        let row = |(age, fails, count): &(f64, bool, usize)| {
            let seen = if *fails { Seen::Failed(*age) } else { Seen::Survived(*age) };
            Lifetime::new(seen, *count as f64).unwrap()
        };
        let weighted: Vec<Lifetime> = ages.iter().map(row).collect();
        let repeated: Vec<Lifetime> =
            ages.iter().flat_map(|(age, fails, count)| vec![row(&(*age, *fails, 1)); *count]).collect();
        match (fit(Law::Weibull, &weighted), fit(Law::Weibull, &repeated)) {
            (Ok(one), Ok(other)) => {
                prop_assert!(close(one.eta(), other.eta(), 1e-5) && close(one.beta(), other.beta(), 1e-5));
            }
            (one, other) => prop_assert_eq!(one.is_err(), other.is_err()),
        }
        let (one, other) = (KaplanMeier::new(&weighted).unwrap(), KaplanMeier::new(&repeated).unwrap());
        prop_assert_eq!(one.steps.len(), other.steps.len());
        for (one, other) in one.steps.iter().zip(&other.steps) {
            prop_assert!((one.survival - other.survival).abs() < 1e-12);
        }
    }

    #[test]
    fn without_censoring_the_curve_is_the_empirical_one(ages in prop::collection::vec(1_u8..40, 1..60)) {
        let lifetimes: Vec<Lifetime> = ages.iter().map(|age| failed(f64::from(*age))).collect();
        let curve = KaplanMeier::new(&lifetimes).unwrap();
        for age in 0..41_u8 {
            let outlived = ages.iter().filter(|end| **end > age).count() as f64 / ages.len() as f64;
            prop_assert!((curve.survival(f64::from(age)) - outlived).abs() < 1e-12);
        }
    }

    #[test]
    fn incidences_and_survivors_add_up(lives in prop::collection::vec((1_u8..30, prop::option::of(0_u8..3), 1_u8..4), 1..60)) {
        let ended: Vec<Ended<u8>> = (lives.iter())
            .map(|(age, cause, count)| Ended { age: f64::from(*age), cause: *cause, count: f64::from(*count) })
            .collect();
        let incidence = Incidence::new(&ended);
        let all: Vec<Lifetime> = (ended.iter())
            .map(|life| {
                let seen = if life.cause.is_some() { Seen::Failed(life.age) } else { Seen::Survived(life.age) };
                Lifetime::new(seen, life.count).unwrap()
            })
            .collect();
        let curve = KaplanMeier::new(&all).unwrap();
        for age in 0..31_u8 {
            let age = f64::from(age);
            let failed: f64 = (0..3).map(|cause| incidence.at(&cause, age)).sum();
            prop_assert!((failed + curve.survival(age) - 1.0).abs() < 1e-9, "at {age}");
        }
    }

    #[test]
    fn causes_share_the_likelihood(seed in 0_u64..1_000_000) {
        // Wear with shape 4 against chance with shape 1: each comes back, the other one counts as survival.
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |eta: f64, beta: f64| eta * (-(1.0 - chance.random_range(0.0..1.0_f64)).ln()).powf(1.0 / beta);
        let lives: Vec<Ended<&str>> = (0..300)
            .map(|_| {
                let (wear, shock) = (draw(100.0, 4.0), draw(150.0, 1.0));
                if wear < shock {
                    Ended { age: wear, cause: Some("wear"), count: 1.0 }
                } else {
                    Ended { age: shock, cause: Some("shock"), count: 1.0 }
                }
            })
            .collect();
        let fits = cause_specific(Law::Weibull, &lives).unwrap();
        for (cause, beta) in [("wear", 4.0_f64), ("shock", 1.0)] {
            let fit = fits[cause].as_ref().unwrap();
            prop_assert!((fit.beta().ln() - beta.ln()).abs() < 5.0 * fit.standard_error[1], "{cause}: {fit:?}");
        }
    }
}
