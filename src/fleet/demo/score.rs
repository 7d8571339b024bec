//! What was said held against what was planted (pure).
//!
//! In: what was said of components, and when; what the simulator planted. Out: how many wear failures were spoken of on a
//! ticket before they happened, how early, and how many tickets spoke of something that was so. Promise: a word counts
//! for a failure only between its onset and the failure; luck before the onset counts for nothing. A failure that a visit
//! averted counts as if it had come when it was planned to, and what is said after the visit speaks of a sound component.
//! Never: a sudden failure asked of anybody.
//!
//! | a ticket on a component | is |
//! |---|---|
//! | spoken of while wear was under way | true |
//! | spoken of only while the component stood failed | late: neither true nor false |
//! | spoken of, and nothing was the matter | false |

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use foresight::measure;
use schemas::time::Instant;
use serde::Serialize;

use crate::fleet::simulate::{Course, Planted};

/// Bins of the reliability diagram behind the calibration error: the usual ten.
const BINS: usize = 10;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A rule of the profile.
    Rule,
    /// A fault code of the device.
    Code,
    /// An advisory that opened or joined a ticket.
    Advisory,
}

/// Something that was said of a component on a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) device_id: String,
    pub(super) component: String,
    pub(super) ticket_id: String,
    pub(super) at: Instant,
    pub(super) by: By,
}

/// A probability that was said of a component.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub(super) device_id: String,
    pub(super) component: String,
    pub(super) at: Instant,
    pub(super) horizon: Duration,
    pub(super) probability: f64,
}

/// Probabilities held against the truth.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Calibration {
    /// Expected calibration error over ten bins of equally many cases.
    pub(super) error: Option<f64>,
    /// Devices and components, day by day, whose horizon is over: the cases.
    pub(super) cases: u64,
    /// Of these, those that failed within the horizon.
    pub(super) failing: u64,
    /// Failures that all probabilities together foretold.
    pub(super) expected: f64,
}

/// How good it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Score {
    /// Averted ones too.
    pub(super) wear_failures: u64,
    /// Of these, those that a visit averted.
    pub(super) averted: u64,
    pub(super) ticketed: u64,
    /// Median of the time from the first word to the failure.
    pub(super) median_lead_hours: Option<f64>,
    pub(super) true_tickets: u64,
    pub(super) false_tickets: u64,
    /// Of these, those of which a rule spoke first.
    pub(super) false_by_rules: u64,
    pub(super) late_tickets: u64,
}

impl Score {
    /// Ticketed wear failures among all.
    pub(super) fn share(&self) -> Option<f64> {
        (self.wear_failures > 0).then(|| self.ticketed as f64 / self.wear_failures as f64)
    }

    /// True tickets among true and false ones.
    pub(super) fn precision(&self) -> Option<f64> {
        let spoken = self.true_tickets + self.false_tickets;
        (spoken > 0).then(|| self.true_tickets as f64 / spoken as f64)
    }
}

fn about(said: &Said, planted: &Planted) -> bool {
    said.device_id == planted.device_id.as_str() && said.component == planted.fault_key.component()
}

/// Holds what was said between `begin` and `end` against what failed in that time.
pub(super) fn score(said: &[Said], planted: &[Planted], begin: Instant, end: Instant) -> Score {
    let mut score = Score::default();
    let mut leads = Vec::new();
    for failed in planted.iter().filter(|it| it.course == Course::Wear && it.failure > begin && it.failure <= end) {
        score.wear_failures += 1;
        score.averted += u64::from(failed.averted());
        let first = said.iter().filter(|said| about(said, failed) && failed.wearing(said.at)).map(|said| said.at).min();
        if let Some(first) = first {
            score.ticketed += 1;
            leads.push(failed.failure.hours_since(first));
        }
    }
    leads.sort_by(f64::total_cmp);
    score.median_lead_hours = median(&leads);
    let mut tickets: BTreeMap<&str, Vec<&Said>> = BTreeMap::new();
    for said in said {
        tickets.entry(&said.ticket_id).or_default().push(said);
    }
    for words in tickets.values() {
        let any = |holds: fn(&Planted, Instant) -> bool| {
            words.iter().any(|said| planted.iter().any(|it| about(said, it) && holds(it, said.at)))
        };
        match () {
            () if any(Planted::wearing) => score.true_tickets += 1,
            () if any(Planted::stands_failed) => score.late_tickets += 1,
            () => {
                score.false_tickets += 1;
                let first = words.iter().min_by_key(|said| said.at);
                score.false_by_rules += u64::from(first.is_some_and(|said| said.by == By::Rule));
            }
        }
    }
    score
}

/// Holds what was said against failures of the component within each horizon. A word whose horizon reaches beyond the end
/// is left out whether it has come true or not: counting only those that have would make every probability look too low.
/// So is one on a component that stood failed already, noticed or not: it cannot fail before it is mended.
pub(super) fn calibration<'a>(
    expected: impl IntoIterator<Item = &'a Expected>,
    planted: &[Planted],
    end: Instant,
) -> Calibration {
    let mut faults: HashMap<(&str, &str), Vec<&Planted>> = HashMap::new();
    for fault in planted {
        faults.entry((fault.device_id.as_str(), fault.fault_key.component())).or_default().push(fault);
    }
    let (mut said, mut events) = (Vec::new(), Vec::new());
    for word in expected {
        let until = word.at.plus(word.horizon);
        let same = faults.get(&(word.device_id.as_str(), word.component.as_str())).map_or(&[][..], Vec::as_slice);
        if until > end || same.iter().any(|fault| fault.stands_failed(word.at)) {
            continue;
        }
        said.push(word.probability);
        events.push(same.iter().any(|fault| fault.fails_within(word.at, until)));
    }
    Calibration {
        error: measure::calibration_error(&said, &events, BINS),
        cases: said.len() as u64,
        failing: events.iter().filter(|event| **event).count() as u64,
        expected: said.iter().sum(),
    }
}

fn median(ascending: &[f64]) -> Option<f64> {
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(ascending[middle]),
        _ => Some(f64::midpoint(ascending[middle - 1], ascending[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::simulate::fault::Curve;

    fn day(day: u64) -> Instant {
        Instant::EPOCH.plus(Duration::from_secs(86_400 * day))
    }

    /// A bearing that wears from day 10 on and fails on day 20; a board that breaks on day 12.
    fn planted() -> Vec<Planted> {
        let wear = Planted {
            device_id: "wm-1".parse().unwrap(),
            fault_key: "drum_bearing/wear".parse().unwrap(),
            course: Course::Wear,
            onset: day(10),
            failure: day(20),
            curve: Curve::Linear,
            level: 1.0,
            code: None,
            mended: None,
        };
        let sudden = Planted {
            device_id: "wm-2".parse().unwrap(),
            fault_key: "control_board/breakdown".parse().unwrap(),
            course: Course::Sudden,
            onset: day(12),
            failure: day(12),
            ..wear.clone()
        };
        vec![wear, sudden]
    }

    fn said(device_id: &str, component: &str, ticket_id: &str, at: u64) -> Said {
        let (device_id, component, ticket_id) = (device_id.into(), component.into(), ticket_id.into());
        Said { device_id, component, ticket_id, at: day(at), by: By::Rule }
    }

    #[test]
    fn a_word_counts_while_wear_is_under_way() {
        for (words, ticketed, lead, tickets) in [
            (vec![said("wm-1", "drum_bearing", "t", 15)], 1, Some(120.0), (1, 0, 0)),
            (
                vec![said("wm-1", "drum_bearing", "t", 15), said("wm-1", "drum_bearing", "t", 12)],
                1,
                Some(192.0),
                (1, 0, 0),
            ),
            // Luck: nothing was the matter then, and nobody spoke later.
            (vec![said("wm-1", "drum_bearing", "t", 9)], 0, None, (0, 1, 0)),
            (
                vec![said("wm-1", "drum_bearing", "t", 9), said("wm-1", "drum_bearing", "t", 19)],
                1,
                Some(24.0),
                (1, 0, 0),
            ),
            (vec![said("wm-1", "drum_bearing", "t", 20)], 0, None, (0, 0, 1)),
            (vec![said("wm-1", "drain_pump", "t", 15)], 0, None, (0, 1, 0)),
            (vec![said("wm-2", "control_board", "t", 13)], 0, None, (0, 0, 1)),
            (vec![], 0, None, (0, 0, 0)),
        ] {
            let score = score(&words, &planted(), day(0), day(30));
            assert_eq!(
                (score.wear_failures, score.ticketed, score.median_lead_hours),
                (1, ticketed, lead),
                "{words:?}"
            );
            assert_eq!((score.true_tickets, score.false_tickets, score.late_tickets), tickets, "{words:?}");
        }
        assert_eq!(score(&[], &planted(), day(20), day(30)).wear_failures, 0, "it failed before the beginning");
        assert_eq!(score(&[], &planted(), day(0), day(19)).share(), None, "nothing has failed yet");
    }

    #[test]
    fn a_failure_that_a_visit_averted_counts_as_before_and_what_is_said_after_the_visit_does_not() {
        let bearing = |ticket, at| said("wm-1", "drum_bearing", ticket, at);
        let mut mended = planted();
        mended[0].mended = Some(day(17));
        for (words, ticketed, lead, tickets) in [
            // Spoken of in time: the lead is that to the planned failure.
            (vec![bearing("t", 15)], 1, Some(120.0), (1, 0, 0)),
            // After the visit it is sound, also when it would have failed.
            (vec![bearing("t", 18)], 0, None, (0, 1, 0)),
            (vec![bearing("t", 21)], 0, None, (0, 1, 0)),
            (vec![bearing("t", 15), bearing("u", 18)], 1, Some(120.0), (1, 1, 0)),
            // Sent for a whim, and found at the beginning of wear.
            (vec![bearing("t", 9)], 0, None, (0, 1, 0)),
        ] {
            let score = score(&words, &mended, day(0), day(30));
            assert_eq!((score.wear_failures, score.averted), (1, 1), "{words:?}");
            assert_eq!((score.ticketed, score.median_lead_hours), (ticketed, lead), "{words:?}");
            assert_eq!((score.true_tickets, score.false_tickets, score.late_tickets), tickets, "{words:?}");
        }
        // Mended after it failed: nothing is averted, and who speaks of it later speaks of a sound component.
        mended[0].mended = Some(day(22));
        for (words, tickets) in [
            (vec![bearing("t", 25)], (0, 1, 0)),
            (vec![bearing("t", 21)], (0, 0, 1)),
            // It stood failed when it was first spoken of.
            (vec![bearing("t", 21), bearing("t", 25)], (0, 0, 1)),
        ] {
            let score = score(&words, &mended, day(0), day(30));
            assert_eq!((score.averted, score.ticketed), (0, 0), "{words:?}");
            assert_eq!((score.true_tickets, score.false_tickets, score.late_tickets), tickets, "{words:?}");
        }
    }

    #[test]
    fn what_is_not_known_yet_is_no_error_of_calibration() {
        let expected = |component: &str, at, probability| Expected {
            device_id: "wm-1".into(),
            component: component.into(),
            at: day(at),
            horizon: Duration::from_secs(10 * 86_400),
            probability,
        };
        let bearing = "drum_bearing";
        // Came true; came to nothing; open at the end, whether it has come true already or not.
        let words = [
            expected(bearing, 12, 1.0),
            expected(bearing, 2, 0.0),
            expected("drain_pump", 18, 0.9),
            expected(bearing, 15, 1.0),
        ];
        let known = Calibration { error: Some(0.0), cases: 2, failing: 1, expected: 1.0 };
        assert_eq!(calibration(&words, &planted(), day(22)), known);
        let wrong = calibration(&[expected(bearing, 2, 1.0)], &planted(), day(22));
        assert_eq!((wrong.error, wrong.cases, wrong.failing), (Some(1.0), 1, 0));
        // It stands failed from day 20 on; as new on day 23 nothing is the matter with it.
        let after = |at| calibration(&[expected(bearing, at, 0.0)], &planted(), day(40));
        assert_eq!(after(21).cases, 0);
        let mut mended = planted();
        mended[0].mended = Some(day(23));
        let after = calibration(&[expected(bearing, 24, 0.0)], &mended, day(40));
        assert_eq!((after.error, after.cases, after.failing), (Some(0.0), 1, 0));
        // Mended on day 18, before it would have failed: a word of day 17 was right, one of day 19 is not.
        mended[0].mended = Some(day(18));
        let of = |at| calibration(&[expected(bearing, at, 1.0)], &mended, day(40)).failing;
        assert_eq!((of(17), of(19)), (1, 0));
    }
}
