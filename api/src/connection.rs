//! Connections of the HTTP server, bounded in number and in patience.
//!
//! In: a TCP listener. Out: connections for axum. Promise: at most `connections` at once; one on which no byte moves
//! for `stall` is closed, so a client that reads nothing, or sends half a request, holds nothing for long.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

use crate::{app::Settings, metrics::Metrics};

/// Accepts while fewer than the limit are open.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    room: Arc<Semaphore>,
    stall: Duration,
    metrics: Metrics,
}

impl Listener {
    /// Around a TCP listener.
    pub fn new(tcp: TcpListener, settings: &Settings, metrics: Metrics) -> Self {
        let room = Arc::new(Semaphore::new(settings.connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { tcp, room, stall: settings.stall, metrics }
    }
}

/// After an error of accept, such as too many open files, before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                // The semaphore is never closed.
                continue;
            };
            match self.tcp.accept().await {
                Ok((tcp, peer)) => {
                    // Small answers go out at once; a refusal costs latency only.
                    let _ = tcp.set_nodelay(true);
                    let timer = Box::pin(tokio::time::sleep(self.stall));
                    let (stall, metrics) = (self.stall, self.metrics.clone());
                    return (Connection { tcp, timer, stall, metrics, _permit: permit }, peer);
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that is closed when nothing moves.
#[derive(Debug)]
pub struct Connection {
    tcp: TcpStream,
    timer: Pin<Box<Sleep>>,
    stall: Duration,
    metrics: Metrics,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes a result on; progress winds the timer, waiting looks at it.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.timer.as_mut().reset(Instant::now() + self.stall);
            return result;
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.metrics.stalled.inc();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved on the connection")))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.watch(cx, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Flushing a TCP stream does nothing, so it is no progress.
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
