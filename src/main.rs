//! Comes with its own change.

fn main() {}
