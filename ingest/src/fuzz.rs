//! Many inputs for what reads strangers' bytes: valid ones, changed in a few places.
//!
//! In: valid inputs, and what must hold for any other. Out: a panic that shows the input. Promise: the same inputs
//! every time, [`CASES`] of each target in a test run and as many as `FOREWARN_FUZZ_CASES` says in a long one
//! (`bench/fuzz`). Changed valid inputs get further into a reader than random bytes, which mostly fail at the first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs of each target in a test run.
const CASES: u64 = 2000;

/// Chance from a number (splitmix64): a test's, and fast enough not to be what is measured.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 where that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Bytes that readers stumble over: signs, ends of ranges, lengths, what begins and ends things.
const ODD: [u8; 16] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x1f, 0x3f, 0xbf, 0xc0, b'"', b'{', b'[', b'-', b'e', b'\\'];

/// Changes `bytes` in one to six places.
pub(crate) fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    for _ in 0..1 + chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match chance.below(10) {
            0..=2 if rest > 0 => bytes[at] ^= 1 << chance.below(8),
            3 if rest > 0 => bytes[at] = ODD[chance.below(ODD.len())],
            4 => bytes.insert(at, ODD[chance.below(ODD.len())]),
            5 => drop(bytes.drain(at..at + chance.below(rest.min(32) + 1))),
            6 => {
                let again = bytes[at..at + chance.below(rest.min(64) + 1)].to_vec();
                bytes.splice(at..at, again);
            }
            7 => bytes.truncate(at),
            8 if rest >= 4 => {
                let number = [0, 1, 0x7fff_ffff, u32::MAX, 0x8000_0000, bytes.len() as u32][chance.below(6)];
                let four = if chance.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                bytes[at..at + 4].copy_from_slice(&four);
            }
            _ => {
                // A piece of another input, as long as it likes.
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                let piece = other[from..from + chance.below(other.len() - from + 1)].to_vec();
                let gone = at + chance.below(rest.min(piece.len()) + 1);
                bytes.splice(at..gone, piece);
            }
        }
        bytes.truncate(1 << 16);
    }
}

/// Gives changed inputs to `holds`, which panics where something does not hold.
pub(crate) fn run(target: &str, valid: &[Vec<u8>], mut holds: impl FnMut(&[u8], &mut Chance)) {
    let cases = std::env::var("FOREWARN_FUZZ_CASES").ok().map_or(CASES, |text| text.parse().unwrap());
    let seed = target
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    for case in 0..cases {
        let mut chance = Chance::new(seed ^ case.wrapping_mul(0xd134_2543_de82_ef95));
        let mut input = valid[chance.below(valid.len())].clone();
        mutate(&mut input, valid, &mut chance);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| holds(&input, &mut chance))) {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("fuzz: target {target}, case {case}, input {hex}");
            resume_unwind(panic);
        }
    }
    println!("fuzz: target {target}, {cases} inputs");
}
