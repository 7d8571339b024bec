//! C-MAPSS: turbofan engines run to failure (Saxena et al. 2008), remaining useful life at the end of each test engine.
//!
//! In: `train_FD00x.txt`, `test_FD00x.txt` (unit, cycle, 3 settings, 21 sensors, separated by spaces), `RUL_FD00x.txt` (one
//! true life per test unit). Out: a [`Report`]. Lives are capped in training and, as published with the figures this is
//! compared with, in the truth. Promise: the test part is only predicted, once, by [`crate::life`] with its defaults; one
//! configuration serves all four subsets.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{EvaluateError, input::unwritten, text};
use crate::{
    boost::{self, Booster, Matrix},
    life::{
        History, LifeError, Model, Prediction, Reason, Row, Settings,
        nested::{self, Trial},
        table,
    },
};

/// Columns of a row: unit, cycle, settings, sensors.
const COLUMNS: usize = 26;
/// Operating settings among them.
const SETTINGS: usize = 3;
/// Reasons kept per engine.
const REASONS: usize = 5;

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct Options {
    /// Engines that ran to failure.
    pub train: PathBuf,
    /// Engines that were stopped before.
    pub test: PathBuf,
    /// What the test engines had left.
    pub rul: PathBuf,
    /// Most life that is predicted, in cycles; 125 is what the literature uses.
    pub cap: f64,
    /// Chance.
    pub seed: u64,
    /// Also tells what intervals hold by the training engines alone; takes as long as ten fits.
    pub nested: bool,
    /// Where `train.csv` and `test.csv` with the very features go, for other learners.
    pub features_out: Option<PathBuf>,
}

/// How good it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Test engines.
    pub n: usize,
    /// Engines learnt from.
    pub train_units: usize,
    /// Operating regimes found.
    pub regimes: usize,
    /// Features a row.
    pub features: usize,
    /// Root mean square error in cycles, truth capped.
    pub rmse: f64,
    /// PHM08: sum over engines of `exp(-d / 13) - 1` for d < 0 and `exp(d / 10) - 1` otherwise, d = predicted less true;
    /// saying too much costs more.
    pub score: f64,
    /// Share of engines whose true life lies in the 80 % interval.
    pub coverage: f64,
    /// Its mean width in cycles.
    pub mean_interval_width: f64,
    /// Root mean square error on training engines that were held out, at rows with up to 1.2 caps left.
    pub cross_validated_rmse: f64,
    /// What the 80 % interval holds on training engines that were left out of everything, for the form in use and those it
    /// was chosen from; only with `nested`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intervals_on_training: Vec<Trial>,
    /// From training rows in memory to a model with intervals.
    pub fit_seconds: f64,
    /// One set of trees on the features that were written out; only with `features_out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
    /// Per test engine.
    pub units: Vec<Unit>,
}

/// One set of trees on the features alone, every row of weight 1: what another learner does with the same files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// Training rows.
    pub rows: usize,
    /// Most life, in cycles.
    pub cap: f64,
    /// How the trees were grown.
    pub settings: boost::Settings,
    /// Growing them.
    pub fit_seconds: f64,
    /// Predicting all training rows.
    pub score_seconds: f64,
    /// On the test engines.
    pub rmse: f64,
}

/// One test engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unit {
    /// Its number in the file.
    pub unit: u32,
    /// True life, capped.
    pub truth: f64,
    /// What was said.
    #[serde(flatten)]
    pub prediction: Prediction,
    /// The weightiest reasons.
    pub reasons: Vec<Reason>,
}

/// Learns from the training engines and predicts the test engines; `now` tells elapsed time, for `fit_seconds` only.
pub fn run(options: &Options, now: &dyn Fn() -> Duration) -> Result<Report, EvaluateError> {
    let cap = options.cap;
    if !(cap > 0.0 && cap.is_finite()) {
        return Err(EvaluateError::Argument {
            field: "cap",
            value: cap.to_string(),
            legal: "a number of cycles above 0",
        });
    }
    let (train, test) = (engines(&options.train)?, engines(&options.test)?);
    let truth = lives(&options.rul)?;
    if truth.len() != test.len() {
        let problem = format!("{} lives for {} engines of {}", truth.len(), test.len(), options.test.display());
        return Err(EvaluateError::form(&options.rul, problem));
    }
    let histories: Vec<History> = train.into_values().collect();
    let settings =
        Settings::new((1..=COLUMNS - SETTINGS - 2).map(|place| format!("sensor_{place}")).collect(), cap, options.seed);
    let learn = |source| match source {
        LifeError::Boost(source) => EvaluateError::Learn { what: "the training engines".into(), source },
        other => EvaluateError::form(&options.train, other.to_string()),
    };
    let began = now();
    let model = Model::fit(&histories, &settings).map_err(learn)?;
    let fit_seconds = (now().saturating_sub(began)).as_secs_f64();
    let preparation = model.preparation();
    let rows: Vec<Vec<f64>> = test.values().filter_map(|engine| preparation.features(engine).pop()).collect();
    let features = Matrix::from_rows(preparation.names(), rows.iter().map(Vec::as_slice));
    let said = model.predict(&features).map_err(learn)?;
    let mut why = model.explain(&features).map_err(learn)?;
    let truth: Vec<f64> = truth.iter().map(|life| life.min(cap)).collect();
    let alone = match &options.features_out {
        Some(folder) => Some(alone(folder, &model, &histories, &settings, (&features, &truth), now)?),
        None => None,
    };
    let intervals_on_training =
        if options.nested { nested::trials(&histories, &settings).map_err(learn)? } else { Vec::new() };
    let n = truth.len() as f64;
    let errors: Vec<f64> = said.iter().zip(&truth).map(|(said, truth)| said.life - truth).collect();
    let covered = said.iter().zip(&truth).filter(|(said, truth)| (said.low..=said.high).contains(truth)).count();
    let units = test.keys().zip(&truth).zip(&said).zip(&mut why).map(|(((unit, truth), prediction), (_, reasons))| {
        reasons.truncate(REASONS);
        Unit { unit: *unit, truth: *truth, prediction: *prediction, reasons: std::mem::take(reasons) }
    });
    Ok(Report {
        n: truth.len(),
        train_units: histories.len(),
        regimes: preparation.regimes(),
        features: features.names().len(),
        rmse: (errors.iter().map(|error| error * error).sum::<f64>() / n).sqrt(),
        score: errors.iter().map(|error| penalty(*error)).sum(),
        coverage: covered as f64 / n,
        mean_interval_width: said.iter().map(|said| said.high - said.low).sum::<f64>() / n,
        cross_validated_rmse: model.cross_rmse(),
        intervals_on_training,
        fit_seconds,
        alone,
        units: units.collect(),
    })
}

/// Writes the features, and grows one set of trees on them.
fn alone(
    folder: &Path,
    model: &Model,
    histories: &[History],
    settings: &Settings,
    (test, truth): (&Matrix, &[f64]),
    now: &dyn Fn() -> Duration,
) -> Result<Alone, EvaluateError> {
    let (train, left) = table(model.preparation(), &histories.iter().collect::<Vec<_>>());
    let left: Vec<f64> = left.iter().map(|life| life.min(settings.cap)).collect();
    let units = histories.iter().enumerate().flat_map(|(unit, history)| history.rows.iter().map(move |_| unit + 1));
    fs::create_dir_all(folder).map_err(unwritten(folder))?;
    write(&folder.join("train.csv"), &train, &left, units)?;
    write(&folder.join("test.csv"), test, truth, 1..=truth.len())?;
    let learn = |source| EvaluateError::Learn { what: "the written features".into(), source };
    let began = now();
    let booster = Booster::fit(&train, &left, &vec![1.0; left.len()], &settings.trees).map_err(learn)?;
    let grown = now();
    booster.margin(&train).map_err(learn)?;
    let scored = now();
    let said = booster.margin(test).map_err(learn)?;
    let squares =
        said.iter().zip(truth).map(|(said, truth)| (said.clamp(0.0, settings.cap) - truth).powi(2)).sum::<f64>();
    Ok(Alone {
        rows: left.len(),
        cap: settings.cap,
        settings: settings.trees.clone(),
        fit_seconds: grown.saturating_sub(began).as_secs_f64(),
        score_seconds: scored.saturating_sub(grown).as_secs_f64(),
        rmse: (squares / truth.len() as f64).sqrt(),
    })
}

/// PHM08's price of an error.
fn penalty(error: f64) -> f64 {
    if error < 0.0 { (-error / 13.0).exp() - 1.0 } else { (error / 10.0).exp() - 1.0 }
}

/// Engines of a file, by number; their rows in order of cycles 1, 2, ….
fn engines(path: &Path) -> Result<BTreeMap<u32, History>, EvaluateError> {
    let text = text(path)?;
    let mut engines: BTreeMap<u32, History> = BTreeMap::new();
    for (ordinal, line) in text.lines().enumerate() {
        let wrong = |problem: String| EvaluateError::form(path, format!("line {}: {problem}", ordinal + 1));
        if line.trim().is_empty() {
            continue;
        }
        let values = line
            .split_whitespace()
            .map(|word| word.parse::<f64>().map_err(|_| wrong(format!("{word:?} is no number"))))
            .collect::<Result<Vec<f64>, _>>()?;
        if values.len() != COLUMNS {
            return Err(wrong(format!(
                "{} columns: {COLUMNS} are needed (unit, cycle, 3 settings, 21 sensors, separated by spaces)",
                values.len()
            )));
        }
        let (unit, cycle) = (values[0], values[1]);
        if unit < 1.0 || unit.fract() != 0.0 || unit > f64::from(u32::MAX) {
            return Err(wrong(format!("unit {unit}: a whole number from 1 on")));
        }
        let engine = engines.entry(unit as u32).or_default();
        let next = engine.rows.len() + 1;
        if cycle != next as f64 {
            return Err(wrong(format!("cycle {cycle} of unit {unit}: {next} comes next")));
        }
        let (settings, metrics) = values[2..].split_at(SETTINGS);
        engine.rows.push(Row { settings: settings.to_vec(), metrics: metrics.to_vec() });
    }
    if engines.is_empty() {
        return Err(EvaluateError::form(path, "empty: rows of 26 columns separated by spaces are needed"));
    }
    Ok(engines)
}

fn lives(path: &Path) -> Result<Vec<f64>, EvaluateError> {
    let text = text(path)?;
    let mut lives = Vec::new();
    for (ordinal, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let life = line.trim().parse::<f64>().ok().filter(|life| *life >= 0.0 && life.is_finite());
        let problem = || format!("line {}: {:?} is no life: one number of cycles from 0 on", ordinal + 1, line.trim());
        lives.push(life.ok_or_else(|| EvaluateError::form(path, problem()))?);
    }
    if lives.is_empty() {
        return Err(EvaluateError::form(path, "empty: one number of cycles per test engine is needed"));
    }
    Ok(lives)
}

/// `unit,life,` and one column per feature; what is missing is empty.
fn write(
    path: &Path,
    features: &Matrix,
    lives: &[f64],
    units: impl Iterator<Item = usize>,
) -> Result<(), EvaluateError> {
    let told = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "unit,life,{}", features.names().join(","))?;
        for (row, unit) in units.enumerate() {
            write!(file, "{unit},{}", lives[row])?;
            for place in 0..features.names().len() {
                let value = features.column(place)[row];
                if value.is_finite() { write!(file, ",{value}")? } else { write!(file, ",")? }
            }
            writeln!(file)?;
        }
        file.flush()
    };
    told().map_err(unwritten(path))
}
