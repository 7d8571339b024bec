//! MQTT in, tables out.
//!
//! In: publishes of devices, at our own gateway or from any broker. Out: Delta tables, hot rows, and one stream of
//! decoded chunks that detection shares. Promise: what was acknowledged is in the tables exactly once, as rows, as a
//! counted duplicate, or as a dead letter; a crash at any instant changes nothing about it. Never: an acknowledgement
//! before the log is synced, a judgement about a device's health, a person.
//!
//! ```text
//! gateway, subscriber -> log -> pipeline (decode, dedup) -> lake, and the detector outside
//! ```
//!
//! | module | noun |
//! |---|---|
//! | [`gateway`] | our MQTT listener for devices |
//! | [`subscriber`] | the same topics from any broker |
//! | [`log`] | the write-ahead log of raw frames, and its durable cursors |
//! | [`decode`] | frames into Arrow rows; pure |
//! | [`dedup`] | was this stored before? pure |
//! | [`packed`] | the few bytes of a checkpoint |
//! | [`pipeline`] | reads the log, decodes once, hands chunks to each consumer, keeps the checkpoint |
//! | [`rollup`] | telemetry rows into increments by the minute, hour and day; pure |
//! | [`lake`] | Delta commits, hot rows, table snapshots |
//! | `work` | threads for decoding and encoding |

pub mod decode;
pub mod dedup;
#[cfg(test)]
mod fuzz;
pub mod gateway;
pub mod lake;
pub mod log;
pub mod packed;
pub mod pipeline;
pub mod rollup;
pub mod subscriber;
mod work;
