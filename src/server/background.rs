//! The threads behind the doors: decoding, commits, detection, prognosis.
//!
//! In: a name. Out: a runtime whose threads give way. Promise: whoever waits for a PUBACK or an answer is served before
//! work that the log already holds; that work still has its share of a full machine, so it never stands still. Never:
//! a door's task.

use tokio::runtime::{Builder, Handle, Runtime};

/// How far they give way. At 5 Linux gives a thread a third of the time that one at 0 gets beside it (weights 335 and
/// 1024, kernel/sched/core.c): enough to be there at once where the doors need less than everything.
const NICE: i32 = 5;

/// Threads that wait: for files, for the Delta kernel, one for each tenant's prognosis, nearly all of them asleep. They wait
/// for one another (a checkpoint for the kernel, the kernel for a file), so a small bound stops everything: with four the
/// server stood still at its fiftieth commit. What takes memory runs on threads of its own (`ingest/src/work.rs`).
const BLOCKING: usize = 512;

/// A runtime with threads of its own.
#[derive(Debug)]
pub(super) struct Background {
    /// Only taken when dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    /// As many threads as there are cores.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("background")
            .max_blocking_threads(BLOCKING)
            .enable_all()
            .on_thread_start(|| {
                // In Linux the priority is the thread's own, and that of the threads it makes: told outright, not added.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::warn!(%error, "a background thread cannot give way");
                }
            })
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// To spawn on.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A runtime that waits for its threads must not be dropped where others wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// As a checkpoint does in the Delta kernel, for as many tables as there are, beside a prognosis for each tenant.
    #[test]
    fn threads_that_wait_for_one_another_do_not_stand_still() {
        let background = Background::start().unwrap();
        let all = (0..64).map(|at| {
            let inner = background.handle().clone();
            background.handle().spawn_blocking(move || {
                let file = inner.spawn_blocking(move || at);
                inner.block_on(file).unwrap()
            })
        });
        let all = futures::future::join_all(Vec::from_iter(all));
        let done = background.handle().block_on(async { tokio::time::timeout(Duration::from_secs(60), all).await });
        let done: Vec<i32> = done.expect("nobody stands still").into_iter().map(Result::unwrap).collect();
        assert!(done.into_iter().eq(0..64));
    }
}
