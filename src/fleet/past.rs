//! A fleet's past, laid into a data folder before a server runs on it.
//!
//! In: a history, a folder that no process uses. Out: its messages as rows, and the devices to live on. Promise: each went
//! the ordinary way through log, decoder and lake, arriving when it was sent, so the tables look as if Forewarn had
//! listened all along. Never: an alarm or a ticket of days that are over; rules begin to watch when the server starts.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use schemas::{
    door::{Append, Frame},
    time::{Instant, ManualClock},
};

use super::simulate::{History, appliance::Appliance};
use crate::{
    server::Server,
    settings::{Role, Settings},
};

/// Messages on their way to the log at once: a sync serves them all, and they keep their order.
const AT_ONCE: usize = 4096;

/// What was appended is committed within this time, or something is wrong: two years of a thousand devices take minutes.
const COMMITTED_WITHIN: Duration = Duration::from_secs(1800);

/// What was laid down.
#[derive(Debug)]
pub struct Laid {
    /// Messages.
    pub messages: u64,
    /// The devices at the end of it.
    pub fleet: Vec<Appliance>,
}

/// Lays a history down. `settings` name the data folder and how to commit; only the ingest role runs, on ports of its own.
pub async fn lay(settings: &Settings, mut history: History, end: Instant) -> anyhow::Result<Laid> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings { roles: vec![Role::Ingest], stop_timeout: COMMITTED_WITHIN, ..settings.clone() };
    (settings.gateway.listen, settings.api.listen) = (anywhere, anywhere);
    (settings.postgres.enabled, settings.flight.enabled) = (false, false);
    // Where it stopped before all were durable, rules would read the past from the log at the next start.
    settings.pipeline.stop_grace = COMMITTED_WITHIN;
    let mut server = Server::start(settings, Arc::new(ManualClock::at(end))).await?;
    let log = server.log().context("the log of the past")?;
    let appended = append(log.as_ref(), &mut history).await;
    let drained = server.drain().await;
    server.stop().await?;
    let messages = appended?;
    anyhow::ensure!(drained, "the past was not committed in time");
    Ok(Laid { messages, fleet: history.into_fleet() })
}

/// Appends all that is left of a history, each message as it arrived when it was sent; tells how many.
pub async fn append(log: &dyn Append, history: &mut History) -> anyhow::Result<u64> {
    let appends = history.map(|(at, message)| {
        log.append(Frame {
            topic: message.topic.to_string(),
            content_type: None,
            payload: message.payload.into(),
            arrival: at,
            refused: None,
            sender: None,
        })
    });
    let all = stream::iter(appends).buffered(AT_ONCE).try_fold(0, |count, _| async move { Ok(count + 1) });
    all.await.map_err(anyhow::Error::from_boxed).context("append the past to the log")
}

/// Whether a data folder is new: a past is laid under everything else or not at all.
pub fn is_new(data: &Path) -> bool {
    !data.join("log").exists()
}
