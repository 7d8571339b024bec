use super::*;

const EVEN: Profile = Profile { name: "even", hit: 1.0, false_alarm: 1.0, miss: 1.0 };

/// Scores of `rows` rows, 1 at `alarms`.
fn stream(rows: usize, windows: &[(usize, usize)], alarms: &[usize]) -> Stream {
    let mut scores = vec![0.0; rows];
    alarms.iter().for_each(|row| scores[*row] = 1.0);
    Stream { scores, windows: windows.iter().map(|(first, last)| *first..=*last).collect() }
}

fn check(rows: usize, windows: &[(usize, usize)], alarms: &[usize], raw: f64) {
    let outcome = at(&[stream(rows, windows, alarms)], &EVEN, 0.5);
    assert!((outcome.raw - raw).abs() < 1e-4, "{} is not {raw}", outcome.raw);
}

/// The lengths of `tests/integration/sweeper_test.py`, at the share of 0.15.
#[test]
fn nothing_counts_in_the_first_rows() {
    assert_eq!([0, 100, 1882, 5000, 6000].map(probation), [0, 15, 282, 750, 750]);
    check(100, &[], &[0, 14], 0.0);
    check(100, &[], &[0, 14, 15], -1.0);
}

#[test]
fn sigma_is_the_published_one() {
    for (position, value) in [(-1.0, 0.98661), (-0.5, 0.84828), (0.0, 0.0), (1.0, -0.98661), (3.1, -1.0)] {
        assert!((sigma(position) - value).abs() < 1e-5, "{position}");
    }
}

/// `testScoringAllMetrics` of NAB's scorer test (moved behind probation): a hit at the left edge, the same window again,
/// an alarm three rows behind it, a second window missed: -0.9540.
#[test]
fn a_hit_a_repeat_a_false_alarm_and_a_miss_are_worth_what_the_published_test_says() {
    check(100, &[(30, 34), (70, 74)], &[30, 31, 37], -0.9540);
}

#[test]
fn alarms_are_worth_less_the_later_they_come() {
    check(100, &[(30, 39)], &[30], 1.0);
    check(100, &[(30, 39)], &[35], sigma(-0.5) / sigma(-1.0));
    check(100, &[(30, 39)], &[39], sigma(-0.1) / sigma(-1.0));
    check(100, &[(30, 39)], &[48], -1.0 + sigma(1.0));
    check(100, &[(30, 39)], &[20], -2.0);
}

/// `testRewardLowFalseNegatives`, `testRewardLowFalsePositives`.
#[test]
fn profiles_weigh_misses_and_false_alarms() {
    let missed = [stream(100, &[(30, 39)], &[])];
    assert_eq!([STANDARD, LOW_FP, LOW_FN].map(|profile| best(&missed, &profile).raw), [-1.0, -1.0, -2.0]);
    let alarm = [stream(100, &[], &[50])];
    assert_eq!([STANDARD, LOW_FP, LOW_FN].map(|profile| at(&alarm, &profile, 0.5).raw), [-0.11, -0.22, -0.11]);
}

/// Two windows; the ladder of `testCalcScoreByThresholdReturnsExpectedScores`, with worths of our own.
#[test]
fn the_threshold_is_the_best_over_all_streams_together() {
    let mut one = stream(100, &[(40, 49)], &[]);
    let mut two = stream(100, &[(60, 69)], &[]);
    (one.scores[40], one.scores[90]) = (0.5, 0.4);
    (two.scores[20], two.scores[60]) = (0.45, 0.3);
    let ladder = |threshold| at(&[one.clone(), two.clone()], &STANDARD, threshold).raw;
    let far = 0.11 * sigma(41.0 / 9.0);
    for (threshold, raw) in [(1.0, -2.0), (0.5, 0.0), (0.45, -0.11), (0.4, -0.11 + far), (0.3, 1.89 + far)] {
        assert!((ladder(threshold) - raw).abs() < 1e-9, "{threshold}: {}", ladder(threshold));
    }
    let best = best(&[one, two], &STANDARD);
    assert_eq!((best.threshold, best.hits, best.windows, best.false_alarms), (0.3, 2, 2, 2));
    assert!((best.normalised.unwrap() - 100.0 * (1.89 + far + 2.0) / 4.0).abs() < 1e-9);
}

#[test]
fn silence_is_zero_and_a_hit_at_once_is_a_hundred() {
    for profile in [STANDARD, LOW_FP, LOW_FN] {
        assert_eq!(best(&[stream(200, &[(60, 80)], &[])], &profile).normalised, Some(0.0));
        let perfect = best(&[stream(200, &[(60, 80)], &[60])], &profile).normalised.unwrap();
        assert!((perfect - 100.0).abs() < 1e-9);
    }
    assert_eq!(best(&[stream(200, &[], &[100])], &STANDARD).normalised, None);
}
