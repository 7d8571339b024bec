//! Takes a socket from its first byte to its end.
//!
//! In: an accepted socket, in clear or to be encrypted. Out: an MQTT connection in a [`Visit`], and at its end the device's will. Promise: every
//! socket is counted once, has `connect_timeout` to log in, and leaves nothing behind. Never: an answer to what is
//! not MQTT.

use std::{
    cell::{OnceCell, RefCell},
    future::pending,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use ntex::{
    Ctx, Service,
    io::{Io, IoBoxed, types::PeerAddr},
    service::State,
    util::{Either, select},
};
use ntex_mqtt::{MqttConnectError, MqttError, MqttProtocolError, error::DecodeError};
use schemas::{door::Principal, reject::RejectReason};

use super::{gate::Gate, session::Conn, tls::Tls, whole::Whole};

/// The end of a connection from our side; the cause has been counted and logged where it arose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed;

impl TryFrom<Closed> for ntex_mqtt::v5::PublishAck {
    type Error = Closed;

    fn try_from(closed: Closed) -> Result<Self, Closed> {
        Err(closed)
    }
}

/// One socket, before and after it has become somebody.
pub(super) struct Visit {
    pub(super) gate: Arc<Gate>,
    pub(super) peer: Option<SocketAddr>,
    certified: OnceCell<Principal>,
    conn: RefCell<Option<Rc<Conn>>>,
}

impl Visit {
    /// Notes who it is.
    pub(super) fn is(&self, conn: &Rc<Conn>) {
        *self.conn.borrow_mut() = Some(conn.clone());
    }

    /// Whom its client certificate names.
    pub(super) fn certified(&self) -> Option<&Principal> {
        self.certified.get()
    }

    fn refuse(&self, reason: RejectReason, why: &dyn std::fmt::Display) {
        self.gate.metrics.reject(reason);
        tracing::debug!(peer = ?self.peer, %reason, "refused a connection: {why}");
    }
}

pub(super) fn reason_of(error: &MqttProtocolError) -> Option<RejectReason> {
    match error {
        MqttProtocolError::Decode(DecodeError::MaxSizeExceeded { .. }) => Some(RejectReason::OversizePacket),
        MqttProtocolError::Decode(_) | MqttProtocolError::ProtocolViolation(_) | MqttProtocolError::ReadTimeout => {
            Some(RejectReason::ProtocolError)
        }
        MqttProtocolError::KeepAliveTimeout | MqttProtocolError::Encode(_) => None,
    }
}

pub(super) struct Front<S> {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    mqtt: S,
}

impl<S> Front<S> {
    /// With `tls`, nobody is heard before the handshake.
    pub(super) fn new(gate: Arc<Gate>, tls: Option<Arc<Tls>>, mqtt: S) -> Self {
        Self { gate, tls, mqtt }
    }
}

impl<S> Service<(), Io> for Front<S>
where
    S: Service<(), State<Rc<Visit>, IoBoxed>, Res = (), Error = MqttError<Closed>>,
{
    type Res = ();
    type Error = Closed;

    async fn ready(&self, ctx: Ctx<'_, Self, ()>) -> Result<(), Closed> {
        ctx.ready(&self.mqtt).await.map_err(|_| Closed)
    }

    async fn call(&self, io: Io, ctx: Ctx<'_, Self, ()>) -> Result<(), Closed> {
        let peer = io.query::<PeerAddr>().get().map(PeerAddr::into_inner);
        let visit =
            Rc::new(Visit { gate: self.gate.clone(), peer, certified: OnceCell::new(), conn: RefCell::new(None) });
        if !self.gate.admits(peer) {
            visit.refuse(RejectReason::ConnectRate, &"connections come too fast");
            return Err(Closed);
        }
        let Some(_seat) = self.gate.seat() else {
            visit.refuse(RejectReason::TooManyConnections, &"no free connection");
            return Err(Closed);
        };
        let deadline = async {
            ntex::time::sleep(self.gate.settings.connect_timeout).await;
            if visit.conn.borrow().is_some() {
                pending::<()>().await;
            }
        };
        let served = async {
            let whole = Whole::new(self.gate.settings.max_packet_bytes);
            let io = match &self.tls {
                None => IoBoxed::from(io.add_filter(whole)),
                Some(tls) => match tls.shake(io).await {
                    Ok((io, certified)) => {
                        if let Some(principal) = certified {
                            let _ = visit.certified.set(principal);
                        }
                        IoBoxed::from(io.add_filter(whole))
                    }
                    Err(why) => {
                        tracing::debug!(?peer, "no TLS handshake: {why}");
                        return Ok(());
                    }
                },
            };
            ctx.call(&self.mqtt, State { req: io, state: visit.clone() }).await
        };
        match select(deadline, served).await {
            Either::Left(()) => visit.refuse(RejectReason::ProtocolError, &"no login in time"),
            Either::Right(Err(MqttError::Connect(MqttConnectError::Protocol(error)))) => {
                if let Some(reason) = reason_of(&error) {
                    visit.refuse(reason, &error);
                }
            }
            Either::Right(Err(MqttError::HandlerInit(error))) => tracing::error!(?peer, "set up a connection: {error}"),
            Either::Right(_) => {}
        }
        let conn = visit.conn.take();
        if let Some(conn) = conn {
            conn.end().await;
        }
        Ok(())
    }

    async fn shutdown(&self, ctx: Ctx<'_, Self, ()>) {
        ctx.shutdown(&self.mqtt).await;
    }
}
