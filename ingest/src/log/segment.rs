//! The bytes of a segment file.
//!
//! ```text
//! header, 64 bytes   magic 8 | version 4 | salt 4 | first offset 8 | previous end 8 | zeros 28 | crc32c 4
//! record head, 20    body length 4 | offset 8 | crc32c of the body 4 | crc32c of the head, begun with the salt, 4
//! record body        arrival µs 8 | flags 1 | topic 4+n | [content type 4+n] | [reject reason 4+n] | [tenant 4+n | device 4+n] | payload
//! ```
//!
//! In: frames and bytes. Out: bytes and frames. Promise: all integers are little endian; header size and the place
//! of its checksum stay the same in every version, so that another version and a damaged header can be told apart.
//! Never: a file.
//!
//! The salt differs from file to file and is known to nobody outside, so a payload that holds the bytes of a record
//! is not taken for one when a reader looks for the next record behind a damaged stretch.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use schemas::{
    door::{Frame, Principal},
    id::{DeviceId, TenantId},
    reject::RejectReason,
    time::Instant,
};

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: u64 = 64;
/// Bytes before each record's body.
pub(super) const HEAD_BYTES: usize = 20;
/// The longest body the format allows, whatever the settings: a length beyond it is damage, not a reason to allocate.
pub(super) const BODY_LIMIT: usize = 256 << 20;

const MAGIC: [u8; 8] = *b"FWLOGSEG";
const VERSION: u32 = 1;
const HAS_CONTENT_TYPE: u8 = 1;
const HAS_REASON: u8 = 2;
const HAS_SENDER: u8 = 4;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Offset of its first record; also its file name.
    pub(super) first: u64,
    /// Where the records of the segment before end. What that file holds from there on was never acknowledged; offsets
    /// from there up to `first` were left out because a damaged tail may have used them.
    pub(super) previous_end: u64,
    /// Begins the checksum of each record head.
    pub(super) salt: u32,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Its checksum or magic is wrong.
    Damaged,
    /// It is sound, but of this other version.
    Version(u32),
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < HEADER_BYTES as usize || bytes[..8] != MAGIC || le32(&bytes[60..]) != crc32c(&bytes[..60]) {
            return Err(HeaderError::Damaged);
        }
        match le32(&bytes[8..]) {
            VERSION => {
                Ok(Self { salt: le32(&bytes[12..]), first: le64(&bytes[16..]), previous_end: le64(&bytes[24..]) })
            }
            other => Err(HeaderError::Version(other)),
        }
    }
}

/// What stands before each body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) offset: u64,
    pub(super) body_crc: u32,
}

impl Head {
    pub(super) fn bytes(&self, salt: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c_append(salt, &bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// None unless length and checksum are right.
    pub(super) fn parse(bytes: &[u8], salt: u32) -> Option<Self> {
        let len = le32(bytes) as usize;
        if len > BODY_LIMIT || crc32c_append(salt, &bytes[..16]) != le32(&bytes[16..]) {
            return None;
        }
        Some(Self { len, offset: le64(&bytes[4..]), body_crc: le32(&bytes[12..]) })
    }

    /// The offset that a head at the start of `bytes` would have, unchecked: sorts out most places cheaply.
    pub(super) fn peek_offset(bytes: &[u8]) -> u64 {
        le64(&bytes[4..])
    }
}

/// A segment's file name: its first offset in 20 digits.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The first offset of a file name, if it is a segment's.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Bytes of a frame's body.
pub(super) fn body_bytes(frame: &Frame) -> usize {
    8 + 1
        + (4 + frame.topic.len())
        + frame.content_type.as_ref().map_or(0, |text| 4 + text.len())
        + frame.refused.map_or(0, |reason| 4 + reason.as_str().len())
        + frame.sender.as_ref().map_or(0, |sender| 8 + sender.tenant.as_str().len() + sender.device_id.as_str().len())
        + frame.payload.len()
}

/// A frame's body; the caller has checked [`body_bytes`] against [`BODY_LIMIT`].
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    let mut body = Vec::with_capacity(body_bytes(frame));
    let content_type = frame.content_type.as_deref();
    let reason = frame.refused.map(RejectReason::as_str);
    body.extend_from_slice(&frame.arrival.micros().to_le_bytes());
    let tenant = frame.sender.as_ref().map(|sender| sender.tenant.as_str());
    let device = frame.sender.as_ref().map(|sender| sender.device_id.as_str());
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    body.push(
        flag(content_type.is_some(), HAS_CONTENT_TYPE)
            | flag(reason.is_some(), HAS_REASON)
            | flag(tenant.is_some(), HAS_SENDER),
    );
    for text in [Some(frame.topic.as_str()), content_type, reason, tenant, device].into_iter().flatten() {
        body.extend_from_slice(&(text.len() as u32).to_le_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    body.extend_from_slice(&frame.payload);
    body
}

/// The frame of a body; none where its checksum is right and its content is not: written by another program.
pub(super) fn decode(body: &[u8]) -> Option<Frame> {
    let (arrival, rest) = body.split_first_chunk::<8>()?;
    let (&flags, mut rest) = rest.split_first()?;
    if flags & !(HAS_CONTENT_TYPE | HAS_REASON | HAS_SENDER) != 0 {
        return None;
    }
    let mut text = || -> Option<&str> {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = tail;
        std::str::from_utf8(text).ok()
    };
    let topic = text()?.to_owned();
    let content_type = if flags & HAS_CONTENT_TYPE != 0 { Some(text()?.to_owned()) } else { None };
    let refused = if flags & HAS_REASON != 0 {
        let name = text()?;
        Some(*RejectReason::ALL.iter().find(|reason| reason.as_str() == name)?)
    } else {
        None
    };
    let sender = if flags & HAS_SENDER != 0 {
        let tenant = TenantId::parse(text()?).ok()?;
        Some(Principal { tenant, device_id: DeviceId::parse(text()?).ok()? })
    } else {
        None
    };
    let arrival = Instant::from_micros(i64::from_le_bytes(*arrival));
    // Copied, so that a payload someone keeps does not hold the reader's whole buffer.
    Some(Frame { topic, content_type, payload: Bytes::copy_from_slice(rest), arrival, refused, sender })
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}
