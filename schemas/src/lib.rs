//! Nouns and contracts that every tier shares.
//!
//! In: nothing but bytes and text from the outside. Out: parsed, trusted types. Promise: a value of one of these
//! types is legal, and prints as the text it was parsed from. Never: I/O, a socket, a database.
//!
//! | module | noun |
//! |---|---|
//! | [`id`] | tenant, device, profile, fault key, log offset |
//! | [`time`] | instants, spans, the clock that comes in as an argument |
//! | [`topic`] | `fw/v1/{tenant}/{device}/{channel}` |
//! | [`payload`] | what a device says: telemetry, fault, status, reply |
//! | [`reject`] | why something was refused; one name for metric, column and log |
//! | [`profile`] | what a kind of device measures, reports and wears out |
//! | [`table`] | the Arrow schema of every table |
//! | [`service`] | the tables of the service database that analysts read |
//! | [`rollup`] | telemetry by the minute, hour and day: spans, measures, columns |
//! | [`alarm`] | what detection raises and triage takes |
//! | [`advisory`] | how likely a component fails within a horizon, why we think so, and what to do |
//! | [`outcome`] | what a visit found: the label |
//! | [`trend`] | named questions about a fleet |
//! | [`door`] | the small traits through which the binary composes the tiers |

#[macro_use]
mod word;

pub mod advisory;
pub mod alarm;
pub mod door;
pub mod id;
pub mod outcome;
pub mod payload;
pub mod profile;
pub mod reject;
pub mod rollup;
pub mod service;
pub mod table;
pub mod time;
pub mod topic;
pub mod trend;
