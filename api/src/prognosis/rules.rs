//! Which alarms wait for a model's word, and for how long (pure).

use std::time::Duration;

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState, PerceivedSeverity},
    time::{Instant, span},
};

use crate::alarm::rules::DOUBT;

/// A model that has said nothing for so long says nothing: it speaks every midnight, and one may be missed.
pub const PATIENCE: Duration = Duration::from_secs(2 * 86_400);

/// What became of an alarm that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The model says that a visit pays.
    Likely,
    /// It says that none does: the alarm waits on.
    Unlikely,
    /// Nothing was said for [`PATIENCE`].
    Silent,
    /// It stayed raised for [`DOUBT`] all the same.
    Doubted,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Likely, Self::Unlikely, Self::Silent, Self::Doubted];

    /// A word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Likely => "likely",
            Self::Unlikely => "unlikely",
            Self::Silent => "silent",
            Self::Doubted => "doubted",
        }
    }

    /// What a ticket's history says of it; `said` is the newest that was said of the component.
    pub fn text(self, said: Option<&str>) -> String {
        match (self, said) {
            (Self::Doubted, Some(said)) => {
                format!("still raised after {}, though prognosis says: {said} An agent decides.", span::text(DOUBT))
            }
            (Self::Doubted, None) => format!("still raised after {}: an agent decides", span::text(DOUBT)),
            (Self::Silent, _) => "prognosis was waited for and says nothing of it".into(),
            (Self::Likely | Self::Unlikely, said) => {
                format!("prognosis was waited for and says: {}", said.unwrap_or(self.as_str()))
            }
        }
    }
}

/// Whether an alarm may wait at all. X.733's critical asks for action at once; a device that reports a fault knows it.
pub fn may_wait(alarm: &Alarm) -> bool {
    alarm.source == AlarmSource::Rule
        && alarm.state == AlarmState::Raised
        && alarm.perceived_severity < PerceivedSeverity::Critical
}

/// When a model that has not spoken since `at` is not waited for any longer.
pub fn due(at: Instant) -> Instant {
    at.plus(PATIENCE)
}

/// When a person is to judge an alarm that began to wait at `at`.
pub fn until(at: Instant) -> Instant {
    at.plus(DOUBT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_says_what_was_waited_for() {
        for (word, said, text) in [
            (Word::Likely, Some("It fails."), "prognosis was waited for and says: It fails."),
            (Word::Silent, Some("It fails."), "prognosis was waited for and says nothing of it"),
            (
                Word::Doubted,
                Some("It holds."),
                "still raised after 168h, though prognosis says: It holds. An agent decides.",
            ),
            (Word::Doubted, None, "still raised after 168h: an agent decides"),
        ] {
            assert_eq!(word.text(said), text);
        }
    }
}
