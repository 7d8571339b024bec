//! The same request sent twice is done once.
//!
//! In: `Idempotency-Key` and the body. Out: the first answer again. Promise: the answer is kept in the transaction of
//! what it answers, for [`KEPT`]; the same key with another body is refused.

pub mod store;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// How long an answer is kept: longer than any client retries.
pub const KEPT: Duration = Duration::from_secs(86_400);
/// The longest key.
pub const KEY_MAX: usize = 128;

/// A key with the hash of the body it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As sent.
    pub key: String,
    /// SHA-256 of the body.
    pub request_sha256: [u8; 32],
}

/// An answer that was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Never seen, or too long ago.
    Fresh,
    /// Seen with this body.
    Answered(Answer),
    /// Seen with another body.
    OtherBody,
}

/// The key of a request, if it has the header `Idempotency-Key`.
pub fn key(header: Option<&[u8]>, body: &[u8]) -> Result<Option<Key>, Problem> {
    let Some(header) = header else {
        return Ok(None);
    };
    let key = std::str::from_utf8(header).unwrap_or_default();
    if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = format!("idempotency-key has {} bytes; legal is 1 to {KEY_MAX} visible ASCII", header.len());
        return Err(Problem::bad_request("idempotency-key", detail));
    }
    Ok(Some(Key { key: key.to_owned(), request_sha256: Sha256::digest(body).into() }))
}

/// The refusal of a key that came with another body.
pub fn other_body() -> Problem {
    Problem::unprocessable("this idempotency-key was used with another body; take a new key").at("idempotency-key")
}
