//! The gateway with real clients over real sockets: rumqttc for what clients do, raw bytes for what they should not.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rumqttc::{Packet, QoS, v5};
use schemas::{
    door::{Append, Commands, DeviceAuth, Login, Principal},
    reject::{Reject, RejectReason},
    time::{Instant, ManualClock},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::{
    Doors, Gateway, GatewayError, Settings,
    shelf::{DEADLINE, Mode, QUIET, Shelf},
};
use crate::log::Log;

mod commands;
mod limits;
mod tls;

const PASSWORD: &str = "correct horse";

/// Knows every device of tenant acme by one password; the user name is the device id.
struct OnePassword;

impl DeviceAuth for OnePassword {
    fn login(&self, login: &Login<'_>) -> Result<Principal, Reject> {
        if let Some(decided) = login.by_certificate() {
            return decided;
        }
        let refuse = || Reject::new(RejectReason::BadCredentials, "user name or password");
        let device_id = login.user_name.and_then(|name| name.parse().ok()).ok_or_else(refuse)?;
        if login.password != Some(PASSWORD.as_bytes()) {
            return Err(refuse());
        }
        Ok(Principal { tenant: "acme".parse().unwrap(), device_id })
    }
}

fn doors(log: Arc<dyn Append>) -> Doors {
    Doors { log, auth: Arc::new(OnePassword), commands: None }
}

struct House {
    gateway: Gateway,
    shelf: Arc<Shelf>,
    registry: Registry,
}

impl House {
    async fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {}).await
    }

    async fn with(mode: Mode, change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(mode, None, change).await
    }

    async fn of(mode: Mode, commands: Option<Arc<dyn Commands>>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
        change(&mut settings);
        let shelf = Shelf::new(mode);
        let mut registry = Registry::default();
        let clock = Arc::new(ManualClock::at(Instant::from_millis(1000)));
        let gateway =
            Gateway::start(settings, Doors { commands, ..doors(shelf.clone()) }, clock, &mut registry).await.unwrap();
        Self { gateway, shelf, registry }
    }

    fn addr(&self) -> SocketAddr {
        self.gateway.local_addr()
    }

    fn rejected(&self, reason: RejectReason) -> u64 {
        self.gateway.gate.metrics.rejected(reason)
    }

    /// Frames with payload and reason, sorted: devices do not wait for one another.
    fn stored(&self) -> Vec<(String, Option<RejectReason>)> {
        let mut stored: Vec<_> = (self.shelf.frames().into_iter())
            .map(|frame| (String::from_utf8(frame.payload.to_vec()).unwrap(), frame.refused))
            .collect();
        stored.sort();
        stored
    }

    async fn v3(&self, device: &str) -> Client<rumqttc::AsyncClient> {
        let mut client = Client::v3(self.v3_options(device));
        client.next(|event| event == "ConnAck Success").await;
        client
    }

    fn v3_options(&self, device: &str) -> rumqttc::MqttOptions {
        let mut options = rumqttc::MqttOptions::new(device, "127.0.0.1", self.addr().port());
        options.set_credentials(device, PASSWORD);
        options
    }

    async fn v5(&self, device: &str) -> Client<v5::AsyncClient> {
        let mut client = Client::v5(self.v5_options(device));
        client.next(|event| event == "ConnAck Success").await;
        client
    }

    fn v5_options(&self, device: &str) -> v5::MqttOptions {
        let mut options = v5::MqttOptions::new(device, "127.0.0.1", self.addr().port());
        options.set_credentials(device, PASSWORD);
        options
    }
}

/// A client, and what happens to it as text. Dropped, it is gone without a word.
struct Client<C> {
    client: C,
    events: mpsc::UnboundedReceiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl<C> Drop for Client<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C> Client<C> {
    /// Waits for an event that fits, and returns it. The end of the connection is an event too.
    async fn next(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        loop {
            match timeout(DEADLINE, self.events.recv()).await {
                Ok(Some(event)) if fits(&event) => return event,
                Ok(Some(event)) => seen.push(event),
                Ok(None) | Err(_) => panic!("waited in vain; saw {seen:?}"),
            }
        }
    }

    async fn ack(&mut self) -> String {
        self.next(|event| event.starts_with("PubAck") || event.starts_with("End")).await
    }

    async fn end(&mut self) -> String {
        self.next(|event| event.starts_with("End")).await
    }

    async fn is_quiet(&mut self) {
        while let Ok(event) = timeout(QUIET, self.events.recv()).await {
            let event = event.unwrap();
            assert!(!event.starts_with("PubAck") && !event.starts_with("End"), "{event}");
        }
    }
}

impl Client<rumqttc::AsyncClient> {
    fn v3(options: rumqttc::MqttOptions) -> Self {
        let (client, mut events) = rumqttc::AsyncClient::new(options, 256);
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let event = match events.poll().await {
                    Ok(rumqttc::Event::Incoming(Packet::ConnAck(ack))) => format!("ConnAck {:?}", ack.code),
                    Ok(rumqttc::Event::Incoming(Packet::PubAck(ack))) => format!("PubAck {}", ack.pkid),
                    Ok(rumqttc::Event::Incoming(Packet::SubAck(ack))) => format!("SubAck {:?}", ack.return_codes),
                    Ok(rumqttc::Event::Incoming(Packet::UnsubAck(_))) => "UnsubAck".into(),
                    Ok(rumqttc::Event::Incoming(Packet::PubComp(_))) => "PubComp".into(),
                    Ok(rumqttc::Event::Incoming(Packet::Publish(publish))) => {
                        format!("Publish {} {}", publish.topic, String::from_utf8_lossy(&publish.payload))
                    }
                    Ok(_) => continue,
                    Err(error) => format!("End {error:?}"),
                };
                if tell.send(event.clone()).is_err() || event.starts_with("End") {
                    break;
                }
            }
        });
        Self { client, events: told, task }
    }

    async fn publish(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }
}

impl Client<v5::AsyncClient> {
    fn v5(options: v5::MqttOptions) -> Self {
        use v5::{Event, mqttbytes::v5::Packet};
        let (client, mut events) = v5::AsyncClient::new(options, 256);
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let event = match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(ack))) => format!("ConnAck {:?}", ack.code),
                    Ok(Event::Incoming(Packet::PubAck(ack))) => format!("PubAck {:?}", ack.reason),
                    Ok(Event::Incoming(Packet::SubAck(ack))) => format!("SubAck {:?}", ack.return_codes),
                    Ok(Event::Incoming(Packet::PubRec(ack))) => format!("PubRec {:?}", ack.reason),
                    Ok(Event::Incoming(Packet::PubComp(_))) => "PubComp".into(),
                    Ok(_) => continue,
                    Err(error) => format!("End {error:?}"),
                };
                if tell.send(event.clone()).is_err() || event.starts_with("End") {
                    break;
                }
            }
        });
        Self { client, events: told, task }
    }

    async fn publish(&self, topic: &str, payload: &str) {
        self.client.publish(topic, v5::mqttbytes::QoS::AtLeastOnce, false, payload.to_owned()).await.unwrap();
    }
}

fn topic(device: &str) -> String {
    format!("fw/v1/acme/{device}/telemetry")
}

/// A CONNECT packet, by hand.
fn connect_packet(level: u8, device: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut body = [&text("MQTT")[..], &[level, 0b1100_0010, 0, 60]].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend([text(device), text(device), text(PASSWORD)].concat());
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// What the gateway answers to `bytes` until it closes the connection.
async fn answer(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    match timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("the gateway closes the connection") {
        Ok(_) => {}
        // Closed with bytes of ours unread.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    answer
}

#[tokio::test]
async fn a_puback_comes_after_the_append() {
    let house = House::new(Mode::Held).await;
    let (mut old, mut new) = (house.v3("old").await, house.v5("new").await);
    old.publish(&topic("old"), "a").await;
    new.publish(&topic("new"), "b").await;
    house.shelf.until("both are being appended", |shelf| shelf.waiting() == 2).await;
    old.is_quiet().await;
    new.is_quiet().await;
    assert_eq!(house.gateway.gate.metrics.acknowledged.get(), 0);
    house.shelf.set(Mode::Open);
    assert_eq!(old.ack().await, "PubAck 1");
    assert_eq!(new.ack().await, "PubAck Success");
    assert_eq!(house.stored(), [("a".into(), None), ("b".into(), None)]);
    assert_eq!(house.shelf.frames()[0].arrival, Instant::from_millis(1000));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_counted() {
    let house = House::new(Mode::Open).await;
    let mut options = house.v3_options("wm-1");
    options.set_credentials("wm-1", "wrong");
    let end = Client::v3(options).end().await;
    assert!(end.contains("BadUserNamePassword"), "{end}");
    let mut options = house.v5_options("wm-1");
    options.set_credentials("wm-1", "wrong");
    let end = Client::v5(options).end().await;
    assert!(end.contains("BadUserNamePassword"), "{end}");
    assert_eq!(house.rejected(RejectReason::BadCredentials), 2);
}

#[tokio::test]
async fn a_foreign_or_bad_topic_becomes_a_dead_letter_with_an_answer() {
    let house = House::new(Mode::Open).await;
    let mut new = house.v5("new").await;
    for (topic, answer) in [
        (topic("other"), "PubAck NotAuthorized"),
        ("fw/v1/other/new/telemetry".into(), "PubAck NotAuthorized"),
        ("fw/v1/acme/new/command".into(), "PubAck TopicNameInvalid"),
        ("gossip".into(), "PubAck TopicNameInvalid"),
        (topic("new"), "PubAck Success"),
    ] {
        new.publish(&topic, &format!("v5 {topic}")).await;
        assert_eq!(new.ack().await, answer, "{topic}");
    }
    for topic in [topic("other"), "gossip".into()] {
        let mut old = house.v3("old").await;
        old.publish(&topic, &format!("v3 {topic}")).await;
        assert!(old.ack().await.starts_with("End"), "{topic}");
    }
    let (bad, foreign) = (Some(RejectReason::BadTopic), Some(RejectReason::ForeignTopic));
    assert_eq!(
        house.stored(),
        [
            ("v3 fw/v1/acme/other/telemetry".into(), foreign),
            ("v3 gossip".into(), bad),
            ("v5 fw/v1/acme/new/command".into(), bad),
            ("v5 fw/v1/acme/new/telemetry".into(), None),
            ("v5 fw/v1/acme/other/telemetry".into(), foreign),
            ("v5 fw/v1/other/new/telemetry".into(), foreign),
            ("v5 gossip".into(), bad),
        ]
    );
    assert_eq!(house.rejected(RejectReason::ForeignTopic), 3);
    assert_eq!(house.rejected(RejectReason::BadTopic), 3);
}

#[tokio::test]
async fn an_oversize_packet_ends_its_connection_with_the_reason() {
    let house = House::with(Mode::Open, |settings| settings.max_packet_bytes = 1024).await;
    let too_much = [0x32, 0xff, 0xff, 0x7f];
    let said = answer(house.addr(), &[&connect_packet(5, "new")[..], &too_much].concat()).await;
    assert_eq!(&said[..2], [0x20, said[1]], "CONNACK");
    let disconnect = &said[2 + usize::from(said[1])..];
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x95), "DISCONNECT, packet too large: {disconnect:?}");
    let said = answer(house.addr(), &[&connect_packet(4, "old")[..], &too_much].concat()).await;
    assert_eq!(said, [0x20, 2, 0, 0], "CONNACK and no more");
    assert_eq!(house.rejected(RejectReason::OversizePacket), 2);
}

#[tokio::test]
async fn payloads_that_come_in_pieces_are_stored_whole_and_all_acknowledged() {
    const PUBLISHES: usize = 3000;
    let house = House::new(Mode::Open).await;
    for level in [4, 5] {
        let device = format!("wm-{level}");
        let topic = topic(&device);
        let mut said = connect_packet(level, &device);
        for n in 0..PUBLISHES {
            let payload = format!("{device} {n} {}", "x".repeat(5500 + n % 97));
            let properties: &[u8] = if level == 5 { &[0] } else { &[] };
            let packet_id = (n as u16 + 1).to_be_bytes();
            let head = [&(topic.len() as u16).to_be_bytes(), topic.as_bytes(), &packet_id, properties].concat();
            let length = head.len() + payload.len();
            said.extend([0x32, (length % 128) as u8 | 0x80, (length / 128) as u8]);
            said.extend([&head, payload.as_bytes()].concat());
        }
        let (mut read, mut write) = TcpStream::connect(house.addr()).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            // Neither a whole number of packets nor of the gateway's reads.
            for piece in said.chunks(7001) {
                write.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            write
        });
        let connack = 2 + async { read.read_u16().await.unwrap() & 0xff }.await;
        read.read_exact(&mut vec![0; usize::from(connack) - 2]).await.unwrap();
        for n in 0..PUBLISHES {
            let answer = timeout(DEADLINE, async {
                let head = read.read_u16().await.unwrap();
                let mut rest = vec![0; usize::from(head & 0xff)];
                read.read_exact(&mut rest).await.unwrap();
                (head >> 8, u16::from_be_bytes([rest[0], rest[1]]))
            });
            assert_eq!(answer.await.unwrap_or_else(|_| panic!("no answer to {n}")), (0x40, n as u16 + 1));
        }
        drop(sending.await.unwrap());
    }
    let stored = house.shelf.payloads();
    assert_eq!(stored.len(), 2 * PUBLISHES);
    for (place, payload) in stored.iter().enumerate() {
        let n = place % PUBLISHES;
        let device = if place < PUBLISHES { "wm-4" } else { "wm-5" };
        assert_eq!(*payload, format!("{device} {n} {}", "x".repeat(5500 + n % 97)));
    }
}

#[tokio::test]
async fn what_is_not_mqtt_is_counted_and_disturbs_nobody() {
    let house = House::new(Mode::Open).await;
    let mut device = house.v3("wm-1").await;
    let others: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 64],
        &connect_packet(3, "old"),
        // A second CONNECT, and a publish to a wildcard.
        &[&connect_packet(4, "x")[..], b"\x30\x04\x00\x01#x"].concat(),
    ];
    for (n, bytes) in others.iter().enumerate() {
        answer(house.addr(), bytes).await;
        device.publish(&topic("wm-1"), &n.to_string()).await;
        device.ack().await;
    }
    assert_eq!(house.rejected(RejectReason::ProtocolError), others.len() as u64);
    assert_eq!(house.shelf.payloads(), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_new_connection_takes_over_after_the_will_of_the_old_one() {
    let house = House::new(Mode::Open).await;
    let mut options = house.v5_options("wm-1");
    options.set_last_will(v5::mqttbytes::v5::LastWill::new(
        "fw/v1/acme/wm-1/status",
        "offline",
        v5::mqttbytes::QoS::AtLeastOnce,
        false,
        None,
    ));
    let mut first = Client::v5(options);
    first.next(|event| event == "ConnAck Success").await;
    // Another device with this client id is another client.
    let mut options = house.v3_options("wm-1");
    options.set_credentials("wm-2", PASSWORD);
    let mut other = Client::v3(options);
    other.next(|event| event == "ConnAck Success").await;
    let mut second = house.v3("wm-1").await;
    let end = first.end().await;
    assert!(end.contains("SessionTakenOver"), "{end}");
    second.publish("fw/v1/acme/wm-1/status", "online").await;
    assert_eq!(second.ack().await, "PubAck 1");
    other.publish(&topic("wm-2"), "here").await;
    assert_eq!(other.ack().await, "PubAck 1");
    assert_eq!(house.shelf.payloads(), ["offline", "online", "here"]);
    assert_eq!(house.gateway.gate.metrics.connections.get(), 2);
}

#[tokio::test]
async fn a_will_is_kept_for_a_device_that_goes_without_a_word() {
    let house = House::new(Mode::Open).await;
    let with_will = |device: &str, topic: &str| {
        let mut options = house.v3_options(device);
        options.set_last_will(rumqttc::LastWill::new(topic, format!("{device} went"), QoS::AtLeastOnce, false));
        Client::v3(options)
    };
    let mut polite = with_will("polite", "fw/v1/acme/polite/status");
    polite.next(|event| event == "ConnAck Success").await;
    polite.client.disconnect().await.unwrap();
    polite.end().await;
    for (device, will) in [("mute", "mute/status"), ("liar", "other/status"), ("odd", "odd/telemetry")] {
        let mut client = with_will(device, &format!("fw/v1/acme/{will}"));
        client.next(|event| event == "ConnAck Success").await;
    }
    house.shelf.until("three wills", |shelf| shelf.frames().len() == 3).await;
    assert_eq!(
        house.stored(),
        [
            ("liar went".into(), Some(RejectReason::ForeignTopic)),
            ("mute went".into(), None),
            ("odd went".into(), Some(RejectReason::BadTopic)),
        ]
    );
}
