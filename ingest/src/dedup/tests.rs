use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The same promise, spelled out: every number ever taken, and the floor that overflow raises.
#[derive(Default)]
struct Model {
    boots: BTreeMap<i64, (i64, BTreeSet<i64>)>,
    /// Every (boot, seq) that was ever new, forgotten ones too.
    ever: BTreeSet<(i64, i64)>,
}

impl Model {
    fn number(&mut self, boot: i64, seq: i64) -> Verdict {
        if !self.boots.contains_key(&boot) {
            if self.boots.len() == KEPT_BOOTS {
                let oldest = *self.boots.keys().next().unwrap();
                if boot < oldest {
                    return Verdict::Forgotten;
                }
                self.boots.remove(&oldest);
            }
            self.boots.insert(boot, (i64::MIN, BTreeSet::new()));
        }
        let (floor, seen) = self.boots.get_mut(&boot).unwrap();
        if seq < *floor {
            return Verdict::Forgotten;
        }
        if !seen.insert(seq) {
            return Verdict::Duplicate;
        }
        let starts: Vec<i64> = seen.iter().copied().filter(|seq| !seen.contains(&(seq - 1))).collect();
        if starts.len() > MAX_INTERVALS {
            *floor = starts[1];
            *seen = seen.split_off(floor);
        }
        assert!(self.ever.insert((boot, seq)), "{seq} of boot {boot} is new twice");
        Verdict::New
    }
}

fn check(taken: impl IntoIterator<Item = (i64, i64)>) {
    let (mut stream, mut model) = (Stream::default(), Model::default());
    for (boot, seq) in taken {
        assert_eq!(stream.number(boot, seq), model.number(boot, seq), "boot {boot} seq {seq}");
    }
    let mut writer = Writer::default();
    stream.save(&mut writer);
    let bytes = writer.bytes();
    let mut reader = Reader::new(&bytes);
    assert_eq!(Stream::load(&mut reader), Ok(stream));
    assert_eq!(reader.end(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn small_numbers_in_any_order_are_exact(taken in prop::collection::vec((0i64..12, 0i64..40), 0..400)) {
        check(taken);
    }

    #[test]
    fn overflow_raises_the_floor_and_doubles_nothing(taken in prop::collection::vec((0i64..2, 0i64..6000), 1200..1500)) {
        check(taken);
    }

    #[test]
    fn blocks_sent_backwards_are_exact(block in 1i64..50, blocks in 1i64..30, twice: bool) {
        let sent = (0..blocks).rev().flat_map(move |b| (b * block..(b + 1) * block).map(|seq| (0, seq)));
        check(sent.clone().chain(sent.take(if twice { usize::MAX } else { 0 })));
    }

    #[test]
    fn broken_bytes_make_no_stream_that_panics(bytes: Vec<u8>, seqs in prop::collection::vec((-3i64..3, any::<i64>()), 0..20)) {
        if let Ok(mut stream) = Stream::load(&mut Reader::new(&bytes)) {
            for (boot, seq) in seqs {
                stream.number(boot, seq);
            }
        }
    }
}

#[test]
fn the_ends_of_the_number_line_are_numbers() {
    check([(0, i64::MAX), (0, i64::MAX), (0, i64::MAX - 1), (0, 0), (i64::MAX, 0), (0, i64::MAX)]);
}

#[test]
fn in_order_costs_no_memory() {
    let mut stream = Stream::default();
    for seq in 0..100_000 {
        assert_eq!(stream.number(1, seq), Verdict::New);
    }
    let mut writer = Writer::default();
    stream.save(&mut writer);
    assert!(writer.bytes().len() < 24);
}

#[test]
fn a_hash_is_kept_for_256_others() {
    let mut stream = Stream::default();
    assert_eq!(stream.hash(0), Verdict::New);
    for hash in 1..=255 {
        assert_eq!(stream.hash(hash), Verdict::New);
    }
    assert_eq!(stream.hash(0), Verdict::Duplicate);
    assert_eq!(stream.hash(256), Verdict::New);
    assert_eq!(stream.hash(0), Verdict::New);
    assert_eq!(stream.hash(1), Verdict::New);
    assert_eq!(stream.hash(256), Verdict::Duplicate);
}

#[test]
fn only_the_newest_hash_repeats_at_once() {
    let mut stream = Stream::default();
    for (hash, verdict) in [
        (1, Verdict::New),
        (1, Verdict::Duplicate),
        (2, Verdict::New),
        (1, Verdict::New),
        (1, Verdict::Duplicate),
        (2, Verdict::New),
    ] {
        assert_eq!(stream.hash_again(hash), verdict, "{hash}");
    }
    for hash in 3..1000 {
        assert_eq!(stream.hash_again(hash), Verdict::New);
        assert_eq!(stream.hash_again(hash), Verdict::Duplicate);
    }
    assert!(stream.hashes.len() <= KEPT_HASHES);
}
