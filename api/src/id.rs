//! New ids: UUID version 7, so that they sort by the time they were made.

use schemas::time::Instant;

/// A new id, made at `at`. Randomness comes from the operating system.
pub fn new(at: Instant) -> String {
    let mut random = [0; 10];
    fill(&mut random);
    let millis = u64::try_from(at.micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// Fills with random bytes of the operating system.
#[allow(clippy::expect_used, reason = "a machine without a random source can keep no secret and must not go on")]
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system's random source works");
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_millisecond_they_were_made_in() {
        let at = |millis| new(Instant::from_millis(millis));
        assert!(at(1_000) < at(1_001));
        assert_ne!(at(5), at(5));
        assert_eq!(at(-5).len(), 36);
        assert_eq!(hex(&[0, 171]), "00ab");
    }
}
