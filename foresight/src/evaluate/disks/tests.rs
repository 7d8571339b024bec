use std::path::Path;

use proptest::prelude::*;

use super::{features::Snapshot, *};

const HEAD: &str = "date,serial_number,model,capacity_bytes,failure,smart_5_raw,smart_197_raw";

fn read(text: &[u8]) -> Result<(Vec<Snapshot>, usize), EvaluateError> {
    let mut found = Vec::new();
    let rejected = super::read::snapshots(text, Path::new("day.csv"), |snapshot| {
        found.push(snapshot);
        true
    })?;
    Ok((found, rejected))
}

#[test]
fn columns_are_found_by_name_and_bad_rows_are_counted() {
    let text = format!(
        "{HEAD}\n2013-04-10,A,M,1,0,7,\n2013-04-10,B,M,1,2,7,1\nlast week,C,M,1,0,7,1\n2013-04-10,,M,1,0,7,1\n2013-04-10,D\n"
    );
    let (found, rejected) = read(text.as_bytes()).unwrap();
    assert_eq!((found.len(), rejected), (1, 4));
    assert!(found[0].raw[1] == 7.0 && found[0].raw[9].is_nan());
    assert!(read(b"date,model\n").unwrap_err().to_string().contains("serial_number"));
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_rejects_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let mut with_head = format!("{HEAD}\n").into_bytes();
        with_head.extend(bytes);
        let _ = read(&with_head);
    }
}

fn snapshot(drive: &str, day: i64, reallocated: f64, failed: bool) -> Snapshot {
    let mut raw = [f64::NAN; features::RAW.len()];
    raw[1] = reallocated;
    let scaled = [f64::NAN; features::SCALED.len()];
    Snapshot { drive: drive.into(), model: "M".into(), day, capacity: 1e12, failed, raw, scaled }
}

#[test]
fn features_know_the_past_only() {
    let mut past = Past::default();
    let days = [snapshot("A", 1, 10.0, false), snapshot("A", 2, 40.0, true)];
    let landmarks: Vec<Landmark> = days
        .iter()
        .map(|day| {
            let landmark = past.landmark(day, true);
            past.close();
            landmark
        })
        .collect();
    let place = |name: &str| features::names().iter().position(|one| one == name).unwrap();
    let rise = place("smart_5_rise_log");
    assert_eq!((landmarks[0].features[rise], landmarks[1].features[rise]), (0.0, 30f64.ln_1p()));
    assert_eq!(landmarks[1].features[place("model_hazard_log")], 0.0, "its own failure is not known yet");
    assert_eq!(landmarks[0].features.len(), features::names().len());
    let followed = followed(&landmarks);
    assert_eq!((followed[0].time, followed[0].failed, followed[1].time), (2.0, true, 1.0));
}

/// A folder of some of the recorded days.
fn days(root: &Path, from: usize, to: usize) -> Option<tempfile::TempDir> {
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("backblaze")).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".csv.zst"));
    files.sort();
    let folder = tempfile::tempdir().unwrap();
    for file in files.get(from..to)? {
        std::os::unix::fs::symlink(file.canonicalize().unwrap(), folder.path().join(file.file_name().unwrap()))
            .unwrap();
    }
    Some(folder)
}

#[test]
fn on_recorded_drives_the_model_alarms_more_failures_than_the_rule() {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let (Some(train), Some(test)) = (days(Path::new(&root), 0, 13), days(Path::new(&root), 13, 20)) else {
        println!("skipped: no backblaze folder in {root}");
        return;
    };
    let horizon = Duration::from_secs(7 * 86_400);
    let options = Options { train: train.path().into(), test: test.path().into(), horizon };
    let report = run(&options).unwrap();
    println!("{report}\n{}", serde_json::to_string(&report).unwrap());
    assert_eq!((report.train_failures, report.test_failures, report.rejected_rows), (28, 15, 0));
    let recall = |ranking: &Ranking| ranking.recall_at_1_percent_false_alarms.unwrap();
    assert!(recall(&report.model) > recall(&report.smart_rule));
    assert!(report.model.auroc > report.smart_rule.auroc);
}

#[test]
fn a_horizon_that_is_no_days_and_a_folder_without_any_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |hours: u64| {
        let horizon = Duration::from_secs(hours * 3600);
        run(&Options { train: folder.path().into(), test: folder.path().into(), horizon }).unwrap_err().to_string()
    };
    assert!(refused(36).contains("horizon"));
    assert!(refused(24).contains("no YYYY-MM-DD.csv"));
}
