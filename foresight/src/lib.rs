//! The mathematics of prediction: from numbers to anomaly scores, probabilities, lifetimes and decisions.
//!
//! In: series, feature matrices, lifetimes, code sequences. Out: scores, calibrated probabilities, intervals, the parts
//! that made them. Promise: the same input and seed give the same output, bit for bit; nothing a method says of an
//! instant uses what came after it. Never: a table, a socket, a clock, a thread that outlives its call.
//!
//! | module | noun |
//! |---|---|
//! | [`anomaly`] | is this unusual for this device: streaming anomaly scores |
//! | [`boost`] | gradient-boosted trees: fit, predict, explain (the only door to forust) |
//! | [`calibrate`] | from a score to a probability: Platt, isotonic |
//! | [`codes`] | which fault codes come next |
//! | [`cycle`] | a wash, a compressor run, a heating phase, found in power while it comes in |
//! | [`daily`] | what is kept of a device's days: windows by merging, point-in-time |
//! | [`degrade`] | a trend through one indicator, and when it reaches its threshold |
//! | [`drift`] | is the world still as it was learnt |
//! | [`evaluate`] | recorded sets that nobody here wrote, and how good the methods are on them |
//! | [`hazard`] | P(component fails within a horizon), with reasons |
//! | [`indicator`] | condition indicators of one device: windowed statistics, trends, operating regimes |
//! | [`life`] | remaining useful life with an interval and its reasons |
//! | [`logit`] | logistic regression with a ridge, for few failures |
//! | [`measure`] | how good what was said is against what happened |
//! | [`plot`] | pictures of figures, as SVG (the only door to plotters) |
//! | [`survival`] | lifetimes with censoring: Kaplan-Meier, Weibull, log-normal, competing risks |

pub mod anomaly;
pub mod boost;
pub mod calibrate;
pub mod codes;
pub mod cycle;
pub mod daily;
pub mod degrade;
pub mod drift;
pub mod evaluate;
pub mod hazard;
pub mod indicator;
pub mod life;
pub mod logit;
pub mod measure;
pub mod plot;
pub mod survival;
