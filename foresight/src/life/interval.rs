//! Intervals from what units that were held out did: cross-conformal, by unit, conditional on the predicted life.
//!
//! In: rows with predicted and true life, from models that had not seen the unit. Out: per predicted life the interval of true lives
//! that holds [`SHARE`] of what was predicted near it, with equal tails; each unit there weighs the same ([`FORM`]). Near the end of life predictions are close and so
//! is the interval. Where more than a tail lies at the cap, the interval ends in the cap and the other tail takes both
//! shares: equal tails would hold nine in ten there. (The shortest interval would be narrower on these rows and hold fewer
//! of the next.) Nothing is added for the finite number of units: held-out errors are of models that saw four fifths of them, and
//! greater than those of the whole model already (`docs/foresight.md`). Promise: `0 <= low <= life <= high <= cap`; an interval that
//! ends in the cap holds the cap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Prediction;

/// Share of true lives that the interval holds.
pub const SHARE: f64 = 0.8;

/// A row of a unit that the model had not seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Which unit.
    pub unit: usize,
    /// Predicted life.
    pub said: f64,
    /// True life, capped.
    pub is: f64,
}

/// What weighs the same among the rows near a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each row.
    Rows,
    /// Each unit: a unit that fades slowly has more rows near one life than others, and is met no more often.
    Units,
}

impl Form {
    /// A word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Units => "units",
        }
    }
}

/// The form in use, chosen by [`super::nested`] on training units: both hold four in five, and with units the tails are more
/// alike. `docs/foresight.md` has the table.
pub const FORM: Form = Form::Units;

/// Nodes over `0..=cap`; between them the ends are interpolated.
const NODES: usize = 26;
/// Rows around a node: this share of all, at least [`LEAST`]. A tenth follows the change of width over life and still holds
/// hundreds of rows.
const NEAREST: f64 = 0.1;
/// Rows without which ends are noise.
const LEAST: usize = 50;

/// Ends of the interval by predicted life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    cap: f64,
    /// Per node: the lower and the upper end of who is predicted there.
    ends: Vec<(f64, f64)>,
}

impl Interval {
    /// From rows of units that were held out.
    pub fn of(rows: &[Held], cap: f64, form: Form) -> Self {
        let rows = sorted(rows);
        let ends = (0..NODES).map(|place| {
            let node = cap * place as f64 / (NODES - 1) as f64;
            around([(near(&rows, node), node)], cap, form)
        });
        Self { cap, ends: ends.collect() }
    }

    /// The interval around a predicted life within `0..=cap`.
    pub fn around(&self, life: f64) -> Prediction {
        let along = (life / self.cap * (NODES - 1) as f64).clamp(0.0, (NODES - 1) as f64);
        let node = (along as usize).min(NODES - 2);
        let share = along - node as f64;
        // The ends themselves, not what they are away from the prediction: an interval that ends in the cap must hold it to the
        // last digit, for many lives are met there.
        let (before, after) = (self.ends[node], self.ends[node + 1]);
        let low = before.0 + share * (after.0 - before.0);
        let high = before.1 + share * (after.1 - before.1);
        Prediction { life, low: low.clamp(0.0, life), high: high.clamp(life, self.cap) }
    }
}

/// By predicted life, as [`near`] wants them.
pub(super) fn sorted(rows: &[Held]) -> Vec<Held> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|one, other| one.said.total_cmp(&other.said));
    sorted
}

/// The rows predicted nearest to a life.
pub(super) fn near(sorted: &[Held], life: f64) -> &[Held] {
    let count = ((sorted.len() as f64 * NEAREST) as usize).max(LEAST).min(sorted.len());
    let mut from = sorted.partition_point(|row| row.said < life).saturating_sub(count / 2).min(sorted.len() - count);
    // The nearest by prediction, not half on each side: at the ends of life there is only one side.
    while count > 0 && from > 0 && life - sorted[from - 1].said < sorted[from + count - 1].said - life {
        from -= 1;
    }
    while from + count < sorted.len() && sorted[from + count].said - life < life - sorted[from].said {
        from += 1;
    }
    &sorted[from..from + count]
}

/// The interval of true lives that rows tell, each group of them about the prediction beside it.
pub(super) fn around<'a>(groups: impl IntoIterator<Item = (&'a [Held], f64)>, cap: f64, form: Form) -> (f64, f64) {
    // Errors moved to the prediction and cut to what a life can be; a true life at the cap stays there.
    let moved = |row: &Held, said: f64| if row.is >= cap { cap } else { (said + row.is - row.said).clamp(0.0, cap) };
    let mut lives: Vec<(f64, usize)> = Vec::new();
    for (rows, said) in groups {
        lives.extend(rows.iter().map(|row| (moved(row, said), row.unit)));
    }
    lives.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut rows_of: BTreeMap<usize, f64> = BTreeMap::new();
    lives.iter().for_each(|(_, unit)| *rows_of.entry(*unit).or_default() += 1.0);
    if lives.is_empty() {
        return (0.0, cap);
    }
    let weight = |unit: &usize| match form {
        Form::Rows => 1.0,
        Form::Units => 1.0 / rows_of[unit],
    };
    let all: f64 = lives.iter().map(|(_, unit)| weight(unit)).sum();
    let quantile = |share: f64| {
        let mut below = 0.0;
        let reached = |(_, unit): &&(f64, usize)| {
            below += weight(unit);
            below >= share * all - 1e-9
        };
        lives.iter().find(reached).unwrap_or(&lives[lives.len() - 1]).0
    };
    let out = 1.0 - SHARE;
    let (low, high) = (quantile(out / 2.0), quantile(1.0 - out / 2.0));
    (if high >= cap { quantile(out) } else { low }, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: f64 = 125.0;
    const FORMS: [Form; 2] = [Form::Rows, Form::Units];

    /// Of twenty units, evenly said from `from` to the cap.
    fn rows(from: f64, is: impl Fn(usize, f64) -> f64) -> Vec<Held> {
        let row = |place: usize| {
            let said = from + (CAP - from) * place as f64 / 1000.0;
            Held { unit: place % 20, said, is: is(place, said).clamp(0.0, CAP) }
        };
        (0..=1000).map(row).collect()
    }

    #[test]
    fn an_interval_that_ends_in_the_cap_holds_it_to_the_last_digit() {
        for form in FORMS {
            let interval = Interval::of(&rows(80.0, |_, _| CAP), CAP, form);
            for life in (950..=1250).map(|tenth| f64::from(tenth) / 10.0) {
                assert_eq!(interval.around(life).high, CAP, "{form:?} {life}");
            }
        }
    }

    #[test]
    fn who_errs_alike_at_every_life_has_the_same_interval_everywhere() {
        // Up to ten more is left than was said and five less, evenly.
        let even = |place: usize, said: f64| said + (place * 7 % 16) as f64 - 5.0;
        for form in FORMS {
            let interval = Interval::of(&rows(0.0, even), CAP, form);
            for life in (200..=900).map(|tenth| f64::from(tenth) / 10.0) {
                let Prediction { low, high, .. } = interval.around(life);
                let (below, above) = (life - low, high - life);
                assert!((below - 4.0).abs() < 1.5 && (above - 9.0).abs() < 1.5, "{form:?} {life}: {low} to {high}");
            }
            for life in [0.0, 1.0, 124.0, 125.0] {
                let Prediction { low, high, .. } = interval.around(life);
                assert!(0.0 <= low && low <= life && life <= high && high <= CAP, "{form:?} {life}: {low} to {high}");
            }
        }
    }
}
