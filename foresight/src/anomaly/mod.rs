//! Is this unusual for this device: anomaly scores in one pass.
//!
//! In: one metric's event times and values in order, or a vector of metrics, or the peers' values at the same time. Out: how
//! rare, as a p-value or a score from 0 to 1 with a known false-alarm rate. Promise: bounded state that serde can write
//! and read back mid-stream; nothing that comes later changes what was said; a value that is no number says nothing.
//! Never: a label, a clock, a look ahead.
//!
//! | module | noun |
//! |---|---|
//! | [`detector`] | all questions about one metric, one calibrated score |
//! | [`tail`] | how rare a number is among those of its own stream |
//! | [`ewma`], [`robust`] | running mean; robust z |
//! | [`page_hinkley`] | a mean that has moved, by cumulative sums |
//! | [`changepoint`] | rows since the last change (Bayesian, online) |
//! | [`least_squares`], [`residual`], [`season`] | forecast, what it leaves over, what is usual at this time |
//! | [`peers`] | a value against devices of the same model under the same condition |
//! | [`distance`] | several metrics at once: Mahalanobis with shrinkage |

pub mod changepoint;
pub mod detector;
pub mod distance;
pub mod ewma;
pub mod least_squares;
pub mod page_hinkley;
pub mod peers;
pub mod residual;
pub mod robust;
pub mod season;
pub mod tail;
#[cfg(test)]
mod tests;

pub use self::detector::{Detector, QUESTIONS, Question, Score, score_at};
