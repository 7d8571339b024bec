//! Bounds the publishes that one connection has in flight, in number and in bytes.
//!
//! In: publishes that begin and end. Out: no more reading from the socket while there are too many. Promise: memory
//! per connection is bounded whatever the client's QoS and its idea of a receive maximum: by the window, and what one
//! read from the socket held (16 KiB), for ntex hands out all of that before it asks again; reading also waits for the
//! device's rate and for the memory that all connections share. Never: a message dropped.
//!
//! A publish takes its place when its payload is complete and its turn has come, not when it is decoded: while the
//! window is shut, ntex lets no call of this connection pass the readiness of any service, so one that held a place
//! and still had to pass would wait for itself.

use std::{cell::Cell, future::poll_fn, ops::Deref, rc::Rc, task::Poll};

use ntex::{Ctx, Middleware, Service, task::LocalWaker, util::join};
use ntex_mqtt::error::DispatcherError;

use super::{
    Settings,
    delivery::Linked,
    exactly_once::{Exchange, Step, too_many},
    front::Closed,
    session::{Conn, Receives},
};

/// What one connection has in flight.
pub(super) struct Window {
    publishes_max: usize,
    bytes_max: usize,
    publishes: Cell<usize>,
    bytes: Cell<usize>,
    waker: LocalWaker,
}

impl Window {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            publishes_max: settings.receive_maximum.into(),
            bytes_max: settings.receive_bytes,
            publishes: Cell::new(0),
            bytes: Cell::new(0),
            waker: LocalWaker::new(),
        }
    }

    fn open(&self) -> bool {
        self.publishes.get() < self.publishes_max && self.bytes.get() < self.bytes_max
    }

    /// A publish of so many bytes is in flight until the place is dropped.
    pub(super) fn enter(&self, bytes: usize) -> Place<'_> {
        self.publishes.set(self.publishes.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        Place { window: self, bytes }
    }
}

pub(super) struct Place<'a> {
    window: &'a Window,
    bytes: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let window = self.window;
        let was_open = window.open();
        window.publishes.set(window.publishes.get() - 1);
        window.bytes.set(window.bytes.get() - self.bytes);
        if !was_open && window.open() {
            window.waker.wake();
        }
    }
}

/// Makes a connection wait for its window, and looks after QoS 2. Takes the place of ntex-mqtt's own limiter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heed;

impl<S, St: Linked> Middleware<S, St> for Heed {
    type Service = Heeding<S>;

    fn create(&self, st: &St, service: S) -> Heeding<S> {
        // The CONNACK has gone out just before.
        st.resume();
        Heeding(service)
    }
}

pub(super) struct Heeding<S>(S);

impl<S, St, Req> Service<St, Req> for Heeding<S>
where
    S: Service<St, Req, Res = Req::Answer, Error = DispatcherError<Closed>>,
    St: Deref<Target = Rc<Conn>>,
    Req: Exchange,
{
    type Res = S::Res;
    type Error = S::Error;

    async fn ready(&self, ctx: Ctx<'_, Self, St>) -> Result<(), S::Error> {
        let conn = ctx.st();
        let window = &conn.window;
        let open = async {
            conn.gate().until_its_turn(conn.principal()).await;
            conn.gate().until_room().await;
            poll_fn(|cx| {
                window.waker.register(cx.waker());
                if window.open() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        // The inner service works off its queue while it is asked whether it is ready: ask it also while shut.
        join(open, ctx.ready(&self.0)).await.1
    }

    async fn call(&self, packet: Req, ctx: Ctx<'_, Self, St>) -> Result<S::Res, S::Error> {
        let conn = ctx.st().deref().clone();
        match packet.step() {
            Step::Other(packet) => ctx.call(&self.0, packet).await,
            Step::Release(id) => Ok(Req::complete(id, conn.released(id))),
            Step::Publish(id, packet) => match conn.receives(id) {
                Receives::Again => Ok(Req::known(id)),
                Receives::TooMany => Err(too_many()),
                Receives::New => {
                    let (answer, stored) = Req::received(ctx.call(&self.0, packet).await?);
                    if stored {
                        conn.received(id);
                    }
                    Ok(answer)
                }
            },
        }
    }

    async fn shutdown(&self, ctx: Ctx<'_, Self, St>) {
        ctx.shutdown(&self.0).await;
    }
}
