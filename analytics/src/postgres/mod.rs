//! The PostgreSQL door: psql, psycopg, DBeaver, Grafana ask here.
//!
//! In: PostgreSQL's protocol, version 3. Out: answers of the engine. Promise: the password is a token, checked as over
//! HTTP, and decides whose rows are seen, whatever the user is called; connections are bounded, and who is too many is
//! told; a query ends by its key, its time-out, or when its rows can no longer be sent. Never: a write, a token in clear from
//! another machine, another tenant's row.
//!
//! Passwords come in clear because tokens are kept as hashes, from which SCRAM's proof cannot be made; so the door
//! takes them over loopback only.

mod bounded;
mod connection;
mod handler;
mod metrics;
mod problem;
mod session;
mod shape;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use pgwire::{
    api::{ClientInfo as _, NoopHandler, PgWireConnectionState, RandomPidSecretKeyGenerator},
    error::PgWireError,
    messages::{PgWireFrontendMessage, startup::SecretKey},
    tokio::server::{negotiate_tls, process_error, process_message},
};
use prometheus_client::registry::Registry;
use schemas::door::{SqlEngine, TokenAuth};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::{
    codec::{Framed, FramedParts},
    sync::CancellationToken,
};

use self::{
    bounded::{Allowance, Bounded},
    connection::{Connection, Full},
    handler::Handler,
};

/// Connections beyond the limit that are told so at once, and may bring requests to cancel; more are closed.
const TOLD_FULL: usize = 16;

/// How long a refused accept is waited for: the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection's key for requests to cancel.
type Key = (i32, SecretKey);

/// The door.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the door is open, in processes that answer SQL.
    pub enabled: bool,
    /// Address and port; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: usize,
    /// Within this time a client must have logged in.
    #[serde(with = "schemas::time::span")]
    pub login_timeout: Duration,
}

impl Default for Settings {
    /// Beside PostgreSQL's own port, which is often taken; as many connections as tools keep open for a team of analysts.
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
            max_connections: 64,
            login_timeout: Duration::from_secs(10),
        }
    }
}

/// What the connections share.
struct Shared {
    engine: Arc<dyn SqlEngine>,
    tokens: Arc<dyn TokenAuth>,
    metrics: metrics::Metrics,
    keys: Mutex<connection::Keys>,
    generator: RandomPidSecretKeyGenerator,
}

/// A bound port.
pub struct Postgres {
    listener: TcpListener,
    shared: Arc<Shared>,
    settings: Settings,
}

impl Postgres {
    /// Over a bound port; its metrics begin with `forewarn_postgres_`.
    pub fn new(
        listener: TcpListener,
        engine: Arc<dyn SqlEngine>,
        tokens: Arc<dyn TokenAuth>,
        settings: Settings,
        registry: &mut Registry,
    ) -> Self {
        let metrics = metrics::Metrics::register(registry);
        let shared = Shared { engine, tokens, metrics, keys: Mutex::default(), generator: Default::default() };
        Self { listener, shared: Arc::new(shared), settings }
    }

    /// Takes connections until told to stop; then all of them end.
    pub async fn run(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.settings.max_connections));
        let told_full = Arc::new(Semaphore::new(TOLD_FULL));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(cause = %error, "accept a PostgreSQL connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (place, full) = match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => (place, None),
                Err(_) => match Arc::clone(&told_full).try_acquire_owned() {
                    Ok(place) => (place, Some(Full(self.settings.max_connections))),
                    Err(_) => {
                        self.shared.metrics.refused("full");
                        continue;
                    }
                },
            };
            let connection = Arc::new(Connection::new(Arc::clone(&self.shared), full));
            let (metrics, within) = (self.shared.metrics.clone(), self.settings.login_timeout);
            connections.spawn(async move {
                let _place = place;
                let _standing = metrics.standing();
                serve(socket, connection, within, &metrics).await;
            });
        }
        connections.shutdown().await;
    }
}

async fn serve(socket: TcpStream, connection: Arc<Connection>, within: Duration, metrics: &metrics::Metrics) {
    let late = async {
        tokio::time::sleep(within).await;
        if connection.is_known() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = late => metrics.refused("late"),
        ended = converse(socket, Arc::clone(&connection)) => {
            if let Err(error) = ended {
                tracing::debug!(cause = %error, "a PostgreSQL connection ended");
            }
        }
    }
}

/// pgwire's own loop, over a bounded socket.
async fn converse(socket: TcpStream, connection: Arc<Connection>) -> std::io::Result<()> {
    let Some(negotiated) = negotiate_tls(socket, None).await? else {
        return Ok(());
    };
    let allowance = Allowance::default();
    let old = negotiated.into_parts();
    let mut parts = FramedParts::new(Bounded::new(old.io, allowance.clone()), old.codec);
    (parts.read_buf, parts.write_buf) = (old.read_buf, old.write_buf);
    let mut socket = Framed::from_parts(parts);
    let (handler, nothing) = (Arc::new(Handler(Arc::clone(&connection))), Arc::new(NoopHandler));
    loop {
        allowance.renew(connection.is_known());
        let message = match socket.next().await {
            None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(std::io::Error::other(error)),
        };
        // What is wrong in the prepared way is answered up to the client's next Sync.
        let prepared = match socket.state() {
            PgWireConnectionState::CopyInProgress(prepared) => prepared,
            _ => message.is_extended_query(),
        };
        let (startup, simple, extended) = (Arc::clone(&handler), Arc::clone(&handler), Arc::clone(&handler));
        let (copy, cancel) = (Arc::clone(&nothing), Arc::clone(&handler));
        let done = process_message(message, &mut socket, startup, simple, extended, copy, cancel).await;
        if let Err(problem) = done {
            let ends = matches!(&problem, PgWireError::UserError(info) if info.is_fatal());
            process_error(&mut socket, problem, prepared).await?;
            if ends {
                return Ok(());
            }
        }
    }
}
