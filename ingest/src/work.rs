//! Threads for work that takes processor time and memory and waits for nobody.
//!
//! In: a closure. Out: what it returns, later. Promise: [`THREADS`] at a time, in the order they came, at the priority of
//! whoever asked first (Linux gives a new thread that of its maker). Never: work that waits for other work, which here
//! could stand still for ever: that belongs on the threads of tokio's own that may block.
//!
//! A thread of mimalloc keeps pages for the sizes it once needed. Decoding and encoding on whichever of tokio's blocking
//! threads was free left forty of them with their pages after a burst, a gigabyte in all; bounding those threads instead
//! stopped everything, because deltalake waits on one of them for another.

use std::sync::LazyLock;

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// How many pieces of work at a time: decoding and a commit beside each other, and one of each to spare.
const THREADS: usize = 4;

/// A runtime that runs nothing but blocking work; none where it could not be made.
static WORKERS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let workers = Builder::new_current_thread().thread_name("work").max_blocking_threads(THREADS).build();
    workers.inspect_err(|error| tracing::warn!(%error, "no threads for heavy work; others do it")).ok()
});

/// Work to be done on one of the threads; an error says that it panicked.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match WORKERS.as_ref() {
        Some(workers) => workers.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Arc, Barrier},
    };

    use super::*;

    #[tokio::test]
    async fn work_is_done_on_a_few_threads_and_a_panic_is_told() {
        // Each waits for as many others as there are threads: with fewer it never ends.
        let at_once = Arc::new(Barrier::new(THREADS));
        let all = (0..16 * THREADS).map(|at| {
            let at_once = at_once.clone();
            spawn(move || {
                at_once.wait();
                (at, std::thread::current().id())
            })
        });
        let done = futures::future::try_join_all(Vec::from_iter(all)).await.unwrap();
        assert!(done.iter().map(|(at, _)| *at).eq(0..16 * THREADS));
        assert_eq!(HashSet::<_>::from_iter(done.iter().map(|(_, thread)| *thread)).len(), THREADS);
        assert!(spawn(|| panic!("bad program")).await.unwrap_err().is_panic());
        assert_eq!(spawn(|| 7).await.unwrap(), 7, "the threads are still there");
    }
}
