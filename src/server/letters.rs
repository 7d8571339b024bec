//! Dead letters on their way through the log once more.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{
    door::{Append, DoorError, Frame, Letter, Reinject},
    time::Clock,
};

/// Appends letters to the log as messages that arrive now: so they are late where they are old, and page nobody. The
/// decoder treats them as any message; readings that were rejected were never remembered, so they are new.
pub(super) struct LoggedLetters {
    pub(super) log: Arc<dyn Append>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Reinject for LoggedLetters {
    async fn reinject(&self, letter: Letter) -> Result<(), DoorError> {
        let frame = Frame {
            topic: letter.topic.to_string(),
            content_type: letter.content_type,
            payload: letter.payload,
            arrival: self.clock.arrival(),
            refused: None,
            sender: None,
        };
        self.log.append(frame).await.map(|_| ())
    }
}
