//! A load: many devices that say as much as the other side takes, or so much per second.
//!
//! In: a gateway or a broker. Out: what was acknowledged, and how long that took. Promise: what was not acknowledged
//! when a connection broke is sent again over the next one; at a given rate each message is due at a moment of its own
//! and its time counts from there, so that a stall of the other side shows in every message it held up (no coordinated
//! omission). Never: a message made before it is due.
//!
//! | part | noun |
//! |---|---|
//! | `payload` | what the devices say |
//! | `pace` | when the next message is due |
//! | `connection` | one connection, with what is unanswered on it |
//! | `report` | counts and times |
//! | `receive` | the other side of a broker: a subscriber that only counts |

mod connection;
mod pace;
mod payload;
mod receive;
mod report;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use schemas::{
    id::{DeviceId, TenantId},
    time::{Clock, span},
    topic::{Channel, Topic},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    connection::Connection,
    pace::Pace,
    payload::{Shape, Speaker},
    report::{Report, Tally},
};
use crate::{
    dev,
    fleet::device::{Broker, Session},
};

/// Connections that are being opened at the same time: a listener's backlog holds them.
const OPENING: usize = 64;

/// How a batch of readings is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// An array of readings; a single one without the array.
    Json,
    /// One object whose metrics are arrays.
    Columns,
}

/// What to send, and where to.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The gateway, or a broker.
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    to: String,
    /// Devices [default: one per connection]. With a login each connection is one device.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: Option<u32>,
    /// Connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Messages per second over all connections; 0 only connects; as fast as acknowledgements come unless given.
    #[arg(long)]
    rate: Option<f64>,
    /// Readings in a message.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// How a message is written down.
    #[arg(long, value_enum, default_value_t = Form::Json)]
    form: Form,
    /// Bytes of a reading at least, in the form `json`.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    payload_bytes: u32,
    /// Unacknowledged messages per connection at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    window: u16,
    /// How long to send; an interrupt ends it earlier, and what is unanswered is still waited for.
    #[arg(long = "for", default_value = "30s", value_parser = span::parse)]
    lasting: Duration,
    /// Also ends after so many messages.
    #[arg(long)]
    messages: Option<u64>,
    /// Begins the devices' chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Boot counter of the devices [default: the seconds since 1970]: with the same one, messages are repeats.
    #[arg(long)]
    boot: Option<i64>,
    /// How long the other side may be away before the load gives up.
    #[arg(long, default_value = "30s", value_parser = span::parse)]
    patience: Duration,
    /// The server's data folder, for the devices' password; without it no login.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Only subscribes and counts, until nothing has come for three seconds.
    #[arg(long, hide = true)]
    receive: bool,
    /// One JSON object last on standard output.
    #[arg(long)]
    json: bool,
}

/// Sends the load and prints what came of it.
pub async fn run(options: Options, clock: &dyn Clock) -> anyhow::Result<()> {
    let mut broker = Broker::parse(&options.to)?;
    if options.receive {
        let received = receive::run(&broker, options.lasting).await?;
        match options.json {
            true => println!("{}", serde_json::to_string(&received)?),
            false => println!("{received}"),
        }
        return Ok(());
    }
    if let Some(data) = &options.data {
        broker.password = Some(dev::Secrets::of(data).device_password()?);
    }
    let report = send(&options, broker, clock).await?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}

/// Opens all connections, then sends over all of them.
async fn send(options: &Options, broker: Broker, clock: &dyn Clock) -> anyhow::Result<Report> {
    let Options { connections, lasting, window, .. } = *options;
    let devices = options.devices.unwrap_or(connections);
    anyhow::ensure!(devices >= connections, "--devices {devices}: at least one per connection, {connections}");
    anyhow::ensure!(
        broker.password.is_none() || devices == connections,
        "--devices {devices}: with a login each connection is one device, so --connections {devices} too; several \
         devices share a connection only at a broker without login"
    );
    let rate = match options.rate {
        Some(rate) => {
            anyhow::ensure!((0.0..=1e7).contains(&rate), "--rate {rate}: from 0 to 10000000 messages per second");
            Some(rate)
        }
        None => None,
    };
    let shape = Arc::new(Shape {
        form: options.form,
        batch: options.batch,
        payload_bytes: options.payload_bytes as usize,
        boot: options.boot.unwrap_or(clock.arrival().micros() / 1_000_000),
        begin: clock.arrival().minus(payload::BEGIN_BEFORE),
        seed: options.seed,
    });

    let tenant: TenantId = dev::TENANT.parse()?;
    let broker = Arc::new(broker);
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut opened = JoinSet::new();
    for index in 0..connections {
        let status = Topic::new(tenant.clone(), name(index)?, Channel::Status);
        let own = (index..devices).step_by(connections as usize);
        let speakers = own
            .map(|device| {
                Ok(Speaker::new(&Topic::new(tenant.clone(), name(device)?, Channel::Telemetry), device, &shape))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (broker, opening) = (broker.clone(), opening.clone());
        opened.spawn(async move {
            let _turn = opening.acquire().await?;
            let session = Session::open_wide(&broker, &status, window).await.context("connect")?;
            anyhow::Ok((index, Connection::new(broker, status, window, speakers, session)))
        });
    }
    let mut ready = Vec::new();
    while let Some(connection) = opened.join_next().await {
        ready.push(connection??);
    }
    if rate == Some(0.0) {
        eprintln!("{connections} connections are open");
    }

    let start = Instant::now();
    let end = start + lasting;
    let share = options.messages.map(|messages| messages.div_ceil(u64::from(connections)));
    let (stop, ended) = watch::channel(None);
    let stopped = AbortOnDropHandle::new(tokio::spawn(async move {
        match crate::cli::stop_signal().await {
            Ok(()) => drop(stop.send(Some(Instant::now()))),
            Err(error) => tracing::warn!(%error, "an interrupt will end this without a report"),
        }
    }));
    let mut sending = JoinSet::new();
    for (index, connection) in ready {
        let pace = Pace::new(rate, connections, index, start, end, share, ended.clone());
        sending.spawn(connection.run(pace, options.patience));
    }
    let mut tally = Tally::default();
    while let Some(told) = sending.join_next().await {
        tally.add(told??);
    }
    drop(stopped);
    Ok(Report::new(options, devices, start, tally))
}

fn name(index: u32) -> anyhow::Result<DeviceId> {
    Ok(DeviceId::parse(&format!("load-{index:06}"))?)
}
