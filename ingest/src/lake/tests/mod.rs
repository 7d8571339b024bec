//! The lake over real Delta tables in temporary folders.

mod bench;
mod crash;
mod files;
mod rows;
mod store;
