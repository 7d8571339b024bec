//! Where the process's memory comes from.
//!
//! Out: the allocator, and small pages. Promise: what is given back can go back. Why not the system's: glibc keeps in its arenas
//! what Delta checkpoints free (288 MB over 5,000 commits, 106 MB with two arenas).
//!
//! Why small pages: a huge page of Linux is resident whole as soon as one byte of it is written, and mimalloc asks for huge
//! pages. With them an idle server held 299 MiB instead of 134 (docs/benchmarks.md); without them queries take some 3 % longer.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From now on no huge page is made in this process, whoever asks for one.
pub fn small_pages() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_system_makes_no_huge_pages_for_the_process() {
        super::small_pages().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.lines().any(|line| line.split_whitespace().eq(["THP_enabled:", "0"])), "{status}");
    }
}
