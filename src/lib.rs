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

pub mod cli;
pub mod client;
pub mod dev;
pub mod fleet;
pub mod logs;
pub mod server;
pub mod settings;

/// glibc keeps in its arenas what Delta checkpoints free (288 MB over 5,000 commits, 106 MB with two arenas); how much this one
/// keeps was not measured yet.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
