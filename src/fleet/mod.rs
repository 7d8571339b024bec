//! The device side: what an appliance does, played honestly over MQTT.
//!
//! | module | noun |
//! |---|---|
//! | [`device`] | one device's connection: publishes and waits for each PUBACK |
//! | [`outbox`] | what a device has to say and was not yet acknowledged |
//! | [`simulate`] | appliances that wear out, with the truth about when they fail |
//! | [`past`] | a simulated fleet's past, laid into a data folder |
//! | [`load`] | as much as the other side takes, and how long its acknowledgements took |
//! | [`replay`] | recorded fleets, each device under its own name |
//! | [`demo`] | everything in one process |

pub mod demo;
pub mod device;
pub mod load;
pub mod outbox;
pub mod past;
pub mod replay;
pub mod simulate;
