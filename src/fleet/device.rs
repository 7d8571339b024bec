//! One device's connection to a gateway or broker (rumqttc, MQTT 5).
//!
//! In: payloads for the device's own topics. Out: which of them were acknowledged; commands, where it subscribes to them.
//! Promise: a message counts as acknowledged only when its PUBACK came with a reason code of success. Never: a reconnect
//! behind the caller's back; a broken session is dropped, and what was not acknowledged is sent again over the next one.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{
    NetworkOptions, Outgoing,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{ConnectProperties, ConnectReturnCode, LastWill, Packet, PubAckReason, SubscribeReasonCode},
        },
    },
};
use schemas::topic::{Channel, Topic};
use tokio::time::{Instant, sleep_until};

/// Messages in flight at most: what a small device can keep in memory.
const IN_FLIGHT: usize = 100;
/// How long a connection, and each acknowledgement, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Below this keep-alive a loaded machine would lose connections for nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Largest packet a device sends or takes.
const MAX_PACKET_BYTES: u32 = 1 << 20;

/// Where to connect, and with which secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The devices' password; none where the broker asks for no login.
    pub password: Option<String>,
}

impl Broker {
    /// Reads `mqtt://HOST:PORT`; the error says what is legal.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let legal = || anyhow::anyhow!("--to {url:?}: mqtt://HOST:PORT");
        let parsed = url::Url::parse(url).map_err(|_| legal())?;
        if parsed.scheme() != "mqtt" || !matches!(parsed.path(), "" | "/") {
            return Err(legal());
        }
        let host = parsed.host_str().ok_or_else(legal)?.to_owned();
        Ok(Self { host, port: parsed.port().unwrap_or(1883), password: None })
    }
}

/// Something to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The device's channel.
    pub topic: Topic,
    /// The payload.
    pub payload: Vec<u8>,
    /// Kept by the broker for who comes later: births.
    pub retain: bool,
}

/// What became of a message that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Durable at the other side.
    Acknowledged,
    /// Refused with a reason code; sending it again would not help.
    Refused,
}

impl Answer {
    /// Where it could not be stored just now that is no answer: it is sent again, later and over another session.
    fn of(reason: PubAckReason) -> Result<Self, SessionError> {
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Self::Acknowledged),
            PubAckReason::QuotaExceeded
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::UnspecifiedError => Err(SessionError::NotNow(reason)),
            _ => Ok(Self::Refused),
        }
    }
}

fn broken(error: ConnectionError) -> SessionError {
    match error {
        ConnectionError::ConnectionRefused(code) => SessionError::Login(code),
        error => SessionError::Broken(Box::new(error)),
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The other side does not know us.
    #[error("login refused: {0:?}")]
    Login(ConnectReturnCode),
    /// The connection broke.
    #[error("connection to the gateway broke")]
    Broken(#[source] Box<ConnectionError>),
    /// The other side cannot store what it is sent, for now.
    #[error("the gateway cannot store messages now: {0:?}")]
    NotNow(PubAckReason),
    /// The other side does not let us hear that.
    #[error("subscription refused: {0:?}")]
    NotSubscribed(SubscribeReasonCode),
    /// Nothing came for too long.
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Silent,
    /// rumqttc's own queue did not take a message.
    #[error("queue a publish: {0}")]
    Queue(String),
}

/// What a [`Source`] has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This, now, with QoS 1.
    Publish {
        /// Names it in the answer.
        ticket: u64,
        /// The topic.
        topic: String,
        /// The payload.
        payload: Bytes,
    },
    /// Nothing before that moment.
    At(Instant),
    /// Nothing any more.
    Done,
}

/// Says one thing after the other, without waiting for the answers.
pub trait Source {
    /// Asked whenever the connection could take a message.
    fn next(&mut self) -> Next;
    /// A message was answered.
    fn answered(&mut self, ticket: u64, answer: Answer);
}

/// An open connection of one device.
pub struct Session {
    client: AsyncClient,
    events: EventLoop,
    /// What came on a topic that was subscribed to and was not taken yet, oldest first. The gateway gives one command at
    /// a time, and at most [`IN_FLIGHT`] wait there for one device.
    heard: Vec<Bytes>,
}

impl Session {
    /// Connects as a device does: client id and user name are the device id; the will is an `offline` status.
    pub async fn open(broker: &Broker, status: &Topic) -> Result<Self, SessionError> {
        Self::open_wide(broker, status, IN_FLIGHT as u16).await
    }

    /// As [`Session::open`], with so many messages in flight at most.
    pub async fn open_wide(broker: &Broker, status: &Topic, window: u16) -> Result<Self, SessionError> {
        let id = status.device.as_str();
        let mut options = MqttOptions::new(id, &broker.host, broker.port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_clean_start(true);
        options.set_connect_properties(ConnectProperties {
            max_packet_size: Some(MAX_PACKET_BYTES),
            topic_alias_max: Some(0),
            ..ConnectProperties::new()
        });
        options.set_outgoing_inflight_upper_limit(window);
        // Otherwise a small message may wait 40 ms for the TCP acknowledgement of the one before.
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let Some(password) = &broker.password {
            options.set_credentials(id, password);
        }
        debug_assert_eq!(status.channel, Channel::Status);
        options.set_last_will(LastWill::new(
            status.to_string(),
            r#"{"state":"offline"}"#,
            QoS::AtLeastOnce,
            false,
            None,
        ));
        let (client, events) = AsyncClient::new(options, 2 * usize::from(window));
        let mut session = Self { client, events, heard: Vec::new() };
        loop {
            if let Event::Incoming(Packet::ConnAck(_)) = session.next().await? {
                return Ok(session);
            }
        }
    }

    async fn next(&mut self) -> Result<Event, SessionError> {
        match tokio::time::timeout(PATIENCE, self.events.poll()).await {
            Err(_) => Err(SessionError::Silent),
            Ok(event) => {
                let event = event.map_err(broken)?;
                self.hear(&event);
                Ok(event)
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        if let Event::Incoming(Packet::Publish(publish)) = event {
            self.heard.push(publish.payload.clone());
        }
    }

    /// Subscribes with QoS 1. What comes is acknowledged as it is read, and waits for [`Session::take_heard`].
    pub async fn subscribe(&mut self, topic: &Topic) -> Result<(), SessionError> {
        let queued = self.client.try_subscribe(topic.to_string(), QoS::AtLeastOnce);
        queued.map_err(|error| SessionError::Queue(error.to_string()))?;
        loop {
            if let Event::Incoming(Packet::SubAck(ack)) = self.next().await? {
                let refused =
                    ack.return_codes.into_iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                return refused.map_or(Ok(()), |code| Err(SessionError::NotSubscribed(code)));
            }
        }
    }

    /// Waits until something was heard, at most until that moment; whether it was.
    pub async fn listen(&mut self, until: Instant) -> Result<bool, SessionError> {
        while self.heard.is_empty() {
            // Nothing of ours is on its way, so that nothing is lost when the poll is dropped.
            let event = tokio::select! {
                biased;
                event = self.events.poll() => event.map_err(broken)?,
                () = sleep_until(until) => return Ok(false),
            };
            self.hear(&event);
        }
        Ok(true)
    }

    /// What was heard since this was last asked.
    pub fn take_heard(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.heard)
    }

    /// Publishes what the source says, at most `window` unanswered, until it is done and all is answered. After an
    /// error what was not answered must be sent again.
    pub async fn stream(&mut self, window: u16, source: &mut impl Source) -> Result<(), SessionError> {
        let Self { client, events, .. } = self;
        let mut given = VecDeque::new();
        let mut in_flight: Vec<Option<u64>> = vec![None; usize::from(window) + 1];
        let (mut unanswered, mut done) = (0, false);
        let mut heard = Instant::now();
        loop {
            let event = {
                // Kept while more is given to it: dropping it half way could lose a message.
                let mut event = pin!(events.poll());
                loop {
                    let mut wake = None;
                    while wake.is_none() && !done && unanswered < window {
                        match source.next() {
                            Next::Publish { ticket, topic, payload } => {
                                client
                                    .try_publish(topic, QoS::AtLeastOnce, false, payload)
                                    .map_err(|error| SessionError::Queue(error.to_string()))?;
                                if unanswered == 0 {
                                    heard = Instant::now();
                                }
                                given.push_back(ticket);
                                unanswered += 1;
                            }
                            Next::At(at) => wake = Some(at),
                            Next::Done => done = true,
                        }
                    }
                    let silent = match (unanswered, done) {
                        (0, true) => return Ok(()),
                        (0, false) => None,
                        _ => Some(heard + PATIENCE),
                    };
                    let until = wake.into_iter().chain(silent).min();
                    tokio::select! {
                        biased;
                        event = &mut event => break event.map_err(broken)?,
                        () = sleep_until(until.unwrap_or(heard)), if until.is_some() => {
                            if silent.is_some_and(|silent| silent <= Instant::now()) {
                                return Err(SessionError::Silent);
                            }
                        }
                    }
                }
            };
            match event {
                Event::Outgoing(Outgoing::Publish(pkid)) => {
                    let place = usize::from(pkid);
                    if in_flight.len() <= place {
                        in_flight.resize(place + 1, None);
                    }
                    in_flight[place] = given.pop_front();
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    heard = Instant::now();
                    if let Some(ticket) = in_flight.get_mut(usize::from(ack.pkid)).and_then(Option::take) {
                        unanswered -= 1;
                        source.answered(ticket, Answer::of(ack.reason)?);
                    }
                }
                _ => {}
            }
        }
    }

    /// Publishes with QoS 1 and waits for every answer. `answer` is told the index of each message as its PUBACK
    /// comes; after an error those not told are unknown and must be sent again.
    pub async fn publish(
        &mut self,
        messages: &[Message],
        mut answer: impl FnMut(usize, Answer),
    ) -> Result<(), SessionError> {
        let (mut queued, mut sent, mut answered) = (0, 0, 0);
        let mut in_flight = HashMap::new();
        while answered < messages.len() {
            while queued < messages.len() && queued - answered < IN_FLIGHT {
                let Message { topic, payload, retain } = &messages[queued];
                self.client
                    .try_publish(topic.to_string(), QoS::AtLeastOnce, *retain, payload.clone())
                    .map_err(|error| SessionError::Queue(error.to_string()))?;
                queued += 1;
            }
            match self.next().await? {
                Event::Outgoing(Outgoing::Publish(pkid)) => {
                    in_flight.insert(pkid, sent);
                    sent += 1;
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    if let Some(index) = in_flight.remove(&ack.pkid) {
                        answered += 1;
                        answer(index, Answer::of(ack.reason)?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Says goodbye, so that no will is published.
    pub async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            // rumqttc flushes before it tells of an outgoing packet.
            while let Ok(event) = self.next().await {
                if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                    break;
                }
            }
        }
    }
}

/// Subscribes with QoS 1, acknowledges whatever comes, and tells the bytes of each payload; until `stop` or an error.
pub async fn receive(
    broker: &Broker,
    client_id: &str,
    filter: &str,
    window: u16,
    mut each: impl FnMut(usize),
    stop: impl Future<Output = ()>,
) -> Result<(), SessionError> {
    let mut options = MqttOptions::new(client_id, &broker.host, broker.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_start(true);
    options.set_connect_properties(ConnectProperties {
        receive_maximum: Some(window),
        max_packet_size: Some(MAX_PACKET_BYTES),
        topic_alias_max: Some(0),
        ..ConnectProperties::new()
    });
    let (client, mut events) = AsyncClient::new(options, 10);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            event = events.poll() => match event.map_err(broken)? {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let queued = client.try_subscribe(filter, QoS::AtLeastOnce);
                    queued.map_err(|error| SessionError::Queue(error.to_string()))?;
                }
                Event::Incoming(Packet::Publish(publish)) => each(publish.payload.len()),
                _ => {}
            },
            () = &mut stop => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_host_and_port() {
        let broker = Broker::parse("mqtt://127.0.0.1:1884").unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("127.0.0.1", 1884));
        assert_eq!(Broker::parse("mqtt://localhost").unwrap().port, 1883);
        for url in ["127.0.0.1:1883", "http://x", "mqtt://", "mqtt://x/y"] {
            assert!(Broker::parse(url).is_err(), "{url}");
        }
    }
}
