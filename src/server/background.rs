//! The threads behind the doors: decoding, commits, detection, prognosis.
//!
//! In: a name. Out: a runtime whose threads give way. Promise: whoever waits for a PUBACK or an answer is served before
//! work that the log already holds; that work still has its share of a full machine, so it never stands still. Never:
//! a door's task.

use tokio::runtime::{Builder, Handle, Runtime};

/// How far they give way. At 5 Linux gives a thread a third of the time that one at 0 gets beside it (weights 335 and
/// 1024, kernel/sched/core.c): enough to be there at once where the doors need less than everything.
const NICE: i32 = 5;

/// Threads that decode, encode and write files. Each one keeps pages of the allocator for the sizes it once needed: with
/// tokio's 512 a burst left forty, and a gigabyte (docs/benchmarks.md). Nothing that runs on them waits for another one.
const BLOCKING: usize = 4;

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
                // In Linux the priority is the thread's own, not the process's.
                if let Err(error) = rustix::process::nice(NICE) {
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
