//! Everything that can be set, in one TOML with environment override.
//!
//! In: a file, variables `FOREWARN_SECTION__KEY`, the command line. Out: checked [`Settings`] and where each value came
//! from. Promise: all of it is checked before a port opens; an error names key, value, origin and what is legal.
//! Never: a default that is written down twice; each section's defaults stand with its component.

mod layers;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use layers::{Effective, Layer, SettingsError, load};

/// The parts of Forewarn that a process can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Gateway, subscriber, log, tables.
    Ingest,
    /// Detection and SQL.
    Analytics,
    /// Tickets, visits, HTTP.
    Api,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Form of a line.
    pub format: LogFormat,
    /// As in `tracing_subscriber::EnvFilter`, such as `info,ingest=debug`.
    pub filter: String,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "info,buoyant_kernel=warn,buoyant_kernel_engine=warn,deltalake=warn,ntex_server=warn,ntex_rt=warn"
                .into(),
        }
    }
}

/// Which clock a server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ServerClock {
    /// The machine's clock.
    System,
    /// The greatest event time seen: for replays.
    Event,
}

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Which parts run in this process.
    pub roles: Vec<Role>,
    /// Which clock they run on.
    pub clock: ServerClock,
    /// Loopback only, tenant `dev`, generated secrets.
    pub dev: bool,
    /// More device profiles, `*.toml`; none unless set.
    pub profiles: Option<PathBuf>,
    /// How long an ordered stop may take before the rest is left to the next start.
    #[serde(with = "schemas::time::span")]
    pub stop_timeout: Duration,
    /// Log lines.
    pub logs: Logs,
    /// The MQTT listener.
    pub gateway: ingest::gateway::Settings,
    /// The way in from a broker; none unless set.
    pub subscriber: Option<ingest::subscriber::Settings>,
    /// The write-ahead log.
    pub log: ingest::log::Settings,
    /// Decoding and deduplication.
    pub pipeline: ingest::pipeline::Settings,
    /// Delta tables.
    pub lake: ingest::lake::Settings,
    /// When files of tables are merged and deleted.
    pub maintain: ingest::lake::maintain::Settings,
    /// How long rows are kept.
    pub retention: ingest::lake::maintain::Retention,
    /// Detection.
    pub detect: analytics::detect::Settings,
    /// Models and advisories.
    pub prognosis: analytics::prognosis::Settings,
    /// SQL.
    pub query: analytics::query::Settings,
    /// SQL for PostgreSQL's clients.
    pub postgres: analytics::postgres::Settings,
    /// SQL for Flight SQL's clients.
    pub flight: analytics::flight::Settings,
    /// HTTP and the service database.
    pub api: api::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: "forewarn-data".into(),
            roles: vec![Role::Ingest, Role::Analytics, Role::Api],
            clock: ServerClock::System,
            dev: false,
            profiles: None,
            stop_timeout: Duration::from_secs(30),
            logs: Logs::default(),
            gateway: Default::default(),
            subscriber: None,
            log: Default::default(),
            pipeline: Default::default(),
            lake: Default::default(),
            maintain: Default::default(),
            retention: Default::default(),
            detect: Default::default(),
            prognosis: Default::default(),
            query: Default::default(),
            postgres: Default::default(),
            flight: Default::default(),
            api: Default::default(),
        }
    }
}

impl Settings {
    /// What does not fit together, as `key: problem`; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut span = |key: &str, value: Duration, least: Duration, most: Duration| {
            if value < least || value > most {
                let text = schemas::time::span::text;
                problems.push(format!("{key} = {:?}: from {:?} to {:?}", text(value), text(least), text(most)));
            }
        };
        let (ms, s, h) = (Duration::from_millis, Duration::from_secs, |h: u64| Duration::from_secs(h * 3600));
        span("lake.commit_interval", self.lake.commit_interval, ms(100), h(1));
        span("lake.rollup_interval", self.lake.rollup_interval, ms(100), h(1));
        span("pipeline.checkpoint_interval", self.pipeline.checkpoint_interval, ms(100), h(1));
        span("pipeline.stop_grace", self.pipeline.stop_grace, ms(100), h(1));
        span("pipeline.future_tolerance", self.pipeline.future_tolerance, s(0), h(24 * 366));
        span("detect.checkpoint_interval", self.detect.checkpoint_interval, ms(100), h(1));
        if !self.prognosis.train_interval.is_zero() {
            span("prognosis.train_interval", self.prognosis.train_interval, h(1), h(24 * 366));
        }
        span("maintain.interval", self.maintain.interval, s(1), h(24));
        span("maintain.settle", self.maintain.settle, s(0), h(24 * 366));
        // Shorter, and a file could be gone before the commit that names it; longer, and the log forgets what it removed.
        span("maintain.vacuum_after", self.maintain.vacuum_after, h(1), h(24 * 7));
        span("maintain.vacuum_interval", self.maintain.vacuum_interval, s(1), h(24 * 366));
        span("query.timeout", self.query.timeout, ms(100), h(24));
        span("postgres.login_timeout", self.postgres.login_timeout, ms(100), h(1));
        span("gateway.session_expiry", self.gateway.session_expiry, s(0), h(24 * 366));
        span("gateway.connect_timeout", self.gateway.connect_timeout, ms(100), h(1));
        if let Some(tls) = &self.gateway.tls {
            span("gateway.tls.handshake_timeout", tls.handshake_timeout, ms(100), h(1));
        }
        span("stop_timeout", self.stop_timeout, s(1), h(1));
        let mut number = |key: &str, value: u64, least: u64, most: u64| {
            if value < least || value > most {
                problems.push(format!("{key} = {value}: from {least} to {most}"));
            }
        };
        let mib = 1 << 20;
        number("gateway.workers", self.gateway.workers as u64, 1, 256);
        number("gateway.max_packet_bytes", self.gateway.max_packet_bytes.into(), 1024, 256 * mib);
        number("gateway.receive_maximum", self.gateway.receive_maximum.into(), 1, 65_535);
        let gateway = &self.gateway;
        number("gateway.memory_bytes", gateway.memory_bytes as u64, gateway.max_packet_bytes.into(), 1 << 40);
        number("gateway.max_sessions", gateway.max_sessions as u64, 0, 10_000_000);
        number("gateway.max_connections", self.gateway.max_connections as u64, 1, 10_000_000);
        number("log.segment_bytes", self.log.segment_bytes, mib, 4096 * mib);
        number("log.max_bytes", self.log.max_bytes, 2 * self.log.segment_bytes, 1 << 50);
        number("log.reserve_bytes", self.log.reserve_bytes, 0, 1 << 40);
        number("log.queue_frames", self.log.queue_frames as u64, 1, 1 << 20);
        number("log.max_frame_bytes", self.log.max_frame_bytes as u64, self.gateway.max_packet_bytes.into(), 512 * mib);
        number("pipeline.chunk_frames", self.pipeline.chunk_frames as u64, 1, 1 << 20);
        number("maintain.files", self.maintain.files as u64, 2, 64);
        number("maintain.file_bytes", self.maintain.file_bytes, mib, 1024 * mib);
        number("maintain.merge_bytes", self.maintain.merge_bytes, self.maintain.file_bytes, 4096 * mib);
        number("maintain.bytes_per_second", self.maintain.bytes_per_second, mib / 16, 1 << 40);
        number("lake.commit_rows", self.lake.commit_rows as u64, 1, 1 << 30);
        number("prognosis.min_failures", self.prognosis.min_failures, 2, 1 << 20);
        number("prognosis.min_later_failures", self.prognosis.min_later_failures, 1, 1 << 20);
        number("prognosis.max_rows", self.prognosis.max_rows as u64, 1000, 1 << 30);
        number("prognosis.block_devices", self.prognosis.block_devices as u64, 1, 1 << 20);
        number("query.memory_bytes", self.query.memory_bytes as u64, 16 * mib, 1 << 50);
        number("query.max_rows", self.query.max_rows as u64, 1, 1 << 40);
        number("query.concurrent", self.query.concurrent as u64, 1, 1024);
        number("postgres.max_connections", self.postgres.max_connections as u64, 1, 65_536);
        number("flight.max_connections", self.flight.max_connections as u64, 1, 65_536);
        number("flight.max_message_bytes", self.flight.max_message_bytes as u64, 1024, 256 * mib);
        problems.extend(self.retention.problem());
        if self.roles.is_empty() {
            problems.push("roles = []: at least one of ingest, analytics, api".into());
        }
        let tls = self.gateway.tls.as_ref();
        let listeners = [("gateway.listen", self.gateway.listen), ("api.listen", self.api.listen)];
        for (key, listen) in listeners.into_iter().chain(tls.map(|tls| ("gateway.tls.listen", tls.listen))) {
            if self.dev && !listen.ip().is_loopback() {
                problems.push(format!("{key} = {listen}: with dev = true only loopback, such as 127.0.0.1"));
            }
        }
        let doors = [
            ("postgres.listen", self.postgres.enabled, self.postgres.listen),
            ("flight.listen", self.flight.enabled, self.flight.listen),
        ];
        for (key, enabled, listen) in doors {
            if enabled && !listen.ip().is_loopback() {
                problems.push(format!(
                    "{key} = {listen}: only loopback, such as 127.0.0.1: its passwords are tokens, and it has no TLS \
                     yet that would hide them"
                ));
            }
        }
        if let Some(folder) = &self.profiles
            && !folder.is_dir()
        {
            problems.push(format!("profiles = {folder:?}: no such folder"));
        }
        problems
    }
}
