//! Where the process's memory comes from.
//!
//! Out: the allocator, small pages, and how long freed ones stay. Promise: what is given back can go back, and does soon. Why
//! not the system's: glibc keeps in its arenas what Delta checkpoints free (288 MB over 5,000 commits, 106 MB with two
//! arenas).
//!
//! Why small pages: a huge page of Linux is resident whole as soon as one byte of it is written, and mimalloc asks for huge
//! pages. With them an idle server held 299 MiB instead of 134 (docs/benchmarks.md); without them queries take some 3 % longer.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long pages that were freed stay resident for whoever asks next. Of its own accord mimalloc waits ten times as long, and a
/// server under load peaks 50 to 120 MiB higher (docs/benchmarks.md).
const PURGE_DELAY_MILLIS: c_long = 100;
/// The option's place in mimalloc 3; the crate has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// From now on freed pages go back to the system after a tenth of a second, unless the environment says otherwise
/// (`MIMALLOC_PURGE_DELAY`).
#[allow(unsafe_code, reason = "mimalloc's options have no safe function")]
pub fn purge_soon() {
    // SAFETY: the library checks the place, and sets one number. Not thread-safe: called before there is a second thread; in tests
    // others only read it.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MILLIS) }
}

/// From now on no huge page is made in this process, whoever asks for one.
pub fn small_pages() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "as above")]
    fn what_was_freed_goes_back_in_a_tenth_of_the_librarys_own_time() {
        // SAFETY: reads a number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // Its own second tells that this is the option meant: it has no name in the crate, only a place.
        assert_eq!(delay(), 1000, "mimalloc's options have moved, or its default has changed");
        purge_soon();
        assert_eq!(delay(), PURGE_DELAY_MILLIS);
    }

    #[test]
    fn the_system_makes_no_huge_pages_for_the_process() {
        small_pages().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.lines().any(|line| line.split_whitespace().eq(["THP_enabled:", "0"])), "{status}");
    }
}
