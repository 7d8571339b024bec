//! The mathematics of prediction: from numbers to anomaly scores, probabilities, lifetimes and decisions.
//!
//! In: series, feature matrices, lifetimes, code sequences. Out: scores, calibrated probabilities, intervals, the parts
//! that made them. Promise: the same input and seed give the same output, bit for bit; nothing a method says of an
//! instant uses what came after it. Never: a table, a socket, a clock, a thread that outlives its call.
//!
//! | module | noun |
//! |---|---|
//! | [`boost`] | gradient-boosted trees: fit, predict, explain (the only door to forust) |
//! | [`degrade`] | a trend through one indicator, and when it reaches its threshold |
//! | [`evaluate`] | recorded sets that nobody here wrote, and how good the methods are on them |
//! | [`indicator`] | condition indicators of one device: windowed statistics, trends, operating regimes |
//! | [`life`] | remaining useful life with an interval and its reasons |

pub mod boost;
pub mod degrade;
pub mod evaluate;
pub mod indicator;
pub mod life;
