//! The command line. Scripts build on it: names stay, and `--json` prints one JSON object last on standard output.

mod admin;
mod dead_letter;
mod evaluate;
mod maintain;
pub(crate) mod model;
mod query;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use schemas::time::{Clock, EventClock, SystemClock, span};

use crate::{
    fleet, logs,
    server::Server,
    settings::{Effective, Layer, LogFormat, Role, ServerClock, load},
};

/// Predictive maintenance for makers of connected appliances and phones.
#[derive(Debug, Parser)]
#[command(name = "forewarn", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Form of the log lines on standard error.
    #[arg(long, global = true, value_enum)]
    logs: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process, with a simulated fleet: telemetry in, tickets out.
    Demo(fleet::demo::Options),
    /// Runs the server.
    Serve(Box<Serve>),
    /// Sends a recorded fleet, each device under its own name.
    Replay(fleet::replay::Options),
    /// Sends as much as the other side takes, or at a rate, and measures the acknowledgements.
    Load(fleet::load::Options),
    /// Measures the methods on a recorded set.
    Evaluate(evaluate::Evaluate),
    /// Asks a question in SQL.
    Query(query::Query),
    /// Bearer tokens for people and programs.
    Token(admin::Token),
    /// Devices and their credentials.
    Device(admin::Device),
    /// What could not be stored, and sending it again.
    DeadLetter(dead_letter::DeadLetter),
    /// Merges files of the tables, drops rows past their time, deletes files no longer needed.
    Maintain(maintain::Maintain),
    /// Device profiles.
    Profile(admin::Profile),
    /// Models that foretell failures.
    Model(model::Model),
    /// Checks settings and prints them with their origin.
    CheckConfig(CheckConfig),
}

/// Where settings come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Config {
    /// Settings in TOML.
    #[arg(long, env = "FOREWARN_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: forewarn-data].
    #[arg(long)]
    data: Option<PathBuf>,
}

impl Config {
    fn load(&self, arguments: Vec<(&str, toml::Value)>) -> anyhow::Result<Effective> {
        let mut layers = Vec::new();
        if let Some(path) = &self.config {
            layers.push(Layer::file(path)?);
        }
        layers.push(Layer::environment(std::env::vars()));
        let mut arguments = arguments;
        if let Some(data) = &self.data {
            arguments.push(("data", data.display().to_string().into()));
        }
        layers.push(Layer::arguments(arguments));
        Ok(load(&layers)?)
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    config: Config,
    /// Which parts run in this process.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// Which clock: for replays of recorded years, `event`.
    #[arg(long, value_enum)]
    clock: Option<ServerClock>,
    /// Loopback only, tenant `dev`; prints where the generated secrets lie.
    #[arg(long)]
    dev: bool,
    /// Where devices connect.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Where the API listens.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where psql and other clients of PostgreSQL connect.
    #[arg(long, value_name = "ADDR")]
    pg: Option<SocketAddr>,
    /// Where ADBC and other clients of Arrow Flight SQL connect.
    #[arg(long, value_name = "ADDR")]
    flight: Option<SocketAddr>,
    /// Also reads from this broker, such as mqtt://localhost:1883.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
}

#[derive(Debug, Args)]
struct CheckConfig {
    /// Settings in TOML.
    file: PathBuf,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> anyhow::Result<()> {
        crate::memory::purge_soon();
        if let Err(error) = crate::memory::small_pages() {
            // It only takes more memory then; logs are not there yet.
            eprintln!("warning: huge pages cannot be turned off: {error}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        runtime.block_on(async {
            match self.command {
                Command::Serve(serve) => serve.run(self.logs).await,
                Command::CheckConfig(check) => check.run(),
                other => {
                    let mut settings = crate::settings::Logs::default();
                    if let Some(format) = self.logs {
                        settings.format = format;
                    }
                    if !matches!(other, Command::Demo(_)) {
                        settings.filter = "warn".into();
                    }
                    logs::start(&settings)?;
                    match other {
                        Command::Demo(options) => fleet::demo::run(options).await,
                        Command::Replay(options) => fleet::replay::run(options).await,
                        Command::Load(options) => fleet::load::run(options, &SystemClock).await,
                        Command::Evaluate(evaluate) => evaluate.run(),
                        Command::Query(query) => query.run().await,
                        Command::Token(token) => token.run().await,
                        Command::Device(device) => device.run().await,
                        Command::DeadLetter(letter) => letter.run().await,
                        Command::Maintain(maintain) => maintain.run().await,
                        Command::Profile(profile) => profile.run(),
                        Command::Model(model) => model.run().await,
                        Command::Serve(_) | Command::CheckConfig(_) => Ok(()),
                    }
                }
            }
        })
    }
}

impl CheckConfig {
    fn run(&self) -> anyhow::Result<()> {
        let effective = load(&[Layer::file(&self.file)?, Layer::environment(std::env::vars())])?;
        match self.json {
            true => println!("{}", serde_json::to_string(&effective)?),
            false => print!("{effective}"),
        }
        Ok(())
    }
}

impl Serve {
    async fn run(self, logs: Option<LogFormat>) -> anyhow::Result<()> {
        let mut arguments: Vec<(&str, toml::Value)> = Vec::new();
        let mut set = |key, value: Option<toml::Value>| arguments.extend(value.map(|value| (key, value)));
        set("roles", self.roles.map(toml::Value::try_from).transpose()?);
        set("clock", self.clock.map(toml::Value::try_from).transpose()?);
        set("dev", self.dev.then_some(true.into()));
        set("gateway.listen", self.mqtt.map(|address| address.to_string().into()));
        set("api.listen", self.http.map(|address| address.to_string().into()));
        set("postgres.listen", self.pg.map(|address| address.to_string().into()));
        set("flight.listen", self.flight.map(|address| address.to_string().into()));
        set("subscriber.broker", self.broker.map(Into::into));
        set("logs.format", logs.map(toml::Value::try_from).transpose()?);
        let settings = self.config.load(arguments)?.settings;
        logs::start(&settings.logs)?;

        let clock: Arc<dyn Clock> = match settings.clock {
            ServerClock::System => Arc::new(SystemClock),
            ServerClock::Event => Arc::new(EventClock::default()),
        };
        let stop_timeout = settings.stop_timeout;
        let dev = settings.dev;
        let mut server = Server::start(settings, clock).await?;
        say(&server, dev);

        let failure = tokio::select! {
            signal = stop_signal() => signal.err(),
            error = server.failed() => Some(error),
        };
        // The stop is bounded: what is left is in the log for the next start.
        let stopped = tokio::time::timeout(stop_timeout + Duration::from_secs(10), server.stop()).await;
        match (failure, stopped) {
            (Some(failure), _) => Err(failure),
            (None, Err(_)) => anyhow::bail!("did not stop within {}", span::text(stop_timeout)),
            (None, Ok(stopped)) => stopped,
        }
    }
}

/// Tells a person where the server is.
fn say(server: &Server, dev: bool) {
    if let Some(mqtt) = server.mqtt() {
        eprintln!("devices   mqtt://{mqtt}");
    }
    if let Some(http) = server.http() {
        eprintln!("API       http://{http}/v1    documentation http://{http}/docs");
        eprintln!("health    http://{http}/health/ready    metrics http://{http}/metrics");
    }
    if let Some(postgres) = server.postgres() {
        eprintln!("SQL       psql postgresql://{postgres}/forewarn    the password is a token");
    }
    if let Some(flight) = server.flight() {
        eprintln!("Flight    grpc://{flight}    the bearer, or the password, is a token");
    }
    if dev {
        let secrets = server.secrets();
        eprintln!("secrets   {}  {}", secrets.device_password_path().display(), secrets.admin_token_path().display());
    }
}

/// Waits for an interrupt or a termination signal.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}
