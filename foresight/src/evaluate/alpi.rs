//! Alarm codes of packaging machines (ALPI): which codes come in the next 480 minutes, from those of the last 1,720.
//!
//! In: `serial,input_alarms,output_alarms` files, codes parted by blanks. Out: [`Report`] with micro precision, recall and
//! F1 over the sets of output codes, and the same of persistence (say the input set) on the same rows. Code 0 is also
//! padding and is counted nowhere. Promise: no window of the training shares an instant with one of the test.
//!
//! The rows of a machine are not in order of time from first to last: windows were cut `PASSES` times over the same
//! period, each time an hour later. A fold by place in the file would show the model the test's own hours.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{EvaluateError, open};
use crate::codes::{Code, NextCodes, SetScore, Settings, Vocabulary, Window};

/// How often the same period is passed over: windows of 1,720 minutes, cut anew every 60.
const PASSES: f64 = 1720.0 / 60.0;
/// The test of a time fold begins here in each machine's period.
const TEST_FROM: f64 = 0.8;
/// The training of a time fold ends here: the twelfth between is a gap, since the length of a pass is known only on average.
const TRAIN_TO: f64 = 0.68;
/// Codes in a row that two windows share only if they share time (or are said to, which only costs training).
const SHARED: usize = 12;
/// Every n-th machine (by serial) is held out.
const HELD_EVERY: usize = 4;
/// Codes 0 stands for nothing.
const PADDING: &str = "0";

/// Which rows are held out of the training file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holdout {
    /// The last fifth of each machine's period.
    Time,
    /// Whole machines, each once: as many models as groups, each tested on machines that it never saw.
    Machine,
}

/// Which files.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Windows to learn from.
    pub train: PathBuf,
    /// Windows to be tested on; not read if there is a `holdout`.
    pub test: PathBuf,
    /// Test on rows held out of `train` instead.
    pub holdout: Option<Holdout>,
    /// Chance.
    pub seed: u64,
}

impl Options {
    /// Two files; the same one twice is tested on held-out machines.
    pub fn new(train: impl Into<PathBuf>, test: impl Into<PathBuf>) -> Self {
        let (train, test) = (train.into(), test.into());
        let holdout = (train == test).then_some(Holdout::Machine);
        Self { train, test, holdout, seed: 1 }
    }
}

/// Micro precision, recall and F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Micro {
    /// Share of the codes said that came.
    pub precision: f64,
    /// Share of the codes that came that were said.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

impl From<SetScore> for Micro {
    fn from(score: SetScore) -> Self {
        Self { precision: score.precision(), recall: score.recall(), f1: score.f1() }
    }
}

/// How good the model is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Micro precision.
    pub precision: f64,
    /// Micro recall.
    pub recall: f64,
    /// Micro F1.
    pub f1: f64,
    /// Say the input set, on the same rows.
    pub persistence: Micro,
    /// F1 above that of persistence.
    pub gain: f64,
    /// Rows tested.
    pub n: usize,
    /// Rows learnt from (by the largest model of a fold by machine).
    pub train_rows: usize,
    /// Rows left out because they share, or may share, time with the test.
    pub left_out_rows: usize,
    /// Machines tested.
    pub machines: usize,
    /// Codes told apart.
    pub codes: usize,
    /// Thresholds on the probability, one per model.
    pub thresholds: Vec<f64>,
    /// How the test was held out; `None` for a file of its own.
    pub holdout: Option<Holdout>,
}

/// Learns and tests.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let mut vocabulary = Vocabulary::default();
    let train = read(&options.train, &mut vocabulary)?;
    let known = vocabulary.len();
    let mut total = Total::default();
    match options.holdout {
        None => {
            let test = read(&options.test, &mut vocabulary)?;
            total.fold(&train.iter().collect::<Vec<_>>(), &test.iter().collect::<Vec<_>>(), known, options.seed)?;
        }
        Some(Holdout::Machine) => {
            let mut serials: Vec<&str> = train.iter().map(|window| window.device.as_str()).collect();
            // By length first: serials are numbers.
            serials.sort_by_key(|serial| (serial.len(), *serial));
            serials.dedup();
            if serials.len() < 2 {
                return Err(EvaluateError::form(&options.train, "one machine only: none can be held out"));
            }
            let group: BTreeMap<&str, usize> =
                serials.iter().enumerate().map(|(place, serial)| (*serial, place % HELD_EVERY)).collect();
            for held in 0..HELD_EVERY.min(serials.len()) {
                let (test, rest): (Vec<&Window>, Vec<&Window>) =
                    train.iter().partition(|window| group[window.device.as_str()] == held);
                total.fold(&rest, &test, known, options.seed)?;
            }
        }
        Some(Holdout::Time) => {
            let (rest, test) = by_time(&train);
            total.left_out_rows = train.len() - rest.len() - test.len();
            total.fold(&rest, &test, known, options.seed)?;
        }
    }
    let (model, persistence) = (Micro::from(total.model), Micro::from(total.persistence));
    Ok(Report {
        precision: model.precision,
        recall: model.recall,
        f1: model.f1,
        persistence,
        gain: model.f1 - persistence.f1,
        n: total.n,
        train_rows: total.train_rows,
        left_out_rows: total.left_out_rows,
        machines: total.machines.len(),
        codes: known,
        thresholds: total.thresholds,
        holdout: options.holdout,
    })
}

#[derive(Default)]
struct Total {
    model: SetScore,
    persistence: SetScore,
    n: usize,
    train_rows: usize,
    left_out_rows: usize,
    machines: HashSet<String>,
    thresholds: Vec<f64>,
}

impl Total {
    fn fold(&mut self, train: &[&Window], test: &[&Window], codes: usize, seed: u64) -> Result<(), EvaluateError> {
        let learn = |source| EvaluateError::Learn { what: "windows of codes".into(), source };
        let model = NextCodes::fit(train, codes, &Settings::new(seed)).map_err(learn)?;
        let score = model.score(test).map_err(learn)?;
        self.model.hits += score.hits;
        self.model.false_alarms += score.false_alarms;
        self.model.misses += score.misses;
        for window in test {
            self.persistence.add(&set(window.codes.clone()), &window.next);
            self.machines.insert(window.device.clone());
        }
        self.n += test.len();
        self.train_rows = self.train_rows.max(train.len());
        self.thresholds.push(model.threshold());
        Ok(())
    }
}

fn set(mut codes: Vec<Code>) -> Vec<Code> {
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn read(path: &Path, vocabulary: &mut Vocabulary) -> Result<Vec<Window>, EvaluateError> {
    let form = |problem: String| EvaluateError::form(path, problem);
    let mut reader = csv::Reader::from_reader(open(path)?);
    let headers = reader.headers().map_err(|error| form(error.to_string()))?.clone();
    let column = |name: &str| {
        let found = headers.iter().position(|header| header.trim() == name);
        found.ok_or_else(|| form(format!("no column {name}; columns are {headers:?}")))
    };
    let [serial, input, output] = [column("serial")?, column("input_alarms")?, column("output_alarms")?];
    let mut windows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| form(error.to_string()))?;
        let mut codes = |column: usize| -> Vec<Code> {
            let names = record.get(column).unwrap_or_default().split_whitespace();
            names.filter(|name| *name != PADDING).map(|name| vocabulary.place(name)).collect()
        };
        let (codes, next) = (codes(input), set(codes(output)));
        windows.push(Window { device: record.get(serial).unwrap_or_default().trim().to_owned(), codes, next });
    }
    Ok(windows)
}

/// The last fifth of each machine's period against what ends well before it.
fn by_time(windows: &[Window]) -> (Vec<&Window>, Vec<&Window>) {
    let mut machines: BTreeMap<&str, Vec<&Window>> = BTreeMap::new();
    for window in windows {
        machines.entry(window.device.as_str()).or_default().push(window);
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for rows in machines.values() {
        let place = |row: usize| (row as f64 * PASSES / rows.len() as f64).fract();
        let late: Vec<&Window> = (0..rows.len()).filter(|row| place(*row) >= TEST_FROM).map(|row| rows[row]).collect();
        let held: HashSet<&[Code]> = late.iter().flat_map(|window| window.codes.windows(SHARED)).collect();
        let apart = |window: &Window| {
            // Too short to tell is taken as shared.
            window.codes.len() >= SHARED && !window.codes.windows(SHARED).any(|codes| held.contains(codes))
        };
        train
            .extend((0..rows.len()).filter(|row| place(*row) < TRAIN_TO).map(|row| rows[row]).filter(|row| apart(row)));
        test.extend(late);
    }
    (train, test)
}
