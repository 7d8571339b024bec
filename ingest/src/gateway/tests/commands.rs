//! Commands to devices, with rumqttc and with bytes by hand where the packet ids matter.

use std::{collections::VecDeque, sync::Mutex};

use async_trait::async_trait;
use schemas::door::{Commands, Parcel, Receipt};
use tokio::{
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
};

use super::*;

/// Commands for one device, and how it took them.
#[derive(Default)]
pub(super) struct Drawer {
    waiting: Mutex<VecDeque<String>>,
    receipts: Mutex<Vec<(String, Receipt)>>,
    changed: watch::Sender<()>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Drawer {
    fn put(&self, command_id: &str) {
        self.waiting.lock().unwrap().push_back(command_id.into());
        self.changed.send_replace(());
    }

    async fn until_receipts(&self, count: usize) -> Vec<(String, Receipt)> {
        let mut changed = self.changed.subscribe();
        let enough = changed.wait_for(|()| self.receipts.lock().unwrap().len() >= count);
        timeout(DEADLINE, enough).await.expect("receipts come").unwrap();
        self.receipts.lock().unwrap().clone()
    }
}

#[async_trait]
impl Commands for Drawer {
    async fn next(&self, _: &Principal) -> Parcel {
        let turn = self.turn.clone().lock_owned().await;
        let mut changed = self.changed.subscribe();
        changed.wait_for(|()| !self.waiting.lock().unwrap().is_empty()).await.unwrap();
        let command_id = self.waiting.lock().unwrap().front().unwrap().clone();
        let payload = format!(r#"{{"id":"{command_id}"}}"#).into();
        Parcel { command_id, payload, expires: Instant::from_millis(61_000), turn: Box::new(turn) }
    }

    fn receipt(&self, parcel: Parcel, receipt: Receipt) {
        assert_eq!(self.waiting.lock().unwrap().pop_front().as_ref(), Some(&parcel.command_id));
        self.receipts.lock().unwrap().push((parcel.command_id, receipt));
        self.changed.send_replace(());
    }
}

/// A device by hand.
struct Raw {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

impl Raw {
    /// Connects; tells whether its session was still there.
    async fn connect(addr: SocketAddr, level: u8, clean: bool) -> (Self, bool) {
        let mut packet = connect_packet(level, "wm-1");
        if !clean {
            packet[9] &= !2;
        }
        if level == 5 && !clean {
            // A session expiry of 100 s.
            packet.splice(12..13, [5, 0x11, 0, 0, 0, 100]);
            packet[1] += 5;
        }
        let (read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
        write.write_all(&packet).await.unwrap();
        let mut raw = Self { read, write };
        let (kind, body) = raw.packet().await;
        assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
        (raw, body[0] == 1)
    }

    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let kind = self.read.read_u8().await.unwrap();
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.read.read_u8().await.unwrap();
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.read.read_exact(&mut body).await.unwrap();
            (kind, body)
        };
        timeout(DEADLINE, read).await.expect("a packet comes")
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    async fn subscribe(&mut self, level: u8) {
        let topic = b"fw/v1/acme/wm-1/command";
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        let body = [&[0, 9], properties, &[0, topic.len() as u8], topic, &[1]].concat();
        self.say(&[&[0x82, body.len() as u8][..], &body].concat()).await;
        let (kind, body) = self.packet().await;
        assert_eq!((kind, body.last()), (0x90, Some(&1)), "SUBACK");
    }

    /// The next command: first byte, packet id, payload.
    async fn command(&mut self) -> (u8, [u8; 2], String) {
        let (kind, body) = self.packet().await;
        let end = 2 + usize::from(body[1]);
        assert_eq!(std::str::from_utf8(&body[2..end]).unwrap(), "fw/v1/acme/wm-1/command");
        let payload = String::from_utf8_lossy(&body[end + 2..]);
        let begin = payload.find('{').unwrap();
        (kind, [body[end], body[end + 1]], payload[begin..].to_owned())
    }
}

async fn house() -> (House, Arc<Drawer>) {
    let drawer = Arc::new(Drawer::default());
    (House::of(Mode::Open, Some(drawer.clone()), |_| {}).await, drawer)
}

fn delivered(id: &str) -> (String, Receipt) {
    (id.to_owned(), Receipt::Delivered)
}

#[tokio::test]
async fn a_subscribed_device_gets_its_commands_in_order_one_after_the_other() {
    let (house, drawer) = house().await;
    drawer.put("1");
    let mut old = house.v3("wm-1").await;
    old.is_quiet().await;
    old.client.subscribe("fw/v1/acme/wm-1/command", QoS::AtLeastOnce).await.unwrap();
    old.next(|event| event == r#"Publish fw/v1/acme/wm-1/command {"id":"1"}"#).await;
    for id in ["2", "3", "4"] {
        drawer.put(id);
        old.next(|event| event == format!(r#"Publish fw/v1/acme/wm-1/command {{"id":"{id}"}}"#)).await;
    }
    assert_eq!(drawer.until_receipts(4).await, ["1", "2", "3", "4"].map(delivered));
    old.client.unsubscribe("fw/v1/acme/wm-1/command").await.unwrap();
    old.next(|event| event == "UnsubAck").await;
    drawer.put("5");
    old.is_quiet().await;
    assert_eq!(drawer.until_receipts(4).await.len(), 4);
}

#[tokio::test]
async fn in_mqtt_5_a_command_says_when_it_ends_and_where_to_reply_and_can_be_refused() {
    let (house, drawer) = house().await;
    let (mut device, _) = Raw::connect(house.addr(), 5, true).await;
    device.subscribe(5).await;
    drawer.put("a");
    let (kind, body) = device.packet().await;
    assert_eq!(kind, 0x32, "QoS 1, no repeat");
    let end = 2 + usize::from(body[1]);
    let properties = &body[end + 3..][..usize::from(body[end + 2])];
    assert!(properties.windows(5).any(|bytes| bytes == [0x02, 0, 0, 0, 60]), "60 s are left: {properties:?}");
    let holds = |text: &str| properties.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("fw/v1/acme/wm-1/reply") && holds("application/json"));
    // PUBACK with reason "not authorized".
    device.say(&[0x40, 3, body[end], body[end + 1], 0x87]).await;
    let receipts = drawer.until_receipts(1).await;
    assert!(matches!(&receipts[0].1, Receipt::Refused(why) if why.contains("NotAuthorized")), "{receipts:?}");
}

#[tokio::test]
async fn a_command_that_was_not_acknowledged_comes_again_under_its_id_in_the_same_session() {
    for level in [4, 5] {
        let (house, drawer) = house().await;
        let (mut device, present) = Raw::connect(house.addr(), level, false).await;
        assert!(!present);
        device.subscribe(level).await;
        drawer.put("a");
        drawer.put("b");
        let (kind, first, _) = device.command().await;
        assert_eq!(kind, 0x32);
        drop(device);
        // The session remembers the subscription and the packet id.
        let (mut device, present) = Raw::connect(house.addr(), level, false).await;
        assert!(present);
        let (kind, again, payload) = device.command().await;
        assert_eq!((kind, again, &*payload), (0x3a, first, r#"{"id":"a"}"#), "DUP");
        device.say(&[&[0x40, 2], &again[..]].concat()).await;
        let (kind, next, payload) = device.command().await;
        assert_eq!((kind, &*payload), (0x32, r#"{"id":"b"}"#));
        assert_ne!(next, again);
        drop(device);
        assert_eq!(drawer.until_receipts(1).await, [delivered("a")]);
        // A new session is sent nothing before it subscribes, and then what waits, as new.
        let (mut device, present) = Raw::connect(house.addr(), level, true).await;
        assert!(!present);
        device.subscribe(level).await;
        let (kind, id, payload) = device.command().await;
        assert_eq!((kind, &*payload), (0x32, r#"{"id":"b"}"#));
        device.say(&[&[0x40, 2], &id[..]].concat()).await;
        assert_eq!(drawer.until_receipts(2).await, [delivered("a"), delivered("b")]);
        drop(device);
        // Clean means clean: the next one finds no session.
        let (_, present) = Raw::connect(house.addr(), level, false).await;
        assert!(!present);
    }
}

#[tokio::test]
async fn a_qos_2_publish_is_stored_once_whatever_is_lost() {
    for level in [4, 5] {
        let house = House::new(Mode::Open).await;
        let topic = topic("wm-1");
        let publish = |dup: u8, payload: &str| {
            let properties: &[u8] = if level == 5 { &[0] } else { &[] };
            let head = [&[0, topic.len() as u8], topic.as_bytes(), &[0, 7], properties].concat();
            [&[0x34 | dup, (head.len() + payload.len()) as u8][..], &head, payload.as_bytes()].concat()
        };
        let (mut device, _) = Raw::connect(house.addr(), level, false).await;
        device.say(&publish(0, "a")).await;
        assert_eq!(device.packet().await.0, 0x50, "PUBREC");
        // The PUBREC was lost: the same again, on this connection and on the next.
        device.say(&publish(8, "a")).await;
        assert_eq!(device.packet().await.0, 0x50);
        drop(device);
        let (mut device, present) = Raw::connect(house.addr(), level, false).await;
        assert!(present);
        device.say(&publish(8, "a")).await;
        assert_eq!(device.packet().await.0, 0x50);
        assert_eq!(house.shelf.payloads(), ["a"]);
        device.say(&[0x62, 2, 0, 7]).await;
        assert_eq!(device.packet().await.0, 0x70, "PUBCOMP");
        // The PUBCOMP was lost.
        drop(device);
        let (mut device, _) = Raw::connect(house.addr(), level, false).await;
        device.say(&[0x62, 2, 0, 7]).await;
        let (kind, body) = device.packet().await;
        assert_eq!((kind, &body[..2]), (0x70, &[0, 7][..]));
        if level == 5 {
            assert_eq!(body[2], 0x92, "packet identifier not found");
        }
        // Released, the id is free; and it stays so, however often.
        for n in 0..3 {
            device.say(&publish(0, &n.to_string())).await;
            assert_eq!(device.packet().await.0, 0x50);
            device.say(&[0x62, 2, 0, 7]).await;
            assert_eq!(device.packet().await.0, 0x70);
        }
        assert_eq!(house.shelf.payloads(), ["a", "0", "1", "2"]);
        assert_eq!(house.gateway.gate.metrics.repeats.get(), 2);
    }
}

#[tokio::test]
async fn a_pubrec_comes_after_the_append_and_says_why_not() {
    let house = House::new(Mode::Held).await;
    let mut new = house.v5("wm-1").await;
    new.client.publish(topic("wm-1"), v5::mqttbytes::QoS::ExactlyOnce, false, "a").await.unwrap();
    house.shelf.until("it is being appended", |shelf| shelf.waiting() == 1).await;
    new.is_quiet().await;
    house.shelf.set(Mode::Open);
    new.next(|event| event == "PubComp").await;
    assert_eq!(house.shelf.payloads(), ["a"]);
    new.client.publish(topic("wm-2"), v5::mqttbytes::QoS::ExactlyOnce, false, "b").await.unwrap();
    new.next(|event| event == "PubRec NotAuthorized").await;
    let mut old = house.v3("wm-1").await;
    for n in 0..20 {
        old.client.publish(topic("wm-1"), QoS::ExactlyOnce, false, n.to_string()).await.unwrap();
    }
    for _ in 0..20 {
        old.next(|event| event == "PubComp").await;
    }
    assert_eq!(house.shelf.frames().len(), 22);
}

#[tokio::test]
async fn who_releases_nothing_is_ended() {
    let house = House::with(Mode::Open, |settings| settings.receive_maximum = 3).await;
    let (mut device, _) = Raw::connect(house.addr(), 4, true).await;
    let topic = topic("wm-1");
    for id in 1..=4 {
        let head = [&[0, topic.len() as u8], topic.as_bytes(), &[0, id]].concat();
        device.say(&[&[0x34, head.len() as u8][..], &head].concat()).await;
        if id < 4 {
            assert_eq!(device.packet().await.0, 0x50);
        }
    }
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, device.read.read_to_end(&mut rest)).await.expect("the connection ends");
    assert!(ended.is_err() || rest.is_empty());
    assert_eq!(house.rejected(RejectReason::ProtocolError), 1);
}

#[tokio::test]
async fn a_will_waits_for_its_device_to_come_back() {
    let house = House::new(Mode::Open).await;
    let with_will = |delay: u32, expiry: u32, clean: bool| {
        let mut options = house.v5_options("wm-1");
        options.set_clean_start(clean);
        options.set_session_expiry_interval(Some(expiry));
        let properties = v5::mqttbytes::v5::LastWillProperties {
            delay_interval: Some(delay),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let status = "fw/v1/acme/wm-1/status";
        let will = v5::mqttbytes::v5::LastWill::new(
            status,
            "offline",
            v5::mqttbytes::QoS::AtLeastOnce,
            false,
            Some(properties),
        );
        options.set_last_will(will);
        Client::v5(options)
    };
    let connections = |count| {
        let gate = house.gateway.gate.clone();
        async move {
            let gone = async {
                while gate.metrics.connections.get() != count {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, gone).await.unwrap();
        }
    };
    for clean in [false, true] {
        let mut device = with_will(600, 600, false);
        device.next(|event| event == "ConnAck Success").await;
        drop(device);
        connections(0).await;
        assert!(house.shelf.frames().is_empty(), "it waits");
        let mut device = with_will(0, 0, clean);
        device.next(|event| event == "ConnAck Success").await;
        device.client.disconnect().await.unwrap();
        device.end().await;
        connections(0).await;
        if clean {
            house.shelf.until("its session is over", |shelf| shelf.payloads() == ["offline"]).await;
        } else {
            assert!(house.shelf.frames().is_empty(), "it came back");
        }
    }
}
