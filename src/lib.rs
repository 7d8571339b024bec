//! The binary's parts: it composes ingest, analytics and api, and plays the device side.
//!
//! | module | noun |
//! |---|---|
//! | [`settings`] | one TOML, environment, command line; checked before a port opens |
//! | [`server`] | the roles of a process: start, and an ordered stop |
//! | [`dev`] | the secrets and addresses of `serve --dev` and `demo` |
//! | [`fleet`] | the device side: simulated appliances, replays of recorded fleets, the demo |
//! | [`cli`] | the command line |
//! | [`client`] | the API as a program sees it |
//! | [`logs`] | log lines for people or machines |
//! | [`memory`] | the allocator, and pages of the usual size |

pub mod cli;
pub mod client;
pub mod dev;
pub mod fleet;
pub mod logs;
pub mod memory;
pub mod server;
pub mod settings;
