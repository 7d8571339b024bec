//! What was found: labels on their way to the lake.
//!
//! In: resolved tickets, and findings without a ticket over HTTP. Out: [`schemas::door::OutcomeSink`], by the relay.
//! Promise: written in the transaction of what it tells, delivered until it is durable; the same id again is the same
//! outcome. Never: an outcome lost because the lake was away.

pub mod routes;
pub mod store;
