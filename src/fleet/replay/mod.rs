//! Replays of recorded fleets: each recorded device publishes under its own name, in the order of event time.
//!
//! In: a folder of real recordings, a gateway or broker. Out: every message acknowledged, and against what the
//! recording knows of failures, how well the server's tickets foresaw them. Promise: a step of event time is
//! acknowledged whole before the next begins; a message is sent until it is acknowledged, across restarts of the server;
//! repeating a replay changes nothing, since device, boot and seq are those of the recording. Never: anything of the
//! recorded failures on the wire.
//!
//! The server runs with `--clock event`, so that the recorded years are its present.

mod appliance_power;
mod azure_pdm;
mod backblaze;
mod recording;
mod report;
mod sender;
#[cfg(test)]
mod tests;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use schemas::id::TenantId;

use self::{recording::Recording, report::Report, sender::Sender};
use crate::{client::Client, dev, fleet::device::Broker, settings::Settings};

/// A recorded fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Daily SMART snapshots of real disk drives.
    Backblaze,
    /// One-minute power of real appliances with faults.
    AppliancePower,
    /// Microsoft's fleet of machines: telemetry, error codes, maintenance.
    AzurePdm,
}

/// What to replay, and where to.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which set.
    #[arg(value_enum)]
    set: Set,
    /// The folder of the set.
    path: PathBuf,
    /// The gateway, or a broker that the server subscribes to.
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    to: String,
    /// The server's data folder: its `dev` secrets log the devices in and read the tickets [default: forewarn-data].
    #[arg(long)]
    data: Option<PathBuf>,
    /// Device seconds per second; as fast as it goes unless given.
    #[arg(long)]
    speed: Option<f64>,
    /// Stops after so many messages.
    #[arg(long)]
    limit: Option<u64>,
    /// Devices that send at the same time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// How long the gateway may be away before the replay gives up.
    #[arg(long, default_value = "5m", value_parser = schemas::time::span::parse)]
    patience: Duration,
    /// One JSON object last on standard output.
    #[arg(long)]
    json: bool,
}

/// Replays a set and prints what came of it.
pub async fn run(options: Options) -> anyhow::Result<()> {
    if let Some(speed) = options.speed {
        anyhow::ensure!(speed > 0.0 && speed.is_finite(), "--speed {speed}: a number above 0");
    }
    let data = options.data.clone().unwrap_or_else(|| Settings::default().data);
    let mut broker = Broker::parse(&options.to)?;
    broker.password = dev::Secrets::of(&data).device_password().ok();
    if options.data.is_some() && broker.password.is_none() {
        eprintln!("no device password in {}: sending without login", data.join("dev").display());
    }
    let tenant: TenantId = dev::TENANT.parse()?;
    let recording = open(options.set, &options.path, &tenant)?;

    let bar = bar(recording.messages());
    let mut sender = Sender::new(broker, options.connections, options.patience);
    let failures = recording.failures().to_vec();
    let outcomes = recording.outcomes();
    let mut last = None;
    for step in recording.steps()? {
        let step = step?;
        if let (Some(speed), Some(last)) = (options.speed, last) {
            tokio::time::sleep(Duration::from_secs_f64(step.at.since(last).as_secs_f64() / speed)).await;
        }
        last = Some(step.at);
        let left = options.limit.map(|limit| limit.saturating_sub(sender.published()));
        let sent = sender.send(step, left).await?;
        bar.inc(sent);
        bar.set_message(last.map_or(String::new(), |at| at.to_string()));
        if left.is_some_and(|left| sent >= left) {
            break;
        }
    }
    sender.close().await;
    bar.finish_and_clear();

    let mut report = Report::new(options.set, sender.sent());
    match Client::of_running(&data).await {
        Some(client) => {
            report::send_outcomes(&client, &outcomes).await?;
            report.evaluate(&client, &failures, last).await?;
        }
        None => report.note = Some(format!("no server with its secrets in {}: tickets not read", data.display())),
    }
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}

fn open(set: Set, path: &Path, tenant: &TenantId) -> anyhow::Result<Box<dyn Recording>> {
    let opened: anyhow::Result<Box<dyn Recording>> = match set {
        Set::Backblaze => backblaze::open(path, tenant).map(|set| Box::new(set) as _),
        Set::AppliancePower => appliance_power::open(path, tenant).map(|set| Box::new(set) as _),
        Set::AzurePdm => azure_pdm::open(path, tenant).map(|set| Box::new(set) as _),
    };
    opened.with_context(|| format!("open the recording in {}", path.display()))
}

#[allow(clippy::expect_used, reason = "a constant template")]
fn bar(messages: Option<u64>) -> ProgressBar {
    if !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} messages  {per_sec}  {msg}");
    match messages {
        Some(messages) => ProgressBar::new(messages),
        None => ProgressBar::no_length(),
    }
    .with_style(style.expect("a legal template"))
}
