//! Payloads out of zstd, bounded: a few bytes can ask for gigabytes.

use std::{borrow::Cow, cell::RefCell, io::Read};

use zstd::{bulk::Decompressor, stream::read::Decoder, zstd_safe::get_frame_content_size};

use super::MAX_UNPACKED;
use crate::reject::{Reject, RejectReason};

/// The first bytes of a zstd frame.
const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Base two logarithm of the farthest that a frame may look back: as far as it may be long.
const WINDOW_LOG_MAX: u32 = MAX_UNPACKED.ilog2();

thread_local! {
    /// Its tables are 100 KiB: too many to make for every message.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn malformed(error: &std::io::Error) -> Reject {
    Reject::new(RejectReason::MalformedPayload, format!("zstd: {error}"))
}

fn oversize() -> Reject {
    Reject::new(RejectReason::OversizePayload, format!("zstd: at most {MAX_UNPACKED} bytes once it is decompressed"))
}

/// Whether the first bytes are zstd's.
pub(super) fn is_packed(payload: &[u8]) -> bool {
    payload.starts_with(MAGIC)
}

/// The bytes inside, or the payload itself where it is not compressed.
pub(super) fn unpack(payload: &[u8]) -> Result<Cow<'_, [u8]>, Reject> {
    if !is_packed(payload) {
        return Ok(Cow::Borrowed(payload));
    }
    // Most senders know the length before they compress.
    if let Ok(Some(size)) = get_frame_content_size(payload) {
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_UNPACKED).ok_or_else(oversize)?;
        if let Some(unpacked) = at_once(payload, size) {
            return Ok(Cow::Owned(unpacked));
        }
    }
    // Of unknown length, several frames, or broken.
    let mut decoder = Decoder::with_buffer(payload).map_err(|error| malformed(&error))?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|error| malformed(&error))?;
    let mut unpacked = Vec::new();
    decoder.take(MAX_UNPACKED as u64 + 1).read_to_end(&mut unpacked).map_err(|error| malformed(&error))?;
    if unpacked.len() > MAX_UNPACKED { Err(oversize()) } else { Ok(Cow::Owned(unpacked)) }
}

fn at_once(payload: &[u8], size: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress(payload, size).ok()
    })
}
