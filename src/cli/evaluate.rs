//! `forewarn evaluate`: how good the methods are on recorded sets that nobody here wrote.
//!
//! Inputs may be plain or in zstd. One configuration serves all subsets of a set; nothing can be tuned here but what a
//! set's publishers leave open.

use std::{
    fmt::Display,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};
use foresight::evaluate::{EvaluateError, alpi, appliance_power, battery, cmapss, disks, nab, scale, weibull};
use schemas::time::span;
use serde::Serialize;

/// Measures the methods on a recorded set.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// One JSON object last on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// Another seed is another chance; the default is the one of every figure in docs/foresight.md.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    set: Set,
}

#[derive(Debug, Subcommand)]
enum Set {
    /// NASA's turbofan engines run to failure: remaining useful life.
    Cmapss {
        /// Engines that ran to failure.
        #[arg(long)]
        train: PathBuf,
        /// Engines that were stopped before.
        #[arg(long)]
        test: PathBuf,
        /// What the test engines had left.
        #[arg(long)]
        rul: PathBuf,
        /// Most life that is predicted, in cycles.
        #[arg(long, default_value_t = 125.0)]
        cap: f64,
        /// Also tells what intervals hold by the training engines alone: ten more fits.
        #[arg(long)]
        nested: bool,
        /// Writes train.csv and test.csv with the very features here, for other learners.
        #[arg(long)]
        features_out: Option<PathBuf>,
    },
    /// The Numenta Anomaly Benchmark: streaming anomaly detection.
    Nab {
        /// Folder of the streams.
        #[arg(long)]
        data: PathBuf,
        /// Anomaly windows, JSON.
        #[arg(long)]
        windows: PathBuf,
        /// Writes each stream's scores here.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Alarm codes of packaging machines: which codes come next.
    Alpi {
        /// Windows to learn from.
        #[arg(long)]
        train: PathBuf,
        /// Windows to be tested on.
        #[arg(long, required_unless_present = "holdout")]
        test: Option<PathBuf>,
        /// Test on rows held out of --train instead.
        #[arg(long, value_enum)]
        holdout: Option<Holdout>,
    },
    /// A table of lifetimes: Weibull by maximum likelihood.
    Weibull {
        /// Time, event and perhaps count.
        file: PathBuf,
        /// The column of ages, where the rule should not choose.
        #[arg(long)]
        time: Option<String>,
        /// The column of events, where the rule should not choose.
        #[arg(long)]
        event: Option<String>,
        /// The column of counts, where the rule should not choose.
        #[arg(long)]
        count: Option<String>,
    },
    /// Daily SMART reports of drives: who fails within the horizon.
    Disks {
        /// Folder of the days to learn from.
        #[arg(long)]
        train: PathBuf,
        /// Folder of the days to be tested on.
        #[arg(long)]
        test: PathBuf,
        /// Within which time a failure counts.
        #[arg(long, value_parser = span::parse, default_value = "7d")]
        horizon: Duration,
    },
    /// One-minute power of appliances with simulated faults.
    AppliancePower {
        /// Folder or archive whose unit 1 is learnt from.
        #[arg(long)]
        train: PathBuf,
        /// Folder or archive to be tested on; unit 2 where it is the same.
        #[arg(long)]
        test: PathBuf,
    },
    /// Capacity of battery cells: the cycle at which a cell ends.
    Battery {
        /// The table of cycles.
        file: PathBuf,
        /// Which cell; the others are learnt from.
        #[arg(long)]
        cell: String,
        /// The last cycle that is seen.
        #[arg(long)]
        from: u32,
    },
    /// How many devices a second are scored, on synthetic indicators.
    Scale {
        /// Devices to score.
        #[arg(long, default_value_t = 1_000_000)]
        devices: usize,
    },
}

/// Which rows are held out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Holdout {
    /// The last of each machine, behind a gap.
    Time,
    /// All of some machines.
    Machine,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Reports state how long fitting took; the moment itself goes nowhere.
        #[allow(clippy::disallowed_methods, reason = "a duration is measured")]
        let begin = Instant::now();
        let now = || begin.elapsed();
        let (json, seed) = (self.json, self.seed);
        match self.set {
            Set::Cmapss { train, test, rul, cap, nested, features_out } => {
                list(json, cmapss::run(&cmapss::Options { train, test, rul, cap, seed, nested, features_out }, &now))
            }
            Set::Nab { data, windows, out } => say(json, nab::run(&nab::Options { data, windows, out })),
            Set::Alpi { train, test, holdout } => {
                let holdout = holdout.map(|holdout| match holdout {
                    Holdout::Time => alpi::Holdout::Time,
                    Holdout::Machine => alpi::Holdout::Machine,
                });
                let test = test.unwrap_or_else(|| train.clone());
                let options = alpi::Options::new(train, test);
                list(json, alpi::run(&alpi::Options { holdout: holdout.or(options.holdout), seed, ..options }))
            }
            Set::Weibull { file, time, event, count } => {
                list(json, weibull::run(&weibull::Options { file, time, event, count }))
            }
            Set::Disks { train, test, horizon } => say(json, disks::run(&disks::Options { train, test, horizon })),
            Set::AppliancePower { train, test } => {
                say(json, appliance_power::run(&appliance_power::Options { train, test }))
            }
            Set::Battery { file, cell, from } => list(json, battery::run(&battery::Options { file, cell, from, seed })),
            Set::Scale { devices } => list(json, scale::run(&scale::Options { devices, seed }, &now)),
        }
    }
}

/// For people, a report that is a list of numbers: one to a line.
fn list<R: Serialize>(json: bool, report: Result<R, EvaluateError>) -> anyhow::Result<()> {
    let report = report?;
    let text = if json { serde_json::to_string(&report)? } else { serde_json::to_string_pretty(&report)? };
    println!("{text}");
    Ok(())
}

/// A report that has a table of its own for people.
fn say<R: Serialize + Display>(json: bool, report: Result<R, EvaluateError>) -> anyhow::Result<()> {
    let report = report?;
    match json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
