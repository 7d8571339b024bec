//! What decoding remembered at one place of the log, in a file.
//!
//! Promise: the file is whole or the one before it; a damaged one is told apart from none. Never: half a checkpoint.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use schemas::id::LogOffset;

/// The file's name in the state folder.
pub(super) const FILE: &str = "pipeline.checkpoint";

const MAGIC: [u8; 8] = *b"fw-check";
/// Goes up when the bytes of [`crate::decode::Decoder::save`] change their meaning.
const VERSION: u32 = 3;
/// Magic, version, offset, length, CRC-32C of all the rest.
const HEAD: usize = 8 + 4 + 8 + 8 + 4;

/// A checkpoint that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk refuses.
    #[error("{attempt} checkpoint {path}")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its bytes are not those that were written.
    #[error(
        "checkpoint {path} is damaged: {problem}. Put back a copy; or remove it, then the log is decoded from its \
         first frame on, and repeats of messages older than that are no longer found"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Another version of Forewarn wrote it.
    #[error("checkpoint {path} has format {found}, this version of Forewarn reads {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// Where checkpoints are kept.
#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    /// Makes the folder.
    pub(super) fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let store = Self { dir: dir.to_owned() };
        fs::create_dir_all(dir).map_err(store.io("make the folder of"))?;
        Ok(store)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    fn io(&self, attempt: &'static str) -> impl Fn(io::Error) -> CheckpointError {
        let path = self.path();
        move |source| CheckpointError::Io { attempt, path: path.clone(), source }
    }

    /// Replaces the one before it, synced.
    pub(super) fn write(&self, at: LogOffset, state: &[u8]) -> Result<(), CheckpointError> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&at.0.to_le_bytes());
        head.extend_from_slice(&(state.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), state);
        head.extend_from_slice(&crc.to_le_bytes());

        let fresh = self.dir.join("pipeline.checkpoint.new");
        let mut file = File::create(&fresh).map_err(self.io("write"))?;
        file.write_all(&head).and_then(|()| file.write_all(state)).map_err(self.io("write"))?;
        file.sync_all().map_err(self.io("sync"))?;
        drop(file);
        fs::rename(&fresh, self.path()).map_err(self.io("rename"))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(self.io("sync the folder of"))
    }

    /// The last one written; none where there is none.
    pub(super) fn read(&self) -> Result<Option<(LogOffset, Vec<u8>)>, CheckpointError> {
        let mut bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read")(error)),
        };
        if bytes.len() < HEAD || bytes[..8] != MAGIC {
            return Err(self.damaged("it does not begin as a checkpoint"));
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (version, at, len, crc) = (word(8), long(12), long(20), word(28));
        if version != VERSION {
            return Err(CheckpointError::Version { path: self.path(), found: version });
        }
        if len != (bytes.len() - HEAD) as u64 {
            return Err(self.damaged("its length is not the one that was written"));
        }
        if crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEAD - 4]), &bytes[HEAD..]) != crc {
            return Err(self.damaged("its checksum does not match"));
        }
        bytes.drain(..HEAD);
        Ok(Some((LogOffset(at), bytes)))
    }

    pub(super) fn damaged(&self, problem: &'static str) -> CheckpointError {
        CheckpointError::Damaged { path: self.path(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state")).unwrap();
        assert_eq!(store.read().unwrap(), None);
        store.write(LogOffset(7), b"seven").unwrap();
        store.write(LogOffset(1 << 40), b"later").unwrap();
        assert_eq!(store.read().unwrap(), Some((LogOffset(1 << 40), b"later".to_vec())));
    }

    #[test]
    fn any_broken_bit_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write(LogOffset(7), b"seven").unwrap();
        let whole = fs::read(store.path()).unwrap();
        for at in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[at / 8] ^= 1 << (at % 8);
            fs::write(store.path(), broken).unwrap();
            assert!(store.read().is_err(), "bit {at}");
        }
        for len in 0..whole.len() {
            fs::write(store.path(), &whole[..len]).unwrap();
            assert!(store.read().is_err(), "{len} bytes");
        }
    }

    #[test]
    fn damage_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(store.path(), "no checkpoint at all, yet long enough").unwrap();
        let text = store.read().unwrap_err().to_string();
        assert!(text.contains("pipeline.checkpoint is damaged: it does not begin as a checkpoint. Put back"), "{text}");
    }

    #[test]
    fn a_write_that_was_cut_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write(LogOffset(7), b"seven").unwrap();
        fs::write(dir.path().join("pipeline.checkpoint.new"), "cut").unwrap();
        assert_eq!(store.read().unwrap(), Some((LogOffset(7), b"seven".to_vec())));
        store.write(LogOffset(8), b"eight").unwrap();
        assert_eq!(store.read().unwrap(), Some((LogOffset(8), b"eight".to_vec())));
    }
}
