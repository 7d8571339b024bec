//! What the writer asks of the file system, so that tests can let each single request fail.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// A folder to write segments in.
pub(super) trait Disk: Send + fmt::Debug {
    /// An empty file to write; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>>;
    /// Gives a file its name; one of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the folder's names durable.
    fn sync_folder(&self, dir: &Path) -> io::Result<()>;
    /// A number that nobody outside can guess.
    fn salt(&self) -> u32;
}

/// A file that is written at its end.
pub(super) trait Sink: Send + fmt::Debug {
    /// Writes all of `bytes` from position `at` on.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns once everything written is on disk (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

/// The file system.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(OpenOptions::new().write(true).create(true).truncate(true).open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn sync_folder(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
    fn salt(&self) -> u32 {
        // The standard library's random hash keys: good enough against guessing, and no further library.
        RandomState::new().hash_one(0_u8) as u32
    }
}

impl Sink for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}
