use std::{fs, path::PathBuf};

use super::*;

#[test]
fn known_causes_are_found() {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let folder = PathBuf::from(root).join("nab");
    if !folder.exists() {
        println!("skipped: {} is absent", folder.display());
        return;
    }
    let report = run(&Options { data: folder.clone(), windows: folder.join("windows.json"), out: None }).unwrap();
    println!("{report}");
    assert_eq!((report.streams, report.absent, report.best[0].outcome.windows), (7, 0, 19));
    assert!(report.standard.unwrap() >= 55.0, "{report}");
}

/// A corpus of one stream that is flat but for one step, and one that is not there.
fn corpus(folder: &Path) -> Options {
    let mut rows = String::from("timestamp,value\n");
    for row in 0..1000 {
        let value = match row {
            500..510 => "NaN",
            800.. => "9",
            _ => "5",
        };
        // Every other row comes two minutes late.
        let minute = row * 5 + if row % 2 == 0 { 0 } else { 2 };
        let day = 1 + minute / 1440;
        rows += &format!("2014-04-{day:02} {:02}:{:02}:00,{value}\n", minute / 60 % 24, minute % 60);
    }
    fs::create_dir_all(folder.join("artificial")).unwrap();
    let packed = zstd::encode_all(rows.as_bytes(), 1).unwrap();
    fs::write(folder.join("artificial/step.csv.zst"), packed).unwrap();
    // Row 790 is at 65 h 50 min, row 850 at 70 h 50 min; the end is a time that no row has.
    let windows = r#"{"artificial/step.csv": [["2014-04-03 17:50:00.000000", "2014-04-03 22:51:00.000000"]], "artificial/none.csv": []}"#;
    fs::write(folder.join("windows.json"), windows).unwrap();
    Options { data: folder.to_owned(), windows: folder.join("windows.json"), out: Some(folder.join("out")) }
}

#[test]
fn a_packed_stream_is_scored_and_written_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let options = corpus(folder.path());
    let report = run(&options).unwrap();
    assert_eq!((report.streams, report.absent, report.rows, report.missing), (1, 1, 1000, 10));
    assert_eq!((report.best[0].outcome.hits, report.fixed[0].outcome.hits), (1, 1), "{report}");
    assert!(report.standard.unwrap() > 90.0, "{report}");
    let written = fs::read_to_string(folder.path().join("out/artificial/step.csv")).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!((lines.len(), lines[0]), (1001, "timestamp,value,anomaly_score,label"));
    assert_eq!(lines[501], "2014-04-02 17:40:00,,0,0");
    assert!(lines[801].starts_with("2014-04-03 18:40:00,9,0.") || lines[801].starts_with("2014-04-03 18:40:00,9,1,"));
    assert!(lines[801].ends_with(",1") && lines[790].ends_with(",0"));
    // The category's own folder will do.
    let own = Options { data: options.data.join("artificial"), out: None, ..options };
    assert_eq!(run(&own).unwrap(), report);
}

#[test]
fn what_is_wrong_with_a_corpus_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let options = corpus(folder.path());
    let check = |name: &str, text: &str, part: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        let error = run(&options).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check("windows.json", r#"{"artificial/none.csv": []}"#, "none of the 1 streams");
    check(
        "windows.json",
        r#"{"artificial/step.csv": [["2015-04-03 17:50:00", "2015-04-03 18:50:00"]]}"#,
        "no row lies in",
    );
    check("windows.json", r#"{"artificial/step.csv": [["soon", "late"]]}"#, "timestamp \"soon\"");
    check("windows.json", "[]", "windows.json: ");
    corpus(folder.path());
    fs::remove_file(folder.path().join("artificial/step.csv.zst")).unwrap();
    check("artificial/step.csv", "timestamp,value\nyesterday,1\n", "line 2: timestamp \"yesterday\"");
    check("artificial/step.csv", "time,value\n", "no column timestamp");
}
