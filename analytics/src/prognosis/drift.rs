//! Whether devices are still what a model was learnt from: population stability (pure).
//!
//! In: the features it was learnt from, those it scores now. Out: per feature the population stability index, and
//! whether that is an alarm. Promise: the same rows give the same index, in any order.
//!
//! `PSI = sum over bins of (now - then) * ln(now / then)`, over the deciles of then and a bin for missing values. The
//! usual reading (Siddiqi, 2006): below 0.1 stable, above 0.25 another population.

use foresight::boost::Matrix;
use serde::{Deserialize, Serialize};

/// Above it a feature's population has changed.
pub const ALARM: f64 = 0.25;
/// Share of features above [`ALARM`] from which a model is not believed any more: single metrics move with the season or
/// a firmware, and trees that use them little do not suffer.
pub const ALARM_SHARE: f64 = 0.3;
/// Fewer rows than this tell nothing: at 200 rows ten bins of equal share already give 0.05 by chance.
pub const LEAST_ROWS: usize = 200;
/// Bins of present values.
const BINS: usize = 10;
/// Counted beside what was seen, so that an empty bin has a logarithm.
const PRIOR: f64 = 0.5;

/// How the features of training were spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Column {
    name: String,
    /// Upper edges of the bins but the last.
    edges: Vec<f64>,
    /// Share of rows per bin; the last is of missing values.
    shares: Vec<f64>,
}

/// How far today's rows are from training's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Rows looked at.
    pub rows: u64,
    /// The features that moved most, with their index, greatest first.
    pub most: Vec<(String, f64)>,
    /// Share of features above [`ALARM`].
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
        let column = |(place, name): (usize, &String)| {
            let values = matrix.column(place);
            let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
            present.sort_by(f64::total_cmp);
            let mut edges: Vec<f64> =
                (1..BINS).filter_map(|bin| present.get(bin * present.len() / BINS).copied()).collect();
            edges.dedup();
            Column { name: name.clone(), shares: shares(values, &edges), edges }
        };
        Self { columns: matrix.names().iter().enumerate().map(column).collect() }
    }

    /// Today's rows against it; none where there are too few to tell, or the features are others.
    pub fn drift(&self, matrix: &Matrix) -> Option<Drift> {
        let same = self.columns.iter().map(|column| &column.name).eq(matrix.names());
        if !same || matrix.rows() < LEAST_ROWS {
            return None;
        }
        let index = |(place, column): (usize, &Column)| {
            let now = shares(matrix.column(place), &column.edges);
            let sum: f64 = now.iter().zip(&column.shares).map(|(now, then)| (now - then) * (now / then).ln()).sum();
            (column.name.clone(), sum)
        };
        let mut most: Vec<(String, f64)> = self.columns.iter().enumerate().map(index).collect();
        let above = most.iter().filter(|(_, index)| *index > ALARM).count();
        let share = above as f64 / most.len().max(1) as f64;
        most.sort_by(|left, right| right.1.total_cmp(&left.1));
        most.truncate(5);
        Some(Drift { rows: matrix.rows() as u64, most, share })
    }
}

fn shares(values: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![PRIOR; edges.len() + 2];
    let missing = counts.len() - 1;
    for value in values {
        let bin = if value.is_nan() { missing } else { edges.partition_point(|edge| edge <= value) };
        counts[bin] += 1.0;
    }
    let all: f64 = counts.iter().sum();
    counts.into_iter().map(|count| count / all).collect()
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
        assert!(moved.most[0].1 > ALARM && moved.alarms(), "{moved:?}");
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
