//! Who is connected, what they may say, and the way of their words into the log.
//!
//! In: publishes and ends of connections. Out: frames appended; one live connection per device and client id.
//! Promise: [`Taken::Stored`] only after the append returned Ok; a will is in the log before the connection that
//! takes over begins. Never: a look into a payload.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use ntex_mqtt::{Control, Reason};
use schemas::{
    door::{DoorError, Frame, Principal},
    reject::{Reject, RejectReason},
    topic::{Channel, SparkplugTopic, Topic, is_sparkplug},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    front::{Visit, reason_of},
    gate::{Gate, Identity, InFlight, Present, is_full},
    window::Window,
};

/// How long a newcomer waits for the connection it takes over, whose peer may be unreachable.
const TAKEOVER_GRACE: Duration = Duration::from_secs(5);
/// QoS 0 publishes whose connection is gone and that are still being appended; above it they go with their
/// connection. With the largest packets this is 1 GiB, with usual ones half a megabyte.
const ORPHANS_MAX: usize = 1024;

/// What a device said.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) content_type: Option<String>,
    pub(super) payload: Bytes,
}

/// What became of it.
pub(super) enum Taken {
    /// It is synced.
    Stored,
    /// It is a dead letter, and synced as such.
    Refused(Reject),
    /// It is not in the log; `full` where the disk is.
    Failed { full: bool },
}

/// Why we end a connection that did nothing wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bye {
    /// The same client id has connected again.
    TakenOver,
    /// The gateway stops.
    Stopping,
}

/// One device's connection. Lives on one worker thread.
pub(super) struct Conn {
    gate: Arc<Gate>,
    identity: Identity,
    serial: u64,
    pub(super) window: Window,
    peer: Option<SocketAddr>,
    will: RefCell<Option<Message>>,
    gone: CancellationToken,
    left: Cell<bool>,
}

impl Conn {
    /// Takes the place of `principal`'s `client_id`, from an older connection if need be, and returns the connection
    /// with the word that will end it; none while the gateway stops.
    pub(super) async fn enter(
        visit: &Visit,
        principal: Principal,
        client_id: &str,
        will: Option<Message>,
    ) -> Option<(Rc<Self>, oneshot::Receiver<Bye>)> {
        let gate = &visit.gate;
        let serial = gate.serial.fetch_add(1, Ordering::Relaxed);
        let client_id = if client_id.is_empty() { format!("auto-{serial}").into() } else { Arc::from(client_id) };
        let identity = (principal, client_id);
        let patience = Instant::now() + TAKEOVER_GRACE;
        loop {
            let elder = {
                let mut present = gate.present();
                if gate.stopping.load(Ordering::Acquire) {
                    return None;
                }
                match present.get_mut(&identity) {
                    Some(elder) if Instant::now() < patience => {
                        if let Some(bye) = elder.bye.take() {
                            gate.metrics.takeovers.inc();
                            tracing::debug!(peer = ?visit.peer, client_id = %identity.1, "takes over a connection");
                            let _ = bye.send(Bye::TakenOver);
                        }
                        elder.gone.clone()
                    }
                    _ => {
                        let (bye, told) = oneshot::channel();
                        let gone = CancellationToken::new();
                        let here = Present { serial, bye: Some(bye), gone: gone.clone() };
                        present.insert(identity.clone(), here);
                        drop(present);
                        gate.metrics.connects.inc();
                        gate.metrics.connections.inc();
                        let conn = Rc::new(Self {
                            gate: gate.clone(),
                            identity,
                            serial,
                            window: Window::new(&gate.settings),
                            peer: visit.peer,
                            will: RefCell::new(will),
                            gone,
                            left: Cell::new(false),
                        });
                        visit.is(&conn);
                        return Some((conn, told));
                    }
                }
            };
            let _ = timeout(TAKEOVER_GRACE, elder.cancelled()).await;
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.identity.1
    }

    fn principal(&self) -> &Principal {
        &self.identity.0
    }

    /// Whether the device may publish to `topic`.
    fn judge(&self, topic: &str) -> Result<Channel, Reject> {
        let bad = |detail: String| Reject::new(RejectReason::BadTopic, detail);
        let foreign = || Reject::new(RejectReason::ForeignTopic, "the topic names another device than the credential");
        let Principal { tenant, device_id } = self.principal();
        if is_sparkplug(topic) {
            let topic: SparkplugTopic = topic.parse().map_err(|error| bad(format!("{error}")))?;
            let channel = topic.r#type.channel();
            if !channel.from_device() {
                return Err(bad(format!("{} is not for devices to publish", topic.r#type.as_str())));
            }
            return if topic.belongs_to(tenant, device_id) { Ok(channel) } else { Err(foreign()) };
        }
        let topic: Topic = topic.parse().map_err(|error| bad(format!("{error}")))?;
        if !topic.channel.from_device() {
            return Err(bad(format!("channel {} is not for devices to publish", topic.channel)));
        }
        if topic.tenant != *tenant || topic.device != *device_id {
            return Err(foreign());
        }
        Ok(topic.channel)
    }

    fn frame(&self, message: Message, refused: Option<RejectReason>) -> Frame {
        let Message { topic, content_type, payload } = message;
        let sender = refused.map(|_| self.principal().clone());
        Frame { topic, content_type, payload, arrival: self.gate.clock.arrival(), refused, sender }
    }

    fn refuse(&self, reject: &Reject) {
        self.gate.metrics.reject(reject.reason);
        let Principal { tenant, device_id } = self.principal();
        tracing::debug!(
            peer = ?self.peer, %tenant, %device_id, reason = %reject.reason, "refused: {}", reject.detail,
        );
    }

    /// Appends what the device published. Does not return while the gateway stops.
    pub(super) async fn publish(&self, message: Message, acknowledge: bool) -> Taken {
        let gate = &self.gate;
        let _place = self.window.enter(message.payload.len() + message.topic.len());
        gate.in_flight.fetch_add(1, Ordering::AcqRel);
        let in_flight = InFlight(gate.clone());
        if gate.stopping.load(Ordering::Acquire) {
            drop(in_flight);
            return pending().await;
        }
        let began = Instant::now();
        gate.metrics.publishes.inc();
        gate.metrics.bytes.inc_by(message.payload.len() as u64);
        let judged = self.judge(&message.topic);
        let frame = self.frame(message, judged.as_ref().err().map(|reject| reject.reason));
        let appended =
            if acknowledge { gate.append(frame).await } else { self.append_unwatched(frame, in_flight).await };
        match (appended, judged) {
            (Err(error), _) => Taken::Failed { full: is_full(&error) },
            (Ok(()), Err(reject)) => {
                self.refuse(&reject);
                Taken::Refused(reject)
            }
            (Ok(()), Ok(_)) => {
                if acknowledge {
                    gate.metrics.acknowledged.inc();
                    gate.metrics.puback.observe(began.elapsed().as_secs_f64());
                }
                Taken::Stored
            }
        }
    }

    /// Appends a QoS 0 publish so that it also finishes when the connection ends meanwhile.
    async fn append_unwatched(&self, frame: Frame, in_flight: InFlight) -> Result<(), DoorError> {
        struct Orphan(Arc<Gate>);
        impl Drop for Orphan {
            fn drop(&mut self) {
                self.0.orphans.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let gate = self.gate.clone();
        if gate.orphans.load(Ordering::Acquire) >= ORPHANS_MAX {
            return gate.append(frame).await;
        }
        gate.orphans.fetch_add(1, Ordering::AcqRel);
        let orphan = Orphan(gate);
        let task = ntex::rt::spawn(async move {
            let appended = orphan.0.append(frame).await;
            drop((in_flight, orphan));
            appended
        });
        task.await.unwrap_or_else(|_| Err("the gateway's thread ended".into()))
    }

    /// Whether the device may subscribe to `filter`: its own commands, nothing else.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        let Principal { tenant, device_id } = self.principal();
        let own = Topic::new(tenant.clone(), device_id.clone(), Channel::Command);
        let may = filter.parse().is_ok_and(|topic: Topic| topic == own);
        if !may {
            self.refuse(&Reject::new(RejectReason::ForeignTopic, "a device subscribes to its own commands only"));
        }
        may
    }

    /// The device says goodbye: its will is void.
    pub(super) fn forget_will(&self) {
        self.will.take();
    }

    /// Counts what ended the connection, if the device is to blame.
    pub(super) fn note<E>(&self, event: &Control<E>) {
        if let Control::Stop(Reason::Protocol(error)) = event {
            match reason_of(error.get_ref()) {
                Some(reason) => self.refuse(&Reject::new(reason, error.get_ref().to_string())),
                None => tracing::debug!(peer = ?self.peer, client_id = self.client_id(), "{}", error.get_ref()),
            }
        }
    }

    /// The connection is over: appends the will, if it was not made void, and gives the place free.
    pub(super) async fn end(&self) {
        let will = self.will.take();
        if let Some(will) = will.filter(|_| !self.gate.stopping.load(Ordering::Acquire)) {
            let judged = match self.judge(&will.topic) {
                Ok(Channel::Status) => Ok(()),
                Ok(_) => Err(Reject::new(RejectReason::BadTopic, "a will goes to the device's own status")),
                Err(reject) => Err(reject),
            };
            let frame = self.frame(will, judged.as_ref().err().map(|reject| reject.reason));
            if self.gate.append(frame).await.is_ok() {
                match judged {
                    Ok(()) => {
                        self.gate.metrics.wills.inc();
                    }
                    Err(reject) => self.refuse(&reject),
                }
            }
        }
        self.leave();
    }

    fn leave(&self) {
        if self.left.replace(true) {
            return;
        }
        let mut present = self.gate.present();
        if present.get(&self.identity).is_some_and(|here| here.serial == self.serial) {
            present.remove(&self.identity);
        }
        drop(present);
        self.gate.metrics.connections.dec();
        self.gone.cancel();
    }
}

impl Drop for Conn {
    /// For the connection whose task panicked.
    fn drop(&mut self) {
        self.leave();
    }
}
