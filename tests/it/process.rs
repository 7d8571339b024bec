//! A `forewarn serve --dev` process of a test's own: loopback, free ports, its own data folder; it ends with the test.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use forewarn::{
    client::Client,
    dev,
    fleet::device::{Answer, Broker, Message, Session},
};
use schemas::{
    door::Progress,
    topic::{Channel, Topic},
};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for any state; a loaded machine is slow, a broken one is forever.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The built binary.
pub(crate) fn forewarn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forewarn"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FOREWARN_")) {
        command.env_remove(name);
    }
    command
}

/// Has a device publish; every message is acknowledged.
pub(crate) async fn say(broker: &Broker, tenant: &str, device: &str, said: &[(Channel, Value)]) {
    let topic = |channel| Topic::new(tenant.parse().unwrap(), device.parse().unwrap(), channel);
    let mut session = Session::open(broker, &topic(Channel::Status)).await.unwrap();
    let message = |(channel, body): &(Channel, Value)| Message {
        topic: topic(*channel),
        payload: body.to_string().into(),
        retain: false,
    };
    let messages: Vec<Message> = said.iter().map(message).collect();
    let mut acknowledged = 0;
    session.publish(&messages, |_, answer| acknowledged += usize::from(answer == Answer::Acknowledged)).await.unwrap();
    assert_eq!(acknowledged, messages.len());
    session.close().await;
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Asks until there is an answer, at most until the deadline.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    #[allow(clippy::disallowed_methods, reason = "a deadline on the machine's clock")]
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        #[allow(clippy::disallowed_methods, reason = "a deadline on the machine's clock")]
        let now = Instant::now();
        assert!(now < end, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) struct Server {
    child: Child,
    pub(crate) data: PathBuf,
    pub(crate) mqtt: SocketAddr,
    pub(crate) client: Client,
    _folder: Option<TempDir>,
}

impl Server {
    /// On a data folder of its own.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::start_on(folder.path(), free_address(), arguments).await;
        server._folder = Some(folder);
        server
    }

    /// On this data folder and MQTT address.
    pub(crate) async fn start_on(data: &Path, mqtt: SocketAddr, arguments: &[&str]) -> Self {
        // What an earlier process left would look like an answer of this one.
        let _ = fs::remove_file(data.join("dev/addresses.json"));
        let log = fs::OpenOptions::new().create(true).append(true).open(data.join("stderr.txt")).unwrap();
        let mut child = forewarn()
            .args(["serve", "--dev", "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0", "--flight", "127.0.0.1:0"])
            .args(["--mqtt", &mqtt.to_string()])
            .arg("--data")
            .arg(data)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let client = until("the server to answer", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended: {status}\n{}", fs::read_to_string(data.join("stderr.txt")).unwrap());
            }
            Client::of_running(data).await
        })
        .await;
        Self { child, data: data.to_owned(), mqtt, client, _folder: None }
    }

    pub(crate) fn mqtt_url(&self) -> String {
        format!("mqtt://{}", self.mqtt)
    }

    pub(crate) fn device_password(&self) -> String {
        dev::Secrets::of(&self.data).device_password().unwrap()
    }

    /// Its gateway, with the devices' password.
    pub(crate) fn broker(&self) -> Broker {
        let password = Some(self.device_password());
        Broker { host: self.mqtt.ip().to_string(), port: self.mqtt.port(), password }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.data.join("stderr.txt")).unwrap()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does; true where it left in good order.
    pub(crate) async fn stop(&mut self) -> bool {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        until("the server to stop", async || self.child.try_wait().unwrap()).await.success()
    }

    /// Waits until all that is durable is committed and looked at.
    pub(crate) async fn settled(&self, at_least: u64) -> Progress {
        until("the pipeline to settle", async || {
            let progress = self.client.progress().await.ok()?;
            let done = progress.durable >= at_least
                && progress.decoded == progress.durable
                && progress.committed >= progress.durable
                && progress.detected.is_none_or(|detected| detected >= progress.durable);
            done.then_some(progress)
        })
        .await
    }

    /// The rows of a query as JSON objects.
    pub(crate) async fn rows(&self, query: &str) -> Vec<Value> {
        rows(&self.client, query).await
    }

    /// The single number that a query answers.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let rows = self.rows(query).await;
        let values: Vec<&Value> = rows.iter().flat_map(|row| row.as_object().unwrap().values()).collect();
        assert_eq!(values.len(), 1, "{query}: {rows:?}");
        values[0].as_i64().unwrap_or_else(|| panic!("{query}: {rows:?}"))
    }

    /// Every ticket.
    pub(crate) async fn tickets(&self) -> Vec<Value> {
        self.client.all("/v1/tickets", "tickets").await.unwrap()
    }

    /// The value of a metric in Prometheus text: the sum over its series that contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let http = dev::Secrets::of(&self.data).addresses().unwrap().http.unwrap();
        let text = reqwest::get(format!("http://{http}/metrics")).await.unwrap().text().await.unwrap();
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

pub(crate) async fn rows(client: &Client, query: &str) -> Vec<Value> {
    let (_, batches) = client.sql(query).await.unwrap_or_else(|error| panic!("{query}: {error:#}"));
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let text = writer.into_inner();
    if text.is_empty() { Vec::new() } else { serde_json::from_slice(&text).unwrap() }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let last: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("-- the server's last lines:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}
