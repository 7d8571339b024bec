//! Who is connected, what they may say, and the way of their words into the log.
//!
//! In: publishes and ends of connections. Out: frames appended; one live connection per device and client id.
//! Promise: [`Taken::Stored`] only after the append returned Ok; a will that does not wait is in the log before the
//! connection that takes over begins; a session is put away before whoever takes it up looks for it. Never: a look
//! into a payload.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    net::SocketAddr,
    num::NonZeroU16,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use ntex_mqtt::{Control, QoS, Reason};
use schemas::{
    door::{DoorError, Frame, Principal},
    reject::{Reject, RejectReason},
    topic::{Channel, SparkplugTopic, Topic, is_sparkplug},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    delivery::{Outbox, deliver},
    front::{Visit, reason_of},
    gate::{Gate, Identity, InFlight, Present, is_full},
    kept::Kept,
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

/// What a device asks for when it connects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Nothing of a session of before.
    pub(super) clean: bool,
    /// How long its session is kept when it has gone.
    pub(super) expiry: Duration,
    /// How long its will waits for it to come back.
    pub(super) will_delay: Duration,
}

/// A connection that has begun.
pub(super) struct Entered {
    pub(super) conn: Rc<Conn>,
    /// The word that will end it.
    pub(super) bye: oneshot::Receiver<Bye>,
    /// It goes on with a session of before.
    pub(super) resumed: bool,
}

/// A QoS 2 publish that comes in.
pub(super) enum Receives {
    /// Its id is free.
    New,
    /// It is stored and not released.
    Again,
    /// More than may be are not released.
    TooMany,
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
    will_delay: Cell<Duration>,
    session: RefCell<Kept>,
    expiry: Cell<Duration>,
    /// Ends the delivery of commands.
    delivery: RefCell<Option<DropGuard>>,
    gone: CancellationToken,
    left: Cell<bool>,
}

impl Conn {
    /// Takes the place of `principal`'s `client_id`, from an older connection if need be; none while the gateway stops.
    pub(super) async fn enter(
        visit: &Visit,
        principal: Principal,
        client_id: &str,
        will: Option<Message>,
        wish: Wish,
    ) -> Option<Entered> {
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
                        // Where it is not wanted it ends here, and its will is published.
                        let kept = gate.sessions.take(&identity, Instant::now()).filter(|_| !wish.clean);
                        let resumed = kept.is_some();
                        let mut session = kept.unwrap_or_default();
                        if resumed {
                            gate.metrics.sessions_resumed.inc();
                        }
                        if let Some(will) = session.will.take() {
                            let _ = will.send(());
                        }
                        let conn = Rc::new(Self {
                            gate: gate.clone(),
                            identity,
                            serial,
                            window: Window::new(&gate.settings),
                            peer: visit.peer,
                            will: RefCell::new(will),
                            will_delay: Cell::new(wish.will_delay),
                            session: RefCell::new(session),
                            expiry: Cell::new(wish.expiry),
                            delivery: RefCell::new(None),
                            gone,
                            left: Cell::new(false),
                        });
                        visit.is(&conn);
                        return Some(Entered { conn, bye: told, resumed });
                    }
                }
            };
            let _ = timeout(TAKEOVER_GRACE, elder.cancelled()).await;
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.identity.1
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.identity.0
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether the device may publish to `topic`.
    fn judge(&self, topic: &str) -> Result<Channel, Reject> {
        judge(self.principal(), topic)
    }

    fn frame(&self, message: Message, refused: Option<RejectReason>) -> Frame {
        frame(&self.gate, self.principal(), message, refused)
    }

    fn refuse(&self, reject: &Reject) {
        refuse(&self.gate, self.principal(), self.peer, reject);
    }

    /// Appends what the device published. Does not return while the gateway stops.
    pub(super) async fn publish(&self, message: Message, acknowledge: bool) -> Taken {
        let gate = &self.gate;
        let _place = self.window.enter(message.payload.len() + message.topic.len());
        let bytes = message.payload.len() + message.topic.len();
        let in_flight = gate.begin(bytes);
        gate.spend(self.principal(), bytes);
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
    pub(super) fn may_subscribe(&self, filter: &str) -> Result<(), NotYours> {
        let Principal { tenant, device_id } = self.principal();
        let own = Topic::new(tenant.clone(), device_id.clone(), Channel::Command);
        let why = match filter.parse::<Topic>() {
            Ok(topic) if topic == own => return Ok(()),
            _ if filter.starts_with("$share/") => NotYours::Shared,
            _ if filter.contains(['+', '#']) => NotYours::Wildcard,
            Ok(_) => NotYours::Foreign,
            Err(_) => NotYours::NoTopic,
        };
        self.refuse(&Reject::new(RejectReason::ForeignTopic, "a device subscribes to its own commands only"));
        Err(why)
    }

    /// The device wants its commands from now on.
    pub(super) fn subscribe(self: &Rc<Self>, outbox: impl Outbox, qos: QoS) {
        self.session.borrow_mut().subscribed = Some(qos);
        let stop = CancellationToken::new();
        *self.delivery.borrow_mut() = Some(stop.clone().drop_guard());
        ntex::rt::spawn(deliver(Rc::downgrade(self), outbox, qos, stop));
    }

    /// Goes on giving commands where the device is subscribed since its last connection.
    pub(super) fn deliver_again(self: &Rc<Self>, outbox: impl Outbox) {
        let subscribed = self.session.borrow().subscribed;
        if let Some(qos) = subscribed {
            self.subscribe(outbox, qos);
        }
    }

    /// The device wants no commands any more; false where it had wanted none.
    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        let Principal { tenant, device_id } = self.principal();
        let own = Topic::new(tenant.clone(), device_id.clone(), Channel::Command);
        if !filter.parse().is_ok_and(|topic: Topic| topic == own) {
            return false;
        }
        self.delivery.take();
        self.session.borrow_mut().subscribed.take().is_some()
    }

    /// A command goes out: its packet id, and whether it went out under it before.
    pub(super) fn sends(&self, command_id: &str) -> (NonZeroU16, bool) {
        let mut session = self.session.borrow_mut();
        match &session.sent {
            Some((before, id)) if before == command_id => (*id, true),
            _ => {
                let id = session.next_id();
                session.sent = Some((command_id.to_owned(), id));
                (id, false)
            }
        }
    }

    /// The command was acknowledged.
    pub(super) fn sent(&self) {
        self.session.borrow_mut().sent = None;
    }

    /// A QoS 2 publish comes in under `id`.
    pub(super) fn receives(&self, id: NonZeroU16) -> Receives {
        let session = self.session.borrow();
        if session.received.contains(&id) {
            self.gate.metrics.repeats.inc();
            return Receives::Again;
        }
        match session.received.len() < self.gate.settings.receive_maximum.into() {
            true => Receives::New,
            false => Receives::TooMany,
        }
    }

    /// The QoS 2 publish under `id` is stored.
    pub(super) fn received(&self, id: NonZeroU16) {
        self.session.borrow_mut().received.insert(id);
    }

    /// The device will not send the publish under `id` again; false where it was not known.
    pub(super) fn released(&self, id: NonZeroU16) -> bool {
        self.session.borrow_mut().received.remove(&id)
    }

    /// The device changes its mind about how long its session is kept.
    pub(super) fn set_expiry(&self, expiry: Duration) {
        self.expiry.set(expiry.min(self.gate.settings.session_expiry));
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

    /// The connection is over: appends the will, if it was not made void, or leaves it waiting; puts the session away
    /// and gives the place free.
    pub(super) async fn end(&self) {
        // Whatever was being delivered is the next connection's.
        self.delivery.take();
        let will = self.will.take();
        if let Some(will) = will.filter(|_| !self.gate.stopping.load(Ordering::Acquire)) {
            let (gate, principal, peer) = (self.gate.clone(), self.principal().clone(), self.peer);
            let delay = self.will_delay.get().min(self.expiry.get());
            if delay.is_zero() {
                publish_will(&gate, &principal, peer, will).await;
            } else {
                let (void, told) = oneshot::channel();
                self.session.borrow_mut().will = Some(void);
                ntex::rt::spawn(async move {
                    // Dropped untold, the session is over before the delay.
                    if !matches!(timeout(delay, told).await, Ok(Ok(()))) && !gate.stopping.load(Ordering::Acquire) {
                        publish_will(&gate, &principal, peer, will).await;
                    }
                });
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
            let (session, expiry) = (self.session.take(), self.expiry.get());
            if !expiry.is_zero() && !self.gate.sessions.put(&self.identity, session, expiry, Instant::now()) {
                self.gate.metrics.sessions_not_kept.inc();
            }
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

/// Why a device may not subscribe to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotYours {
    /// It names several topics.
    Wildcard,
    /// It is a shared subscription.
    Shared,
    /// It is another's, or not for devices to read.
    Foreign,
    /// It is no topic of ours.
    NoTopic,
}

/// Whether the device may publish to `topic`.
fn judge(principal: &Principal, topic: &str) -> Result<Channel, Reject> {
    let bad = |detail: String| Reject::new(RejectReason::BadTopic, detail);
    let foreign = || Reject::new(RejectReason::ForeignTopic, "the topic names another device than the credential");
    let Principal { tenant, device_id } = principal;
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

fn frame(gate: &Gate, principal: &Principal, message: Message, refused: Option<RejectReason>) -> Frame {
    let Message { topic, content_type, payload } = message;
    let sender = refused.map(|_| principal.clone());
    Frame { topic, content_type, payload, arrival: gate.clock.arrival(), refused, sender }
}

fn refuse(gate: &Gate, principal: &Principal, peer: Option<SocketAddr>, reject: &Reject) {
    gate.metrics.reject(reject.reason);
    let Principal { tenant, device_id } = principal;
    tracing::debug!(?peer, %tenant, %device_id, reason = %reject.reason, "refused: {}", reject.detail);
}

async fn publish_will(gate: &Gate, principal: &Principal, peer: Option<SocketAddr>, will: Message) {
    let judged = match judge(principal, &will.topic) {
        Ok(Channel::Status) => Ok(()),
        Ok(_) => Err(Reject::new(RejectReason::BadTopic, "a will goes to the device's own status")),
        Err(reject) => Err(reject),
    };
    let frame = frame(gate, principal, will, judged.as_ref().err().map(|reject| reject.reason));
    if gate.append(frame).await.is_ok() {
        match judged {
            Ok(()) => {
                gate.metrics.wills.inc();
            }
            Err(reject) => refuse(gate, principal, peer, &reject),
        }
    }
}
