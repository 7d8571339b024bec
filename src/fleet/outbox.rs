//! What a device has to say and was not yet acknowledged: a good device forgets nothing before its PUBACK.

use std::collections::VecDeque;

use super::device::{Answer, Broker, Message, Session, SessionError};
use schemas::topic::{Channel, Topic};

/// Messages sent over one turn at most.
const TURN: usize = 100;

/// Unacknowledged messages of one device, oldest first, and what became of the others.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Message>,
    /// PUBACKs of success.
    pub acknowledged: u64,
    /// PUBACKs with an error.
    pub refused: u64,
}

impl Outbox {
    /// Adds a message at the end.
    pub fn push(&mut self, message: Message) {
        self.waiting.push_back(message);
    }

    /// Adds messages at the end.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.waiting.extend(messages);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends all over the session, connecting first where there is none. After an error the session is gone and what
    /// was not answered waits for the next call.
    pub async fn flush(
        &mut self,
        broker: &Broker,
        status: &Topic,
        session: &mut Option<Session>,
    ) -> Result<(), SessionError> {
        while !self.waiting.is_empty() {
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::open(broker, status).await?,
            };
            let turn: Vec<Message> = self.waiting.iter().take(TURN).cloned().collect();
            let mut answers = vec![None; turn.len()];
            let result = open.publish(&turn, |index, answer| answers[index] = Some(answer)).await;
            let rest = self.waiting.split_off(turn.len());
            let unanswered = turn.into_iter().zip(&answers).filter(|(_, answer)| answer.is_none());
            self.waiting = unanswered.map(|(message, _)| message).collect();
            self.waiting.extend(rest);
            for answer in answers.into_iter().flatten() {
                match answer {
                    Answer::Acknowledged => self.acknowledged += 1,
                    Answer::Refused => self.refused += 1,
                }
            }
            result?;
            *session = Some(open);
        }
        Ok(())
    }
}

/// The device's status topic: where its birth and will go.
pub fn status_topic(topic: &Topic) -> Topic {
    Topic::new(topic.tenant.clone(), topic.device.clone(), Channel::Status)
}
