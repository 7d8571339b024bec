//! Folders of daily snapshots.

use std::{
    collections::BTreeMap,
    io::BufRead,
    path::{Path, PathBuf},
};

use schemas::time::Instant;

use super::features::{Landmark, Past, RAW, SCALED, Snapshot};
use crate::evaluate::{EvaluateError, open};

const DAY_MICROS: i64 = 86_400_000_000;

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// In order of days.
    pub(super) landmarks: Vec<Landmark>,
    /// Rows without a drive, a date or whose `failure` is neither 0 nor 1; and second rows of a drive on a day.
    pub(super) rejected: usize,
}

/// Reads a folder's days in order; files are ordered by name, which is the date.
pub(super) fn folder(path: &Path, past: &mut Past, learn: bool) -> Result<Folder, EvaluateError> {
    let entries = std::fs::read_dir(path).map_err(EvaluateError::read(path))?;
    let entries: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(EvaluateError::read(path))?;
    let of_set = |file: &&PathBuf| [".csv", ".csv.zst"].iter().any(|end| file.to_string_lossy().ends_with(end));
    let mut files: Vec<&PathBuf> = entries.iter().filter(of_set).collect();
    files.sort();
    if files.is_empty() {
        return Err(EvaluateError::form(path, "no YYYY-MM-DD.csv or .csv.zst in it"));
    }
    let mut found = Folder::default();
    for file in files {
        let mut days: BTreeMap<i64, BTreeMap<String, Snapshot>> = BTreeMap::new();
        let rejected = snapshots(open(file)?, file, |snapshot| {
            days.entry(snapshot.day).or_default().insert(snapshot.drive.clone(), snapshot).is_none()
        })?;
        found.rejected += rejected;
        for drives in days.into_values() {
            found.landmarks.extend(drives.values().map(|snapshot| past.landmark(snapshot, learn)));
            past.close();
        }
    }
    Ok(found)
}

/// Every snapshot of a file; gives how many rows were none, or were not `taken`.
pub(super) fn snapshots(
    file: impl BufRead,
    path: &Path,
    mut taken: impl FnMut(Snapshot) -> bool,
) -> Result<usize, EvaluateError> {
    let form = |error: csv::Error| EvaluateError::form(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let head = reader.byte_headers().map_err(form)?.clone();
    let place = |name: &str| head.iter().position(|column| column == name.as_bytes());
    let needed = |name: &str| place(name).ok_or_else(|| EvaluateError::form(path, format!("no column {name}")));
    let (date, drive, failure) = (needed("date")?, needed("serial_number")?, needed("failure")?);
    let (model, capacity) = (place("model"), place("capacity_bytes"));
    let raw = RAW.map(|number| place(&format!("smart_{number}_raw")));
    let scaled = SCALED.map(|number| place(&format!("smart_{number}_normalized")));
    let (mut rejected, mut row) = (0, csv::ByteRecord::new());
    while reader.read_byte_record(&mut row).map_err(form)? {
        let text =
            |place: Option<usize>| place.and_then(|place| row.get(place)).and_then(|it| std::str::from_utf8(it).ok());
        let number = |place: Option<usize>| -> f64 {
            text(place)
                .and_then(|text| text.trim().parse().ok())
                .filter(|value: &f64| value.is_finite())
                .unwrap_or(f64::NAN)
        };
        let failed = match text(Some(failure)).map(str::trim) {
            Some("0") => Some(false),
            Some("1") => Some(true),
            _ => None,
        };
        let day = text(Some(date)).and_then(day);
        let serial = text(Some(drive)).filter(|serial| !serial.is_empty());
        let (Some(failed), Some(day), Some(serial)) = (failed, day, serial) else {
            rejected += 1;
            continue;
        };
        let snapshot = Snapshot {
            drive: serial.to_owned(),
            model: text(model).unwrap_or_default().to_owned(),
            day,
            capacity: number(capacity),
            failed,
            raw: raw.map(number),
            scaled: scaled.map(number),
        };
        rejected += usize::from(!taken(snapshot));
    }
    Ok(rejected)
}

/// `2013-04-10` as days since 1970.
fn day(text: &str) -> Option<i64> {
    let at: Instant = format!("{}T00:00:00Z", text.trim()).parse().ok()?;
    Some(at.micros().div_euclid(DAY_MICROS))
}
