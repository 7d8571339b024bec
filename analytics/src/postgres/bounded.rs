//! A socket that a message must fit into: pgwire gathers a message whole before it looks at it.
//!
//! In: bytes. Out: the same bytes. Promise: between two messages at most so many are read as the allowance says. Never:
//! a gigabyte in memory because a length field said so.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message of whoever has shown no token: names and a password.
const MAX_UNKNOWN_BYTES: usize = 32 << 10;

/// Longest message of whoever has: a statement of the longest kind and its values, many times over.
const MAX_BYTES: usize = 4 << 20;

/// What may still be read before the next message must be whole.
#[derive(Clone, Default)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// For the next message.
    pub(super) fn renew(&self, known: bool) {
        self.0.store(if known { MAX_BYTES } else { MAX_UNKNOWN_BYTES }, Ordering::Relaxed);
    }
}

/// The socket.
pub(super) struct Bounded<S> {
    socket: S,
    allowance: Allowance,
}

impl<S> Bounded<S> {
    pub(super) fn new(socket: S, allowance: Allowance) -> Self {
        Self { socket, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) {
            let read = buf.filled().len() - before;
            let left = self.allowance.0.load(Ordering::Relaxed);
            if read > left {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long")));
            }
            self.allowance.0.store(left - read, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_message_that_is_too_long_ends_the_reading() {
        let allowance = Allowance::default();
        let bytes = vec![7; MAX_UNKNOWN_BYTES + 1];
        let mut socket = Bounded::new(bytes.as_slice(), allowance.clone());
        allowance.renew(false);
        let mut read = vec![0; MAX_UNKNOWN_BYTES / 2];
        for _ in 0..2 {
            socket.read_exact(&mut read).await.unwrap();
        }
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn many_messages_may_be_as_long_together_as_they_like() {
        let allowance = Allowance::default();
        let bytes = vec![7; 3 * MAX_UNKNOWN_BYTES];
        let mut socket = Bounded::new(bytes.as_slice(), allowance.clone());
        for _ in 0..3 {
            allowance.renew(false);
            socket.read_exact(&mut vec![0; MAX_UNKNOWN_BYTES]).await.unwrap();
        }
    }
}
