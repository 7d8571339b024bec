//! Day files as they were published: some carry an index column, a byte order mark or US dates.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use schemas::time::Instant;

use crate::evaluate::{EvaluateError, open};

/// One minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minute {
    /// When.
    pub at: Instant,
    /// Active power in watt, if it was readable.
    pub power_w: Option<f64>,
    /// Whether it is marked as faulty.
    pub labelled: bool,
}

/// One recorded day.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// `dishwasher`.
    pub appliance: String,
    /// `Dishwasher_1`.
    pub unit: String,
    /// `Normal`, or a kind of fault as its folder is named.
    pub kind: String,
    /// Its number among the days of the kind.
    pub number: u32,
    /// In order of time, one per instant.
    pub minutes: Vec<Minute>,
}

/// Every day in a folder, or in the tars of it, or in a tar; ordered by unit, kind and number.
pub fn days(path: &Path) -> Result<Vec<Day>, EvaluateError> {
    let mut found = Vec::new();
    for (name, bytes) in files(path)? {
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let [.., appliance, unit, kind, file] = parts[..] else { continue };
        let Some(number) = day_number(file) else { continue };
        let minutes = minutes(&bytes).map_err(|problem| EvaluateError::form(Path::new(&name), problem))?;
        let (appliance, unit, kind) = (appliance.to_lowercase(), unit.to_owned(), kind.to_owned());
        found.push(Day { appliance, unit, kind, number, minutes });
    }
    if found.is_empty() {
        return Err(EvaluateError::form(path, "no APPLIANCE/UNIT/KIND/…dayN.csv in a folder or a tar"));
    }
    found.sort_by(|one, other| (&one.unit, &one.kind, one.number).cmp(&(&other.unit, &other.kind, other.number)));
    Ok(found)
}

/// Every CSV: name and bytes.
fn files(path: &Path) -> Result<Vec<(String, Vec<u8>)>, EvaluateError> {
    let mut found = Vec::new();
    if path.is_file() {
        unpack(path, &mut found)?;
        return Ok(found);
    }
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(EvaluateError::read(&folder))?;
        let mut entries: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(EvaluateError::read(&folder))?;
        entries.sort();
        for entry in entries {
            let name = entry.display().to_string();
            if entry.is_dir() {
                folders.push(entry);
            } else if name.ends_with(".tar") || name.ends_with(".tar.zst") {
                unpack(&entry, &mut found)?;
            } else if name.ends_with(".csv") || name.ends_with(".csv.zst") {
                let mut bytes = Vec::new();
                open(&entry)?.read_to_end(&mut bytes).map_err(EvaluateError::read(&entry))?;
                found.push((name.trim_end_matches(".zst").to_owned(), bytes));
            }
        }
    }
    Ok(found)
}

fn unpack(tar: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<(), EvaluateError> {
    let mut archive = tar::Archive::new(open(tar)?);
    for entry in archive.entries().map_err(EvaluateError::read(tar))? {
        let mut entry = entry.map_err(EvaluateError::read(tar))?;
        let name = entry.path().map_err(EvaluateError::read(tar))?.display().to_string();
        if name.ends_with(".csv") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(EvaluateError::read(tar))?;
            found.push((name, bytes));
        }
    }
    Ok(())
}

/// `dishwasher_1_day10_ANOMALIES.csv` is day 10.
fn day_number(file: &str) -> Option<u32> {
    let rest = file.split("day").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The minutes of one file. Rows without a time are left out; a time that cannot be read is a refusal.
pub fn minutes(bytes: &[u8]) -> Result<Vec<Minute>, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut rows = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let head = rows.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| head.iter().position(|one| one.trim() == name);
    let time = column("ctime").ok_or("no column ctime")?;
    let power = column("activePower").ok_or("no column activePower")?;
    let label = column("label");
    let mut found = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|error| error.to_string())?;
        let Some(at) = row.get(time).filter(|text| !text.is_empty()) else { continue };
        let labelled = label.and_then(|label| row.get(label)).is_some_and(|text| text.starts_with('1'));
        let power_w = row.get(power).and_then(|text| text.parse().ok()).filter(|power: &f64| power.is_finite());
        found.push(Minute { at: instant(at).ok_or_else(|| format!("{at:?} is no time"))?, power_w, labelled });
    }
    found.sort_by_key(|minute| minute.at);
    found.dedup_by_key(|minute| minute.at);
    Ok(found)
}

/// `2020-03-16 10:00:00`, or as Americans write it, `3/16/2020 10:00`.
fn instant(text: &str) -> Option<Instant> {
    if let Some((date, clock)) = text.split_once(' ')
        && date.contains('/')
    {
        let parts: Vec<u32> = date.split('/').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [month, day, year] = parts[..] else { return None };
        let (hour, rest) = clock.split_once(':')?;
        let hour: u32 = hour.parse().ok()?;
        let seconds = if rest.contains(':') { "" } else { ":00" };
        return format!("{year:04}-{month:02}-{day:02}T{hour:02}:{rest}{seconds}Z").parse().ok();
    }
    format!("{}Z", text.replacen(' ', "T", 1)).parse().ok()
}
