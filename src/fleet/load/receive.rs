//! The other side of a broker: a subscriber that does nothing but count. What it takes is the most that anybody can
//! take from that broker with this client library.

use std::{cell::Cell, fmt, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::fleet::device::{Broker, receive};

/// Once messages have come: how long none may come before it is over.
const QUIET: Duration = Duration::from_secs(3);
/// Unacknowledged messages that the broker may have on their way.
const WINDOW: u16 = 1000;

/// What came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Received {
    messages: u64,
    bytes: u64,
    /// From the first to the last.
    seconds: f64,
    messages_per_second: f64,
}

/// Counts until it has been quiet, or for `lasting`.
pub(super) async fn run(broker: &Broker, lasting: Duration) -> anyhow::Result<Received> {
    let (messages, bytes) = (Cell::new(0u64), Cell::new(0u64));
    let (first, last) = (Cell::new(None), Cell::new(Instant::now()));
    let end = Instant::now() + lasting;
    let quiet = async {
        while Instant::now() < end && (messages.get() == 0 || last.get().elapsed() < QUIET) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let each = |payload: usize| {
        let now = Instant::now();
        first.set(first.get().or(Some(now)));
        last.set(now);
        messages.set(messages.get() + 1);
        bytes.set(bytes.get() + payload as u64);
    };
    receive(broker, "load-receive", "fw/v1/#", WINDOW, each, quiet).await?;
    let seconds = first.get().map_or(0.0, |first| last.get().saturating_duration_since(first).as_secs_f64());
    let messages_per_second = if seconds > 0.0 { (messages.get() as f64 / seconds).round() } else { 0.0 };
    Ok(Received { messages: messages.get(), bytes: bytes.get(), seconds, messages_per_second })
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, bytes, seconds, messages_per_second } = self;
        write!(f, "{messages} messages, {bytes} bytes in {seconds:.3} s, {messages_per_second} messages per second")
    }
}
