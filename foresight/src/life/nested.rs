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

/// Parts of life below the cap.
const PARTS: usize = 5;

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
    /// Share of true lives that it holds where a fifth of the cap or less is left, two fifths, and so on; last where the cap or
    /// more is.
    pub coverage_by_life: Vec<f64>,
    /// Mean width in rows.
    pub mean_width: f64,
    /// Width and ten times what lies outside, a mean over units (Gneiting and Raftery 2007, 6.2, for an 80 % interval): less is better.
    pub interval_score: f64,
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
        tried(form.name().to_owned(), &folds, settings.cap, |LeftOut { held, asked }| {
            let held: Vec<Held> = held.iter().flatten().copied().collect();
            let interval = Interval::of(&held, settings.cap, form);
            asked.iter().map(|row| interval.around(row.said)).map(|it| (it.low, it.high)).collect()
        })
    });
    let plus = forms.map(|form| {
        let name = format!("cv+ {}", form.name());
        tried(name, &folds, settings.cap, |LeftOut { held, asked }| plus(held, asked, settings.cap, form))
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

fn tried(form: String, folds: &[LeftOut], cap: f64, ends: impl Fn(&LeftOut) -> Vec<(f64, f64)>) -> Trial {
    // Per unit: below, above, width, score; per part of life: rows, held.
    let (mut units, mut parts): (Vec<[f64; 4]>, [[f64; 2]; PARTS + 1]) = Default::default();
    for fold in folds {
        let mut of_unit: BTreeMap<usize, (f64, [f64; 4])> = BTreeMap::new();
        for (row, (low, high)) in fold.asked.iter().zip(ends(fold)) {
            let (below, above) = ((low - row.is).max(0.0), (row.is - high).max(0.0));
            let (rows, sums) = of_unit.entry(row.unit).or_default();
            *rows += 1.0;
            let of_row =
                [f64::from(below > 0.0), f64::from(above > 0.0), high - low, high - low + 10.0 * (below + above)];
            sums.iter_mut().zip(of_row).for_each(|(sum, of_row)| *sum += of_row);
            let part = &mut parts[((row.is / cap * PARTS as f64) as usize).min(PARTS)];
            part[0] += 1.0;
            part[1] += f64::from(below == 0.0 && above == 0.0);
        }
        units.extend(of_unit.into_values().map(|(rows, sums)| sums.map(|sum| sum / rows)));
    }
    let count = units.len();
    let mean = |of: usize| units.iter().map(|unit| unit[of]).sum::<f64>() / count.max(1) as f64;
    let (below, above) = (mean(0), mean(1));
    let coverage = 1.0 - below - above;
    let spread = units.iter().map(|unit| (1.0 - unit[0] - unit[1] - coverage).powi(2)).sum::<f64>();
    let standard_error = (spread / (count.max(2) - 1) as f64 / count.max(1) as f64).sqrt();
    let coverage_by_life = parts.iter().map(|[rows, held]| held / rows.max(1.0)).collect();
    let (mean_width, interval_score) = (mean(2), mean(3));
    Trial { form, coverage, below, above, standard_error, coverage_by_life, mean_width, interval_score, units: count }
}
