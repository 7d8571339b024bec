//! Room on the disk that nobody else can take.
//!
//! In: a size. Out: a file of really allocated blocks beside the segments. Promise: when the disk is full, giving it
//! back lets consumers commit, checkpoint and so release segments; until it could be made again devices' frames are
//! refused, so that the room serves those who make more of it. Never: a log that does not open because there is no room
//! for its reserve.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

/// The file's name in the log's folder.
pub(super) const FILE: &str = "reserve";

/// The reserve of one log.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
    /// It was given back, and could not be made again yet.
    spent: bool,
}

impl Reserve {
    /// Makes it, if it may be; of 0 bytes there is none.
    pub(super) fn open(dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self { path: dir.join(FILE), bytes, held: false, spent: false };
        if bytes == 0 {
            let _ = std::fs::remove_file(&reserve.path);
        } else if let Err(error) = reserve.make() {
            tracing::warn!(
                path = %reserve.path.display(), %error,
                "no room for log.reserve_bytes = {bytes}: should the disk be full, it must be emptied by hand"
            );
        }
        reserve
    }

    pub(super) fn held(&self) -> bool {
        self.held
    }

    /// Whether devices' frames are refused for it.
    pub(super) fn spent(&self) -> bool {
        self.spent
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the room, all of it or none.
    pub(super) fn make(&mut self) -> io::Result<()> {
        if self.held || self.bytes == 0 {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
        let taken = fallocate(&file, FallocateFlags::empty(), 0, self.bytes).map_err(io::Error::from);
        let taken = taken.and_then(|()| file.set_len(self.bytes)).and_then(|()| file.sync_all());
        if let Err(error) = taken {
            // A part that was allocated is of no use to anybody here.
            let _ = file.set_len(0);
            return Err(error);
        }
        (self.held, self.spent) = (true, false);
        Ok(())
    }

    /// Gives the room back. Cutting a file needs none.
    pub(super) fn spend(&mut self) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        self.spent = true;
        let cut = File::options()
            .write(true)
            .open(&self.path)
            .and_then(|file| file.set_len(0).and_then(|()| file.sync_all()));
        match cut {
            Ok(()) => tracing::warn!(
                bytes = self.bytes,
                "the disk is full: gave back the log's reserve, so that it can be drained"
            ),
            Err(error) => tracing::error!(path = %self.path.display(), %error, "give back the log's reserve"),
        }
    }
}

/// Whether it is room that is missing.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_reserve_is_really_there_and_given_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let allocated = || dir.path().join(FILE).metadata().unwrap().blocks() * 512;
        let mut reserve = Reserve::open(dir.path(), 1 << 20);
        assert!(reserve.held() && allocated() >= 1 << 20, "{} bytes", allocated());
        reserve.spend();
        assert!(reserve.spent() && allocated() == 0);
        reserve.make().unwrap();
        assert!(!reserve.spent() && allocated() >= 1 << 20);
        drop(reserve);
        // A start with another size, and without.
        assert!(Reserve::open(dir.path(), 2 << 20).held() && allocated() >= 2 << 20);
        assert!(!Reserve::open(dir.path(), 0).held() && !dir.path().join(FILE).exists());
        // More than any disk has: the log opens all the same.
        let reserve = Reserve::open(dir.path(), 1 << 60);
        assert!(!reserve.held() && !reserve.spent() && allocated() == 0);
    }
}
