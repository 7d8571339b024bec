//! What a reply says of a component, and when a device is asked again (pure).

use std::time::Duration;

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState},
    profile::Profile,
    time::Instant,
};
use serde_json::Value;

use crate::alarm::rules::DOUBT;

/// A component that passed is asked again after so long, as long as its alarm stays raised.
const AGAIN: Duration = Duration::from_secs(86_400);
/// A device that has not answered for so long does not: the time for which an order waits for it.
pub const PATIENCE: Duration = crate::command::rules::EXPIRES_IN;
/// Characters of a result that a ticket's history shows; `self_tests` has all of it.
const SHOWN: usize = 400;

/// What a self-test found of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It passed.
    Passed,
    /// It did not.
    Failed,
    /// The device could not test it, or was not heard of.
    Undone,
}

impl Found {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::Undone];

    /// A word for labels and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }

    /// From what is kept of a reply.
    pub fn of(passed: Option<bool>) -> Self {
        match passed {
            Some(true) => Self::Passed,
            Some(false) => Self::Failed,
            None => Self::Undone,
        }
    }
}

/// Whether the component passed, by the device's reply: a list `failed` of components decides, else the word `passed`. A
/// device that says neither has passed if it could do the test, and has told nothing if it could not.
pub fn passed(ok: bool, result: Option<&str>, component: &str) -> Option<bool> {
    let result: Value = result.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if let Some(failed) = result["failed"].as_array() {
        return Some(!failed.iter().any(|name| name.as_str() == Some(component)));
    }
    result["passed"].as_bool().or(ok.then_some(true))
}

/// The self-test that comes before a ticket of this alarm, if its rule wants one. An alarm that has ended wants none.
pub fn first<'a>(alarm: &Alarm, profile: Option<&'a Profile>) -> Option<&'a str> {
    let profile = profile.filter(|_| alarm.source == AlarmSource::Rule && alarm.state == AlarmState::Raised)?;
    let rule = profile.rules.iter().find(|rule| rule.name == alarm.specific_problem)?;
    profile.component(rule.fault_key.component())?.self_test.as_deref().filter(|_| rule.self_test_first)
}

/// Until when a component that passes is asked again.
pub fn until(wanted: Instant) -> Instant {
    wanted.plus(DOUBT)
}

/// When the next test is due after one that passed; none where it has passed often enough.
pub fn again(passed: Instant, until: Instant) -> Option<Instant> {
    Some(passed.plus(AGAIN)).filter(|due| *due < until)
}

/// The beginning of a result.
pub fn shortened(result: &str) -> String {
    match result.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &result[..end]),
        None => result.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_what_failed_decides_else_a_word_else_whether_it_was_done() {
        for (ok, result, is) in [
            (true, Some(r#"{"passed": true}"#), Some(true)),
            (true, Some(r#"{"passed": false, "vibration_mm_s": 9.1}"#), Some(false)),
            (true, Some(r#"{"passed": false, "failed": ["drum_bearing"]}"#), Some(false)),
            (true, Some(r#"{"passed": false, "failed": ["drain_pump"]}"#), Some(true)),
            (false, Some(r#"{"failed": []}"#), Some(true)),
            (true, Some(r#"{"drum": "turns"}"#), Some(true)),
            (true, None, Some(true)),
            (false, None, None),
            (false, Some("[1]"), None),
            (false, Some(r#"{"passed": false}"#), Some(false)),
        ] {
            assert_eq!(passed(ok, result, "drum_bearing"), is, "{ok} {result:?}");
        }
        assert_eq!(shortened(&"ü".repeat(SHOWN + 1)), format!("{} …", "ü".repeat(SHOWN)));
    }

    #[test]
    fn what_passed_is_asked_again_for_a_week() {
        let hour = |hour: u64| Instant::EPOCH.plus(Duration::from_secs(hour * 3600));
        assert_eq!(until(hour(1)), hour(169));
        for (passed, due) in [(hour(2), Some(hour(26))), (hour(144), Some(hour(168))), (hour(145), None)] {
            assert_eq!(again(passed, hour(169)), due, "{passed:?}");
        }
    }
}
