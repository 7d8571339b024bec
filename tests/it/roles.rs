//! The roles parted into processes on one data folder.

use std::process::{Child, Stdio};

use forewarn::{
    client::Client,
    dev::Secrets,
    fleet::device::{Answer, Broker, Message, Session},
};
use schemas::topic::{Channel, Topic};
use serde_json::json;

use crate::process::{forewarn, free_address, rows, until};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(data: &std::path::Path, roles: &str, http: std::net::SocketAddr) -> Process {
    let child = forewarn()
        .args(["serve", "--dev", "--roles", roles, "--mqtt", "127.0.0.1:0", "--pg", "127.0.0.1:0"])
        .args(["--flight", "127.0.0.1:0", "--http", &http.to_string(), "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_with_detection_and_the_api_may_be_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::of(folder.path());
    let (behind, front) = (free_address(), free_address());
    let _ingest = start(folder.path(), "ingest,analytics", behind);
    let mqtt = until("the gateway", async || secrets.addresses().ok()?.mqtt).await;
    let text = async |path: &str| reqwest::get(format!("http://{behind}{path}")).await.ok();
    // Without the api role a process tells how it is, and nothing else.
    assert!(text("/health/ready").await.unwrap().status().is_success());
    assert!(text("/metrics").await.unwrap().text().await.unwrap().contains("forewarn_gateway_connections"));
    let asked = Client::new(&format!("http://{behind}"), &secrets.admin_token().unwrap()).unwrap();
    let error = asked.get("/v1/tickets").await.unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");

    let _api = start(folder.path(), "api", front);
    let client = until("the API", async || Client::of_running(folder.path()).await).await;

    // A device reports its fault in one process; the ticket is read in the other.
    let broker = Broker { host: mqtt.ip().to_string(), port: mqtt.port(), password: secrets.device_password().ok() };
    let topic = |channel| Topic::new("dev".parse().unwrap(), "wm-1".parse().unwrap(), channel);
    let mut session = Session::open(&broker, &topic(Channel::Status)).await.unwrap();
    let now = schemas::time::Clock::now(&schemas::time::SystemClock);
    let fault = json!({
        "profile": "washing_machine", "boot": 1, "seq": 0, "ts": now.to_string(), "code": "E21", "active": true,
    });
    let fault = Message { topic: topic(Channel::Fault), payload: fault.to_string().into(), retain: false };
    let mut answers = Vec::new();
    session.publish(&[fault], |_, answer| answers.push(answer)).await.unwrap();
    assert_eq!(answers, [Answer::Acknowledged]);
    let ticket = until("the ticket", async || client.all("/v1/tickets", "tickets").await.unwrap().pop()).await;
    assert_eq!(ticket["fault_key"], "drain_pump/breakdown");

    // SQL belongs to a process that plays analytics: alone it reads what is committed.
    drop(_api);
    let _api = start(folder.path(), "analytics,api", front);
    let client = until("the API again", async || Client::of_running(folder.path()).await).await;
    let codes = until("the committed row", async || {
        let rows = rows(&client, "select code from fault").await;
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    assert_eq!(codes[0]["code"], "E21");
}
