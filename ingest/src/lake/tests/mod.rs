//! The lake over real Delta tables in temporary folders.

mod bench;
mod crash;
mod files;
mod maintain;
mod rollup;
mod rows;
mod store;
