//! The mathematics of prediction: from numbers to anomaly scores, probabilities, lifetimes and decisions.
//!
//! In: series, feature matrices, lifetimes, code sequences. Out: scores, calibrated probabilities, intervals, the parts
//! that made them. Promise: the same input and seed give the same output, bit for bit; nothing a method says of an
//! instant uses what came after it. Never: a table, a socket, a clock, a thread that outlives its call.
//!
//! | module | noun |
//! |---|---|
//! | [`boost`] | gradient-boosted trees: fit, predict, explain (the only door to forust) |
//! | [`codes`] | which fault codes come next |
//! | [`decide`] | act or not, by expected cost |
//! | [`drift`] | whether features and probabilities are still those of the training |
//! | [`evaluate`] | recorded sets that nobody here wrote, and how good the methods are on them |
//! | [`survival`] | lifetimes with censoring: curve, Weibull and log-normal, competing causes |

pub mod boost;
pub mod codes;
pub mod decide;
pub mod drift;
pub mod evaluate;
pub mod survival;
