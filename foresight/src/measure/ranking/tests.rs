use proptest::prelude::*;

use super::*;

/// Scores on a coarse grid, so that many are equal.
fn cases() -> impl Strategy<Value = Vec<(f64, bool)>> {
    proptest::collection::vec(((0u8..12).prop_map(|score| f64::from(score) / 4.0), any::<bool>()), 2..80)
}

fn split(cases: &[(f64, bool)]) -> (Vec<f64>, Vec<bool>) {
    cases.iter().copied().unzip()
}

/// Mann and Whitney's count over all pairs.
fn pairs(scores: &[f64], events: &[bool]) -> Option<f64> {
    let (mut wins, mut all) = (0.0, 0.0);
    for (one, event) in scores.iter().zip(events) {
        for (other, quiet) in scores.iter().zip(events).filter(|(_, other)| *event && !**other) {
            all += 1.0;
            wins += if one > other {
                1.0
            } else if one == other {
                0.5
            } else {
                0.0
            };
            assert!(!quiet);
        }
    }
    (all > 0.0).then(|| wins / all)
}

proptest! {
    #[test]
    fn area_is_the_share_of_pairs_in_order(cases in cases()) {
        let (scores, events) = split(&cases);
        match (auroc(&scores, &events), pairs(&scores, &events)) {
            (Some(area), Some(share)) => prop_assert!((area - share).abs() < 1e-12, "{} {}", area, share),
            (area, share) => prop_assert_eq!(area, share),
        }
    }

    #[test]
    fn the_order_of_the_cases_does_not_matter(cases in cases()) {
        let (scores, events) = split(&cases);
        let (turned, turned_events) = split(&cases.iter().rev().copied().collect::<Vec<_>>());
        prop_assert_eq!(auroc(&scores, &events), auroc(&turned, &turned_events));
        prop_assert_eq!(average_precision(&scores, &events), average_precision(&turned, &turned_events));
        prop_assert_eq!(recall_at(0.1, &scores, &events), recall_at(0.1, &turned, &turned_events));
    }

    #[test]
    fn alarms_keep_the_rate_and_are_as_their_threshold_says(cases in cases(), rate in 0.0..1.0f64) {
        let (scores, events) = split(&cases);
        if let Some(alarms) = recall_at(rate, &scores, &events) {
            prop_assert!(alarms.false_alarm_rate <= rate);
            let alarmed = |event: bool| scores.iter().zip(&events)
                .filter(|(score, is)| **is == event && **score >= alarms.threshold).count() as f64;
            let all = |event: bool| events.iter().filter(|is| **is == event).count() as f64;
            prop_assert_eq!(alarms.recall, alarmed(true) / all(true));
            prop_assert_eq!(alarms.false_alarm_rate, alarmed(false) / all(false));
        }
    }
}

#[test]
fn known_rankings() {
    // scikit-learn 1.x: roc_auc_score 0.75, average_precision_score 0.8333
    let (scores, events) = ([0.1, 0.4, 0.35, 0.8], [false, false, true, true]);
    assert_eq!(auroc(&scores, &events), Some(0.75));
    assert!((average_precision(&scores, &events).unwrap() - 0.833_333).abs() < 1e-6);
    assert_eq!(recall_at(0.0, &scores, &events).unwrap().recall, 0.5);
    assert_eq!(recall_at(0.5, &scores, &events).unwrap().recall, 1.0);
}

#[test]
fn what_is_not_defined_is_nothing() {
    assert_eq!(auroc(&[1.0], &[true]), None);
    assert_eq!(average_precision(&[1.0], &[false]), None);
    assert_eq!(recall_at(0.1, &[], &[]), None);
}

#[test]
fn no_score_ranks_last_and_a_topmost_tie_that_is_too_wide_alarms_nobody() {
    assert_eq!(auroc(&[f64::NAN, -5.0], &[false, true]), Some(1.0));
    let alarms = recall_at(0.1, &[1.0, 1.0, 0.0], &[true, false, false]).unwrap();
    assert_eq!((alarms.recall, alarms.threshold), (0.0, f64::INFINITY));
}
