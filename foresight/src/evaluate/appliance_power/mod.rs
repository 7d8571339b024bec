//! One-minute power of real appliances with simulated faults: which minutes and which days are told.
//!
//! In: day files in a folder or a tar. Out: a [`Report`], one row per unit and kind of fault. Promise: the score of a
//! minute uses that minute and those before it; a unit is known from its first healthy days only. Never: a fault kind or
//! an appliance treated apart.
//!
//! The faults lengthen phases (a heater that is on for longer, a compressor that does not stop), so the score is how long
//! a phase has been going on, against the longest the unit needed while it was new:
//!
//! ```text
//! commissioning: days 1..3 of the unit's Normal days; for each level of LEVELS (share of the greatest power seen)
//!                the longest cycle at that level (module cycle)
//! score of a minute: the greatest over the levels of length of the cycle that is going on / (longest + 1 minute)
//! score of a day: its greatest minute
//! alarm: the day's score is above the appliance's threshold, which is the greatest score of the healthy days of its train
//!        units after commissioning (their days are too few to allow a share of them); an appliance without a train unit
//!        takes the greatest of all
//! ```
//!
//! Days 1..3 of every kind are left out of the judgement, since the faulty days were made from the healthy days of the
//! same numbers. Where train and test are the same archive, units `…_1` train and the others test; an appliance with only
//! one unit (the dryer) is judged on that unit, whose healthy days then also helped to set the threshold: its rows say so.

mod read;
mod score;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::Serialize;

pub use self::read::{Day, Minute, days, minutes};
use self::score::Baseline;
use super::EvaluateError;
use crate::measure::{auroc, average_precision};

/// Healthy days by which a unit is known.
pub const COMMISSIONING_DAYS: usize = 3;

/// A kind counts as seen if so many flagged days would come by chance with at most this probability.
const CHANCE: f64 = 0.05;

/// Folder name of healthy days.
const NORMAL: &str = "normal";

/// What to learn from and what to judge on.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder or tar to learn from.
    pub train: PathBuf,
    /// Folder or tar to judge on; may be the same.
    pub test: PathBuf,
}

/// One unit under one kind of fault.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// `fridge`.
    pub appliance: String,
    /// `Fridge_2`.
    pub unit: String,
    /// As its folder is named.
    pub fault: String,
    /// Minutes judged, and how many of them are labelled.
    pub minutes: usize,
    /// Labelled minutes.
    pub labelled: usize,
    /// Of labelled against other minutes of the faulty days.
    pub auroc: Option<f64>,
    /// Of labelled minutes.
    pub average_precision: Option<f64>,
    /// Faulty days judged: those with a labelled minute.
    pub faulty_days: usize,
    /// Faulty days with an alarm.
    pub flagged: usize,
    /// The unit's healthy days after commissioning.
    pub healthy_days: usize,
    /// Healthy days with an alarm.
    pub false_alarms: usize,
    /// Chance of so many flagged faulty days if faulty and healthy days were alike (Fisher's exact test, one-sided).
    pub chance: f64,
    /// Whether the kind can be seen on this unit: that chance is at most 5 %.
    pub seen: bool,
    /// Whether the unit's own healthy days helped to set the threshold.
    pub unit_trained_too: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Units the threshold was learnt from.
    pub train_units: usize,
    /// Their healthy days after commissioning.
    pub train_healthy_days: usize,
    /// Per appliance, the score above which a day is flagged.
    pub thresholds: BTreeMap<String, f64>,
    /// Units that were judged.
    pub test_units: usize,
    /// Units without [`COMMISSIONING_DAYS`] healthy days with power in them: not judged.
    pub unknown_units: usize,
    /// Mean of the rows.
    pub auroc: Option<f64>,
    /// Mean of the rows.
    pub average_precision: Option<f64>,
    /// Faulty days with an alarm, of all faulty days.
    pub faulty_days_flagged: Option<f64>,
    /// Alarms on the test units' healthy days after commissioning, per 30 of them.
    pub false_alarms_per_device_month: Option<f64>,
    /// Unit and kind for which alarms are no more frequent than on healthy days, as far as the days can tell.
    pub not_seen: Vec<String>,
    /// Per unit and kind.
    pub rows: Vec<Row>,
}

/// The days of one unit, by kind.
type Unit<'a> = BTreeMap<&'a str, Vec<&'a Day>>;

fn units(days: &[Day]) -> BTreeMap<&str, Unit<'_>> {
    let mut units: BTreeMap<&str, Unit> = BTreeMap::new();
    for day in days {
        units.entry(&day.unit).or_default().entry(&day.kind).or_default().push(day);
    }
    units
}

/// A unit that is known from its first healthy days.
struct Known<'a> {
    appliance: &'a str,
    unit: &'a Unit<'a>,
    baseline: Baseline,
    /// Numbers of the days it is known from.
    commissioning: BTreeSet<u32>,
    /// Scores of its later healthy days.
    healthy: Vec<f64>,
}

fn known<'a>(unit: &'a Unit<'a>) -> Option<Known<'a>> {
    let normal = unit.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(NORMAL))?.1;
    let first = normal.get(..COMMISSIONING_DAYS)?;
    let baseline = Baseline::learn(first)?;
    let commissioning = first.iter().map(|day| day.number).collect();
    let healthy = normal[COMMISSIONING_DAYS..].iter().map(|day| score::day(&baseline.score(day))).collect();
    let appliance = first.first()?.appliance.as_str();
    Some(Known { appliance, unit, baseline, commissioning, healthy })
}

/// Learns the threshold on one set of units and judges the others.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let train_days = days(&options.train)?;
    let same = options.train == options.test;
    let test_days = if same { train_days.clone() } else { days(&options.test)? };
    let (train, test) = (units(&train_days), units(&test_days));
    let trains = |name: &str| !same || name.ends_with("_1");
    let learnt: Vec<Known> =
        train.iter().filter(|(name, _)| trains(name)).filter_map(|(_, unit)| known(unit)).collect();
    let thresholds = thresholds(&learnt);
    let train_healthy_days: usize = learnt.iter().map(|known| known.healthy.len()).sum();
    if train_healthy_days == 0 {
        let problem = format!("no unit has more than {COMMISSIONING_DAYS} Normal days with power in them");
        return Err(EvaluateError::form(&options.train, problem));
    }
    let appliances = |name: &str| test_days.iter().find(|day| day.unit == name).map(|day| day.appliance.as_str());
    let alone =
        |name: &str| test.keys().filter(|other| appliances(other) == appliances(name)).all(|other| trains(other));
    let (mut rows, mut unknown, mut judged) = (Vec::new(), 0, Vec::new());
    for (name, unit) in test.iter().filter(|(name, _)| !same || !trains(name) || alone(name)) {
        let Some(known) = known(unit) else {
            unknown += 1;
            continue;
        };
        let kinds = known.unit.iter().filter(|(kind, _)| !kind.eq_ignore_ascii_case(NORMAL));
        let threshold = thresholds.get(known.appliance).copied();
        let threshold = threshold.unwrap_or_else(|| thresholds.values().copied().fold(0.0, f64::max));
        rows.extend(kinds.map(|(kind, days)| judge(name, kind, days, &known, threshold, same && trains(name))));
        judged.push(known.healthy.len());
    }
    let healthy_days = judged.iter().sum();
    let report = Report {
        train_units: learnt.len(),
        train_healthy_days,
        thresholds,
        test_units: judged.len(),
        unknown_units: unknown,
        ..summary(rows, healthy_days)
    };
    Ok(report)
}

/// The greatest score of each appliance's healthy days.
fn thresholds(learnt: &[Known]) -> BTreeMap<String, f64> {
    let mut greatest: BTreeMap<String, f64> = BTreeMap::new();
    for known in learnt.iter().filter(|known| !known.healthy.is_empty()) {
        let threshold = greatest.entry(known.appliance.to_owned()).or_default();
        *threshold = known.healthy.iter().copied().fold(*threshold, f64::max);
    }
    greatest
}

fn judge(name: &str, kind: &str, days: &[&Day], known: &Known, threshold: f64, unit_trained_too: bool) -> Row {
    let (mut scores, mut labels, mut faulty_days, mut flagged) = (Vec::new(), Vec::new(), 0, 0);
    let later = |day: &&&Day| !known.commissioning.contains(&day.number);
    for day in days.iter().filter(later).filter(|day| day.minutes.iter().any(|minute| minute.labelled)) {
        let of_day = known.baseline.score(day);
        faulty_days += 1;
        flagged += usize::from(score::day(&of_day) > threshold);
        scores.extend(of_day);
        labels.extend(day.minutes.iter().map(|minute| minute.labelled));
    }
    let healthy_days = known.healthy.len();
    let false_alarms = known.healthy.iter().filter(|score| **score > threshold).count();
    let chance = score::fisher(flagged, faulty_days, false_alarms, healthy_days);
    Row {
        appliance: days.first().map(|day| day.appliance.clone()).unwrap_or_default(),
        unit: name.to_owned(),
        fault: kind.to_owned(),
        minutes: scores.len(),
        labelled: labels.iter().filter(|label| **label).count(),
        auroc: auroc(&scores, &labels),
        average_precision: average_precision(&scores, &labels),
        faulty_days,
        flagged,
        healthy_days,
        false_alarms,
        chance,
        seen: chance <= CHANCE,
        unit_trained_too,
    }
}

/// What all rows say together.
fn summary(rows: Vec<Row>, healthy_days: usize) -> Report {
    let mean = |of: fn(&Row) -> Option<f64>| {
        let there: Vec<f64> = rows.iter().filter_map(of).collect();
        (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
    };
    let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let false_alarms: BTreeMap<&str, usize> = rows.iter().map(|row| (row.unit.as_str(), row.false_alarms)).collect();
    let flagged = rows.iter().map(|row| row.flagged).sum();
    let not_seen = rows.iter().filter(|row| !row.seen).map(|row| format!("{} {}", row.unit, row.fault)).collect();
    Report {
        auroc: mean(|row| row.auroc),
        average_precision: mean(|row| row.average_precision),
        faulty_days_flagged: ratio(flagged, rows.iter().map(|row| row.faulty_days).sum()),
        false_alarms_per_device_month: ratio(false_alarms.values().sum::<usize>() * 30, healthy_days),
        not_seen,
        rows,
        ..Report::default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        writeln!(
            f,
            "thresholds {:.2?} from {} healthy days of {} units; judged {} units, {} unknown",
            self.thresholds, self.train_healthy_days, self.train_units, self.test_units, self.unknown_units
        )?;
        writeln!(
            f,
            "{:<18} {:<36} {:>6} {:>6} {:>8} {:>8} {:>7}",
            "", "", "AUROC", "AP", "flagged", "healthy", "chance"
        )?;
        for row in &self.rows {
            let (area, precision) = (figure(row.auroc), figure(row.average_precision));
            let flagged = format!("{}/{}", row.flagged, row.faulty_days);
            let healthy = format!("{}/{}", row.false_alarms, row.healthy_days);
            let name = format!("{}{}", row.unit, if row.unit_trained_too { "*" } else { "" });
            let (fault, chance, seen) = (&row.fault, row.chance, if row.seen { "" } else { " not seen" });
            writeln!(
                f,
                "{name:<18} {fault:<36} {area:>6} {precision:>6} {flagged:>8} {healthy:>8} {chance:>7.4}{seen}"
            )?;
        }
        write!(
            f,
            "mean AUROC {}, mean AP {}, faulty days flagged {}, false alarms per healthy device-month {}",
            figure(self.auroc),
            figure(self.average_precision),
            figure(self.faulty_days_flagged),
            figure(self.false_alarms_per_device_month)
        )
    }
}
