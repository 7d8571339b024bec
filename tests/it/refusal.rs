//! Bad input: each kind has its reason, is counted, is to be found in `dead_letter` where a payload arrived, and
//! disturbs nobody else.

use forewarn::fleet::device::{Answer, Broker, Message, Session, SessionError};
use schemas::topic::{Channel, Topic};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::process::{Server, until};

fn topic(device: &str, channel: Channel) -> Topic {
    Topic::new("dev".parse().unwrap(), device.parse().unwrap(), channel)
}

fn telemetry(device: &str, payload: impl ToString) -> Message {
    let payload = payload.to_string().into_bytes();
    Message { topic: topic(device, Channel::Telemetry), payload, retain: false }
}

/// A device that is well all the time.
struct Neighbour {
    session: Session,
    seq: i64,
}

impl Neighbour {
    async fn speaks(&mut self) {
        let reading = json!({
            "profile": "washing_machine", "boot": 1, "seq": self.seq, "ts": 1_700_000_000_000i64 + self.seq * 1000,
            "m": { "drum_speed_rpm": 800, "vibration_mm_s": 2.0 },
        });
        self.seq += 1;
        let mut answers = Vec::new();
        let message = telemetry("neighbour", reading);
        self.session.publish(&[message], |_, answer| answers.push(answer)).await.unwrap();
        assert_eq!(answers, [Answer::Acknowledged]);
    }
}

async fn open(broker: &Broker, device: &str) -> Result<Session, SessionError> {
    Session::open(broker, &topic(device, Channel::Status)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_input_has_its_reason_and_disturbs_nobody() {
    let server = Server::start(&[]).await;
    let broker = server.broker();
    let mut neighbour = Neighbour { session: open(&broker, "neighbour").await.unwrap(), seq: 0 };
    neighbour.speaks().await;

    // Payloads that are taken, and cannot become rows.
    let good =
        json!({ "profile": "washing_machine", "boot": 1, "ts": 1_700_000_000_000i64, "m": { "vibration_mm_s": 2 } });
    let with = |key: &str, value: serde_json::Value| {
        let mut payload = good.clone();
        payload[key] = value;
        payload.to_string()
    };
    for (seq, (payload, reason, detail)) in [
        ("{\"boot\":".to_owned(), "malformed_payload", "JSON"),
        ("hello".to_owned(), "malformed_payload", "first byte"),
        (with("profile", json!("toaster")), "unknown_profile", "toaster"),
        (with("m", json!({ "vibration_mm_s": 5000 })), "out_of_range", "vibration_mm_s"),
        (with("m", json!({ "vibration_mm_s": "much" })), "wrong_type", "vibration_mm_s"),
        (with("ts", json!("2199-01-01T00:00:00Z")), "future_timestamp", "2199"),
        (with("ts", json!(null)), "missing_field", "ts"),
    ]
    .into_iter()
    .enumerate()
    {
        let device = format!("bad-{seq}");
        let mut session = open(&broker, &device).await.unwrap();
        let mut answers = Vec::new();
        session.publish(&[telemetry(&device, &payload)], |_, answer| answers.push(answer)).await.unwrap();
        assert_eq!(answers, [Answer::Acknowledged], "taken, and told of as a dead letter: {payload}");
        let query = format!("select reason, detail, payload from dead_letter where device_id = '{device}'");
        let letters = until("the dead letter", async || {
            let rows = server.rows(&query).await;
            (!rows.is_empty()).then_some(rows)
        })
        .await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(letters[0]["reason"], reason, "{payload}: {letters:?}");
        assert!(letters[0]["detail"].as_str().unwrap().contains(detail), "{payload}: {letters:?}");
        assert!(server.metric("forewarn_dead_letters_total", &format!("reason=\"{reason}\"")).await >= 1.0);
        neighbour.speaks().await;
    }

    // Another device's topic: refused with a reason code, and kept as a dead letter.
    let mut session = open(&broker, "thief").await.unwrap();
    let mut answers = Vec::new();
    session.publish(&[telemetry("neighbour", &good)], |_, answer| answers.push(answer)).await.unwrap();
    assert_eq!(answers, [Answer::Refused]);
    let foreign = "select count(*) as n from dead_letter where reason = 'foreign_topic' and device_id = 'thief'";
    until("the foreign letter", async || (server.number(foreign).await == 1).then_some(())).await;
    assert_eq!(server.metric("forewarn_gateway_rejected_total", "foreign_topic").await, 1.0);
    neighbour.speaks().await;

    // A packet larger than the gateway takes.
    let mut session = open(&broker, "giant").await.unwrap();
    let giant = telemetry("giant", "x".repeat(900_000) + &"y".repeat(900_000));
    let mut told = 0;
    let result = session.publish(&[giant], |_, _| told += 1).await;
    assert!(result.is_err() && told == 0, "an oversize packet is not acknowledged");
    neighbour.speaks().await;

    // A wrong password.
    let stranger = Broker { password: Some("guess".into()), ..broker.clone() };
    assert!(matches!(open(&stranger, "neighbour").await, Err(SessionError::Login(_))));
    until("the wrong password to be counted", async || {
        (server.metric("forewarn_gateway_rejected_total", "bad_credentials").await == 1.0).then_some(())
    })
    .await;
    neighbour.speaks().await;

    // Another protocol on the port.
    for greeting in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n"]
    {
        let mut stream = TcpStream::connect(server.mqtt).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        let mut rest = Vec::new();
        // Closed by the gateway; a reset is a close too.
        let _ = stream.read_to_end(&mut rest).await;
        neighbour.speaks().await;
    }
    until("three strangers to be counted", async || {
        (server.metric("forewarn_gateway_rejected_total", "protocol_error").await >= 3.0).then_some(())
    })
    .await;

    let stored = "select count(*) as n from telemetry_washing_machine where device_id = 'neighbour'";
    until("all that the neighbour said", async || (server.number(stored).await == neighbour.seq).then_some(())).await;
}
