//! Who asks. In: the headers of a call. Out: the secret they carry. Pure; whose it is, [`schemas::door::TokenAuth`]
//! knows.
//!
//! `authorization: Bearer TOKEN`, or `Basic` with the token as password, whatever the user is called: ADBC and JDBC
//! send the latter once, in the handshake, and the bearer of the answer from then on. That bearer is the token itself,
//! so a revoked token is refused at the next call.

use tonic::{Status, metadata::MetadataMap};

/// The header, in requests and in the answer to a handshake.
pub(super) const HEADER: &str = "authorization";

/// Longest header that is looked at, in bytes: tokens are far shorter.
const MAX_HEADER_LEN: usize = 4096;

/// The secret of a call.
pub(super) fn secret(headers: &MetadataMap) -> Result<String, Status> {
    let header = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or_default();
    let secret = match scheme.to_ascii_lowercase().as_str() {
        _ if header.len() > MAX_HEADER_LEN => None,
        "bearer" => Some(rest.trim().to_owned()),
        "basic" => password(rest.trim()),
        _ => None,
    };
    secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        Status::unauthenticated("log in: authorization with Bearer TOKEN, or a user name and the token as password")
    })
}

/// The password of `user:password` in base 64.
fn password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(base64(encoded)?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// RFC 4648, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes().map(|letter| {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(u32::from(digit))
    });
    let digits = digits.collect::<Option<Vec<u32>>>()?;
    let group = |four: &[u32]| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes.into_iter().take((four.len() * 6) / 8).collect::<Vec<u8>>()
    };
    Some(digits.chunks(4).flat_map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Option<&str>) {
        let mut headers = MetadataMap::new();
        headers.insert(HEADER, header.parse().unwrap());
        assert_eq!(secret(&headers).ok().as_deref(), expected, "{header}");
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_password() {
        check("Bearer fw_abc.def", Some("fw_abc.def"));
        check("bearer  fw_abc ", Some("fw_abc"));
        check("Basic YW5uOmZ3X2FiYw==", Some("fw_abc"));
        check("Basic YW5uOmZ3X2FiYw", Some("fw_abc"));
        check("basic OmE6Yg==", Some("a:b"));
        check("Basic YW5u", None);
        check("Basic YW5uOg==", None);
        check("Basic \u{7e}\u{7e}", None);
        check("Bearer", None);
        check("Digest abc", None);
        check(&format!("Bearer {}", "x".repeat(MAX_HEADER_LEN)), None);
        assert_eq!(secret(&MetadataMap::new()).unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}
