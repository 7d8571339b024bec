//! One row per (window, candidate code): what of the window speaks for the code.
//!
//! In: a window and the counts. Out: candidates and their features. Promise: nothing of the next window is looked at;
//! a row names no code, so that what is learnt of one serves all.

use super::{Code, Counts};

/// Codes beside those of the window that are asked about: the likeliest by what they follow, and by the device's own
/// past. On the recorded machines 20 leave 5 to 8 % of the next codes unasked; more rows cost time and add few.
const CANDIDATES: usize = 20;
/// Weight of a code against the one after it, for what was seen lately and less lately.
const FADES: [f64; 2] = [0.8, 0.9];

/// What the features are called, in order.
pub const NAMES: [&str; 17] = [
    "times_seen",
    "share_of_window",
    "codes_since",
    "share_since",
    "recency_rank",
    "share_before_first",
    "times_in_last_10",
    "times_in_last_5",
    "faded_times_fast",
    "faded_times_slow",
    "window_codes",
    "window_distinct_codes",
    "follows_mean",
    "follows_most",
    "follows_lately",
    "follows_last",
    "device_share",
];

/// The place of the feature that is left out for devices without a past.
pub(super) const DEVICE_SHARE: usize = NAMES.len() - 1;

/// The candidates of a window, in order of place, and a row for each.
pub(super) fn rows(counts: &Counts, device: &str, codes: &[Code]) -> Vec<(Code, [f64; NAMES.len()])> {
    let codes: Vec<Code> = codes.iter().copied().filter(|code| *code < counts.codes()).collect();
    let distinct = counts.distinct(&codes);
    let length = codes.len();
    let whole = length.max(1) as f64;
    let faded = |fade: f64| {
        let mut weights = vec![0.0; counts.codes()];
        let mut weight = 1.0;
        for code in codes.iter().rev() {
            weights[*code] += weight;
            weight *= fade;
        }
        weights
    };
    let [fast, slow] = FADES.map(faded);
    let total_fast: f64 = fast.iter().sum();
    let follows = |candidate: Code| {
        if distinct.is_empty() {
            let share = counts.share(candidate);
            return [share; 3];
        }
        let shares = distinct.iter().map(|code| counts.after(*code, candidate));
        let (sum, most) = shares.fold((0.0, 0.0_f64), |(sum, most), share| (sum + share, most.max(share)));
        let lately: f64 = distinct.iter().map(|code| fast[*code] * counts.after_last(*code, candidate)).sum();
        [sum / distinct.len() as f64, most, lately / total_fast]
    };
    let follows: Vec<[f64; 3]> = (0..counts.codes()).map(follows).collect();
    let own = counts.device(device);
    let own: Option<Vec<f64>> = own.map(|share| (0..counts.codes()).map(share).collect());

    let mut asked = vec![false; counts.codes()];
    distinct.iter().for_each(|code| asked[*code] = true);
    let mut ask = |likeliest: &dyn Fn(Code) -> f64| {
        let mut order: Vec<Code> = (0..counts.codes()).collect();
        order.sort_by(|one, other| likeliest(*other).total_cmp(&likeliest(*one)));
        order.iter().take(CANDIDATES).filter(|code| likeliest(**code) > 0.0).for_each(|code| asked[*code] = true);
    };
    ask(&|code| follows[code][0] + follows[code][2]);
    if let Some(own) = &own {
        ask(&|code| own[code]);
    }

    // Per code of the window: places of its first and last sight.
    let mut sights: Vec<Option<(usize, usize)>> = vec![None; counts.codes()];
    for (place, code) in codes.iter().enumerate() {
        sights[*code] = Some((sights[*code].map_or(place, |(first, _)| first), place));
    }
    let times = |tail: usize, code: Code| codes.iter().rev().take(tail).filter(|seen| **seen == code).count() as f64;
    let candidates = asked.iter().enumerate().filter(|(_, asked)| **asked).map(|(code, _)| code);
    candidates
        .map(|code| {
            let seen = times(length, code);
            let missing = [f64::NAN; 4];
            let [since, share_since, rank, first] = sights[code].map_or(missing, |(first, last)| {
                let since = (length - last) as f64;
                let later = distinct.iter().filter(|other| sights[**other].is_some_and(|(_, at)| at > last)).count();
                [since, since / whole, later as f64, first as f64 / whole]
            });
            let [mean, most, lately] = follows[code];
            let row = [
                seen,
                seen / whole,
                since,
                share_since,
                rank,
                first,
                times(10, code),
                times(5, code),
                fast[code],
                slow[code],
                whole,
                distinct.len() as f64,
                mean,
                most,
                lately,
                codes.last().map_or(f64::NAN, |last| counts.after_last(*last, code)),
                own.as_ref().map_or(f64::NAN, |own| own[code]),
            ];
            (code, row)
        })
        .collect()
}
