use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Twenty washers: code 0 is followed by 1, code 2 by itself, code 3 comes by chance.
fn windows(seed: u64) -> Vec<Window> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut windows = Vec::new();
    for place in 0..2000 {
        let mut codes: Vec<Code> = Vec::new();
        let mut next = Vec::new();
        for (code, follower) in [(0, Some(1)), (2, Some(2)), (3, None)] {
            if chance.random_bool(0.4) {
                codes.push(code);
                next.extend(follower.filter(|_| chance.random_bool(0.9)));
            }
        }
        if chance.random_bool(0.1) {
            next.push(3);
        }
        next.sort_unstable();
        windows.push(Window { device: format!("washer-{}", place % 20), codes, next });
    }
    windows
}

#[test]
fn a_code_that_follows_another_is_said_and_persistence_is_beaten() {
    let (train, test) = (windows(1), windows(2));
    let model = NextCodes::fit(&train.iter().collect::<Vec<_>>(), 4, &Settings::new(1)).unwrap();
    let score = model.score(&test.iter().collect::<Vec<_>>()).unwrap();
    let mut persistence = SetScore::default();
    for window in &test {
        let mut same = window.codes.clone();
        same.sort_unstable();
        persistence.add(&same, &window.next);
    }
    assert!(score.f1() > 0.85 && persistence.f1() < 0.6, "{score:?} against {persistence:?}");
    // A washer that nobody has seen is served by what all share; an unknown code is passed over.
    let said = model.probabilities("washer-new", &[0, 99]).unwrap();
    assert_eq!(model.set(&said), [1]);
    let probability = said.iter().find(|(code, _)| *code == 1).unwrap().1;
    assert!((probability - 0.9).abs() < 0.07, "{probability}");
}

#[test]
fn the_same_seed_learns_the_same_and_a_written_model_says_the_same() {
    let train = windows(3);
    let train: Vec<&Window> = train.iter().take(600).collect();
    let one = NextCodes::fit(&train, 4, &Settings::new(7)).unwrap();
    let two = NextCodes::fit(&train, 4, &Settings::new(7)).unwrap();
    let read: NextCodes = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    let said = one.probabilities("washer-1", &[0, 2, 3]).unwrap();
    assert_eq!(said, two.probabilities("washer-1", &[0, 2, 3]).unwrap());
    assert_eq!(said, read.probabilities("washer-1", &[0, 2, 3]).unwrap());
}

#[test]
fn nothing_to_learn_from_is_an_error() {
    assert!(NextCodes::fit(&[], 4, &Settings::new(1)).is_err());
}

#[test]
fn names_come_back_from_their_places() {
    let mut vocabulary = Vocabulary::default();
    assert!(vocabulary.is_empty());
    let places = ["E21", "E07", "E21"].map(|name| vocabulary.place(name));
    assert_eq!((places, vocabulary.len()), ([0, 1, 0], 2));
    assert_eq!((vocabulary.name(1), vocabulary.name(2)), (Some("E07"), None));
}

#[test]
fn codes_beyond_the_limit_are_counted() {
    let mut counts = Counts::new(MAX_CODES + 5);
    counts.add(&Window { device: "washer".into(), codes: vec![0], next: vec![1, MAX_CODES + 1] });
    assert_eq!((counts.codes(), counts.refused), (MAX_CODES, 1));
}

proptest! {
    #[test]
    fn no_other_threshold_is_better(
        pairs in prop::collection::vec((0_u8..20, any::<bool>()), 1..60), unasked in 0_u64..5, other in 0_u8..20,
    ) {
        let pairs: Vec<(f64, bool)> = pairs.iter().map(|(p, came)| (f64::from(*p) / 20.0, *came)).collect();
        let f1 = |threshold: f64| {
            let said = pairs.iter().filter(|pair| pair.0 >= threshold).count() as f64;
            let hits = pairs.iter().filter(|pair| pair.0 >= threshold && pair.1).count() as f64;
            let came = pairs.iter().filter(|pair| pair.1).count() as f64 + unasked as f64;
            if said + came > 0.0 { 2.0 * hits / (said + came) } else { 0.0 }
        };
        let (threshold, best) = best_threshold(&pairs, unasked);
        if best > 0.0 {
            prop_assert!((f1(threshold) - best).abs() < 1e-12);
        }
        prop_assert!(f1(f64::from(other) / 20.0) <= best + 1e-12);
    }
}
