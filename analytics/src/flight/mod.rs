//! Arrow Flight SQL: the engine for ADBC, JDBC and whoever wants Arrow batches as they are.
//!
//! In: gRPC calls with a token. Out: answers of [`schemas::door::SqlEngine`], batch by batch, as fast as the client
//! reads. Promise: a call without a token in force learns no name and no row; a statement is planned once, when its
//! ticket is given out, and its rows are those of that moment; an answer nobody reads on ends its query; connections,
//! messages, tickets and prepared statements are bounded. Never: a write, a transaction, a plan made elsewhere
//! (Substrait).
//!
//! | module | noun |
//! |---|---|
//! | `calls` | the calls |
//! | `login` | the secret in a call's headers |
//! | `metadata` | what the door is and can |
//! | `service` | what the calls have in common |
//! | `shelf` | answers that wait for their ticket, prepared statements |

mod calls;
mod login;
mod metadata;
mod metrics;
mod service;
mod shelf;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arrow_flight::{error::FlightError, flight_service_server::FlightServiceServer};
use futures::Stream;
use prometheus_client::registry::Registry;
use schemas::door::{SqlEngine, TokenAuth};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};

use self::{
    metrics::Metrics,
    service::Service,
    shelf::{Shelf, TICKET_TIME},
};

/// Calls that one connection may have open: a client reads its answers side by side, not by the hundred.
const CALLS_PER_CONNECTION: u32 = 64;

/// A connection that says nothing is asked after this time whether it is still there, and closed if it keeps silent
/// as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// After the order to stop, whoever does not read on is waited for this long and no longer.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Wait after a connection could not be taken: most likely there are too many open files, and some will be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the door is open, in processes that answer SQL.
    pub enabled: bool,
    /// Address and port; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections that may be open at once; more are closed.
    pub max_connections: usize,
    /// Longest message from a client: statements and parameters, not answers.
    pub max_message_bytes: usize,
}

impl Default for Settings {
    /// Flight SQL has no port of its own; 8815 is that of Arrow's examples.
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 8815)),
            max_connections: 256,
            max_message_bytes: 1 << 20,
        }
    }
}

/// What the door leads to.
pub struct Doors {
    /// Answers.
    pub engine: Arc<dyn SqlEngine>,
    /// Knows whoever asks.
    pub tokens: Arc<dyn TokenAuth>,
    /// Random bytes of this process: nobody who lacks them can guess a ticket.
    pub key: [u8; 32],
}

/// Why the door does not open, or breaks.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The port is taken or not ours.
    #[error("listen on flight.listen = {0} (--flight takes another)")]
    Listen(SocketAddr, #[source] io::Error),
    /// What the door says about itself cannot be said.
    #[error("describe the Flight SQL server")]
    Describe(#[source] FlightError),
    /// The server broke.
    #[error("serve Flight SQL")]
    Serve(#[source] tonic::transport::Error),
}

/// The open port; nothing is answered before [`Flight::run`].
pub struct Flight {
    settings: Settings,
    listener: TcpListener,
    address: SocketAddr,
    doors: Doors,
    metrics: Metrics,
}

impl Flight {
    /// Opens the port; its metrics begin with `forewarn_flight_`.
    pub async fn open(settings: Settings, doors: Doors, registry: &mut Registry) -> Result<Self, DoorError> {
        let failed = |error| DoorError::Listen(settings.listen, error);
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, doors, metrics: Metrics::register(registry), settings })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop; answers that are being read then break off, visibly.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DoorError> {
        let shelf = Shelf::new(self.doors.key);
        let metrics = self.metrics.clone();
        let service = Service::new(self.doors, Arc::clone(&shelf), metrics.clone(), stop.clone());
        let service = service.map_err(DoorError::Describe)?;
        let service = FlightServiceServer::new(service).max_decoding_message_size(self.settings.max_message_bytes);
        let served = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(
                incoming(self.listener, self.settings.max_connections, self.metrics),
                stop.clone().cancelled_owned(),
            );
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let sweeping = async {
            let mut beat = tokio::time::interval(TICKET_TIME / 4);
            loop {
                metrics.ended("expired", shelf.sweep(beat.tick().await));
            }
        };
        tokio::select! {
            served = served => served.map_err(DoorError::Serve),
            () = late => Ok(()),
            () = sweeping => Ok(()),
        }
    }
}

/// Connections as they come, up to a number.
fn incoming(listener: TcpListener, most: usize, metrics: Metrics) -> impl Stream<Item = io::Result<Socket>> {
    let places = Arc::new(Semaphore::new(most));
    futures::stream::unfold((listener, places, metrics), |(listener, places, metrics)| async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("take a Flight SQL connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics.connections_refused.inc();
                continue;
            };
            // Answers are written in large pieces already.
            let _ = stream.set_nodelay(true);
            metrics.connections.inc();
            let socket = Socket { stream, metrics: metrics.clone(), _place: place };
            return Some((Ok(socket), (listener, places, metrics)));
        }
    })
}

/// A connection and its place.
struct Socket {
    stream: TcpStream,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
