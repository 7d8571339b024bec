//! A process of Forewarn: which roles it plays, how it starts, and how it stops.
//!
//! Start: settings are checked, then the database, the log and the tables open, then the tasks run, and only then the
//! ports open. Stop, in order: take no more, make durable, acknowledge, commit, close. What does not fit into
//! `stop_timeout` is in the log and is done at the next start.
//!
//! | roles | what runs |
//! |---|---|
//! | ingest | gateway, subscriber, log, pipeline, lake |
//! | analytics | with ingest: detection and SQL over hot and cold rows; alone: SQL over Delta; the PostgreSQL and Flight SQL doors |
//! | api | service database, HTTP |

mod background;
mod letters;
mod outcomes;
mod progress;
mod start;

use std::{net::SocketAddr, sync::Arc};

use schemas::{
    door::{Append, ProgressSource},
    time::Clock,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{dev::Secrets, settings::Settings};

/// How often an ordered stop looks whether the pipeline has caught up.
const DRAIN_POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// A running process.
pub struct Server {
    settings: Settings,
    gateway: Option<ingest::gateway::Gateway>,
    http: Option<SocketAddr>,
    mqtt: Option<SocketAddr>,
    postgres: Option<SocketAddr>,
    flight: Option<SocketAddr>,
    log: Option<ingest::log::Log>,
    progress: Arc<dyn ProgressSource>,
    totals: Option<start::Totals>,
    /// Ends what takes messages in.
    intake: CancellationToken,
    /// Ends the pipeline and its consumers.
    pipeline: CancellationToken,
    /// Ends HTTP, the PostgreSQL and Flight SQL doors and the relays.
    service: CancellationToken,
    intake_tasks: JoinSet<anyhow::Result<()>>,
    pipeline_tasks: JoinSet<anyhow::Result<()>>,
    service_tasks: JoinSet<anyhow::Result<()>>,
    /// Where the pipeline's tasks run; after them in this list, so that it goes last.
    background: background::Background,
}

impl Server {
    /// Starts the roles of the settings on this clock; returns when every port is open.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        start::start(settings, clock).await
    }

    /// Where devices connect, if this process is their gateway.
    pub fn mqtt(&self) -> Option<SocketAddr> {
        self.mqtt
    }

    /// Where the API listens, if this process serves it.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where PostgreSQL's clients connect, if this process answers SQL.
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.postgres
    }

    /// Where Flight SQL's clients connect, if this process answers SQL.
    pub fn flight(&self) -> Option<SocketAddr> {
        self.flight
    }

    /// The secrets of `--dev`.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.settings.data)
    }

    /// Where the parts of the pipeline are.
    pub fn progress(&self) -> Arc<dyn ProgressSource> {
        self.progress.clone()
    }

    /// What became of the messages so far; none without the ingest role.
    pub fn totals(&self) -> Option<ingest::decode::Totals> {
        self.totals.as_ref().map(|totals| totals())
    }

    /// The log, to append to; none without the ingest role.
    pub fn log(&self) -> Option<Arc<dyn Append>> {
        self.log.clone().map(|log| Arc::new(log) as Arc<dyn Append>)
    }

    /// Waits for the first task that ends by itself: always a failure.
    pub async fn failed(&mut self) -> anyhow::Error {
        let joined = tokio::select! {
            Some(joined) = self.intake_tasks.join_next() => joined,
            Some(joined) = self.pipeline_tasks.join_next() => joined,
            Some(joined) = self.service_tasks.join_next() => joined,
            else => std::future::pending().await,
        };
        match joined {
            Ok(Ok(())) => anyhow::anyhow!("a task ended before it was told to"),
            Ok(Err(error)) => error,
            Err(error) => anyhow::Error::new(error).context("a task panicked"),
        }
    }

    /// Stops taking messages and waits until all that is durable is committed and looked at, at most
    /// `stop_timeout`. The API goes on. Returns whether all was done.
    pub async fn drain(&mut self) -> bool {
        self.intake.cancel();
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await;
        }
        let taken_in = finish("intake", &mut self.intake_tasks).await.is_ok();
        let deadline = tokio::time::sleep(self.settings.stop_timeout);
        tokio::pin!(deadline);
        loop {
            let progress = self.progress.progress();
            let waiting = progress.decoded < progress.durable
                || progress.committed < progress.durable
                || progress.detected.is_some_and(|detected| detected < progress.durable);
            if !waiting {
                return taken_in;
            }
            tokio::select! {
                () = &mut deadline => {
                    warn!(?progress, "stopped before all was committed: the rest is in the log for the next start");
                    return false;
                }
                () = tokio::time::sleep(DRAIN_POLL) => {}
            }
        }
    }

    /// The ordered stop. An error is the first failure of a task on the way.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.drain().await;
        self.pipeline.cancel();
        let pipeline = finish("pipeline", &mut self.pipeline_tasks).await;
        self.service.cancel();
        let service = finish("service", &mut self.service_tasks).await;
        if let Some(log) = self.log.take() {
            tokio::task::spawn_blocking(move || log.close()).await?;
        }
        info!("stopped");
        pipeline.and(service)
    }
}

/// Waits for all tasks of a stage; gives the first failure.
async fn finish(stage: &str, tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let ended = joined.map_err(anyhow::Error::from).and_then(|ended| ended);
        if let Err(error) = ended {
            error!("{stage}: {error:#}");
            result = result.and(Err(error));
        }
    }
    result
}
