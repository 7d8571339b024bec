//! Journeys through the built binary with real neighbours, and the rules of the house.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails as the test does")]

mod backtest;
mod broker;
mod command;
mod commit;
mod crash;
mod dead_letter;
mod delta;
mod demo;
mod disk;
mod flight;
mod grafana;
mod isolation;
mod journey;
mod model;
mod parquet;
mod postgres;
mod process;
mod refusal;
mod replay;
mod roles;
mod rollup;
mod settings;
mod tidy;
