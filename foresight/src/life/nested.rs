//! What intervals hold, told by training units alone: units are left out of everything, the interval's own folds included,
//! and asked as if they still ran.
//!
//! In: units that ran to failure. Out: per [`Form`] of interval the share of true lives it holds, and how wide it is. Promise:
//! whoever is asked was seen by no model, no calibration row and no choice; each unit weighs the same, at every moment at
//! which a still running unit could be met: `YOUNGEST` rows old, and no more than the cap and a fifth left. Never: a unit
//! of a test part; that is how a form can be chosen without one.
//!
//! Each of the outer folds fits all models of [`super::Model::fit`] on the others, so this takes as long as that many fits.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{
    FOLDS, Fold, History, LifeError, Settings,
    interval::{self, Form, Held, Interval},
    learn, near, said,
};

/// Outer folds: nine in ten units teach, nearly as many as will in the end.
pub const OUTER: usize = 10;
/// A unit that is asked is at least this many rows old: younger ones are not met in the test parts, and say the cap.
const YOUNGEST: usize = 30;

/// One form of interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// `rows` or `units`: which of them weigh the same; `cv+` about each fold's own prediction.
    pub form: String,
    /// Share of true lives that it holds, units weighing the same.
    pub coverage: f64,
    /// Share of true lives below it; both tails are meant to be alike where the cap cuts none.
    pub below: f64,
    /// Share of true lives above it.
    pub above: f64,
    /// Standard error of `coverage`, from the spread between units.
    pub standard_error: f64,
    /// Mean width in rows.
    pub mean_width: f64,
    /// Units asked.
    pub units: usize,
}

/// A row of a unit that was left out.
struct Asked {
    unit: usize,
    /// What the model with intervals says.
    said: f64,
    /// What each fold's model says.
    by_fold: Vec<f64>,
    is: f64,
}

/// One outer fold.
struct LeftOut {
    /// Rows held out by each inner fold.
    held: Vec<Vec<Held>>,
    /// Rows of the units left out.
    asked: Vec<Asked>,
}

/// Tries all forms.
pub fn trials(histories: &[History], settings: &Settings) -> Result<Vec<Trial>, LifeError> {
    if histories.len() < OUTER * 2 {
        return Err(LifeError::Few { units: histories.len(), least: OUTER * 2 });
    }
    let folds: Vec<LeftOut> = (0..OUTER).map(|outer| left_out(histories, settings, outer)).collect::<Result<_, _>>()?;
    let forms = [Form::Rows, Form::Units];
    let about = forms.map(|form| {
        tried(form.name().to_owned(), &folds, |LeftOut { held, asked }| {
            let held: Vec<Held> = held.iter().flatten().copied().collect();
            let interval = Interval::of(&held, settings.cap, form);
            asked.iter().map(|row| interval.around(row.said)).map(|it| (it.low, it.high)).collect()
        })
    });
    let plus = forms.map(|form| {
        let name = format!("cv+ {}", form.name());
        tried(name, &folds, |LeftOut { held, asked }| plus(held, asked, settings.cap, form))
    });
    Ok(about.into_iter().chain(plus).collect())
}

/// CV+ (Barber et al. 2021), by predicted life: around what each fold's model says of the row, that fold's own errors near
/// there; quantiles of all of them together.
fn plus(held: &[Vec<Held>], asked: &[Asked], cap: f64, form: Form) -> Vec<(f64, f64)> {
    let sorted: Vec<Vec<Held>> = held.iter().map(|rows| interval::sorted(rows)).collect();
    let one = |row: &Asked| {
        let groups = sorted.iter().zip(&row.by_fold).map(|(rows, said)| (interval::near(rows, *said), *said));
        let (low, high) = interval::around(groups, cap, form);
        (low.min(row.said), high.max(row.said))
    };
    asked.par_iter().map(one).collect()
}

/// Fits what [`super::Model::fit`] fits on nine in ten units, and asks the others.
fn left_out(histories: &[History], settings: &Settings, outer: usize) -> Result<LeftOut, LifeError> {
    let part = |out: bool| -> Vec<&History> {
        let units = histories.iter().enumerate().filter(|(unit, _)| (unit % OUTER == outer) == out);
        units.map(|(_, history)| history).collect()
    };
    let (seen, left) = (part(false), part(true));
    let fold = |fold: usize| {
        let Fold { held, preparation, boosters } = Fold::of(&seen, settings, fold)?;
        Ok((held, said(&preparation, &boosters, &left, settings.cap)?.0))
    };
    let folds: Vec<(Vec<Held>, Vec<f64>)> = (0..FOLDS).into_par_iter().map(fold).collect::<Result<_, LifeError>>()?;
    let (preparation, boosters) = learn(&seen, settings, settings.models)?;
    let (whole, lives) = said(&preparation, &boosters, &left, settings.cap)?;
    let places =
        left.iter().enumerate().flat_map(|(unit, history)| (1..=history.rows.len()).map(move |age| (unit, age)));
    let met = |row: &usize, age: usize| age >= YOUNGEST && near(lives[*row], settings.cap);
    let asked = places.enumerate().filter(|(row, (_, age))| met(row, *age)).map(|(row, (unit, _))| Asked {
        unit,
        said: whole[row],
        by_fold: folds.iter().map(|(_, said)| said[row]).collect(),
        is: lives[row].min(settings.cap),
    });
    let asked = asked.collect();
    Ok(LeftOut { held: folds.into_iter().map(|(held, _)| held).collect(), asked })
}

fn tried(form: String, folds: &[LeftOut], ends: impl Fn(&LeftOut) -> Vec<(f64, f64)>) -> Trial {
    let (mut shares, mut widths, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for fold in folds {
        let mut units: BTreeMap<usize, [f64; 4]> = BTreeMap::new();
        for (row, (low, high)) in fold.asked.iter().zip(ends(fold)) {
            let unit = units.entry(row.unit).or_default();
            unit[0] += 1.0;
            unit[1] += f64::from(row.is < low);
            unit[2] += f64::from(row.is > high);
            unit[3] += high - low;
        }
        for [rows, below, above, width] in units.into_values() {
            shares.push(1.0 - (below + above) / rows);
            lows.push(below / rows);
            highs.push(above / rows);
            widths.push(width / rows);
        }
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
    let (coverage, units) = (mean(&shares), shares.len());
    let spread = shares.iter().map(|share| (share - coverage).powi(2)).sum::<f64>() / (units.max(2) - 1) as f64;
    let standard_error = (spread / units.max(1) as f64).sqrt();
    let (below, above, mean_width) = (mean(&lows), mean(&highs), mean(&widths));
    Trial { form, coverage, below, above, standard_error, mean_width, units }
}
