//! The subscriber with a real Mosquitto from the distribution. Where it is not installed, each test says so and ends.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use schemas::{door::Append, reject::RejectReason, time::ManualClock};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Metrics, Protocol, Settings, SubscriberError, run};
use crate::{
    gateway::shelf::{DEADLINE, Mode, QUIET, Shelf},
    log::Log,
};

const BROKER: &str = "/usr/sbin/mosquitto";

/// A Mosquitto of our own, on a free port, with its memory in a folder.
struct Mosquitto {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mosquitto {
    async fn start() -> Option<Self> {
        if !Path::new(BROKER).exists() {
            println!("skipped: {BROKER} is not installed (apt-get install mosquitto)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 100\nuser root\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { port, child: spawn(folder.path()), folder };
        assert!(broker.answers().await, "mosquitto starts");
        Some(broker)
    }

    async fn answers(&mut self) -> bool {
        timeout(DEADLINE, async {
            loop {
                if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                    return true;
                }
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("mosquitto answers or ends")
    }

    /// Ends the process as an administrator would: it writes down what it holds.
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    async fn start_again(&mut self) {
        self.child = spawn(self.folder.path());
        assert!(self.answers().await, "mosquitto starts again");
    }

    fn settings(&self, protocol: Protocol) -> Settings {
        Settings {
            broker: format!("mqtt://127.0.0.1:{}", self.port),
            protocol,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            ..Settings::default()
        }
    }

    /// Publishes with QoS 1 and returns when the broker has acknowledged all.
    async fn publish(&self, messages: impl IntoIterator<Item = (String, String)>) {
        let messages: Vec<_> = messages.into_iter().collect();
        let mut options = MqttOptions::new("publisher", "127.0.0.1", self.port);
        options.set_inflight(1000);
        let (client, mut events) = AsyncClient::new(options, messages.len() + 10);
        let mut missing = messages.len();
        for (topic, payload) in messages {
            client.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        }
        let done = timeout(DEADLINE, async {
            loop {
                match events.poll().await.unwrap() {
                    Event::Incoming(Packet::PubAck(_)) => missing -= 1,
                    Event::Outgoing(Outgoing::Disconnect) => break,
                    _ => {}
                }
                if missing == 0 {
                    client.disconnect().await.unwrap();
                    missing = usize::MAX;
                }
            }
        });
        done.await.expect("the broker acknowledges");
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new(BROKER)
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A running subscriber.
struct Subscriber {
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SubscriberError>>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber {
    async fn start(settings: Settings, log: Arc<dyn Append>) -> Self {
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let clock = Arc::new(ManualClock::default());
        let task = tokio::spawn(run(settings, log, clock, metrics.clone(), stop.clone()));
        let subscriber = Self { metrics, stop, task };
        subscriber.until("subscribed", |metrics| metrics.connected.get() == 1).await;
        subscriber
    }

    async fn until(&self, what: &str, is: impl Fn(&Metrics) -> bool) {
        let waited = timeout(DEADLINE, async {
            while !is(&self.metrics) {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "waited in vain until {what}: {:?}", self.metrics);
    }

    /// The end without a word, as by kill -9.
    async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    async fn stop(mut self) {
        self.stop.cancel();
        timeout(DEADLINE, &mut self.task).await.expect("the subscriber stops").unwrap().unwrap();
    }
}

fn telemetry(numbers: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
    numbers.map(|n| (format!("fw/v1/acme/wm-{}/telemetry", n % 7), n.to_string()))
}

/// Every number of the range is there; repeats are allowed.
fn holds_all(shelf: &Shelf, numbers: std::ops::Range<usize>) -> bool {
    let stored: std::collections::HashSet<_> = shelf.payloads().into_iter().collect();
    numbers.into_iter().all(|n| stored.contains(&n.to_string()))
}

const BOTH: [Protocol; 2] = [Protocol::V5, Protocol::V311];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_arrive_in_order_and_are_acknowledged_once() {
    for protocol in BOTH {
        let Some(broker) = Mosquitto::start().await else { return };
        let shelf = Shelf::new(Mode::Open);
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        broker.publish(telemetry(0..500)).await;
        subscriber.until("all are acknowledged", |metrics| metrics.acknowledged.get() == 500).await;
        assert_eq!(shelf.payloads(), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
        subscriber.stop().await;
        // What was acknowledged does not come again.
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        broker.publish(telemetry(500..501)).await;
        shelf.until("the next one is stored", |shelf| shelf.payloads().last().is_some_and(|last| last == "500")).await;
        assert_eq!(shelf.payloads()[500..], ["500"], "{protocol:?}");
        subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_log_has_what_the_broker_had() {
    let Some(broker) = Mosquitto::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), &crate::log::Settings::default(), &mut Registry::default()).unwrap();
    let subscriber = Subscriber::start(broker.settings(Protocol::V5), Arc::new(log.clone())).await;
    broker.publish(telemetry(0..2000)).await;
    subscriber.until("all are acknowledged", |metrics| metrics.acknowledged.get() == 2000).await;
    assert_eq!(log.durable().0, 2000);
    let mut reader = log.reader(log.first()).unwrap();
    let mut numbers = Vec::new();
    while reader.position() < log.durable() {
        let frames = reader.next(1000, 1 << 20).unwrap();
        numbers.extend(frames.into_iter().map(|(_, frame)| String::from_utf8(frame.payload.to_vec()).unwrap()));
    }
    assert!(numbers == (0..2000).map(|n| n.to_string()).collect::<Vec<_>>());
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_before_it_is_appended() {
    for protocol in BOTH {
        let Some(broker) = Mosquitto::start().await else { return };
        let shelf = Shelf::new(Mode::Held);
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        broker.publish(telemetry(0..20)).await;
        shelf.until("all are being appended", |shelf| shelf.waiting() == 20).await;
        assert_eq!(subscriber.metrics.acknowledged.get(), 0);
        subscriber.kill().await;
        shelf.until("the appends are given up", |shelf| shelf.waiting() == 0).await;
        assert_eq!(shelf.frames().len(), 0);
        shelf.set(Mode::Open);
        // The broker has them still, so it had no acknowledgement.
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        shelf.until("all are stored", |shelf| holds_all(shelf, 0..20)).await;
        subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_loses_nothing() {
    for protocol in BOTH {
        let Some(mut broker) = Mosquitto::start().await else { return };
        let shelf = Shelf::new(Mode::Open);
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        broker.publish(telemetry(0..300)).await;
        shelf.set(Mode::Held);
        broker.publish(telemetry(300..600)).await;
        broker.stop();
        subscriber.until("the loss is noticed", |metrics| metrics.failures.get() > 0).await;
        shelf.set(Mode::Open);
        broker.start_again().await;
        broker.publish(telemetry(600..900)).await;
        shelf.until("all are stored", |shelf| holds_all(shelf, 0..900)).await;
        subscriber.until("subscribed again", |metrics| metrics.connects.get() > 1).await;
        subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_appended_comes_again() {
    for protocol in BOTH {
        let Some(broker) = Mosquitto::start().await else { return };
        let shelf = Shelf::new(Mode::Broken(io::ErrorKind::StorageFull));
        let subscriber = Subscriber::start(broker.settings(protocol), shelf.clone()).await;
        broker.publish(telemetry(0..50)).await;
        shelf.until("appending was tried again", |shelf| shelf.failed() > 3).await;
        assert_eq!(subscriber.metrics.acknowledged.get(), 0);
        shelf.set(Mode::Open);
        shelf.until("all are stored", |shelf| holds_all(shelf, 0..50)).await;
        assert!(subscriber.metrics.append_failures.get() > 1);
        subscriber.until("all are acknowledged", |metrics| metrics.acknowledged.get() == 50).await;
        subscriber.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_a_dead_letter_and_acknowledged() {
    let Some(broker) = Mosquitto::start().await else { return };
    let shelf = Shelf::new(Mode::Open);
    let settings = Settings { filter: "#".into(), ..broker.settings(Protocol::V5) };
    let subscriber = Subscriber::start(settings, shelf.clone()).await;
    let message = |topic: &str| (topic.to_owned(), topic.to_owned());
    broker
        .publish([
            message("gossip"),
            message("fw/v1/acme/wm-1/alarm"),
            message("fw/v1/acme/wm-1/command"),
            message("fw/v1/acme/wm-1/fault"),
        ])
        .await;
    subscriber.until("all are acknowledged", |metrics| metrics.acknowledged.get() == 4).await;
    let bad = Some(RejectReason::BadTopic);
    let stored: Vec<_> = shelf.frames().into_iter().map(|frame| (frame.topic, frame.refused)).collect();
    assert_eq!(
        stored,
        [("gossip".into(), bad), ("fw/v1/acme/wm-1/alarm".into(), bad), ("fw/v1/acme/wm-1/fault".into(), None)]
    );
    assert_eq!(subscriber.metrics.skipped.get(), 1);
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_begun_appends_finish() {
    let Some(broker) = Mosquitto::start().await else { return };
    let shelf = Shelf::new(Mode::Held);
    let mut subscriber = Subscriber::start(broker.settings(Protocol::V5), shelf.clone()).await;
    broker.publish(telemetry(0..5)).await;
    shelf.until("all are being appended", |shelf| shelf.waiting() == 5).await;
    subscriber.stop.cancel();
    assert!(timeout(QUIET, &mut subscriber.task).await.is_err(), "it waits for the log");
    shelf.set(Mode::Open);
    let metrics = subscriber.metrics.clone();
    subscriber.stop().await;
    assert_eq!((metrics.acknowledged.get(), shelf.frames().len()), (5, 5));
}

#[tokio::test]
async fn settings_that_cannot_work_are_errors() {
    let run = |settings| {
        run(
            settings,
            Shelf::new(Mode::Open),
            Arc::new(ManualClock::default()),
            Metrics::default(),
            CancellationToken::new(),
        )
    };
    let wrong = Settings { broker: "broker.example".into(), ..Settings::default() };
    let error = run(wrong).await.unwrap_err().to_string();
    assert!(error.starts_with("subscriber.broker must be mqtt://"), "{error}");
    let wrong = Settings { client_id: String::new(), ..Settings::default() };
    assert!(run(wrong).await.unwrap_err().to_string().starts_with("subscriber.client_id must be"));
    let wrong =
        Settings { broker: "mqtts://broker.example".into(), ca_file: "/nowhere.pem".into(), ..Settings::default() };
    assert!(run(wrong).await.unwrap_err().to_string().contains("/nowhere.pem"));
}

#[test]
fn the_wait_doubles_up_to_its_limit_and_differs_by_seed() {
    let settings = Settings { backoff_seed: 7, ..Settings::default() };
    for failures in 1..40 {
        let longest = (settings.backoff_min * 2u32.pow((failures - 1).min(10))).min(settings.backoff_max);
        let wait = settings.backoff(failures);
        assert!(longest / 2 <= wait && wait <= longest, "{failures}: {wait:?}");
    }
    assert_ne!(settings.backoff(1), Settings::default().backoff(1));
}

#[test]
fn settings_read_like_speech_and_hide_the_password() {
    let text = r#"{"broker": "mqtt://u:secret@b", "protocol": "3.1.1", "session_expiry": "2d"}"#;
    let settings: Settings = serde_json::from_str(text).unwrap();
    assert_eq!((settings.protocol, settings.session_expiry), (Protocol::V311, Duration::from_secs(172_800)));
    assert!(!format!("{settings:?}").contains("secret"));
    assert!(serde_json::from_str::<Settings>(r#"{"brokers": "x"}"#).is_err());
}
