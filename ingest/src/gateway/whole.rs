//! Hands MQTT packets on only when they are complete.
//!
//! In: bytes as they come from the socket. Out: the same bytes, a packet's body in one piece. Promise: nothing is
//! changed, left out or reordered; of a packet that has begun, its length and one more byte go on at once, so that the
//! time it may take runs; what is too long or no MQTT goes on as it comes, for the decoder to refuse. Never: more kept
//! back than one packet.
//!
//! Why: ntex-mqtt 9.0.0 gives out a publish whose payload is not there yet and feeds it later through one place per
//! connection. The publish, its payload and what follows run as tasks of their own, not always in the order in which
//! they came; then a payload goes to the wrong publish, and the connection ends, or acknowledges nothing any more.

use std::{cell::Cell, io};

use ntex::io::{FilterBuf, FilterLayer};

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a packet.
    Kind,
    /// In its length: what was read of it, and how far the next seven bits are shifted.
    Length { value: usize, shift: u32 },
    /// In its body, of which so much is missing; its first byte may go on alone.
    Body { left: usize, first: bool },
    /// In what the decoder will refuse.
    Refused,
}

/// The filter of one connection.
#[derive(Debug)]
pub(super) struct Whole {
    most: usize,
    at: Cell<At>,
}

impl Whole {
    /// Packets with a body of more than `most` bytes are not waited for.
    pub(super) fn new(most: u32) -> Self {
        Self { most: most as usize, at: Cell::new(At::Kind) }
    }

    /// How many of these bytes, which follow those that went on before, may go on.
    fn ready(&self, bytes: &[u8]) -> usize {
        let mut at = self.at.get();
        let mut end = 0;
        loop {
            let rest = bytes.len() - end;
            match at {
                At::Refused => end = bytes.len(),
                At::Body { left: 0, .. } => {
                    at = At::Kind;
                    continue;
                }
                At::Body { left, .. } if rest >= left => {
                    end += left;
                    at = At::Kind;
                    continue;
                }
                At::Body { left, first: true } if rest > 0 => {
                    end += 1;
                    at = At::Body { left: left - 1, first: false };
                }
                At::Kind if rest > 0 => {
                    end += 1;
                    at = At::Length { value: 0, shift: 0 };
                    continue;
                }
                At::Length { value, shift } if rest > 0 => {
                    let byte = bytes[end];
                    end += 1;
                    let value = value | usize::from(byte & 0x7f) << shift;
                    at = match (byte & 0x80 != 0, shift) {
                        (true, 21..) => At::Refused,
                        (true, _) => At::Length { value, shift: shift + 7 },
                        (false, _) if value > self.most => At::Refused,
                        (false, _) => At::Body { left: value, first: true },
                    };
                    continue;
                }
                At::Body { .. } | At::Kind | At::Length { .. } => {}
            }
            break;
        }
        self.at.set(at);
        end
    }
}

impl FilterLayer for Whole {
    fn process_read_buf(&self, buffers: &FilterBuf<'_>) -> io::Result<()> {
        buffers.with_read_buffers(|from, to| {
            let Some(from) = from else { return };
            match self.ready(from) {
                0 => {}
                all if all == from.len() && to.is_empty() => std::mem::swap(from, to),
                some => to.extend_from_slice(&from.split_to(some)),
            }
        });
        Ok(())
    }

    fn process_write_buf(&self, buffers: &FilterBuf<'_>) -> io::Result<()> {
        buffers.with_write_buffers(|from, to| from.move_to(to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds pieces as the socket does; returns what went on after each.
    fn feed(whole: &Whole, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut kept = Vec::new();
        let mut gone = Vec::new();
        for piece in pieces {
            kept.extend_from_slice(piece);
            let ready = whole.ready(&kept);
            gone.push(kept.drain(..ready).collect());
        }
        gone
    }

    #[test]
    fn a_body_goes_on_when_it_is_complete() {
        let whole = Whole::new(1000);
        let pieces: [&[u8]; 6] = [&[0xc0, 0, 0x32], &[5], &[1, 2], &[3, 4], &[5, 0x32, 2, 6], &[7]];
        let expected: [&[u8]; 6] = [&[0xc0, 0, 0x32], &[5], &[1], &[], &[2, 3, 4, 5, 0x32, 2, 6], &[7]];
        assert_eq!(feed(&whole, &pieces), expected);
    }

    #[test]
    fn what_is_too_long_or_no_mqtt_is_not_kept() {
        let long: &[u8] = &[0x32, 0xe9, 0x07, 1, 2];
        assert_eq!(feed(&Whole::new(1000), &[long]), [long], "1001 bytes");
        let endless: &[u8] = &[0x32, 0xff, 0xff, 0xff, 0xff, 1, 2];
        assert_eq!(feed(&Whole::new(1000), &[endless, &[9]]), [endless, &[9]]);
    }

    #[test]
    fn fuzz_packets() {
        const MOST: usize = 300;
        let packet = |kind: u8, len: usize| {
            let length = if len < 128 { vec![len as u8] } else { vec![(len % 128) as u8 | 0x80, (len / 128) as u8] };
            [&[kind][..], &length, &vec![b'x'; len]].concat()
        };
        let valid = [
            [packet(0x10, 40), packet(0x32, 200), packet(0xc0, 0), packet(0x32, 5)].concat(),
            [packet(0x82, 30), packet(0x30, 1), packet(0x62, 2), packet(0xe0, 0)].concat(),
            packet(0x32, 299),
        ];
        crate::fuzz::run("packets", &valid, |input, chance| {
            let whole = Whole::new(MOST as u32);
            let (mut gone, mut kept, mut at) = (Vec::new(), Vec::new(), 0);
            while at < input.len() {
                let end = (at + 1 + chance.below(80)).min(input.len());
                kept.extend_from_slice(&input[at..end]);
                at = end;
                let ready = whole.ready(&kept);
                gone.extend(kept.drain(..ready));
                assert!(kept.len() <= MOST, "{} bytes are kept back", kept.len());
                assert!([&gone[..], &kept].concat() == input[..at], "something is changed");
            }
        });
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_go_on_unchanged(
            bodies in proptest::collection::vec(0usize..400, 0..20), cuts in proptest::collection::vec(0usize..4000, 0..20),
        ) {
            let mut bytes = Vec::new();
            let mut bounds = Vec::new();
            for (n, len) in bodies.iter().enumerate() {
                bytes.push(0x32);
                bytes.extend(if *len < 128 { vec![*len as u8] } else { vec![(len % 128) as u8 | 0x80, (len / 128) as u8] });
                let begin = bytes.len();
                bytes.extend(std::iter::repeat_n(n as u8, *len));
                bounds.push((begin, bytes.len()));
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let whole = Whole::new(1000);
            let (mut gone, mut kept) = (Vec::new(), Vec::new());
            for pair in cuts.windows(2) {
                kept.extend_from_slice(&bytes[pair[0]..pair[1]]);
                let ready = whole.ready(&kept);
                gone.extend(kept.drain(..ready));
                // Never stands in the middle of a body, but after its first byte.
                let at = gone.len();
                prop_assert!(bounds.iter().all(|(begin, end)| at <= begin + 1 || at >= *end));
                prop_assert!(kept.len() <= 400);
            }
            prop_assert_eq!(gone, bytes);
        }
    }
}
