//! Where the parts of a process are, put together from those who know.

use std::sync::{Arc, OnceLock};

use ingest::{log::Log, pipeline};
use schemas::{
    door::{Progress, ProgressSource},
    id::LogOffset,
};
use tokio::sync::watch;

/// Tells which of the gateway's limits holds, once there is one.
pub(super) type Gateway = OnceLock<Box<dyn Fn() -> Option<&'static str> + Send + Sync>>;

/// Reads the offsets of log, pipeline, lake and detector.
pub(super) struct Offsets {
    pub(super) log: Log,
    pub(super) pipeline: Arc<pipeline::Status>,
    pub(super) committed: Box<dyn Fn() -> LogOffset + Send + Sync>,
    pub(super) detected: Option<watch::Receiver<LogOffset>>,
    pub(super) gateway: Arc<Gateway>,
}

impl ProgressSource for Offsets {
    fn progress(&self) -> Progress {
        // The log is asked last, so that what follows it never seems further along than it.
        // A consumer that has had nothing to do since the start is as far as the checkpoint, which lies behind them all.
        let checkpoint = self.pipeline.checkpoint().0;
        let detected = self.detected.as_ref().map(|detected| detected.borrow().0.max(checkpoint));
        let committed = (self.committed)().0.max(checkpoint);
        let decoded = self.pipeline.decoded().0;
        let gateway = self.gateway.get().and_then(|limit| limit());
        let limits = [self.log.limit(), gateway].into_iter().flatten().map(str::to_owned).collect();
        Progress { detected, committed, decoded, durable: self.log.durable().0, trouble: self.log.trouble(), limits }
    }
}

/// Of a process without the ingest role.
pub(super) struct Nowhere;

impl ProgressSource for Nowhere {
    fn progress(&self) -> Progress {
        Progress::default()
    }
}
