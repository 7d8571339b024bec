//! Against SciPy 1.x: `chi2.ppf(a, 2k) / 2`, `chi2.isf(a, 2k + 2) / 2`, `binomtest(k, n).proportion_ci(level, "wilson")`.

use super::*;

fn close(ours: f64, theirs: f64, relative: f64) {
    assert!((ours - theirs).abs() <= relative * theirs.abs().max(1e-300), "{ours} against {theirs}");
}

#[test]
fn limits_of_a_count_are_those_of_chi_square() {
    let published = [
        (0, 0.95, 0.0, 3.6888794541139354),
        (1, 0.95, 0.025317807984289897, 5.571643390938898),
        (2, 0.9, 0.35536151069866195, 6.29579362187199),
        (10, 0.95, 4.7953886961324335, 18.39035604201778),
        (10, 0.999, 2.6990331060328105, 25.25555937926597),
        (137, 0.99, 108.72968546245774, 170.13382912649408),
        (5000, 0.95, 4862.359188694899, 5140.5489485350045),
        (99_999, 0.95, 99380.15576273036, 100620.74164077373),
    ];
    for (events, level, lower, upper) in published {
        let (ours_lower, ours_upper) = garwood(events, level).unwrap();
        close(ours_lower, lower, 1e-9);
        close(ours_upper, upper, 1e-9);
    }
    for (events, level, lower, upper) in [
        (100_000, 0.95, 99381.15266374472, 100621.74473974388),
        (2_000_000, 0.99, 1996359.1055818019, 2003645.6519264246),
    ] {
        let (ours_lower, ours_upper) = garwood(events, level).unwrap();
        close(ours_lower, lower, 1e-6);
        close(ours_upper, upper, 1e-6);
    }
}

#[test]
fn limits_of_a_share_are_wilsons() {
    let published = [
        (0.0, 10.0, 0.95, 0.0, 0.27753279986288926),
        (3.0, 10.0, 0.95, 0.10779126740630102, 0.6032218525388546),
        (10.0, 10.0, 0.9, 0.787058029916593, 1.0),
        (57.0, 1000.0, 0.99, 0.04087238124761851, 0.07896739085679995),
    ];
    for (hits, cases, level, lower, upper) in published {
        let (ours_lower, ours_upper) = wilson(hits, cases, level).unwrap();
        close(ours_lower, lower, 1e-10);
        close(ours_upper, upper, 1e-10);
    }
}

#[test]
fn what_is_no_count_has_no_limits() {
    for level in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!((garwood(1, level), wilson(1.0, 2.0, level)), (None, None));
    }
    for (hits, cases) in [(-1.0, 2.0), (3.0, 2.0), (0.0, 0.0), (f64::NAN, 2.0), (1.0, f64::INFINITY)] {
        assert_eq!(wilson(hits, cases, 0.95), None);
    }
}
