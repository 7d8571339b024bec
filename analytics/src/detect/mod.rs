//! State detection (ISO 13374) on the decoded log: rules of the profile and the device's own fault codes.
//!
//! In: a [`Feed`](schemas::door::Feed) of decoded chunks. Out: alarms to the service desk, devices seen to the service desk, alarms to the
//! log (they become the `alarm` table). Promise: replaying the log from any checkpoint gives the same alarms with the
//! same ids, and the log is let go only after what it held is with the desk and the state is on disk. Never: a second
//! alarm before the first has cleared; an alarm from data that came late.
//!
//! | module | noun |
//! |---|---|
//! | [`rule`] | a limit on a device: normal, pending, raised (pure) |
//! | [`rate`], [`count`] | quantities that need memory: a robust slope, events in a window (pure) |
//! | [`foresight::anomaly`] | the score of an anomaly rule (pure) |
//! | [`absence`] | a device that says nothing, and the log's own time (pure) |
//! | [`flapping`] | alarms that come and go (pure) |
//! | [`fault`] | a fault code on a device: ended, pending, raised (pure) |
//! | `rulebook` | the profiles' rules made ready: expressions parsed |
//! | `standing` | where the rules stand on one device (pure) |
//! | `device` | all devices, a chunk in, alarms out (pure) |
//! | `rows` | the columns of a chunk |
//! | `checkpoint` | the state on disk |
//! | `detector` | the task: feed, desk, log, timers |
//!
//! Memory: about 430 bytes a device without an alarm, and 940 more for each rate rule whose window is full (measured on
//! 40,000 devices); a count keeps 8 bytes for each event, at most as many as raise; an anomaly rule about 14 KiB. All
//! bounded by [`Settings::max_devices`]; who is forgotten begins anew, and an alarm of its may be raised a second time.

pub mod absence;
mod checkpoint;
pub mod count;
mod detector;
mod device;
pub mod fault;
pub mod flapping;
mod metrics;
pub mod rate;
mod rows;
pub mod rule;
mod rulebook;
mod standing;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, time::Duration};

use schemas::{door::DoorError, id::LogOffset};
use serde::{Deserialize, Serialize};

pub use self::{
    detector::Detector,
    rulebook::{RuleError, Rulebook},
};

/// How detection runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// At most this often the state is written to disk and the log let go; `5s`: what a restart detects again is
    /// little. Ten thousand devices take less than a tenth of a second; more make checkpoints rarer, so that they take
    /// at most a twentieth of the time.
    #[serde(with = "schemas::time::span")]
    pub checkpoint_interval: Duration,
    /// Devices kept in memory; `2_000_000` are about 860 MB, and 1.9 GB more for each rate rule
    /// that all of them have. Above it the least recently heard are forgotten and
    /// counted.
    pub max_devices: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { checkpoint_interval: Duration::from_secs(5), max_devices: 2_000_000 }
    }
}

/// Why detection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A rule of a profile cannot be made ready.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The state's folder cannot be made.
    #[error("make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The checkpoint cannot be read.
    #[error("read the checkpoint {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The checkpoint is not what was written.
    #[error("the checkpoint {path} is damaged: {problem}; remove it to detect again from where the log begins")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The checkpoint cannot be written.
    #[error("write the checkpoint {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The checkpoint cannot be put into words.
    #[error("encode the checkpoint")]
    Encode(#[source] serde_json::Error),
    /// The process ended while the checkpoint was being written; the one before stands.
    #[error("finish the checkpoint")]
    Interrupted(#[source] tokio::task::JoinError),
    /// The decoder made rows that are not of their table's schema.
    #[error("look at the rows from offset {offset} on")]
    Rows {
        /// First frame of the chunk.
        offset: LogOffset,
        /// What is wrong.
        source: DoorError,
    },
    /// The feed left frames out or began amid those already seen.
    #[error("the feed went on with frames {start} to {end} where frame {expected} was due")]
    Sequence {
        /// Where the chunk should begin.
        expected: LogOffset,
        /// Where it begins.
        start: LogOffset,
        /// Where it ends.
        end: LogOffset,
    },
}
