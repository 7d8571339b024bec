//! Gradient-boosted trees: fit, predict, explain. The only module that says forust.
//!
//! In: a [`Matrix`] of features (NaN is missing), targets, weights. Out: margins (log-odds for [`Objective::Logistic`])
//! and, per row, what each feature added to them. Promise: the same matrix, targets and [`Settings`] give the same
//! trees, whatever the machine's load.

mod forest;
#[cfg(test)]
mod tests;

use forust_ml::{
    data::Matrix as Columns,
    gradientbooster::{ContributionsMethod, GradientBooster},
    objective::ObjectiveType,
    sampler::SampleMethod,
};
use serde::{Deserialize, Serialize};

pub use self::forest::Forest;

/// Features of many rows, column by column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    names: Vec<String>,
    rows: usize,
    /// `names.len() * rows` values; column `c` is `values[c * rows..(c + 1) * rows]`.
    values: Vec<f64>,
}

impl Matrix {
    /// From whole columns, all of one length.
    ///
    /// # Panics
    /// If the columns differ in length.
    pub fn from_columns(columns: Vec<(String, Vec<f64>)>) -> Self {
        let rows = columns.first().map_or(0, |(_, column)| column.len());
        let mut matrix = Self { names: Vec::with_capacity(columns.len()), rows, values: Vec::new() };
        matrix.values.reserve_exact(rows * columns.len());
        for (name, column) in columns {
            assert_eq!(column.len(), rows, "column {name}");
            matrix.names.push(name);
            matrix.values.extend(column);
        }
        matrix
    }

    /// From rows, each with one value per name.
    ///
    /// # Panics
    /// If a row has another length.
    pub fn from_rows<'a>(names: Vec<String>, rows: impl ExactSizeIterator<Item = &'a [f64]>) -> Self {
        let (count, width) = (rows.len(), names.len());
        let mut values = vec![f64::NAN; count * width];
        for (place, row) in rows.enumerate() {
            assert_eq!(row.len(), width, "row {place}");
            for (column, value) in row.iter().enumerate() {
                values[column * count + place] = *value;
            }
        }
        Self { names, rows: count, values }
    }

    /// Feature names, in column order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One column.
    pub fn column(&self, place: usize) -> &[f64] {
        &self.values[place * self.rows..(place + 1) * self.rows]
    }

    /// The same columns of some rows only, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.names.len());
        for column in 0..self.names.len() {
            let column = self.column(column);
            values.extend(rows.iter().map(|row| column[*row]));
        }
        Self { names: self.names.clone(), rows: rows.len(), values }
    }

    /// The same rows of some columns only, in the given order; none if one is missing.
    pub fn named(&self, names: &[String]) -> Option<Self> {
        let mut values = Vec::with_capacity(self.rows * names.len());
        for name in names {
            let place = self.names.iter().position(|other| other == name)?;
            values.extend_from_slice(self.column(place));
        }
        Some(Self { names: names.to_vec(), rows: self.rows, values })
    }

    fn columns(&self) -> Columns<'_, f64> {
        Columns::new(&self.values, self.rows, self.names.len())
    }
}

/// What is made small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Squared error: predicts the mean.
    Squared,
    /// Log loss of a 0/1 target: predicts log-odds.
    Logistic,
}

/// How trees are grown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What is made small.
    pub objective: Objective,
    /// Trees.
    pub trees: usize,
    /// Share of each tree's answer that is kept.
    pub learning_rate: f32,
    /// Levels of a tree.
    pub max_depth: usize,
    /// Penalty on the square of leaf weights.
    pub l2: f32,
    /// Least sum of second derivatives in a leaf.
    pub min_leaf_weight: f32,
    /// Share of rows each tree sees.
    pub row_share: f32,
    /// Share of columns each tree sees.
    pub column_share: f64,
    /// Bins a column is cut into.
    pub bins: u16,
    /// Chance.
    pub seed: u64,
}

impl Settings {
    /// Values that serve for a few thousand to a million rows.
    pub fn new(objective: Objective, seed: u64) -> Self {
        Self {
            objective,
            trees: 300,
            learning_rate: 0.05,
            max_depth: 5,
            l2: 1.0,
            min_leaf_weight: 1.0,
            row_share: 0.8,
            column_share: 0.8,
            bins: 256,
            seed,
        }
    }
}

/// Why there are no trees.
#[derive(Debug, thiserror::Error)]
pub enum BoostError {
    /// Nothing to learn from.
    #[error("{rows} rows and {columns} features: at least one of each is needed")]
    Empty {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// The features are not those that were learnt.
    #[error("the features are {given:?}, the trees were grown on {grown:?}")]
    Features {
        /// As given.
        given: Vec<String>,
        /// As learnt.
        grown: Vec<String>,
    },
    /// The library refused.
    #[error("grow trees: {0}")]
    Grow(String),
    /// Not a model that was written here.
    #[error("read a model: {0}")]
    Read(String),
}

/// Grown trees, and the names of the features they were grown on.
#[derive(Serialize, Deserialize)]
pub struct Booster {
    names: Vec<String>,
    objective: Objective,
    trees: GradientBooster,
}

impl Booster {
    /// Grows trees; `weights` are positive, one per row.
    pub fn fit(matrix: &Matrix, target: &[f64], weights: &[f64], settings: &Settings) -> Result<Self, BoostError> {
        if matrix.rows == 0 || matrix.names.is_empty() {
            return Err(BoostError::Empty { rows: matrix.rows, columns: matrix.names.len() });
        }
        let mut trees = GradientBooster::default()
            .set_objective_type(match settings.objective {
                Objective::Squared => ObjectiveType::SquaredLoss,
                Objective::Logistic => ObjectiveType::LogLoss,
            })
            .set_iterations(settings.trees)
            .set_learning_rate(settings.learning_rate)
            .set_max_depth(settings.max_depth)
            .set_l2(settings.l2)
            .set_min_leaf_weight(settings.min_leaf_weight)
            .set_sample_method(if settings.row_share < 1.0 { SampleMethod::Random } else { SampleMethod::None })
            .set_subsample(settings.row_share)
            .set_colsample_bytree(settings.column_share)
            .set_nbins(settings.bins)
            .set_seed(settings.seed)
            .set_initialize_base_score(true);
        trees.fit(&matrix.columns(), target, weights, None).map_err(|error| BoostError::Grow(error.to_string()))?;
        Ok(Self { names: matrix.names.clone(), objective: settings.objective, trees })
    }

    /// Feature names, in column order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The sum of the trees per row: the mean, or log-odds.
    pub fn margin(&self, matrix: &Matrix) -> Result<Vec<f64>, BoostError> {
        self.same(matrix)?;
        Ok(self.trees.predict(&matrix.columns(), true))
    }

    /// Probabilities of a 1, for [`Objective::Logistic`]; not yet calibrated.
    pub fn probability(&self, matrix: &Matrix) -> Result<Vec<f64>, BoostError> {
        let mut margins = self.margin(matrix)?;
        margins.iter_mut().for_each(|margin| *margin = logistic(*margin));
        Ok(margins)
    }

    /// What each feature added to each row's margin: `rows` lists of `names.len() + 1` values whose last is the base;
    /// each list's sum is the margin. Path attributions by node averages (Saabas; XGBoost's `approx_contribs`).
    pub fn contributions(&self, matrix: &Matrix) -> Result<Vec<Vec<f64>>, BoostError> {
        self.same(matrix)?;
        let flat = self.trees.predict_contributions(&matrix.columns(), ContributionsMethod::Average, true);
        Ok(flat.chunks(self.names.len() + 1).map(<[f64]>::to_vec).collect())
    }

    fn same(&self, matrix: &Matrix) -> Result<(), BoostError> {
        if matrix.names == self.names {
            return Ok(());
        }
        Err(BoostError::Features { given: matrix.names.clone(), grown: self.names.clone() })
    }
}

impl std::fmt::Debug for Booster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Booster").field("names", &self.names).field("objective", &self.objective).finish()
    }
}

/// `1 / (1 + e^-x)`.
pub fn logistic(margin: f64) -> f64 {
    1.0 / (1.0 + (-margin).exp())
}
