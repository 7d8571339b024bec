use std::path::Path;

use proptest::prelude::*;

use super::*;

#[test]
fn files_are_read_as_they_were_published() {
    let check = |text: &str| {
        let minutes = minutes(text.as_bytes()).unwrap();
        minutes.iter().map(|minute| (minute.at.to_string(), minute.power_w, minute.labelled)).collect::<Vec<_>>()
    };
    let plain = check("ctime,activePower,label\n2020-03-16 10:00:00,5.0,0\n2020-03-16 10:01:00,6,1\n");
    assert_eq!((plain.len(), plain[0].1, plain[1].2), (2, Some(5.0), true));
    assert_eq!(check("\u{feff}ctime,activePower,label\n3/16/2020 10:00,5,0\n3/16/2020 10:01,6,1.0\n"), plain);
    assert_eq!(check(",ctime,activePower,label\n0,2020-03-16 10:00:00,5,0\n1,2020-03-16 10:01:00,6,1\n"), plain);
    let gaps = check("ctime,activePower,,\n2020-03-16 10:01:00,,,\n2020-03-16 10:00:00,x,,\n,1,,\n");
    assert_eq!(gaps.iter().map(|gap| gap.1).collect::<Vec<_>>(), [None, None]);
    assert!(minutes(b"ctime,label\n").unwrap_err().contains("activePower"));
    assert!(minutes(b"ctime,activePower\nyesterday,1\n").unwrap_err().contains("yesterday"));
}

proptest! {
    #[test]
    fn any_bytes_are_minutes_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = minutes(&bytes);
        let mut with_head = b"ctime,activePower,label\n".to_vec();
        with_head.extend(bytes);
        let _ = minutes(&with_head);
    }

    #[test]
    fn any_date_is_a_time_or_a_refusal(date in "[0-9/]{0,12} [0-9:]{0,9}") {
        let _ = minutes(format!("ctime,activePower\n{date},1\n").as_bytes());
    }
}

#[test]
fn chance_of_flagged_days() {
    // scipy.stats.fisher_exact([[7, 0], [0, 7]], "greater") = 1 / 3432
    assert!((score::fisher(7, 7, 0, 7) - 1.0 / 3432.0).abs() < 1e-12);
    assert_eq!(score::fisher(0, 7, 0, 7), 1.0);
    assert!(score::fisher(3, 7, 3, 7) > 0.5);
}

#[test]
fn a_minute_is_scored_by_what_came_before_it() {
    let line = |minute: usize, power: f64| format!("2020-03-16 {:02}:{:02}:00,{power},0\n", minute / 60, minute % 60);
    let day = |powers: &[f64]| {
        let rows: String = powers.iter().enumerate().map(|(minute, power)| line(minute, *power)).collect();
        let minutes = minutes(format!("ctime,activePower,label\n{rows}").as_bytes()).unwrap();
        Day { appliance: "kettle".into(), unit: "Kettle_1".into(), kind: "Normal".into(), number: 1, minutes }
    };
    let healthy = day(&[0.0, 100.0, 100.0, 0.0, 0.0, 0.0]);
    let baseline = Baseline::learn(&[&healthy]).unwrap();
    assert_eq!(baseline.score(&healthy), [0.0, 1.0, 2.0, 0.0, 0.0, 0.0].map(|length| length / 3.0));
    let long = baseline.score(&day(&[0.0, 100.0, 100.0, 100.0, 100.0, 0.0]));
    assert_eq!(long, [0.0, 1.0, 2.0, 3.0, 4.0, 0.0].map(|length| length / 3.0));
    let cut = baseline.score(&day(&[0.0, 100.0, 100.0, 100.0]));
    assert_eq!(cut[..], long[..4], "no look ahead");
}

#[test]
fn recorded_appliances_are_judged_by_kind_of_fault() {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let path = Path::new(&root).join("appliance_power");
    if !path.exists() {
        println!("skipped: no appliance_power folder in {root}");
        return;
    }
    let report = run(&Options { train: path.clone(), test: path }).unwrap();
    println!("{report}");
    assert_eq!((report.train_units, report.test_units, report.unknown_units), (5, 5, 0));
    assert!(report.auroc.unwrap() > 0.8);
    assert!(report.false_alarms_per_device_month.unwrap().is_finite());
    assert!(report.rows.iter().all(|row| row.unit_trained_too == (row.appliance == "dryer")));
}
