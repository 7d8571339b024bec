//! What the gateway bounds, refuses and keeps while it stops.

use super::*;
use crate::gateway::metrics::Slowed;

#[tokio::test]
async fn an_append_that_fails_is_not_acknowledged() {
    let house = House::new(Mode::Broken(io::ErrorKind::Other)).await;
    let mut old = house.v3("old").await;
    old.publish(&topic("old"), "a").await;
    assert!(old.ack().await.starts_with("End"));
    let mut new = house.v5("new").await;
    new.publish(&topic("new"), "b").await;
    assert_eq!(new.ack().await, "PubAck ImplementationSpecificError");
    house.shelf.set(Mode::Broken(io::ErrorKind::StorageFull));
    new.publish(&topic("new"), "c").await;
    assert_eq!(new.ack().await, "PubAck QuotaExceeded");
    assert_eq!(house.gateway.gate.metrics.append_failures.get(), 3);
    house.shelf.set(Mode::Open);
    new.publish(&topic("new"), "d").await;
    assert_eq!(new.ack().await, "PubAck Success");
    assert_eq!(house.shelf.payloads(), ["d"]);
}

#[tokio::test]
async fn a_device_subscribes_to_its_own_commands_only() {
    let house = House::new(Mode::Open).await;
    let (mut old, mut new) = (house.v3("old").await, house.v5("new").await);
    for (filter, granted) in [
        ("fw/v1/acme/{}/command", "Success(AtLeastOnce)"),
        ("fw/v1/acme/other/command", "NotAuthorized"),
        ("fw/v1/acme/{}/telemetry", "NotAuthorized"),
        ("fw/v1/acme/+/command", "WildcardSubscriptionsNotSupported"),
        ("#", "WildcardSubscriptionsNotSupported"),
        ("gossip", "TopicFilterInvalid"),
    ] {
        old.client.subscribe(filter.replace("{}", "old"), QoS::ExactlyOnce).await.unwrap();
        new.client.subscribe(filter.replace("{}", "new"), v5::mqttbytes::QoS::AtLeastOnce).await.unwrap();
        let answers = (old.next(|e| e.starts_with("SubAck")).await, new.next(|e| e.starts_with("SubAck")).await);
        let old = if granted.starts_with("Success") { granted } else { "Failure" };
        assert_eq!(answers, (format!("SubAck [{old}]"), format!("SubAck [{granted}]")), "{filter}");
    }
}

#[tokio::test]
async fn who_does_not_log_in_in_time_is_closed() {
    let house = House::with(Mode::Open, |settings| settings.connect_timeout = Duration::from_millis(300)).await;
    let connect = connect_packet(5, "slow");
    for begun in [&[][..], &connect[..1], &connect[..9], &connect[..connect.len() - 1]] {
        answer(house.addr(), begun).await;
    }
    assert_eq!(house.rejected(RejectReason::ProtocolError), 4);
    let mut patient = house.v3("wm-1").await;
    patient.is_quiet().await;
    patient.is_quiet().await;
    patient.publish(&topic("wm-1"), "still here").await;
    assert_eq!(patient.ack().await, "PubAck 1");
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    let house = House::with(Mode::Open, |settings| settings.max_connections = 1).await;
    let mut first = house.v3("wm-1").await;
    assert!(answer(house.addr(), &connect_packet(4, "wm-2")).await.is_empty());
    assert_eq!(house.rejected(RejectReason::TooManyConnections), 1);
    first.publish(&topic("wm-1"), "undisturbed").await;
    assert_eq!(first.ack().await, "PubAck 1");
}

#[tokio::test]
async fn qos_0_is_stored_also_when_its_device_is_gone() {
    let house = House::new(Mode::Held).await;
    let topic_length = topic("wm-1").len() as u8;
    let publish = [&[0x30, 2 + topic_length + 2, 0, topic_length][..], topic("wm-1").as_bytes(), b"hi"].concat();
    // Gone before it is stored.
    answer(house.addr(), &[&connect_packet(4, "wm-1")[..], &publish, &[0xe0, 0]].concat()).await;
    house.shelf.until("it is being appended", |shelf| shelf.waiting() == 1).await;
    house.shelf.set(Mode::Open);
    house.shelf.until("it is stored", |shelf| shelf.payloads() == ["hi"]).await;
}

#[tokio::test]
async fn a_connection_is_not_read_beyond_its_window() {
    let house = House::with(Mode::Held, |settings| settings.receive_maximum = 4).await;
    let mut old = house.v3("wm-1").await;
    let payload = |n: usize| format!("{n:04096}");
    for n in 0..64 {
        old.publish(&topic("wm-1"), &payload(n)).await;
    }
    house.shelf.until("the window is full", |shelf| shelf.waiting() >= 4).await;
    old.is_quiet().await;
    // The window, and what one or two reads from the socket held.
    assert!(house.shelf.waiting() <= 4 + 8, "{}", house.shelf.waiting());
    house.shelf.set(Mode::Open);
    for n in 1..=64 {
        assert_eq!(old.ack().await, format!("PubAck {n}"));
    }
    let mut stored = house.shelf.payloads();
    stored.sort();
    assert!(stored == (0..64).map(payload).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_real_log_each_device_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), &crate::log::Settings::default(), &mut Registry::default()).unwrap();
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    let clock = Arc::new(ManualClock::default());
    let gateway = Gateway::start(settings, doors(Arc::new(log.clone())), clock, &mut Registry::default()).await;
    let gateway = gateway.unwrap();
    let devices = (0..4).map(|device| {
        let device = format!("wm-{device}");
        let mut options = rumqttc::MqttOptions::new(&device, "127.0.0.1", gateway.local_addr().port());
        options.set_credentials(&device, PASSWORD);
        tokio::spawn(async move {
            let mut client = Client::v3(options);
            for n in 0..500 {
                client.publish(&topic(&device), &n.to_string()).await;
            }
            for _ in 0..500 {
                assert!(client.ack().await.starts_with("PubAck"));
            }
        })
    });
    for device in devices.collect::<Vec<_>>() {
        device.await.unwrap();
    }
    assert_eq!(log.durable().0, 2000);
    let mut numbers = std::collections::HashMap::<String, Vec<String>>::new();
    let mut reader = log.reader(log.first()).unwrap();
    while reader.position() < log.durable() {
        for (_, frame) in reader.next(1000, 1 << 20).unwrap() {
            numbers.entry(frame.topic).or_default().push(String::from_utf8(frame.payload.to_vec()).unwrap());
        }
    }
    assert_eq!(numbers.len(), 4);
    let in_order: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    assert!(numbers.values().all(|numbers| *numbers == in_order));
    gateway.stop().await;
}

#[tokio::test]
async fn a_large_payload_in_many_pieces_is_one_frame() {
    let house = House::new(Mode::Open).await;
    let mut options = house.v3_options("wm-1");
    options.set_max_packet_size(1 << 20, 1 << 20);
    let mut old = Client::v3(options);
    old.next(|event| event == "ConnAck Success").await;
    let payload = "x".repeat(1_000_000);
    for _ in 0..8 {
        old.publish(&topic("wm-1"), &payload).await;
    }
    for n in 1..=8 {
        assert_eq!(old.ack().await, format!("PubAck {n}"));
    }
    assert!(house.shelf.payloads().iter().all(|stored| *stored == payload));
}

#[tokio::test]
async fn a_stop_lets_begun_publishes_finish() {
    let house = House::new(Mode::Held).await;
    let topic = topic("wm-1");
    let publish =
        [&[0x32, topic.len() as u8 + 10, 0, topic.len() as u8][..], topic.as_bytes(), b"\0\x07\0begun"].concat();
    // By hand: rumqttc drops the PUBACK that it reads together with the DISCONNECT.
    let device = tokio::spawn({
        let (addr, said) = (house.addr(), [connect_packet(5, "wm-1"), publish].concat());
        async move { answer(addr, &said).await }
    });
    house.shelf.until("it is being appended", |shelf| shelf.waiting() == 1).await;
    let (addr, shelf) = (house.addr(), house.shelf.clone());
    let stopping = tokio::spawn(house.gateway.stop());
    assert!(
        timeout(QUIET, async {
            while !stopping.is_finished() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_err()
    );
    shelf.set(Mode::Open);
    timeout(DEADLINE, stopping).await.unwrap().unwrap();
    let said = device.await.unwrap();
    let acknowledged = &said[2 + usize::from(said[1])..];
    assert_eq!((acknowledged[0], &acknowledged[2..4]), (0x40, &[0, 7][..]), "PUBACK");
    let bye = &acknowledged[2 + usize::from(acknowledged[1])..];
    assert_eq!((bye[0], bye[2]), (0xe0, 0x8b), "DISCONNECT, server shutting down");
    assert_eq!(shelf.payloads(), ["begun"]);
    assert!(TcpStream::connect(addr).await.is_err(), "the port is free");
}

#[tokio::test]
async fn a_stop_publishes_no_wills() {
    let house = House::new(Mode::Open).await;
    let mut options = house.v3_options("wm-1");
    options.set_last_will(rumqttc::LastWill::new("fw/v1/acme/wm-1/status", "offline", QoS::AtLeastOnce, false));
    let mut device = Client::v3(options);
    device.next(|event| event == "ConnAck Success").await;
    timeout(DEADLINE, house.gateway.stop()).await.unwrap();
    device.end().await;
    assert!(house.shelf.frames().is_empty());
}

#[tokio::test]
async fn every_metric_has_its_sentence_and_every_reason_starts_at_zero() {
    let house = House::new(Mode::Open).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &house.registry).unwrap();
    for line in ["forewarn_gateway_connections 0", "forewarn_gateway_rejected_total{reason=\"oversize_packet\"} 0"] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(text.matches("# HELP").count(), text.matches("# TYPE").count());
}

#[tokio::test]
async fn a_setting_out_of_range_and_a_taken_port_are_errors() {
    let house = House::new(Mode::Open).await;
    for (settings, text) in [
        (Settings { workers: 0, ..Settings::default() }, "gateway.workers must be 1 to 64".to_owned()),
        (Settings { listen: house.addr(), ..Settings::default() }, format!("listen on {}", house.addr())),
    ] {
        let clock = Arc::new(ManualClock::default());
        let started: Result<_, GatewayError> =
            Gateway::start(settings, doors(house.shelf.clone()), clock, &mut Registry::default()).await;
        assert_eq!(started.unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn a_sparkplug_node_speaks_for_itself_and_its_devices_only() {
    let house = House::new(Mode::Open).await;
    let mut node = house.v5("line-4").await;
    for (topic, answer) in [
        ("spBv1.0/acme/NBIRTH/line-4", "PubAck Success"),
        ("spBv1.0/acme/DDATA/line-4/pump-7", "PubAck Success"),
        ("spBv1.0/acme/NDATA/line-5", "PubAck NotAuthorized"),
        ("spBv1.0/acme/DDATA/line-5/line-4", "PubAck NotAuthorized"),
        ("spBv1.0/other/NDATA/line-4", "PubAck NotAuthorized"),
        ("spBv1.0/acme/NCMD/line-4", "PubAck TopicNameInvalid"),
        ("spBv1.0/acme/NDATA/line-4/pump-7", "PubAck TopicNameInvalid"),
    ] {
        node.publish(topic, topic).await;
        assert_eq!(node.ack().await, answer, "{topic}");
    }
}

#[tokio::test]
async fn a_device_that_is_too_fast_is_read_more_slowly_and_loses_nothing() {
    for level in [4, 5] {
        let house = House::with(Mode::Open, |settings| settings.device_messages_per_second = 20).await;
        let device = format!("wm-{level}");
        let topic = topic(&device);
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        let mut said = connect_packet(level, &device);
        for id in 1..=40 {
            let head = [&[0, topic.len() as u8], topic.as_bytes(), &[0, id], properties].concat();
            // Larger than what is read at once, so that each read waits for its turn.
            let length = head.len() + 9000;
            said.extend([0x32, (length % 128) as u8 | 0x80, (length / 128) as u8]);
            said.extend([&head[..], &[b'x'; 9000]].concat());
        }
        let mut neighbour = house.v3("neighbour").await;
        let (mut read, mut write) = TcpStream::connect(house.addr()).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            write.write_all(&said).await.unwrap();
            write
        });
        neighbour.publish("fw/v1/acme/neighbour/telemetry", "x").await;
        assert_eq!(neighbour.ack().await, "PubAck 1", "another device is not slowed");
        house.shelf.until("all are stored", |shelf| shelf.frames().len() == 41).await;
        assert!(house.gateway.gate.metrics.times_slowed(Slowed::Messages) > 0);
        let mut answers = Vec::new();
        while answers.len() < 160 {
            let read = timeout(DEADLINE, read.read_buf(&mut answers)).await.expect("acknowledgements come").unwrap();
            assert!(read > 0, "the connection stays");
        }
        drop(sending.await.unwrap());
    }
}

#[tokio::test]
async fn above_the_memory_for_publishes_nobody_is_read_and_health_says_so() {
    let house = House::with(Mode::Held, |settings| {
        settings.max_packet_bytes = 16_384;
        settings.memory_bytes = 16_384;
    })
    .await;
    let limit = house.gateway.limit();
    assert_eq!(limit(), None);
    let (mut old, mut new) = (house.v3("old").await, house.v5("new").await);
    let payload = |n: usize| format!("{n:08000}");
    for n in 0..20 {
        old.publish(&topic("old"), &payload(n)).await;
        new.publish(&topic("new"), &payload(n)).await;
    }
    house.shelf.until("it is full", |shelf| shelf.waiting() >= 3).await;
    old.is_quiet().await;
    new.is_quiet().await;
    // The budget, and what one or two reads of each connection held.
    assert!(house.shelf.waiting() <= 3 + 8, "{}", house.shelf.waiting());
    assert_eq!(limit(), Some("memory"));
    house.shelf.set(Mode::Open);
    for n in 1..=20 {
        assert_eq!(old.ack().await, format!("PubAck {n}"));
        assert_eq!(new.ack().await, "PubAck Success");
    }
    house.shelf.until("room again", |_| limit().is_none()).await;
    assert!(house.gateway.gate.metrics.times_slowed(Slowed::Memory) > 0);
}

#[tokio::test]
async fn who_connects_too_fast_is_closed_and_counted() {
    let house = House::with(Mode::Open, |settings| settings.connects_per_second_per_address = 2).await;
    let _first = house.v3("wm-1").await;
    let mut second = house.v3("wm-2").await;
    let mut refused = 0;
    while refused == 0 {
        // A second may pass between two.
        if answer(house.addr(), &[&connect_packet(4, "wm-3")[..], &[0xe0, 0]].concat()).await.is_empty() {
            refused += 1;
        }
    }
    assert_eq!(house.rejected(RejectReason::ConnectRate), refused);
    second.publish(&topic("wm-2"), "undisturbed").await;
    assert_eq!(second.ack().await, "PubAck 1");
}
