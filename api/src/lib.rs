//! The service side over HTTP: alarms become tickets, agents hear of them, analysts ask.
//!
//! In: alarms and devices through [`desk::Desk`], requests through [`app::router`]. Out: tickets, events, outcomes.
//! Promise: at most one open ticket per tenant, device and fault key; every event leaves through an outbox written
//! in the same transaction; a tenant sees only its own rows. Never: MQTT, Delta, a guess about time.
//!
//! One folder per noun: `mod.rs` types and states, `rules.rs` pure decisions, `store.rs` whole transactions,
//! `routes.rs` handlers and their JSON.

#[macro_use]
mod word;

pub mod advisory;
pub mod alarm;
pub mod app;
pub mod appointment;
pub mod auth;
pub mod body;
pub mod command;
pub mod connection;
pub mod dead_letter;
pub mod desk;
pub mod device;
pub mod event;
pub mod health;
pub mod id;
pub mod idempotency;
pub mod maintenance;
pub mod metrics;
pub mod outcome;
pub mod plan;
pub mod problem;
pub mod prognosis;
pub mod relay;
pub mod self_test;
pub mod service_problem;
pub mod sql;
pub mod store;
pub mod table;
pub mod technician;
#[cfg(test)]
mod tests;
pub mod ticket;
pub mod token;
pub mod trend;

pub use app::{App, Scope, Settings, router, serve};
pub use auth::{Caller, Role};
pub use problem::Problem;
