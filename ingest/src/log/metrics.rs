//! What the log counts.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The log's metrics, named `forewarn_log_…`.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) appended_frames: Counter,
    pub(super) appended_bytes: Counter,
    pub(super) failed_frames: Counter,
    pub(super) syncs: Counter,
    pub(super) sync_seconds: Histogram,
    pub(super) size_bytes: Gauge,
    pub(super) full: Gauge,
    pub(super) reserve_bytes: Gauge,
    pub(super) torn_tail_bytes: Counter,
    pub(super) corrupt_frames: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended_frames: Counter::default(),
            appended_bytes: Counter::default(),
            failed_frames: Counter::default(),
            syncs: Counter::default(),
            // A sync takes 0.25 to 8 ms on the disks measured; half a second and more means a dying disk.
            sync_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            size_bytes: Gauge::default(),
            full: Gauge::default(),
            reserve_bytes: Gauge::default(),
            torn_tail_bytes: Counter::default(),
            corrupt_frames: Counter::default(),
        };
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("forewarn_log_{name}"), help, counter.clone());
        };
        counter("appended_frames", "Frames synced to the log", &metrics.appended_frames);
        counter("appended_bytes", "Bytes of frames synced to the log, with record heads", &metrics.appended_bytes);
        counter(
            "failed_frames",
            "Frames that could not be written or synced, not acknowledged",
            &metrics.failed_frames,
        );
        counter("syncs", "Group commits: one fdatasync each", &metrics.syncs);
        counter("torn_tail_bytes", "Bytes cut from the log's end at start", &metrics.torn_tail_bytes);
        counter("corrupt_frames", "Frames that can no longer be read", &metrics.corrupt_frames);
        let (seconds, size, full) = (&metrics.sync_seconds, &metrics.size_bytes, &metrics.full);
        registry.register("forewarn_log_sync_duration_seconds", "Time that one fdatasync took", seconds.clone());
        registry.register("forewarn_log_size_bytes", "Bytes of all segments", size.clone());
        registry.register("forewarn_log_full", "1 while appends wait because the log holds max_bytes", full.clone());
        let help = "Bytes of the log's reserve; 0 while it is given back to drain a full disk";
        registry.register("forewarn_log_reserve_bytes", help, metrics.reserve_bytes.clone());
        metrics
    }
}
