//! One connection of a load, with all that is unanswered on it.
//!
//! In: a pace, devices. Out: a tally. Promise: what was unanswered when the connection broke is sent again before
//! anything new, and its time goes on counting. Never: gives up a message before `patience` is over.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use schemas::topic::Topic;
use tokio::time::Instant;

use super::{
    pace::{Due, Pace},
    payload::Speaker,
    report::Tally,
};
use crate::fleet::device::{Answer, Broker, Next, Session, SessionError, Source};

/// Wait before a new try.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Connection {
    broker: Arc<Broker>,
    status: Topic,
    window: u16,
    speakers: Vec<Speaker>,
    session: Session,
}

impl Connection {
    pub(super) fn new(
        broker: Arc<Broker>,
        status: Topic,
        window: u16,
        speakers: Vec<Speaker>,
        session: Session,
    ) -> Self {
        Self { broker, status, window, speakers, session }
    }

    /// Sends until the pace is over and all is answered.
    pub(super) async fn run(self, pace: Pace, patience: Duration) -> anyhow::Result<Tally> {
        let Self { broker, status, window, speakers, session } = self;
        let mut outbox = Outbox::new(pace, speakers);
        let mut session = Some(session);
        let mut away_since: Option<Instant> = None;
        loop {
            let ended = match session.take() {
                Some(mut open) => {
                    away_since = None;
                    let answered = outbox.tally.answered();
                    match open.stream(window, &mut outbox).await {
                        Ok(()) => {
                            open.close().await;
                            return Ok(outbox.end());
                        }
                        Err(error) => {
                            outbox.tally.reconnects += 1;
                            if outbox.tally.answered() == answered {
                                away_since = Some(Instant::now());
                            }
                            error
                        }
                    }
                }
                None => match Session::open_wide(&broker, &status, window).await {
                    Ok(open) => {
                        outbox.again();
                        session = Some(open);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            let refused = matches!(ended, SessionError::Login(_));
            if refused || away_since.get_or_insert_with(Instant::now).elapsed() > patience {
                return Err(ended).with_context(|| format!("connection {}", status.device));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A message that was given to the connection.
#[derive(Debug)]
struct Sent {
    due: Instant,
    speaker: usize,
    payload: Bytes,
    answered: bool,
}

/// What a connection has to say and was not yet acknowledged.
pub(super) struct Outbox {
    pace: Pace,
    speakers: Vec<Speaker>,
    turn: usize,
    /// Unanswered, oldest first, with those answered out of order in between.
    sent: VecDeque<Sent>,
    /// Ticket of the first in `sent`.
    first: u64,
    /// Place in `sent` from where on they are to be sent once more, and where that ends.
    again: std::ops::Range<u64>,
    pub(super) tally: Tally,
}

impl Outbox {
    pub(super) fn new(pace: Pace, speakers: Vec<Speaker>) -> Self {
        Self { pace, speakers, turn: 0, sent: VecDeque::new(), first: 0, again: 0..0, tally: Tally::default() }
    }

    /// All that is unanswered is to be sent again.
    pub(super) fn again(&mut self) {
        self.again = self.first..self.first + self.sent.len() as u64;
    }

    fn end(mut self) -> Tally {
        self.tally.missed = self.pace.missed();
        self.tally
    }

    fn publish(&self, ticket: u64, sent: &Sent) -> Next {
        let topic = self.speakers[sent.speaker].topic().to_owned();
        Next::Publish { ticket, topic, payload: sent.payload.clone() }
    }
}

impl Source for Outbox {
    fn next(&mut self) -> Next {
        for ticket in self.again.by_ref() {
            let place = ticket.checked_sub(self.first).map(|place| place as usize);
            if let Some(sent) = place.and_then(|place| self.sent.get(place)).filter(|sent| !sent.answered) {
                self.tally.resent += 1;
                let topic = self.speakers[sent.speaker].topic().to_owned();
                return Next::Publish { ticket, topic, payload: sent.payload.clone() };
            }
        }
        match self.pace.next(Instant::now()) {
            Due::Over => Next::Done,
            Due::At(at) => Next::At(at),
            Due::Since(due) => {
                let ticket = self.first + self.sent.len() as u64;
                let speaker = self.turn;
                self.turn = (self.turn + 1) % self.speakers.len();
                let sent = Sent { due, speaker, payload: self.speakers[speaker].say(), answered: false };
                let next = self.publish(ticket, &sent);
                self.sent.push_back(sent);
                next
            }
        }
    }

    fn answered(&mut self, ticket: u64, answer: Answer) {
        let now = Instant::now();
        let Some(sent) = ticket.checked_sub(self.first).and_then(|place| self.sent.get_mut(place as usize)) else {
            return;
        };
        if sent.answered {
            return;
        }
        sent.answered = true;
        self.tally.answer(answer, sent.due, now);
        while self.sent.front().is_some_and(|sent| sent.answered) {
            self.sent.pop_front();
            self.first += 1;
        }
    }
}
