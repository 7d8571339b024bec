//! Everything in one process with a simulated fleet: telemetry in, tickets out, visits booked, and an honest account.
//!
//! Days pass in seconds, for the server and for the devices alike. The devices speak MQTT to the gateway and obey
//! commands; a simulated agent follows the events, says yes to what waits for it and books visits through the API;
//! technicians report what they found, and what they mended does not fail. At the end, or when interrupted, the tickets are
//! held against what the simulator planted, and what was found against the labels. With `--history` the fleet has a past,
//! which is in the tables before the first ticket can be.

mod account;
mod agent;
mod calibration;
mod label;
mod score;
mod technician;

use std::{
    io::IsTerminal,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use analytics::prognosis::{frame::Known, registry::Registry, train};
use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use schemas::time::{Clock, Instant, ScaledClock, SystemClock, span};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    account::Account,
    agent::Agent,
    calibration::Calibrations,
    label::Labels,
    technician::{NAME, Technicians},
};
use super::{
    device::Broker,
    past,
    simulate::{
        self, History, Planted,
        appliance::Appliance,
        network::{Network, Sent, Shared, hold},
    },
};
use crate::{client::Client, dev, server::Server, settings::Settings};

/// What the demo plays.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Simulated devices.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Device seconds per second: 28800 lets eight hours pass in one.
    #[arg(long, default_value_t = 28_800.0)]
    speed: f64,
    /// Ends after this time, such as 60s; goes on until interrupted unless given.
    #[arg(long = "for", value_parser = span::parse)]
    span: Option<Duration>,
    /// Plays so many days of the fleet's past first, at full speed, such as 60d: what models learn from.
    #[arg(long, value_parser = span::parse)]
    history: Option<Duration>,
    /// Another seed is another fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to keep everything; a folder that is removed at the end unless given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where devices connect [default: 127.0.0.1:1883, or any free port].
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Where the API listens [default: 127.0.0.1:8080, or any free port].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where psql and other clients of PostgreSQL connect [default: 127.0.0.1:5433, or any free port].
    #[arg(long, value_name = "ADDR")]
    pg: Option<SocketAddr>,
    /// Where ADBC and other clients of Arrow Flight SQL connect [default: 127.0.0.1:8815, or any free port].
    #[arg(long, value_name = "ADDR")]
    flight: Option<SocketAddr>,
    /// One JSON object last on standard output.
    #[arg(long)]
    json: bool,
}

const DAY: Duration = Duration::from_secs(86_400);
/// Longest past: two years, more than the fleet's faults need to repeat many times.
const HISTORY_MAX: Duration = Duration::from_secs(730 * 86_400);
/// How often the bar moves.
const BAR_TICK: Duration = Duration::from_millis(200);
/// Delta commits in the demo: a person looks.
const COMMIT_INTERVAL: Duration = Duration::from_secs(2);
/// Offered slots are held this long in device time: fifteen minutes would pass before a program can answer.
const SLOT_HOLD: Duration = Duration::from_secs(4 * 86_400);

/// How often it is looked whether the first midnight was scored, and for how long.
const FIRST_MIDNIGHT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(600));

/// Plays the demo.
pub async fn run(options: Options) -> anyhow::Result<()> {
    anyhow::ensure!(
        options.speed >= 1.0 && options.speed <= 1e6,
        "--speed {}: from 1 to 1000000 device seconds per second",
        options.speed
    );
    let folder = Folder::of(&options)?;
    let mut settings = Settings { data: folder.path.clone(), dev: true, ..Settings::default() };
    settings.api.slot_hold = SLOT_HOLD;
    settings.lake.commit_interval = COMMIT_INTERVAL;
    // A week passes in a third of a minute: it would do nothing but learn.
    settings.prognosis.train_interval = Duration::ZERO;

    let now = SystemClock.now();
    let fleet = past(&options, &settings, now).await?;
    if options.history.is_some() {
        teach(&settings, now).await?;
    }
    // Looked for only now: the past takes minutes, in which another demo may have come.
    settings.gateway.listen = options.mqtt.unwrap_or_else(|| free(settings.gateway.listen));
    settings.api.listen = options.http.unwrap_or_else(|| free(settings.api.listen));
    settings.postgres.listen = options.pg.unwrap_or_else(|| free(settings.postgres.listen));
    settings.flight.listen = options.flight.unwrap_or_else(|| free(settings.flight.listen));
    let clock = Arc::new(ScaledClock::new(now, options.speed));
    let mut server = Server::start(settings.clone(), clock.clone()).await?;
    let (mqtt, http) = (server.mqtt().context("gateway")?, server.http().context("API")?);
    let token = server.secrets().admin_token()?;
    say(&options, mqtt, http, &server);

    let until = options.span.map(|span| now.plus(span.mul_f64(options.speed)));
    let url = format!("http://{http}");
    let client = Client::new(&url, &token)?;
    let fleet: Vec<Shared> = fleet.into_iter().map(|appliance| Arc::new(Mutex::new(appliance))).collect();
    let agent_stop = CancellationToken::new();
    let agent = Agent::settle(client.clone(), &fleet).await?;
    let mut agent_task = tokio::spawn(agent.work(agent_stop.clone()));
    let technicians_stop = CancellationToken::new();
    let made = client.post("/v1/tokens", &json!({ "name": NAME, "role": "agent" })).await?;
    let secret = made["secret"].as_str().context("secret of a token")?;
    let technicians = Technicians::new(Client::new(&url, secret)?, clock.clone(), &fleet);
    let mut technicians_task = tokio::spawn(technicians.work(technicians_stop.clone()));

    first_midnight(&client, &mut server).await?;
    clock.start();
    let begin = now;
    let sent = Arc::new(Sent::default());
    let network = Network {
        broker: Broker {
            host: mqtt.ip().to_string(),
            port: mqtt.port(),
            password: Some(server.secrets().device_password()?),
        },
        tenant: dev::TENANT.parse()?,
        clock: clock.clone(),
        sent: sent.clone(),
        until,
    };
    let stop = CancellationToken::new();
    let mut devices = JoinSet::new();
    for device in &fleet {
        devices.spawn(network.clone().live(device.clone(), stop.clone()));
    }

    let bar = bar(&options);
    let over = async {
        let mut tick = tokio::time::interval(BAR_TICK);
        loop {
            tokio::select! {
                ended = devices.join_next() => if ended.is_none() { break },
                _ = tick.tick() => {
                    let passed = clock.now().since(begin);
                    bar.set_position(passed.as_secs());
                    bar.set_message(format!("{:.1} days of device time", passed.as_secs_f64() / 86_400.0));
                }
            }
        }
    };
    let failure = tokio::select! {
        () = over => None,
        signal = crate::cli::stop_signal() => signal.err(),
        error = server.failed() => Some(error),
        ended = &mut agent_task => Some(match ended {
            Ok(Ok(_)) => anyhow::anyhow!("the simulated agent ended before it was told to"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }),
        ended = &mut technicians_task => Some(match ended {
            Ok(Ok(_)) => anyhow::anyhow!("the simulated technicians ended before they were told to"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }),
    };
    bar.finish_and_clear();
    if let Some(error) = failure {
        return Err(error);
    }
    stop.cancel();
    while devices.join_next().await.is_some() {}
    let end = clock.now();
    technicians_stop.cancel();
    let reported = technicians_task.await??;
    let mut drained = server.drain().await;
    agent_stop.cancel();
    let booked = agent_task.await??;
    let labels = Labels::gather(&client, &reported).await?;
    // Outcomes are in the log by now: they too are looked at to the end.
    drained &= server.drain().await;

    let planted: Vec<Planted> = fleet.iter().flat_map(|device| hold(device).planted().to_vec()).collect();
    let account = Account::draw_up(&server, &client, &sent, &planted, begin..end, booked, labels).await?;
    server.stop().await?;
    let account = account.with(Calibrations::judge(&settings, &planted, begin, end).await?);
    match options.json {
        true => println!("{}", serde_json::to_string(&account)?),
        false => println!("{account}"),
    }
    anyhow::ensure!(drained, "not all that was acknowledged was committed in time");
    account.check()
}

/// The fleet as it is now, its past laid down before where one is asked for.
async fn past(options: &Options, settings: &Settings, now: Instant) -> anyhow::Result<Vec<Appliance>> {
    let Some(span) = options.history else {
        return Ok(simulate::fleet(options.seed, options.devices as usize, now));
    };
    anyhow::ensure!(
        span >= DAY && span <= HISTORY_MAX,
        "--history {}: from {} to {}",
        span::text(span),
        span::text(DAY),
        span::text(HISTORY_MAX)
    );
    let data = &settings.data;
    anyhow::ensure!(past::is_new(data), "--history needs a new --data folder; {} was used before", data.display());
    let (start, tenant) = (now.minus(span), dev::TENANT.parse()?);
    let fleet = simulate::fleet(options.seed, options.devices as usize, start);
    let laid = past::lay(settings, History::new(fleet, &tenant, start, now), now).await?;
    eprintln!("{} messages of the past {} laid down", laid.messages, span::text(span));
    Ok(laid.fleet)
}

/// Models from the past, as `forewarn model train` makes them.
async fn teach(settings: &Settings, now: Instant) -> anyhow::Result<()> {
    let (tables, profiles) = crate::cli::model::open(settings, &dev::TENANT.parse()?).await?;
    let registry = Registry::new(&settings.data);
    for kind in simulate::KINDS {
        let profile = profiles.get(kind.profile).context("a profile of the simulated kinds")?;
        let trained =
            train::profile(&tables, &registry, profile, Known::Arrival, None, now, &settings.prognosis).await?;
        for report in trained {
            let standing = report.standing.map_or("no model", |standing| standing.as_str());
            eprintln!("learnt    {}.{} {standing}: {}", report.profile, report.fault_key, report.reason);
        }
    }
    Ok(())
}

/// Waits, while the clock stands, until the midnight before it was scored. The fleet has a past, through which its server would
/// have run: it would have scored that midnight within seconds, and a second is a third of a day here.
async fn first_midnight(client: &Client, server: &mut Server) -> anyhow::Result<()> {
    let scored = async {
        while client.counted("forewarn_prognosis_run_duration_seconds_count").await? == 0 {
            tokio::time::sleep(FIRST_MIDNIGHT.0).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        scored = tokio::time::timeout(FIRST_MIDNIGHT.1, scored) => scored.context("score the first midnight")?,
        error = server.failed() => Err(error),
        signal = crate::cli::stop_signal() => signal.and_then(|()| anyhow::bail!("interrupted before the fleet began")),
    }
}

fn say(options: &Options, mqtt: SocketAddr, http: SocketAddr, server: &Server) {
    eprintln!(
        "{} simulated devices, {} of device time a second{}",
        options.devices,
        span::text(Duration::from_secs_f64(options.speed.round())),
        options.span.map_or(", until interrupted".into(), |span| format!(", for {}", span::text(span)))
    );
    eprintln!("devices   mqtt://{mqtt}");
    eprintln!("API       http://{http}/v1    documentation http://{http}/docs");
    if let Some(postgres) = server.postgres() {
        eprintln!("SQL       psql postgresql://{postgres}/forewarn    the password is the token");
    }
    if let Some(flight) = server.flight() {
        eprintln!("Flight    grpc://{flight}    the bearer, or the password, is the token");
    }
    eprintln!("token     {}", server.secrets().admin_token_path().display());
}

#[allow(clippy::expect_used, reason = "a constant template")]
fn bar(options: &Options) -> ProgressBar {
    if !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let Some(span) = options.span else { return ProgressBar::new_spinner() };
    let style = ProgressStyle::with_template("{bar:40} {msg}").expect("a legal template");
    ProgressBar::new(span.mul_f64(options.speed).as_secs()).with_style(style)
}

/// The default address if it is free, else any free port there.
fn free(listen: SocketAddr) -> SocketAddr {
    match TcpListener::bind(listen) {
        Ok(_) => listen,
        Err(_) => SocketAddr::new(listen.ip(), 0),
    }
}

/// The data folder, removed at the end where it was ours.
struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    fn of(options: &Options) -> anyhow::Result<Self> {
        if let Some(path) = options.data.clone() {
            return Ok(Self { path, ours: false });
        }
        let path = std::env::temp_dir().join(format!("forewarn-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, ours: true })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, "remove {}", self.path.display());
        }
    }
}
