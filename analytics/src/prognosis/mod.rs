//! Prognosis (ISO 13374): from the tables to calibrated advisories, and the models behind them.
//!
//! In: the tables ([`schemas::door::TableSource`], asked by SQL), fault reports and outcomes among them. Out: models in
//! `DATA/models`, advisories to the service desk and the log, figures of how good they would have been. Promise: point in
//! time: whatever is said or learnt of a landmark uses only what had happened and arrived by then; the same tables, seed
//! and settings give the same models; a device is scored only when something new of it arrived. Never: a device's
//! connection, a ticket, a thread of ingest.
//!
//! | module | noun | |
//! |---|---|---|
//! | [`store`] | what is asked of the tables | SQL |
//! | [`frame`], [`rows`] | readings summed up by day: in batch with Polars, row by row | door to polars |
//! | [`feature`] | a profile's indicators, as numbers | pure |
//! | [`common_mode`] | features that tell the day and not the device | pure |
//! | [`label`] | failures and repairs of a component | pure |
//! | [`history`] | a profile's past, row by landmark | |
//! | [`model`] | one model and its card | pure |
//! | [`registry`] | models on disk | files |
//! | [`promotion`], [`drift`] | which version is in force, and whether it should be believed | pure |
//! | [`train`] | from the tables to the registry | |
//! | [`prior`] | what can be said without a model | pure |
//! | [`memory`] | what was said already: one developing fault, one advisory per escalation | pure |
//! | [`score`] | a block of devices at a landmark | pure |
//! | [`in_force`] | what speaks for each component, and whether it is believed | |
//! | [`advisory`] | a finding in words | pure |
//! | [`service`] | the task in the server | |
//! | [`backtest`] | history replayed, month by month | |
//! | [`said`] | every probability of midnights that are over | |
//!
//! **Landmarks** are midnights UTC. The running example is a washing machine's drum bearing: at each midnight its
//! vibration of the last 28 days becomes a row of indicators, the row a probability of failing within 14 days, the
//! probability and the component's costs a decision.

pub mod advisory;
pub mod backtest;
pub mod common_mode;
pub mod drift;
pub mod feature;
pub mod frame;
pub mod history;
pub mod in_force;
pub mod label;
pub mod memory;
mod metrics;
pub mod model;
pub mod prior;
pub mod promotion;
pub mod registry;
pub mod rows;
pub mod said;
pub mod score;
pub mod service;
pub mod store;
#[cfg(test)]
mod tests;
pub mod train;

use std::{sync::Arc, time::Duration};

use foresight::boost::BoostError;
use schemas::{
    door::{SqlEngine, SqlError, TableSource},
    time::Clock,
};
use serde::{Deserialize, Serialize};

pub use self::metrics::Metrics;
use crate::query;

/// How prognosis learns and scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the server scores devices.
    pub enabled: bool,
    /// How often the server trains by itself, in the time of its clock; never where it is zero. `7d`: labels come from
    /// visits, and those take days.
    #[serde(with = "schemas::time::span")]
    pub train_interval: Duration,
    /// Failures of a component before the cut without which there is no model. Ten: judged in fifths of the devices,
    /// each fifth has two of them.
    pub min_failures: u64,
    /// Failures after the cut without which a model is not judged. Five: one failure more or less is then a fifth.
    pub min_later_failures: u64,
    /// Rows of features kept in memory while learning; at 50 features a million are 400 MB.
    pub max_rows: usize,
    /// Devices scored at once: a block's readings of four weeks are in memory, about 60 KB a device at one an hour.
    pub block_devices: usize,
    /// Chance of subsampling; the same seed gives the same trees.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            train_interval: Duration::from_secs(7 * 86_400),
            min_failures: 10,
            min_later_failures: 5,
            max_rows: 1_000_000,
            block_devices: 2_000,
            seed: 1,
        }
    }
}

/// Why prognosis cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PrognosisError {
    /// The tables do not answer.
    #[error("ask the tables: {sql}")]
    Query {
        /// What was asked.
        sql: String,
        /// Why there is no answer.
        source: SqlError,
    },
    /// An answer without a column that was asked for.
    #[error("column {column} is missing or of another type")]
    Column {
        /// Which.
        column: String,
    },
    /// Readings could not be summed up.
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    /// The trees do not fit the features.
    #[error("score devices")]
    Score(#[from] BoostError),
    /// The registry does not answer.
    #[error("use the registry of models")]
    Registry(#[from] registry::RegistryError),
    /// Alarms or tickets could not be compared with failures.
    #[error(transparent)]
    Evaluate(#[from] crate::evaluate::EvaluateError),
    /// There is no engine to ask the tables.
    #[error("set up the queries of prognosis")]
    Engine(#[from] query::EngineError),
    /// The system gives no threads.
    #[error("start the threads of a backtest")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A thread of its own ended by itself.
    #[error("finish a thread of prognosis")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// Longest single query of a batch job.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3600);
/// Rows of one answer: a block of readings is far below it.
const QUERY_ROWS: usize = 1 << 32;
/// Memory for sorting and grouping of one query.
const QUERY_MEMORY: usize = 512 << 20;

/// Threads of the batch jobs' queries, and how many run at once: with one a midnight waits for it, and the other core rests.
const QUERY_THREADS: usize = 2;

/// An engine for batch jobs over the same tables, apart from the analysts' one. Its threads have the caller's priority.
pub fn engine(tables: Arc<dyn TableSource>, clock: Arc<dyn Clock>) -> Result<Arc<dyn SqlEngine>, PrognosisError> {
    let settings = query::Settings {
        memory_bytes: QUERY_MEMORY,
        max_rows: QUERY_ROWS,
        timeout: QUERY_TIMEOUT,
        concurrent: QUERY_THREADS,
        threads: QUERY_THREADS,
        // The same digits each time, whatever rollups there are.
        rollups: false,
    };
    // The analysts' engine has these names in the process's registry; these queries are counted as runs of prognosis.
    let mut apart = prometheus_client::registry::Registry::default();
    Ok(Arc::new(query::Engine::new(tables, clock, settings, &mut apart)?))
}
