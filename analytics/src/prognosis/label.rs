//! What happened to a component of a device, as far as it was told: failures and repairs, and the label they give a
//! landmark (pure).
//!
//! In: fault reports and outcomes of one device and one component. Out: per landmark whether the device was at risk, and
//! whether a failure followed within the horizon. Promise: a landmark is labelled only where its whole horizon is known.
//! Never: a label for a device that stood broken, or was repaired unasked within the horizon.
//!
//! The running example: a pump whose bearing fails on day 10, told by its code, and is replaced on day 13; horizon 7 days.
//!
//! | landmark | is | because |
//! |---|---|---|
//! | day 2 | healthy | nothing happened until day 9 |
//! | day 4 | failing | the failure lies within (4, 11] |
//! | day 11 | not at risk | it stands broken |
//! | day 14 | healthy, windows begin at day 13 | as new |
//! | 3 days before the data end | unknown | its horizon reaches beyond |

use std::time::Duration;

use foresight::daily;

const DAY: Duration = Duration::from_secs(86_400);

/// Something that was told of a component. Instants are microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// The device reported a fault code of the component.
    Reported {
        /// When, by the device.
        at: i64,
    },
    /// The device reported that the fault ended.
    Ended {
        /// When, by the device.
        at: i64,
    },
    /// A visit or a record confirmed the fault, and the component is as new.
    Confirmed {
        /// When it failed, or was found worn.
        at: i64,
        /// When it was mended.
        mended: i64,
    },
    /// The component was replaced or mended though no fault was confirmed.
    Renewed {
        /// When.
        at: i64,
    },
}

impl Told {
    /// When it happened.
    pub fn at(self) -> i64 {
        match self {
            Self::Reported { at } | Self::Ended { at } | Self::Confirmed { at, .. } | Self::Renewed { at } => at,
        }
    }
}

/// A failure, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failure {
    at: i64,
    /// When it worked again; none where that was never told.
    ended: Option<i64>,
    /// Whether the component was then as new.
    renewed: bool,
}

/// A component's past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    failures: Vec<Failure>,
    renewed: Vec<i64>,
}

/// What a landmark is for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A failure followed within the horizon.
    Failing,
    /// None followed.
    Healthy,
    /// It stands broken: not at risk.
    Broken,
    /// The horizon ends after the data, or a repair without a failure cut it short: nobody knows.
    Censored,
}

impl Past {
    /// From what was told, in any order.
    pub fn new(mut told: Vec<Told>) -> Self {
        told.sort_by_key(|told| (told.at(), *told));
        let mut past = Self::default();
        for told in told {
            let open = past.failures.last_mut().filter(|failure| failure.ended.is_none());
            match (told, open) {
                (Told::Reported { at }, None) => past.failures.push(Failure { at, ended: None, renewed: false }),
                // It tells again, or something had failed that nobody saw begin.
                (Told::Reported { .. }, Some(_)) | (Told::Ended { .. }, None) => {}
                (Told::Ended { at }, Some(failure)) => failure.ended = Some(at),
                (Told::Confirmed { mended, .. }, Some(failure)) => {
                    (failure.ended, failure.renewed) = (Some(mended), true);
                }
                (Told::Confirmed { at, mended }, None) => {
                    past.failures.push(Failure { at, ended: Some(mended), renewed: true });
                }
                (Told::Renewed { at }, Some(failure)) => (failure.ended, failure.renewed) = (Some(at), true),
                (Told::Renewed { at }, None) => past.renewed.push(at),
            }
        }
        past
    }

    /// When it failed, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = i64> {
        self.failures.iter().map(|failure| failure.at)
    }

    /// The first day whose readings are of the component as it is at `landmark`: after the last repair before it.
    pub fn since(&self, landmark: i32) -> i32 {
        let midnight = daily::landmark_micros(landmark);
        let renewals = self.failures.iter().filter(|failure| failure.renewed).filter_map(|failure| failure.ended);
        let last = renewals.chain(self.renewed.iter().copied()).filter(|at| *at <= midnight).max();
        // The day of the repair holds readings of both components.
        last.map_or(i32::MIN, daily::landmark_after)
    }

    /// Whether it stood broken at `landmark`, with what was told by then; a failure whose end nobody told is believed
    /// over after `horizon`.
    pub fn broken(&self, landmark: i32, horizon: Duration) -> bool {
        let midnight = daily::landmark_micros(landmark);
        let span = i64::try_from(horizon.as_micros()).unwrap_or(i64::MAX);
        self.failures.iter().any(|failure| {
            let known_end = failure.ended.unwrap_or(failure.at.saturating_add(span));
            failure.at <= midnight && midnight < known_end
        })
    }

    /// For how many days the component was followed after a landmark, with data that ends at `end`, and whether that
    /// ended with its failure; none where it stood broken or nothing followed. A repair without a fault ends it.
    pub fn followed(&self, landmark: i32, horizon: Duration, end: i64) -> Option<(f64, bool)> {
        let midnight = daily::landmark_micros(landmark);
        if self.broken(landmark, horizon) || end <= midnight {
            return None;
        }
        let days = |until: i64| (until - midnight) as f64 / DAY.as_micros() as f64;
        let after = |at: &i64| *at > midnight && *at <= end;
        let renewed = self.renewed.iter().copied().find(after);
        match (self.failures().find(after), renewed) {
            (Some(failure), renewed) if renewed.is_none_or(|renewed| failure <= renewed) => Some((days(failure), true)),
            (_, Some(renewed)) => Some((days(renewed), false)),
            _ => Some((days(end), false)),
        }
    }

    /// The label of a landmark with data that ends at `end`. A failure that came within a horizon that is not over tells
    /// nothing yet: landmarks beside it of which nothing came are not known either, and failures alone would make every
    /// probability look too low.
    pub fn label(&self, landmark: i32, horizon: Duration, end: i64) -> Label {
        let midnight = daily::landmark_micros(landmark);
        let until = midnight.saturating_add(i64::try_from(horizon.as_micros()).unwrap_or(i64::MAX));
        if self.broken(landmark, horizon) {
            return Label::Broken;
        }
        let within = |at: &i64| *at > midnight && *at <= until;
        let failure = self.failures().find(within);
        let renewed = self.renewed.iter().copied().find(within);
        match (failure, renewed) {
            _ if until > end => Label::Censored,
            (Some(failure), Some(renewed)) if renewed < failure => Label::Censored,
            (Some(_), _) => Label::Failing,
            (None, None) => Label::Healthy,
            (None, Some(_)) => Label::Censored,
        }
    }
}

/// Whole days of a horizon, at least one.
pub fn days(horizon: Duration) -> u32 {
    u32::try_from(horizon.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: i64 = 86_400_000_000;

    fn check(past: &Past, landmark: i32, end_day: i64) -> Label {
        past.label(landmark, DAY * 7, end_day * D)
    }

    #[test]
    fn the_pump_of_the_page() {
        let noon = D / 2;
        let pump = Past::new(vec![
            Told::Confirmed { at: 13 * D + noon, mended: 13 * D + noon },
            Told::Reported { at: 10 * D + noon },
        ]);
        assert_eq!(pump.failures().collect::<Vec<_>>(), [10 * D + noon], "code and visit speak of one failure");
        for (landmark, is) in [
            (2, Label::Healthy),
            (3, Label::Healthy),
            (4, Label::Failing),
            (10, Label::Failing),
            (11, Label::Broken),
            (13, Label::Broken),
            (14, Label::Healthy),
            (34, Label::Censored),
        ] {
            assert_eq!(check(&pump, landmark, 40), is, "landmark {landmark}");
        }
        assert_eq!((pump.since(12), pump.since(14)), (i32::MIN, 14));
        assert_eq!(pump.followed(4, DAY * 7, 40 * D), Some((6.5, true)));
        assert_eq!(pump.followed(4, DAY * 7, 8 * D), Some((4.0, false)), "followed to the end of the data");
        assert_eq!(pump.followed(12, DAY * 7, 40 * D), None, "it stands broken");
    }

    #[test]
    fn a_repair_without_a_fault_censors_and_begins_anew() {
        let past = Past::new(vec![Told::Renewed { at: 10 * D }, Told::Reported { at: 30 * D }]);
        assert_eq!(check(&past, 5, 60), Label::Censored);
        assert_eq!(check(&past, 2, 60), Label::Healthy);
        assert_eq!(past.followed(5, DAY * 7, 60 * D), Some((5.0, false)));
        assert_eq!(past.since(20), 10);
        assert_eq!(check(&past, 25, 60), Label::Failing);
    }

    #[test]
    fn a_failure_whose_end_nobody_told_is_believed_over_after_the_horizon() {
        let past = Past::new(vec![Told::Reported { at: 10 * D }]);
        assert_eq!(check(&past, 12, 60), Label::Broken);
        assert_eq!(check(&past, 17, 60), Label::Healthy);
        assert_eq!(past.since(17), i32::MIN, "nobody said that it is as new");
    }

    #[test]
    fn a_failure_after_the_data_end_is_not_known_yet() {
        let past = Past::new(vec![Told::Reported { at: 10 * D }]);
        assert_eq!(check(&past, 5, 8), Label::Censored);
        assert_eq!(check(&past, 5, 11), Label::Censored, "it has failed, but the horizon is not over");
        assert_eq!(check(&past, 5, 12), Label::Failing);
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_two_failures_of_the_same_part() {
        let past = Past::new(vec![
            Told::Reported { at: 10 * D },
            Told::Reported { at: 11 * D },
            Told::Ended { at: 12 * D },
            Told::Reported { at: 20 * D },
            Told::Ended { at: 21 * D },
        ]);
        assert_eq!(past.failures().collect::<Vec<_>>(), [10 * D, 20 * D]);
        assert_eq!(past.since(30), i32::MIN);
    }
}
