//! Outcomes on their way into the `outcome` table: as frames of the log, like everything else.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{
    door::{Append, DoorError, Frame, OutcomeSink},
    outcome::Outcome,
    time::Clock,
    topic::{Channel, Topic},
};

/// Appends outcomes to the log; the decoder knows an outcome id again and makes one row of it.
pub(super) struct LoggedOutcomes {
    pub(super) log: Arc<dyn Append>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl OutcomeSink for LoggedOutcomes {
    async fn outcome(&self, outcome: &Outcome) -> Result<(), DoorError> {
        let topic = Topic::new(outcome.tenant.clone(), outcome.device_id.clone(), Channel::Outcome);
        let frame = Frame {
            topic: topic.to_string(),
            content_type: None,
            payload: serde_json::to_vec(outcome)?.into(),
            arrival: self.clock.arrival(),
            refused: None,
            sender: None,
        };
        self.log.append(frame).await.map(|_| ())
    }
}
