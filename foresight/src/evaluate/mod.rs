//! Recorded sets that nobody here wrote, and how good the methods are on them: `forewarn evaluate`.
//!
//! In: the files of a set, as published or in zstd. Out: one report per set, with every count beside its denominator.
//! Promise: the features and models are those of production; one configuration for all subsets of a set. Never: a
//! look ahead, a number tuned to one file.

pub mod alpi;
pub mod appliance_power;
pub mod battery;
pub mod cmapss;
pub mod disks;
mod input;
pub mod nab;
pub mod scale;
pub mod weibull;

pub use self::input::{EvaluateError, open, text};
