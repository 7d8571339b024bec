use std::path::PathBuf;

use super::*;

fn check(table: &str) -> Result<Report, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    std::fs::write(&file, table).unwrap();
    run(&Options::new(file)).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| source.to_string());
        format!("{error}: {}", source.unwrap_or_default())
    })
}

/// The published tables, where they are.
fn published() -> Option<PathBuf> {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let folder = PathBuf::from(root).join("smrd");
    if !folder.is_dir() {
        println!("skipped: no folder {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn four_published_fits_come_out_to_four_digits() {
    let Some(folder) = published() else { return };
    for (table, eta, beta) in [
        ("bearingcage", 11792.18, 2.0353),
        ("shockabsorber", 27718.72, 3.1605),
        ("fan", 26296.85, 1.0584),
        ("locomotivecontrol", 183.40, 2.3313),
    ] {
        let report = run(&Options::new(folder.join(format!("{table}.csv")))).unwrap();
        assert!(
            (report.eta / eta - 1.0).abs() < 5e-5 && (report.beta / beta - 1.0).abs() < 5e-5,
            "{table}: {report:?}"
        );
    }
}

#[test]
fn every_published_table_runs_or_says_what_it_lacks() {
    let Some(folder) = published() else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut lacking = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        match run(&Options::new(file)) {
            Ok(report) => println!(
                "{name}: n {} failures {} eta {:.6} beta {:.6} {:?} {:?} {:?}",
                report.n, report.failures, report.eta, report.beta, report.columns, report.rejected, report.notes
            ),
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| source.to_string());
                println!("{name}: {error} {}", source.unwrap_or_default());
                lacking.push(name);
            }
        }
    }
    println!("{} tables, {} lack something: {lacking:?}", files.len(), lacking.len());
}

#[test]
fn columns_are_found_by_what_they_are_called() {
    let plain = check("thousand cycles,status,number\n10,failed,1\n20,failed,2\n30,censored,5\n").unwrap();
    assert_eq!((plain.n, plain.failures), (8.0, 3.0));
    let numbers = check("hours,event,count\n10,1,1\n20,1,2\n30,0,5\n").unwrap();
    assert_eq!((numbers.eta, numbers.beta), (plain.eta, plain.beta));
    let turned = check("hours,censored,weight\n10,0,1\n20,0,2\n30,1,5\n").unwrap();
    assert_eq!((turned.eta, turned.beta), (plain.eta, plain.beta));
}

#[test]
fn bounds_are_intervals_and_their_codes_are_told_apart() {
    let words = check("hoursl,hoursu,event,count\n1,1,Left,2\n1,5,Interval,9\n5,9,Interval,4\n9,9,Right,3\n").unwrap();
    let surv = check("lower,upper,event,count\n1,1,2,2\n1,5,3,9\n5,9,3,4\n9,9,0,3\n").unwrap();
    let splida = check("lower,upper,event,count\n1,1,3,2\n1,5,4,9\n5,9,4,4\n9,9,2,3\n").unwrap();
    assert_eq!((words.left_censored, words.interval_censored, words.right_censored), (2.0, 13.0, 3.0));
    for other in [surv, splida] {
        assert_eq!((other.eta, other.beta, other.n), (words.eta, words.beta, words.n));
    }
}

#[test]
fn causes_have_laws_of_their_own() {
    let report =
        check("hours,mode,event\n10,Wear,Failed\n12,Wear,Failed\n3,Shock,Failed\n9,Shock,Failed\n15,,Censored\n");
    let report = report.unwrap();
    assert_eq!(report.causes.len(), 2);
    assert!(matches!(report.causes["Wear"], Cause::Fitted { failures, beta, .. } if failures == 2.0 && beta > 2.0));
}

#[test]
fn a_history_of_repairs_is_the_times_between_them() {
    let report =
        check("unit,days,event\nA,5,Repair\nA,12,Repair\nA,20,End\nB,9,Repair\nB,9,Repair\nB,13,End\n").unwrap();
    assert_eq!((report.failures, report.right_censored), (3.0, 2.0));
    assert_eq!(report.rejected.values().sum::<usize>(), 1);
}

#[test]
fn what_a_table_lacks_is_named() {
    assert!(check("growth\n1\n2\n").unwrap_err().contains("no column of ages"));
    let plan: String = (0..40).map(|row| format!("{},{}\n", row % 4 * 10, row)).collect();
    assert!(check(&format!("hours,drop\n{plan}")).unwrap_err().contains("plan of measurements"));
    assert!(check("hours,event\n10,Censored\n20,Censored\n").unwrap_err().contains("no failures"));
    assert!(check("hours,event\n0,Failed\n20,Failed\n30,Failed\n").unwrap().rejected.values().sum::<usize>() == 1);
}
