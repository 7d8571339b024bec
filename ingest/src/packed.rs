//! Numbers, texts and hashes in few bytes: the form in which decoding remembers itself in a checkpoint.
//!
//! In: values, in an order that writer and reader agree on. Out: bytes, and the same values again. Promise: a reader
//! of broken bytes says [`Corrupt`], and takes no more memory than the bytes have. Never: a panic, self-description.

/// Bytes that are not what a [`Writer`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

/// Appends to bytes.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number; small ones take one byte (LEB128).
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number of either sign; those near zero take one byte.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    /// Length and bytes.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Sixteen bytes.
    pub fn hash(&mut self, hash: u128) {
        self.0.extend_from_slice(&hash.to_le_bytes());
    }
}

/// Takes from bytes what a [`Writer`] wrote.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// See [`Writer::number`].
    pub fn number(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Corrupt("it ends too early"))?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Corrupt("a number has too many bytes"))
    }

    /// See [`Writer::signed`].
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// How many things follow, each of which takes at least one byte: a broken count cannot ask for more memory than
    /// there are bytes.
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|count| *count <= self.0.len())
            .ok_or(Corrupt("a count is too large"))
    }

    /// See [`Writer::text`].
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Corrupt("a text is not UTF-8"))
    }

    /// See [`Writer::hash`].
    pub fn hash(&mut self) -> Result<u128, Corrupt> {
        let mut hash = [0; 16];
        hash.copy_from_slice(self.take(16)?);
        Ok(u128::from_le_bytes(hash))
    }

    /// Nothing may follow.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt("bytes follow its end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(number: u64, signed: i64, text: String, hash: u128) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.signed(signed);
            writer.text(&text);
            writer.hash(hash);
            let bytes = writer.bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.hash(), Ok(hash));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn broken_bytes_are_an_error(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.text().is_ok() && !reader.0.is_empty() {}
            let mut reader = Reader::new(&bytes);
            while reader.number().is_ok() {}
        }
    }
}
