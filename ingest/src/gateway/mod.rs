//! The gateway: an MQTT 3.1.1 and 5 listener for devices, and the shortest way into the log.
//!
//! In: connections of devices, each with its own credential. Out: frames in the log ([`Append`]). Promise: a PUBACK
//! that says success is sent after the frame is synced, in the order of the publishes; what cannot be accepted is
//! counted under a [`schemas::reject::RejectReason`], answered with a reason where the protocol has one, and kept as a
//! dead letter where it had a payload; QoS 2 is stored once and answered in its four steps; a device that is subscribed
//! to its commands gets them, the oldest first. One connection never disturbs another. Never: a look into a payload, a
//! message from one device to another, a session kept beyond [`Settings::session_expiry`] or this process.
//!
//! What waits for a device is not in its session but in the service database: a device with a new session gets it as
//! well, as soon as it subscribes to `fw/v1/{tenant}/{device}/command`. A session that is taken up again (clean start
//! false, an expiry of more than zero; in 3.1.1 clean session false) remembers the subscription, the packet id of a
//! command that was not acknowledged, and the QoS 2 publishes that were not released.
//!
//! | part | does |
//! |---|---|
//! | `tls` | the encrypted listener; the device that a certificate names |
//! | `front` | takes a socket: counts it, hurries it, and tells its end |
//! | `v3`, `v5` | the answers that differ between the protocol versions |
//! | `session` | who is connected; topics, wills, takeovers |
//! | `kept` | what of a session outlives its connection |
//! | `delivery` | commands to the device |
//! | `exactly_once` | QoS 2 |
//! | `gate` | what all connections share: seats, presence, appending |
//! | `rate` | how fast devices publish and anybody connects |
//! | `window` | bounds what a connection has in flight |
//! | `metrics` | counts |
//!
//! What ntex-mqtt 9.0.0 was found to do, and what is done here about it:
//! - Its own in-flight limiter lets everything through that follows a publish, and counts in 16 bits: replaced by
//!   `window`.
//! - Payloads that come in several reads may go to the wrong publish: `whole` keeps them together.
//! - A keep-alive of 0 becomes 30 seconds: set to the longest instead.
//! - A frame that never completes stops the keep-alive timer: a packet timeout is set, whose rate is never reached,
//!   because extending it underflows.
//! - Handlers are dropped when their connection ends: a QoS 0 publish, which nobody repeats, is appended by a task of
//!   its own.

mod delivery;
mod exactly_once;
mod front;
mod gate;
mod kept;
mod metrics;
mod rate;
mod session;
mod tls;
mod v3;
mod v5;
mod whole;
mod window;

#[cfg(test)]
pub(crate) mod shelf;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use ntex::{
    io::IoConfig,
    rt::{DefaultRuntime, System},
    server,
    service::cfg::SharedCfg,
    time::Seconds,
};
use ntex_mqtt::{MqttServer, MqttServiceConfig, QoS};
use schemas::{
    door::{Append, Commands, DeviceAuth},
    time::Clock,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::tls::{Settings as TlsSettings, TlsError};
use self::{front::Front, gate::Gate, metrics::Metrics, tls::Tls, window::Heed};

/// How the gateway listens and what it allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The encrypted listener beside it; none unless set.
    pub tls: Option<tls::Settings>,
    /// Threads that serve connections.
    pub workers: usize,
    /// The largest MQTT packet, CONNECT included.
    pub max_packet_bytes: u32,
    /// Unacknowledged publishes per connection (MQTT 5 Receive Maximum; enforced by not reading on in 3.1.1).
    pub receive_maximum: u16,
    /// Bytes of unacknowledged publishes per connection, after which it is not read on.
    pub receive_bytes: usize,
    /// Bytes of unacknowledged publishes over all connections, on their way into the log; above it nobody is read on.
    pub memory_bytes: usize,
    /// Publishes a second of one device, over all its connections; 0 is no limit. What is faster waits unread.
    pub device_messages_per_second: u32,
    /// Bytes of publishes a second of one device; 0 is no limit.
    pub device_bytes_per_second: u32,
    /// New connections a second; 0 is no limit. What is faster is closed.
    pub connects_per_second: u32,
    /// New connections a second from one address; 0 is no limit.
    pub connects_per_second_per_address: u32,
    /// Open sockets, logged in or not.
    pub max_connections: usize,
    /// Within this time a new connection must have logged in.
    #[serde(with = "schemas::time::span")]
    pub connect_timeout: Duration,
    /// Within this time a packet that has begun must be complete.
    #[serde(with = "schemas::time::span")]
    pub packet_timeout: Duration,
    /// The longest a session is kept whose device has gone.
    #[serde(with = "schemas::time::span")]
    pub session_expiry: Duration,
    /// Sessions kept of devices that are not connected.
    pub max_sessions: usize,
    /// How long a stop waits for publishes that are being appended.
    #[serde(with = "schemas::time::span")]
    pub stop_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            tls: None,
            workers: 2,
            max_packet_bytes: 1 << 20,
            // 1000 in flight at 10 ms per group commit let one busy connection publish 100,000 messages a second.
            receive_maximum: 1000,
            receive_bytes: 4 << 20,
            // 64 connections with full windows; the rest of a process's budget is the tables'.
            memory_bytes: 256 << 20,
            // A fleet behind one gateway or one address is usual, so whoever runs it knows what is too fast.
            device_messages_per_second: 0,
            device_bytes_per_second: 0,
            connects_per_second: 0,
            connects_per_second_per_address: 0,
            max_connections: 50_000,
            connect_timeout: Duration::from_secs(10),
            // 1 MiB over a 2G link takes most of a minute.
            packet_timeout: Duration::from_secs(60),
            // A device that was away for longer subscribes anew; its commands wait elsewhere.
            session_expiry: Duration::from_secs(86_400),
            // Some 200 bytes each.
            max_sessions: 100_000,
            stop_grace: Duration::from_secs(10),
        }
    }
}

impl Settings {
    fn check(&self) -> Result<(), GatewayError> {
        let rules = [
            ((1..=64).contains(&self.workers), "workers", "1 to 64"),
            ((1024..=0x0fff_ffff).contains(&self.max_packet_bytes), "max_packet_bytes", "1024 to 268435455"),
            (self.receive_maximum > 0, "receive_maximum", "1 to 65535"),
            (self.receive_bytes > 0, "receive_bytes", "at least 1"),
            (self.memory_bytes >= self.max_packet_bytes as usize, "memory_bytes", "at least max_packet_bytes"),
            (
                self.device_bytes_per_second == 0 || self.device_bytes_per_second >= 256,
                "device_bytes_per_second",
                "0 or at least 256",
            ),
            (self.max_connections > 0, "max_connections", "at least 1"),
            (!self.connect_timeout.is_zero(), "connect_timeout", "more than 0s"),
            (self.packet_timeout >= Duration::from_secs(1), "packet_timeout", "at least 1s"),
            (
                self.tls.as_ref().is_none_or(|tls| !tls.handshake_timeout.is_zero()),
                "tls.handshake_timeout",
                "more than 0s",
            ),
        ];
        match rules.into_iter().find(|(legal, ..)| !legal) {
            Some((_, field, legal)) => Err(GatewayError::Setting { field, legal }),
            None => Ok(()),
        }
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A setting is out of its range.
    #[error("gateway.{field} must be {legal}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its legal range.
        legal: &'static str,
    },
    /// The address could not be taken.
    #[error("listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The threads could not be started.
    #[error("start the gateway's threads")]
    Threads {
        /// Why not.
        source: io::Error,
    },
}

/// What the gateway works with.
#[derive(Clone)]
pub struct Doors {
    /// The log.
    pub log: Arc<dyn Append>,
    /// The devices' credentials.
    pub auth: Arc<dyn DeviceAuth>,
    /// The devices' commands; without them nobody is sent anything.
    pub commands: Option<Arc<dyn Commands>>,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

/// A running gateway. Dropping it closes the port and its connections at once; [`Gateway::stop`] does so in order.
pub struct Gateway {
    gate: Arc<Gate>,
    addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    /// Ends the look at the TLS files.
    _watching: DropGuard,
    server: server::Server,
    thread: Option<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// How many connections may wait to be accepted: a fleet that reconnects after an outage comes all at once.
const BACKLOG: i32 = 2048;
/// How long closing connections may take to send what they have.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

impl Gateway {
    /// Binds before it returns and serves on threads of its own.
    pub async fn start(
        settings: Settings,
        doors: Doors,
        clock: Arc<dyn Clock>,
        registry: &mut prometheus_client::registry::Registry,
    ) -> Result<Self, GatewayError> {
        settings.check()?;
        let metrics = Metrics::register(registry);
        // Bad files are found before a port is taken.
        let tls = match &settings.tls {
            Some(tls) => Some((tls.listen, Arc::new(Tls::open(tls, metrics.clone())?))),
            None => None,
        };
        let (listener, addr) = bind(settings.listen)?;
        let tls = match tls {
            Some((listen, tls)) => Some((bind(listen)?, tls)),
            None => None,
        };
        let tls_addr = tls.as_ref().map(|((_, addr), _)| *addr);
        let watching = CancellationToken::new();
        if let Some((_, tls)) = &tls {
            tokio::spawn(tls.clone().watch(watching.clone()));
        }
        let tls = tls.map(|((listener, _), tls)| (listener, tls));
        let gate = Arc::new(Gate::new(settings, doors, clock, metrics));
        let (started, server) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("gateway".into())
            .spawn({
                let gate = gate.clone();
                move || serve(gate, listener, tls, started)
            })
            .map_err(|source| GatewayError::Threads { source })?;
        let server = server
            .await
            .map_err(io::Error::other)
            .and_then(|server| server)
            .map_err(|source| GatewayError::Threads { source })?;
        tracing::info!("gateway listens on {addr}");
        if let Some(addr) = tls_addr {
            tracing::info!("gateway listens on {addr} with TLS");
        }
        Ok(Self { gate, addr, tls_addr, _watching: watching.drop_guard(), server, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens with TLS.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_addr
    }

    /// Tells which limit holds reading back at present, if one does: for health.
    pub fn limit(&self) -> impl Fn() -> Option<&'static str> + Send + Sync + 'static {
        let gate = self.gate.clone();
        move || gate.limit()
    }

    /// Stops accepting, lets the publishes that are being appended finish and be acknowledged (for at most
    /// `stop_grace`), and closes. Wills are not published: the devices did not go.
    pub async fn stop(mut self) {
        self.gate.begin_stop();
        let _ = timeout(CLOSE_GRACE, self.server.pause()).await;
        let patience = Instant::now() + self.gate.settings.stop_grace;
        if timeout_at(patience, self.gate.until_idle()).await.is_err() {
            tracing::warn!("gateway stops with publishes unacknowledged; their devices will repeat them");
        }
        self.gate.dismiss_all();
        let _ = timeout(CLOSE_GRACE, self.gate.until_empty()).await;
        let _ = timeout(CLOSE_GRACE * 2, self.server.stop(true)).await;
        if let Some(thread) = self.thread.take() {
            let _ = timeout(CLOSE_GRACE, tokio::task::spawn_blocking(move || thread.join())).await;
        }
        tracing::info!("gateway on {} stopped", self.addr);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.gate.begin_stop();
            // The command is sent when the future is made; there is nobody here to wait for its end.
            drop(self.server.stop(false));
        }
    }
}

fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let failed = |source| GatewayError::Listen { addr, source };
    let listener = server::create_tcp_listener(addr, BACKLOG).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Runs the server until it is stopped; tells its handle, or why there is none.
fn serve(
    gate: Arc<Gate>,
    listener: TcpListener,
    tls: Option<(TcpListener, Arc<Tls>)>,
    started: oneshot::Sender<io::Result<server::Server>>,
) {
    System::new("gateway", DefaultRuntime).block_on(async move {
        let settings = &gate.settings;
        let config = config(settings);
        let doors = [Some(("mqtt", listener, None)), tls.map(|(listener, tls)| ("mqtts", listener, Some(tls)))];
        let server = server::build()
            .name("gateway")
            .disable_signals()
            .workers(settings.workers)
            // The gate refuses and counts what is too many; ntex would leave it waiting in the backlog.
            .maxconn(settings.max_connections.saturating_add(BACKLOG as usize))
            .shutdown_timeout(Seconds(CLOSE_GRACE.as_secs() as u16));
        let built = doors.into_iter().flatten().try_fold(server, |server, (name, listener, tls)| {
            server.listen(name, listener, config.clone(), {
                let gate = gate.clone();
                async move |_: &()| {
                    let v3 = ntex_mqtt::v3::MqttServer::with(v3::publish)
                        .replace_middlewares(Heed)
                        .protocol(v3::protocol)
                        .control(v3::control)
                        .build(v3::connect);
                    let v5 = ntex_mqtt::v5::MqttServer::with(v5::publish)
                        .replace_middlewares(Heed)
                        .protocol(v5::protocol)
                        .control(v5::control)
                        .build(v5::connect);
                    Front::new(gate.clone(), tls.clone(), MqttServer::new().v3(v3).v5(v5))
                }
            })
        });
        match built.map(|builder| builder.run()) {
            Ok(server) => {
                let _ = started.send(Ok(server.clone()));
                let _ = server.await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

fn config(settings: &Settings) -> SharedCfg {
    let seconds = |span: Duration| Seconds(u16::try_from(span.as_secs() + 1).unwrap_or(u16::MAX));
    let packet = seconds(settings.packet_timeout);
    SharedCfg::new("gateway")
        .add(IoConfig::new().set_frame_read_rate(packet, packet, u32::MAX))
        .add(
            MqttServiceConfig::new()
                .set_max_qos(QoS::ExactlyOnce)
                .set_max_size(settings.max_packet_bytes)
                .set_max_receive(settings.receive_maximum)
                .set_max_topic_alias(16)
                // A payload comes in one piece: it is appended in one piece.
                .set_min_chunk_size(settings.max_packet_bytes)
                .set_max_payload_buffer_size(settings.max_packet_bytes as usize)
                // What was sent before the connection ended is handled; QoS 0 is never repeated.
                .set_handle_qos_after_disconnect(Some(QoS::AtLeastOnce))
                // The front's own deadline, connect_timeout, covers both of these.
                .protocol_version_timeout(seconds(settings.connect_timeout))
                .set_connect_timeout(seconds(settings.connect_timeout)),
        )
        .build()
}
