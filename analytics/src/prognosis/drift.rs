//! Whether devices are still what a model was learnt from: population stability (pure).
//!
//! In: the features it was learnt from, those it scores now. Out: per feature the population stability index, and
//! whether that is an alarm. Promise: the same rows give the same index, in any order.
//!
//! The index of one feature is [`foresight::drift`]'s; here it is asked of all features of a model at once.

use foresight::{
    boost::Matrix,
    drift::{Reference as Spread, Stability, Verdict},
};
use serde::{Deserialize, Serialize};

/// Share of features that have drifted from which a model is not believed any more: single metrics move with the season
/// or a firmware, and trees that use them little do not suffer.
pub const ALARM_SHARE: f64 = 0.3;
/// Features named in a warning.
const NAMED: usize = 5;

/// How the features of training were spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    columns: Vec<(String, Spread)>,
}

/// How far today's rows are from training's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Rows looked at.
    pub rows: u64,
    /// The features that moved most, with their index, greatest first.
    pub most: Vec<(String, f64)>,
    /// Share of features that have drifted.
    pub share: f64,
}

impl Drift {
    /// Whether the model should not be believed.
    pub fn alarms(&self) -> bool {
        self.share >= ALARM_SHARE
    }
}

impl Reference {
    /// Of a matrix.
    pub fn of(matrix: &Matrix) -> Self {
        let names = matrix.names().iter().enumerate();
        Self { columns: names.map(|(place, name)| (name.clone(), Spread::new(matrix.column(place)))).collect() }
    }

    /// Today's rows against it; none where there are too few to tell, or a feature is missing.
    pub fn drift(&self, matrix: &Matrix) -> Option<Drift> {
        let (mut most, mut drifted) = (Vec::with_capacity(self.columns.len()), 0);
        for (name, spread) in &self.columns {
            let place = matrix.names().iter().position(|other| other == name)?;
            let mut stability = Stability::new(spread.clone());
            matrix.column(place).iter().for_each(|value| stability.add(*value));
            match stability.verdict() {
                Verdict::Unknown => return None,
                Verdict::Drifted => drifted += 1,
                Verdict::Stable | Verdict::Moved => {}
            }
            most.push((name.clone(), stability.index()?));
        }
        let share = f64::from(drifted) / self.columns.len().max(1) as f64;
        most.sort_by(|left, right| right.1.total_cmp(&left.1));
        most.truncate(NAMED);
        Some(Drift { rows: matrix.rows() as u64, most, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: impl Iterator<Item = f64>) -> Matrix {
        Matrix::from_columns(vec![("level".into(), values.collect())])
    }

    #[test]
    fn the_same_population_is_stable_and_another_alarms() {
        let then = Reference::of(&matrix((0..1000).map(|n| f64::from(n % 100))));
        let same = then.drift(&matrix((0..500).map(|n| f64::from((n * 7) % 100)))).unwrap();
        assert!(same.most[0].1 < 0.05 && !same.alarms(), "{same:?}");
        let moved = then.drift(&matrix((0..500).map(|n| f64::from(n % 100) + 60.0))).unwrap();
        assert!(moved.most[0].1 > 0.25 && moved.alarms(), "{moved:?}");
        let silent = then.drift(&matrix((0..500).map(|n| if n % 2 == 0 { f64::NAN } else { f64::from(n % 100) })));
        assert!(silent.unwrap().alarms(), "half of the values are missing");
    }

    #[test]
    fn a_constant_column_and_few_rows_tell_nothing() {
        let then = Reference::of(&matrix((0..1000).map(|_| 3.0)));
        assert!(then.drift(&matrix((0..500).map(|_| 3.0))).unwrap().most[0].1 < 0.01);
        assert_eq!(then.drift(&matrix((0..50).map(|_| 3.0))), None);
    }
}
