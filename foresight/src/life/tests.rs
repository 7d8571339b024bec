use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::*;

/// Pumps: two metrics follow wear, one is noise, the load changes what they read. Wear begins at some point of life.
fn pumps(count: usize, seed: u64) -> Vec<History> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let noise = Normal::new(0.0, 0.3).unwrap();
    (0..count)
        .map(|_| {
            let length = chance.random_range(60..160);
            let rows = (0..length).map(|row| {
                let wear = (-(length - 1 - row) as f64 / 25.0).exp() * 4.0;
                let load = f64::from(chance.random_range(0..2_u8));
                let metrics = vec![
                    10.0 + 20.0 * load + (1.0 + load) * (wear + noise.sample(&mut chance)),
                    5.0 - 9.0 * load - wear + noise.sample(&mut chance),
                    noise.sample(&mut chance),
                ];
                Row { settings: vec![load], metrics }
            });
            History { rows: rows.collect() }
        })
        .collect()
}

fn settings() -> Settings {
    let names = ["vibration_mm_s", "flow_l_min", "humidity"].map(String::from).to_vec();
    let mut settings = Settings::new(names, 60.0, 7);
    settings.trees.trees = 80;
    settings
}

#[test]
fn pumps_not_seen_before_are_predicted_and_their_intervals_hold_four_in_five() {
    let model = Model::fit(&pumps(40, 1), &settings()).unwrap();
    assert_eq!(model.preparation().regimes(), 2);
    let others = pumps(60, 2);
    let (features, lives) = table(model.preparation(), &others.iter().collect::<Vec<_>>());
    let said = model.predict(&features).unwrap();
    let judged: Vec<(Prediction, f64)> = said
        .into_iter()
        .zip(lives)
        .filter(|(_, life)| near(*life, 60.0))
        .map(|(said, is)| (said, is.min(60.0)))
        .collect();
    let rmse = (judged.iter().map(|(said, is)| (said.life - is).powi(2)).sum::<f64>() / judged.len() as f64).sqrt();
    let held =
        judged.iter().filter(|(said, is)| (said.low..=said.high).contains(is)).count() as f64 / judged.len() as f64;
    assert!(rmse < 10.0 && (rmse - model.cross_rmse()).abs() < 2.0, "{rmse}, cross-validated {}", model.cross_rmse());
    assert!((0.75..=0.85).contains(&held), "{held} of {} rows", judged.len());
    let width = |from: f64, to: f64| {
        let these = judged.iter().filter(|(said, _)| (from..to).contains(&said.life));
        let widths: Vec<f64> = these.map(|(said, _)| said.high - said.low).collect();
        widths.iter().sum::<f64>() / widths.len() as f64
    };
    assert!(width(0.0, 10.0) < width(30.0, 50.0), "narrow near the end of life");
}

#[test]
fn training_units_alone_tell_what_intervals_hold() {
    let trials = nested::trials(&pumps(40, 5), &settings()).unwrap();
    let names: Vec<&str> = trials.iter().map(|trial| trial.form.as_str()).collect();
    assert_eq!(names, ["rows", "units", "cv+ rows", "cv+ units"]);
    for trial in &trials {
        assert_eq!(trial.units, 40);
        assert!((trial.coverage + trial.below + trial.above - 1.0).abs() < 1e-9, "{trial:?}");
        assert!(trial.interval_score >= trial.mean_width && trial.coverage_by_life.len() == 6, "{trial:?}");
        let error = (trial.coverage - 0.8).abs();
        assert!(error < 3.0 * trial.standard_error.max(0.02) + 0.02, "four in five, or a little more: {trial:?}");
    }
    // About each fold's own prediction the folds' disagreement is in it too.
    assert!(trials[2].coverage >= trials[0].coverage - 0.01, "{trials:?}");
    let few = nested::trials(&pumps(19, 1), &settings()).unwrap_err();
    assert!(few.to_string().starts_with("19 units: at least 20"), "{few}");
}

#[test]
fn reasons_add_up_and_name_indicators() {
    let pumps = pumps(20, 3);
    let model = Model::fit(&pumps, &settings()).unwrap();
    let read: Model = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
    let mut watcher = model.watch();
    for row in &pumps[0].rows {
        watcher.push(&row.settings, &row.metrics);
    }
    let matrix = watcher.matrix();
    let (base, reasons) = model.explain(&matrix).unwrap().remove(0);
    let sum = base + reasons.iter().map(|reason| reason.contribution).sum::<f64>();
    let said = model.predict(&matrix).unwrap()[0];
    assert!((sum.clamp(0.0, 60.0) - said.life).abs() < 0.05, "{sum} for {said:?}");
    assert!(said.life < 10.0 && reasons[0].contribution < 0.0, "{said:?}, {:?}", reasons[0]);
    assert!(!reasons[0].feature.starts_with("humidity"));
    assert_eq!(read.predict(&matrix).unwrap(), vec![said], "a written model says the same");
}

#[test]
fn features_of_a_cut_history_are_those_of_the_whole_up_to_the_cut() {
    let pumps = pumps(6, 4);
    let preparation = Preparation::learn(&pumps.iter().collect::<Vec<_>>(), &settings().metrics, 60.0).unwrap();
    let whole = preparation.features(&pumps[0]);
    let cut = preparation.features(&History { rows: pumps[0].rows[..30].to_vec() });
    assert_eq!(format!("{:?}", &whole[..30]), format!("{cut:?}"));
}

#[test]
fn too_few_units_and_metrics_that_stand_still_are_errors() {
    let few = Model::fit(&pumps(4, 1), &settings()).unwrap_err();
    assert_eq!(few.to_string(), "4 units: at least 5 are needed, so that every fold has some");
    let row = Row { settings: vec![1.0], metrics: vec![2.0; 3] };
    let still = vec![History { rows: vec![row; 80] }; 6];
    assert!(matches!(Model::fit(&still, &settings()), Err(LifeError::Still)));
}
