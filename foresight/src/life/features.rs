//! From rows to features: residuals by regime, a health index, indicators of both over several windows.

use schemas::time::Instant;
use serde::{Deserialize, Serialize};

use super::History;
use crate::{
    boost::Matrix,
    indicator::{Computer, Definition, Statistic, Window, regime::Regimes},
};

/// Windows in rows, doubling from a handful to more than most faults take. In cross-validation 80 and 160 were each worth
/// half a cycle of error and more: slopes of noisy metrics need many rows.
pub const WINDOWS: [u32; 6] = [5, 10, 20, 40, 80, 160];
/// Points of a unit's baseline: new units differ by make.
pub const BASELINE: u32 = 20;
/// Ridge penalty per row of the health index: metrics that say the same share the weight.
const RIDGE: f64 = 1e-3;
/// Name of the derived metric.
pub const HEALTH: &str = "health";
/// Name of the feature that counts a unit's rows.
pub const AGE: &str = "age";

/// How rows become features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preparation {
    regimes: Regimes,
    /// Places of the metrics that say something.
    metrics: Vec<usize>,
    /// Intercept first, then one weight per metric that says something.
    health: Vec<f64>,
    definitions: Vec<Definition>,
    /// A computer that has seen nothing yet.
    fresh: Computer,
}

impl Preparation {
    /// Learns regimes and health index; `None` if no metric moves.
    pub fn learn(histories: &[&History], names: &[String], cap: f64) -> Option<Self> {
        let rows = || histories.iter().flat_map(|history| &history.rows);
        let first = rows().next()?;
        let settings: Vec<Vec<f64>> =
            (0..first.settings.len()).map(|place| rows().map(|row| row.settings[place]).collect()).collect();
        let columns: Vec<Vec<f64>> =
            (0..first.metrics.len()).map(|place| rows().map(|row| row.metrics[place]).collect()).collect();
        let regimes = Regimes::learn(&settings, &columns);
        let moving = regimes.moving();
        let metrics: Vec<usize> = (0..moving.len()).filter(|place| moving[*place]).collect();
        if metrics.is_empty() {
            return None;
        }
        let lives =
            histories.iter().flat_map(|history| (0..history.rows.len()).rev().map(|left| (left as f64).min(cap)));
        let points = rows().zip(lives).map(|(row, life)| {
            let residuals = regimes.residuals(&row.settings, &row.metrics);
            (metrics.iter().map(|place| or_mean(residuals[*place])).collect(), life)
        });
        let health = ridge(metrics.len(), points);
        let mut known: Vec<String> = metrics.iter().map(|place| names[*place].clone()).collect();
        known.push(HEALTH.into());
        let definitions = definitions(&known);
        let fresh = Computer::new(&known, &definitions).ok()?;
        Some(Self { regimes, metrics, health, definitions, fresh })
    }

    /// Names of the features, in order.
    pub fn names(&self) -> Vec<String> {
        self.definitions.iter().map(|definition| definition.name.clone()).chain([AGE.to_owned()]).collect()
    }

    /// What the features are, but for the age.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// Operating regimes found.
    pub fn regimes(&self) -> usize {
        self.regimes.count()
    }

    /// For the rows of one unit, as they come.
    pub fn watch(&self) -> Watcher<'_> {
        Watcher { preparation: self, computer: self.fresh.clone() }
    }

    /// Features at every row of a unit.
    pub fn features(&self, history: &History) -> Vec<Vec<f64>> {
        let mut watcher = self.watch();
        let features = history.rows.iter().map(|row| {
            watcher.push(&row.settings, &row.metrics);
            watcher.features()
        });
        features.collect()
    }
}

/// One unit under way.
#[derive(Debug, Clone)]
pub struct Watcher<'a> {
    preparation: &'a Preparation,
    computer: Computer,
}

impl Watcher<'_> {
    /// Takes the unit's next row.
    pub fn push(&mut self, settings: &[f64], metrics: &[f64]) {
        let Preparation { regimes, metrics: places, health, .. } = self.preparation;
        let residuals = regimes.residuals(settings, metrics);
        let mut values: Vec<Option<f64>> = places.iter().map(|place| Some(residuals[*place])).collect();
        let weighed = places.iter().zip(&health[1..]).map(|(place, weight)| weight * or_mean(residuals[*place]));
        values.push(Some(health[0] + weighed.sum::<f64>()));
        // Windows count rows, so the instant only has to go on: a row is told as an hour.
        let hours = i64::try_from(self.computer.pushed()).unwrap_or(i64::MAX);
        self.computer.push(Instant::from_millis(hours.saturating_mul(3_600_000)), &values);
    }

    /// The features as of the newest row, in the order of [`Preparation::names`].
    pub fn features(&self) -> Vec<f64> {
        let mut features = self.computer.values();
        features.push(self.computer.pushed() as f64);
        features
    }

    /// The same as a matrix of one row.
    pub fn matrix(&self) -> Matrix {
        let features = self.features();
        Matrix::from_rows(self.preparation.names(), [features.as_slice()].into_iter())
    }
}

/// A residual that is missing is taken for the regime's mean.
fn or_mean(residual: f64) -> f64 {
    if residual.is_finite() { residual } else { 0.0 }
}

fn definitions(metrics: &[String]) -> Vec<Definition> {
    let mut definitions = Vec::new();
    for metric in metrics {
        let mut add = |statistic, rows| definitions.push(Definition::of(metric, statistic, Window::Rows { rows }));
        for rows in WINDOWS {
            add(Statistic::Mean, rows);
            // Over five rows a slope is noise.
            if rows > WINDOWS[0] {
                add(Statistic::Slope, rows);
            }
        }
        add(Statistic::Std, 20);
        add(Statistic::Drift { baseline: BASELINE }, 10);
    }
    definitions
}

/// Least squares with an intercept and a penalty: intercept first.
fn ridge(width: usize, points: impl Iterator<Item = (Vec<f64>, f64)>) -> Vec<f64> {
    let size = width + 1;
    let mut normal = vec![vec![0.0; size + 1]; size];
    let mut count = 0.0;
    for (mut x, y) in points {
        x.insert(0, 1.0);
        for (row, left) in normal.iter_mut().zip(&x) {
            row.iter_mut().zip(&x).for_each(|(sum, right)| *sum += left * right);
            row[size] += left * y;
        }
        count += 1.0;
    }
    for (place, row) in normal.iter_mut().enumerate().skip(1) {
        row[place] += RIDGE * count;
    }
    solve(normal)
}

/// Gauss with pivoting; a direction without information gets no weight.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let size = rows.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|one, other| rows[*one][column].abs().total_cmp(&rows[*other][column].abs()));
        rows.swap(column, pivot.unwrap_or(column));
        if rows[column][column].abs() < 1e-12 {
            continue;
        }
        let top = rows[column].clone();
        for row in &mut rows[column + 1..] {
            let share = row[column] / top[column];
            row.iter_mut().zip(&top).for_each(|(value, top)| *value -= share * top);
        }
    }
    let mut solution = vec![0.0; size];
    for place in (0..size).rev() {
        let known: f64 = (place + 1..size).map(|other| rows[place][other] * solution[other]).sum();
        if rows[place][place].abs() >= 1e-12 {
            solution[place] = (rows[place][size] - known) / rows[place][place];
        }
    }
    solution
}
