//! What a log folder holds when it is opened.
//!
//! In: the folder. Out: its segments and the next offset. Promise: what was acknowledged is still there, unless it
//! is damaged; what is damaged is reported; an offset that may have been acknowledged is not given out again.
//! Never: a whole segment deleted or changed.
//!
//! Only the last segment can have a torn tail: a new segment is begun only once the one before is synced, and names
//! where that one ends. So only the last one is read here; the others are checked as they are read.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{
    LogError,
    scan::{Scan, Step, read_header},
    segment::{HEAD_BYTES, HEADER_BYTES, Header, HeaderError, file_name, first_of},
    shared::Segment,
};

/// The state of a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) segments: VecDeque<Segment>,
    /// The next offset.
    pub(super) durable: u64,
    /// Where the records end that come before `durable`.
    pub(super) previous_end: u64,
    /// True where the offsets between the two are left out because of what the tail holds now: a new segment must
    /// be begun before it is cut, or they would be forgotten.
    pub(super) left_out: bool,
    /// Offsets of frames in the last segment that cannot be read, from and to.
    pub(super) damaged: Vec<(u64, u64)>,
    tail: Option<Tail>,
}

#[derive(Debug)]
struct Tail {
    path: PathBuf,
    keep: u64,
    bytes: u64,
}

/// Makes the folder where it is missing and takes its lock file, which tells other processes to stay away.
pub(super) fn lock_folder(dir: &Path) -> Result<File, LogError> {
    let open = |source| LogError::Open { path: dir.to_owned(), source };
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(open)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(open)?;
        }
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(open)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(LogError::Locked { path: dir.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(open(source)),
    }
}

/// Looks through the folder.
pub(super) fn look(dir: &Path) -> Result<Found, LogError> {
    let mut files: Vec<(u64, u64, Option<Header>)> = Vec::new();
    for first in names(dir).map_err(|source| LogError::Open { path: dir.to_owned(), source })? {
        let path = dir.join(file_name(first));
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), read_header(&file)?)));
        let (bytes, header) = opened.map_err(|source| LogError::Open { path: path.clone(), source })?;
        match header {
            Ok(header) if header.first == first => files.push((first, bytes, Some(header))),
            Err(HeaderError::Version(version)) => return Err(LogError::Version { path, version }),
            Ok(_) | Err(HeaderError::Damaged) => {
                tracing::error!(
                    path = %path.display(),
                    log.from = first,
                    bytes,
                    "the header of a log segment is damaged: its frames from {first} on are left out"
                );
                files.push((first, bytes, None));
            }
        }
    }
    let mut found = Found::default();
    for (place, &(first, bytes, _)) in files.iter().enumerate() {
        let next = files.get(place + 1);
        let end = next.map_or(first, |(next, _, header)| header.map_or(*next, |header| header.previous_end));
        found.segments.push_back(Segment { first, end: end.max(first), bytes });
    }
    if let Some(&(first, bytes, header)) = files.last() {
        let path = dir.join(file_name(first));
        found.last(&path, first, bytes, header).map_err(|source| LogError::Open { path, source })?;
    }
    Ok(found)
}

/// First offsets of the segments, in order. Removes what was not finished.
fn names(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(first) = first_of(name) {
            firsts.push(first);
        } else if name.ends_with(".new") {
            fs::remove_file(entry.path())?;
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The most records that can lie in so many bytes.
fn most_records(bytes: u64) -> u64 {
    bytes.div_ceil(HEAD_BYTES as u64)
}

impl Found {
    /// Reads the last segment.
    fn last(&mut self, path: &Path, first: u64, len: u64, header: Option<Header>) -> io::Result<()> {
        let (mut end, mut keep) = (first, len.min(HEADER_BYTES));
        if let (Some(header), Ok(mut scan)) = (header, Scan::open(path)?) {
            self.durable = first;
            let lost = loop {
                match scan.step(len)? {
                    Step::Record(offset) => {
                        if offset > end {
                            self.damaged.push((end, offset));
                        }
                        (end, keep) = (offset + 1, scan.at());
                    }
                    Step::Damaged => {}
                    Step::End | Step::Torn => break 0,
                    // Zeros are space that was never written. Anything else may have been acknowledged once.
                    Step::Lost if scan.only_zeros(len)? => break 0,
                    Step::Lost => break most_records(len - scan.at()),
                }
            };
            // Whole records with a wrong checksum behind the last sound one: torn by a power cut, or damaged later.
            self.damaged.push((end, scan.expected()));
            self.durable = scan.expected() + lost;
            self.previous_end = if end == first { header.previous_end } else { end };
            if keep < len {
                self.tail = Some(Tail { path: path.to_owned(), keep, bytes: len - keep });
            }
        } else {
            // At least one frame, at most as many as fit.
            end = first + u64::from(len > HEADER_BYTES);
            keep = len;
            self.durable = first + most_records(len.saturating_sub(HEADER_BYTES));
            self.previous_end = end;
        }
        self.left_out = self.durable > end;
        if let Some(last) = self.segments.back_mut() {
            (last.end, last.bytes) = (end, keep);
        }
        // After a kill the last frames may be in the page cache only.
        File::open(path)?.sync_all()
    }

    /// Cuts the torn tail, if there is one; returns its bytes.
    pub(super) fn cut_tail(&mut self) -> Result<u64, LogError> {
        let Some(Tail { path, keep, bytes }) = self.tail.take() else {
            return Ok(0);
        };
        let file = OpenOptions::new().write(true).open(&path);
        if let Err(source) = file.and_then(|file| file.set_len(keep).and_then(|()| file.sync_all())) {
            return Err(LogError::Open { path, source });
        }
        let left_out = if self.left_out { self.durable - self.previous_end } else { 0 };
        tracing::warn!(
            path = %path.display(),
            log.offset = self.previous_end,
            bytes,
            "cut a torn tail of {bytes} bytes; {left_out} offsets are left out because they may have been used"
        );
        Ok(bytes)
    }
}
