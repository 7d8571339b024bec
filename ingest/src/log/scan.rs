//! Walks the records of one segment file.
//!
//! In: a file and how many of its bytes may be read. Out: records, and word of what lies damaged between them.
//! Promise: memory stays within one frame and [`CHUNK_BYTES`]; behind a damaged stretch it finds the next sound
//! record. Never: writes.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use crc32c::crc32c;

use super::segment::{HEAD_BYTES, HEADER_BYTES, Head, Header, HeaderError};

/// Read at a time: some hundred frames per system call, small beside a frame of the greatest size.
const CHUNK_BYTES: usize = 256 << 10;

/// What stands at the next place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A sound record with this offset; its body is in [`Scan::body`].
    Record(u64),
    /// Something damaged was passed over; more may follow.
    Damaged,
    /// The readable part ends with a whole record.
    End,
    /// The readable part ends within a record.
    Torn,
    /// From here to the end nothing makes sense.
    Lost,
}

/// A place in a segment file.
#[derive(Debug)]
pub(super) struct Scan {
    file: File,
    header: Header,
    at: u64,
    next: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    body: Range<usize>,
}

/// Reads the header of a segment file.
pub(super) fn read_header(file: &File) -> io::Result<Result<Header, HeaderError>> {
    let mut bytes = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Header::parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(HeaderError::Damaged)),
        Err(error) => Err(error),
    }
}

impl Scan {
    /// At the first record; the inner error says that the header cannot be used.
    pub(super) fn open(path: &Path) -> io::Result<Result<Self, HeaderError>> {
        let file = File::open(path)?;
        Ok(read_header(&file)?.map(|header| Self {
            file,
            header,
            at: HEADER_BYTES,
            next: header.first,
            buffer: Vec::new(),
            buffer_at: HEADER_BYTES,
            body: 0..0,
        }))
    }

    /// The file's first offset.
    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    /// The file position of the next step.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The offset expected next.
    pub(super) fn expected(&self) -> u64 {
        self.next
    }

    /// The body of the record that was found last.
    pub(super) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// Goes one step on within the first `limit` bytes of the file.
    pub(super) fn step(&mut self, limit: u64) -> io::Result<Step> {
        let (at, next, salt) = (self.at, self.next, self.header.salt);
        let bytes = self.fill(at, HEAD_BYTES, limit)?;
        if bytes.is_empty() {
            return Ok(Step::End);
        }
        if bytes.len() < HEAD_BYTES {
            return Ok(Step::Torn);
        }
        let Some(head) = Head::parse(bytes, salt).filter(|head| head.offset == next) else {
            return self.resync(limit);
        };
        let record = HEAD_BYTES + head.len;
        let bytes = self.fill(at, record, limit)?;
        if bytes.len() < record {
            return Ok(Step::Torn);
        }
        let sound = crc32c(&bytes[HEAD_BYTES..record]) == head.body_crc;
        let start = (at - self.buffer_at) as usize;
        self.body = start + HEAD_BYTES..start + record;
        self.at += record as u64;
        self.next += 1;
        Ok(if sound { Step::Record(next) } else { Step::Damaged })
    }

    /// Looks for the next sound record behind a head that makes no sense.
    fn resync(&mut self, limit: u64) -> io::Result<Step> {
        let (from, next, salt) = (self.at, self.next, self.header.salt);
        for at in from + 1.. {
            let bytes = self.fill(at, HEAD_BYTES, limit)?;
            if bytes.len() < HEAD_BYTES {
                break;
            }
            // Between here and there lie at most so many records.
            let most = (at - from) / HEAD_BYTES as u64 + 1;
            let offset = Head::peek_offset(bytes);
            if offset < next || offset - next > most {
                continue;
            }
            let Some(head) = Head::parse(bytes, salt) else { continue };
            let record = HEAD_BYTES + head.len;
            let bytes = self.fill(at, record, limit)?;
            if bytes.len() >= record && crc32c(&bytes[HEAD_BYTES..record]) == head.body_crc {
                (self.at, self.next) = (at, offset);
                return Ok(Step::Damaged);
            }
        }
        Ok(Step::Lost)
    }

    /// True where from here on the file holds nothing but zeros: space that was given and never written.
    pub(super) fn only_zeros(&mut self, limit: u64) -> io::Result<bool> {
        let mut at = self.at;
        loop {
            let bytes = self.fill(at, 1, limit)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
    }

    /// The bytes from `at` on: at least `need`, fewer only where file or limit end.
    fn fill(&mut self, at: u64, need: usize, limit: u64) -> io::Result<&[u8]> {
        let end = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at > end {
            self.buffer.clear();
            self.buffer_at = at;
        }
        let end = self.buffer_at + self.buffer.len() as u64;
        let rest = limit.saturating_sub(at);
        if end - at < rest.min(need as u64) {
            self.buffer.drain(..(at - self.buffer_at) as usize);
            self.buffer_at = at;
            let want = rest.min(need.max(CHUNK_BYTES) as u64) as usize;
            let mut have = self.buffer.len();
            self.buffer.resize(want.max(have), 0);
            while have < want {
                match self.file.read_at(&mut self.buffer[have..want], at + have as u64) {
                    Ok(0) => break,
                    Ok(more) => have += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.buffer.truncate(have);
                        return Err(error);
                    }
                }
            }
            self.buffer.truncate(have);
        }
        Ok(&self.buffer[(at - self.buffer_at) as usize..])
    }
}
