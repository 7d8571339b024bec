use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    boost::logistic,
    measure::{auroc, calibration_error},
};

/// A fleet whose true chance of failing within 4 weeks is known: wear raises a constant weekly hazard; devices are
/// followed for a random time.
struct Fleet {
    features: Matrix,
    followed: Vec<Followed>,
    /// True chance within the horizon of 4.
    truth: Vec<f64>,
    /// Whether it came to that, censored or not.
    came: Vec<bool>,
}

fn fleet(devices: usize, base: f64, censor: bool, seed: u64) -> Fleet {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut wear, mut noise) = (Vec::new(), Vec::new());
    let (mut followed, mut truth, mut came) = (Vec::new(), Vec::new(), Vec::new());
    for group in 0..devices as u64 {
        let worn: f64 = rng.random();
        let rate = logistic(base + 4.0 * worn);
        let fails = -(1.0 - rng.random::<f64>()).ln() / rate;
        let until = if censor { rng.random_range(0.0..8.0) } else { 4.0 };
        wear.push(worn);
        noise.push(if rng.random_bool(0.1) { f64::NAN } else { rng.random() });
        followed.push(Followed { group, time: f64::min(fails, until), failed: fails <= until });
        truth.push(1.0 - (-4.0 * rate).exp());
        came.push(fails <= 4.0);
    }
    Fleet {
        features: Matrix::from_columns(vec![("wear".into(), wear), ("noise".into(), noise)]),
        followed,
        truth,
        came,
    }
}

/// With two indicators each tree may see both.
fn few_columns(periods: usize) -> Settings {
    let mut settings = Settings::new(4.0, periods, 1);
    settings.trees.column_share = 1.0;
    settings
}

fn error(model: &Model, fleet: &Fleet) -> f64 {
    let said = model.probability(&fleet.features).unwrap();
    said.iter().zip(&fleet.truth).map(|(said, truth)| (said - truth).abs()).sum::<f64>() / said.len() as f64
}

#[test]
fn known_chances_are_found_with_one_period_and_with_four_whether_or_not_some_are_lost_from_sight() {
    let fresh = fleet(20_000, -5.0, false, 99);
    for (periods, censor) in [(1, false), (4, false), (4, true)] {
        let seen = fleet(8_000, -5.0, censor, 1);
        let model = Model::fit(&seen.features, &seen.followed, &few_columns(periods)).unwrap();
        let error = error(&model, &fresh);
        let said = model.probability(&fresh.features).unwrap();
        let off = calibration_error(&said, &fresh.came, 10).unwrap();
        println!("{periods} periods, censored {censor}: mean error {error:.4}, calibration error {off:.4}");
        assert!(error < 0.04 && off < 0.025, "{periods} periods, censored {censor}: {error} {off}");
        assert!(auroc(&said, &fresh.came) > auroc(&fresh.truth, &fresh.came).map(|best| best - 0.02));
    }
}

#[test]
fn leaving_out_quiet_rows_changes_no_probability_in_the_mean() {
    let (seen, fresh) = (fleet(30_000, -7.0, false, 2), fleet(20_000, -7.0, false, 98));
    let settings = Settings { quiet_least: 0, quiet_per_failure: 10.0, ..Settings::new(4.0, 4, 1) };
    let few = Model::fit(&seen.features, &seen.followed, &settings).unwrap();
    assert!(few.shift < -1.0, "most quiet rows are left out: {}", few.shift);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (said, truth) = (mean(&few.probability(&fresh.features).unwrap()), mean(&fresh.truth));
    assert!((said / truth - 1.0).abs() < 0.1, "{said} for {truth}");
    assert!(error(&few, &fresh) < 0.01);
}

#[test]
fn the_correction_for_what_was_left_out_is_exact() {
    // Trees that cannot split tell the share of failures among the kept rows; corrected it is that among all rows.
    let seen = fleet(10_000, -6.0, false, 3);
    let dull = Matrix::from_columns(vec![("dull".into(), vec![1.0; 10_000])]);
    let settings =
        Settings { learner: Learner::Trees, quiet_least: 0, quiet_per_failure: 3.0, ..Settings::new(4.0, 1, 5) };
    let model = Model::fit(&dull, &seen.followed, &settings).unwrap();
    let rows = Rows::new(&seen.followed, &settings);
    let share = model.learnt.margin(&dull).unwrap()[0];
    let (failures, quiet) = (rows.failures as f64, rows.quiet() as f64);
    assert!((share - (failures / quiet).ln()).abs() < 0.02, "{share}");
    let (odds, kept) = ((share + model.shift).exp(), rows.kept);
    assert!((odds / (failures / quiet * kept) - 1.0).abs() < 0.02);
    let all = 10_000.0 - failures;
    assert!((quiet / kept / all - 1.0).abs() < 0.15, "{quiet} kept of {all}");
}

#[test]
fn no_device_is_in_two_parts_and_failing_ones_are_dealt_out_evenly() {
    let mut seen = fleet(600, -4.0, true, 4);
    seen.followed.iter_mut().enumerate().for_each(|(row, one)| one.group = row as u64 / 3);
    let rows = Rows::new(&seen.followed, &Settings::new(4.0, 4, 1));
    let mut part_of = std::collections::BTreeMap::new();
    let mut failures = [0usize; 5];
    for row in 0..rows.failed.len() {
        let part = rows.fold(row, 5);
        assert_eq!(*part_of.entry(rows.group(row, &seen.followed)).or_insert(part), part);
        failures[part] += usize::from(rows.failed[row]);
    }
    let (least, most) = (failures.iter().min().unwrap(), failures.iter().max().unwrap());
    assert!(*least > 0 && most - least < 15, "{failures:?}");
}

#[test]
fn a_part_of_the_horizon_counts_for_that_part() {
    let check = |time, failed| {
        let followed = [Followed { group: 1, time, failed }];
        let rows = Rows::new(&followed, &Settings { quiet_least: 10, ..Settings::new(4.0, 4, 1) });
        (rows.quiet(), rows.failures)
    };
    assert_eq!(check(0.5, false), (0, 0));
    assert_eq!(check(2.5, false), (2, 0));
    assert_eq!(check(9.0, false), (4, 0));
    assert_eq!(check(1.5, true), (1, 1));
    assert_eq!(check(4.0, true), (3, 1));
    assert_eq!(check(4.1, true), (4, 0));
    assert_eq!(check(0.0, true), (0, 1));
}

#[test]
fn a_written_model_says_the_same_and_the_same_seed_learns_the_same() {
    let seen = fleet(1_000, -4.0, true, 5);
    let settings = Settings::new(4.0, 2, 7);
    let one = Model::fit(&seen.features, &seen.followed, &settings).unwrap();
    let two = Model::fit(&seen.features, &seen.followed, &settings).unwrap();
    let written = serde_json::to_string(&one).unwrap();
    assert_eq!(written, serde_json::to_string(&two).unwrap());
    let read: Model = serde_json::from_str(&written).unwrap();
    assert_eq!(read.probability(&seen.features).unwrap(), one.probability(&seen.features).unwrap());
    assert_eq!(read.names(), ["wear", "noise"]);
    println!("a model of {} trees: {} bytes", settings.trees.trees, written.len());
    assert!(written.len() < 1 << 20);
}

#[test]
fn reasons_name_the_indicator_and_its_value() {
    let seen = fleet(2_000, -4.0, true, 6);
    let model = Model::fit(&seen.features, &seen.followed, &Settings::new(4.0, 4, 1)).unwrap();
    let worn = Matrix::from_columns(vec![("wear".into(), vec![0.95, 0.05]), ("noise".into(), vec![f64::NAN, 0.5])]);
    let reasons = model.explain(&worn, 1).unwrap();
    assert_eq!((reasons[0].parts[0].feature.as_str(), reasons[0].parts[0].value), ("wear", Some(0.95)));
    assert!(reasons[0].parts[0].log_odds > 0.0 && reasons[1].parts[0].log_odds < 0.0);
    assert!(reasons[0].probability > reasons[1].probability);
    let all = model.explain(&worn, 9).unwrap();
    assert_eq!(all[0].parts.len(), 2);
    assert!((all[0].parts.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn few_failing_devices_are_learnt_by_a_weighted_sum() {
    let kind = |devices| {
        let seen = fleet(devices, -4.0, false, 8);
        let model = Model::fit(&seen.features, &seen.followed, &Settings::new(4.0, 1, 1)).unwrap();
        matches!(model.learnt, Learnt::Sum(_))
    };
    assert!(kind(100));
    assert!(!kind(1_000));
}

#[test]
fn what_cannot_be_learnt_is_refused_by_name() {
    let seen = fleet(100, -4.0, false, 7);
    let refused = |settings: Settings| Model::fit(&seen.features, &seen.followed, &settings).unwrap_err().to_string();
    assert!(refused(Settings::new(0.0, 1, 1)).contains("horizon"));
    assert!(refused(Settings::new(4.0, 0, 1)).contains("periods"));
    assert!(refused(Settings { folds: 1, ..Settings::new(4.0, 1, 1) }).contains("folds"));
    let healthy: Vec<Followed> =
        seen.followed.iter().map(|one| Followed { failed: false, time: 4.0, ..*one }).collect();
    let none = Model::fit(&seen.features, &healthy, &Settings::new(4.0, 1, 1));
    assert!(matches!(none, Err(HazardError::OneSided { failures: 0, quiet: 100 })));
    assert!(matches!(
        Model::fit(&seen.features, &healthy[1..], &Settings::new(4.0, 1, 1)),
        Err(HazardError::Length { .. })
    ));
}
