use super::*;

#[test]
fn padding_and_order_do_not_count_and_unknown_columns_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windows.csv");
    std::fs::write(&file, "serial,input_alarms,output_alarms\n3,0 0 7 9 7,9 0 7 9\n").unwrap();
    let windows = read(&file, &mut Vocabulary::default()).unwrap();
    assert_eq!((windows[0].codes.as_slice(), windows[0].next.as_slice()), ([0, 1, 0].as_slice(), [0, 1].as_slice()));
    std::fs::write(&file, "serial,input\n").unwrap();
    assert!(read(&file, &mut Vocabulary::default()).unwrap_err().to_string().contains("input_alarms"));
}

#[test]
fn the_next_codes_of_machines_never_seen_beat_persistence() {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let file = PathBuf::from(root).join("alpi/train.csv");
    if !file.with_extension("csv.zst").is_file() && !file.is_file() {
        println!("skipped: no file {}", file.display());
        return;
    }
    // Every thirtieth window keeps the test short; the whole is `forewarn evaluate alpi`.
    let folder = tempfile::tempdir().unwrap();
    let few = folder.path().join("few.csv");
    let text = super::super::text(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let rows = lines[1..].iter().step_by(30).copied();
    std::fs::write(&few, std::iter::once(lines[0]).chain(rows).collect::<Vec<_>>().join("\n")).unwrap();
    let report = run(&Options::new(&few, &few)).unwrap();
    println!("{}", serde_json::to_string(&report).unwrap());
    assert_eq!((report.machines, report.holdout), (20, Some(Holdout::Machine)));
    assert!(report.gain > 0.02, "with a thirtieth of the windows: {report:?}");
}

#[test]
fn a_time_fold_shares_no_stretch_of_codes() {
    // One machine, 29 passes over 40 windows of twenty codes that never repeat.
    let windows: Vec<Window> = (0..29 * 40)
        .map(|row| {
            let start = row % 40 * 20 + row / 40;
            Window { device: "1".into(), codes: (start..start + 20).collect(), next: vec![start + 20] }
        })
        .collect();
    let (train, test) = by_time(&windows);
    assert!(!train.is_empty() && !test.is_empty());
    for window in &train {
        assert!(test.iter().all(|held| {
            held.codes.windows(SHARED).all(|codes| !window.codes.windows(SHARED).any(|mine| mine == codes))
        }));
    }
}
