//! The streams of the Numenta Anomaly Benchmark through the production detector.
//!
//! In: a folder of `timestamp,value` files, plain or `.zst`, and the published window file. Out: the corpus score under the
//! three published profiles, at each profile's best threshold (as the published runner chooses it) and at the detector's
//! own. Promise: rows go through [`Detector`] one by one, a fresh one per stream, with the same constants for all. Never:
//! a stream that is not there counted as silent; the report says how many were missing.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use jiff::{civil::DateTime, tz::TimeZone};
use serde::Serialize;

use super::{EvaluateError, open, text};
use crate::{
    anomaly::{Detector, detector::ALARM_RATE, score_at},
    measure::nab::{self, LOW_FN, LOW_FP, Outcome, Profile, STANDARD, Stream},
};

/// What is scored.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the category folders, or one of them.
    pub data: PathBuf,
    /// `combined_windows.json`: per file, by category and name, its windows' first and last timestamps.
    pub windows: PathBuf,
    /// Where `timestamp,value,anomaly_score,label` goes, one file per stream.
    pub out: Option<PathBuf>,
}

/// How good.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Streams scored.
    pub streams: usize,
    /// Streams that have windows but no file.
    pub absent: usize,
    /// Rows of all streams.
    pub rows: usize,
    /// Rows without a number.
    pub missing: usize,
    /// Normalised standard score at its best threshold.
    pub standard: Option<f64>,
    /// The same where false alarms cost double.
    pub low_fp: Option<f64>,
    /// The same where misses cost double.
    pub low_fn: Option<f64>,
    /// Each profile at its best threshold over these streams.
    pub best: Vec<Line>,
    /// Each profile at the detector's own threshold, which no label has seen.
    pub fixed: Vec<Line>,
    /// One line per stream, standard profile.
    pub files: Vec<File>,
}

/// A profile and what it gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The profile's published name.
    pub profile: &'static str,
    /// What it gives.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// One stream under the standard profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct File {
    /// Category and name.
    pub file: String,
    /// Its rows.
    pub rows: usize,
    /// Rows without a number.
    pub missing: usize,
    /// At the corpus' best threshold.
    pub best: Outcome,
    /// At the detector's own.
    pub fixed: Outcome,
}

/// Scores every stream that is there.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let windows: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&text(&options.windows)?)
        .map_err(|error| EvaluateError::form(&options.windows, error.to_string()))?;
    let (mut streams, mut files, mut absent) = (Vec::new(), Vec::new(), 0);
    for (name, windows) in &windows {
        let Some(path) = find(&options.data, name) else {
            absent += 1;
            continue;
        };
        let rows = read(&path)?;
        let windows =
            windows.iter().map(|limits| place(limits, &rows, &options.windows)).collect::<Result<Vec<_>, _>>()?;
        let mut detector = Detector::default();
        let scores: Vec<f64> = rows.iter().map(|row| detector.score(row.at_ms, row.value).score).collect();
        if let Some(out) = &options.out {
            let out = out.join(name);
            write(&out, &rows, &scores, &windows).map_err(EvaluateError::read(&out))?;
        }
        files.push((name.clone(), rows.len(), rows.iter().filter(|row| row.value.is_nan()).count()));
        streams.push(Stream { scores, windows });
    }
    if streams.is_empty() {
        let problem = format!("holds none of the {absent} streams that {} names", options.windows.display());
        return Err(EvaluateError::form(&options.data, problem));
    }
    Ok(report(&streams, files, absent))
}

fn report(streams: &[Stream], files: Vec<(String, usize, usize)>, absent: usize) -> Report {
    let own = score_at(ALARM_RATE);
    let line = |profile: &Profile, outcome| Line { profile: profile.name, outcome };
    let profiles = [STANDARD, LOW_FP, LOW_FN];
    let best = profiles.map(|profile| nab::best(streams, &profile));
    let [standard, low_fp, low_fn] = best.map(|outcome| outcome.normalised);
    let alone = |stream: &Stream, threshold| nab::at(std::slice::from_ref(stream), &STANDARD, threshold);
    Report {
        streams: streams.len(),
        absent,
        rows: files.iter().map(|(_, rows, _)| rows).sum(),
        missing: files.iter().map(|(.., missing)| missing).sum(),
        standard,
        low_fp,
        low_fn,
        best: profiles.iter().zip(best).map(|(profile, outcome)| line(profile, outcome)).collect(),
        fixed: profiles.iter().map(|profile| line(profile, nab::at(streams, profile, own))).collect(),
        files: files
            .into_iter()
            .zip(streams)
            .map(|((file, rows, missing), stream)| File {
                file,
                rows,
                missing,
                best: alone(stream, best[0].threshold),
                fixed: alone(stream, own),
            })
            .collect(),
    }
}

/// `category/name` under the folder of categories, or `name` in the category's own folder.
fn find(data: &Path, name: &str) -> Option<PathBuf> {
    let whole = data.join(name);
    let (category, file) = name.rsplit_once('/')?;
    let own = data.file_name().is_some_and(|folder| folder == category).then(|| data.join(file));
    let there = |path: &PathBuf| path.exists() || path.with_added_extension("zst").exists();
    [Some(whole), own].into_iter().flatten().find(there)
}

/// A row as it stands in the file, and read.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    timestamp: String,
    at_ms: i64,
    /// NaN where there is no number.
    value: f64,
}

fn read(path: &Path) -> Result<Vec<Row>, EvaluateError> {
    let mut lines = csv::Reader::from_reader(open(path)?);
    let form = |problem: String| EvaluateError::form(path, problem);
    let headers = lines.headers().map_err(|error| form(error.to_string()))?.clone();
    let column = |name: &str| {
        let place = headers.iter().position(|header| header.trim_start_matches('\u{feff}').trim() == name);
        place.ok_or_else(|| form(format!("no column {name} among {}", headers.iter().collect::<Vec<_>>().join(","))))
    };
    let (timestamp, value) = (column("timestamp")?, column("value")?);
    let mut rows = Vec::new();
    for record in lines.records() {
        let record = record.map_err(|error| form(error.to_string()))?;
        let timestamp = record.get(timestamp).unwrap_or_default();
        let at_ms = at_ms(timestamp).ok_or_else(|| {
            let line = record.position().map_or(0, csv::Position::line);
            form(format!("line {line}: timestamp {timestamp:?}: as in 2014-04-01 00:05:00"))
        })?;
        let value = record.get(value).and_then(|value| value.trim().parse().ok()).unwrap_or(f64::NAN);
        rows.push(Row { timestamp: timestamp.to_owned(), at_ms, value });
    }
    Ok(rows)
}

fn at_ms(timestamp: &str) -> Option<i64> {
    let civil: DateTime = timestamp.trim().parse().ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

/// The rows of a window: from the row with its first timestamp to the one with its last. Where a file lacks that very
/// timestamp, the rows between count.
fn place(limits: &[String; 2], rows: &[Row], windows: &Path) -> Result<RangeInclusive<usize>, EvaluateError> {
    let read = |limit: &String| {
        at_ms(limit)
            .ok_or_else(|| EvaluateError::form(windows, format!("timestamp {limit:?}: as in 2014-04-01 00:05:00")))
    };
    let (from, to) = (read(&limits[0])?, read(&limits[1])?);
    let exact = |at_ms: i64| rows.iter().position(|row| row.at_ms == at_ms);
    let first = exact(from).or_else(|| rows.iter().position(|row| row.at_ms >= from && row.at_ms <= to));
    let last = exact(to).or_else(|| rows.iter().rposition(|row| row.at_ms >= from && row.at_ms <= to));
    match (first, last) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(EvaluateError::form(windows, format!("no row lies in the window {} to {}", limits[0], limits[1]))),
    }
}

fn write(path: &Path, rows: &[Row], scores: &[f64], windows: &[RangeInclusive<usize>]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut lines = csv::Writer::from_path(path).map_err(io::Error::other)?;
    lines.write_record(["timestamp", "value", "anomaly_score", "label"]).map_err(io::Error::other)?;
    for (place, (row, score)) in rows.iter().zip(scores).enumerate() {
        let value = if row.value.is_nan() { String::new() } else { row.value.to_string() };
        let label = if windows.iter().any(|window| window.contains(&place)) { "1" } else { "0" };
        lines.write_record([&row.timestamp, &value, &score.to_string(), label]).map_err(io::Error::other)?;
    }
    lines.flush()
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "{} streams ({} absent), {} rows, {} without a number",
            self.streams, self.absent, self.rows, self.missing
        )?;
        for (kind, lines) in [("best threshold", &self.best), ("detector's own", &self.fixed)] {
            for Line { profile, outcome } in lines {
                let score = outcome.normalised.map_or("   -".into(), |score| format!("{score:5.1}"));
                writeln!(
                    to,
                    "{kind} {:.3}  {profile:<19} {score}  hits {}/{}  false alarms {}",
                    outcome.threshold, outcome.hits, outcome.windows, outcome.false_alarms
                )?;
            }
        }
        for file in &self.files {
            writeln!(
                to,
                "{:<55} {:>6} rows  hits {}/{}  false alarms {:>2}  raw {:>5.2}   own: hits {}  false alarms {}",
                file.file,
                file.rows,
                file.best.hits,
                file.best.windows,
                file.best.false_alarms,
                file.best.raw,
                file.fixed.hits,
                file.fixed.false_alarms
            )?;
        }
        Ok(())
    }
}
