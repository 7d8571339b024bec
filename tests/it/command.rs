//! A command's way with Mosquitto's clients as the device: ordered over HTTP, kept while the server is killed, received
//! by a device that comes back, answered, and seen to be.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::process::{Server, free_address, until};

/// `mosquitto_sub` as wm-1 in the session of before; ends after one message.
fn subscriber(server: &Server, version: &str) -> Command {
    let mut command = Command::new("mosquitto_sub");
    let (host, port) = (server.mqtt.ip().to_string(), server.mqtt.port().to_string());
    command.args(["-h", &host, "-p", &port, "-i", "wm-1", "-u", "wm-1", "-P", &server.device_password()]);
    command.args(["-V", version, "-c", "-q", "1", "-C", "1", "-W", "60", "-t", "fw/v1/dev/wm-1/command"]);
    if version == "mqttv5" {
        command.args(["-x", "3600"]);
    }
    command.stdout(Stdio::piped());
    command
}

fn publish(server: &Server, channel: &str, payload: &Value) -> Output {
    let (host, port) = (server.mqtt.ip().to_string(), server.mqtt.port().to_string());
    let topic = format!("fw/v1/dev/wm-1/{channel}");
    // Another client id than the subscriber's would be another login; it takes over, and is gone.
    Command::new("mosquitto_pub")
        .args(["-h", &host, "-p", &port, "-i", "wm-1", "-u", "wm-1", "-P", &server.device_password()])
        .args(["-q", "1", "-t", &topic, "-m", &payload.to_string()])
        .output()
        .unwrap()
}

async fn received(command: Command) -> Value {
    let output = tokio::task::spawn_blocking(move || {
        let mut command = command;
        command.output().unwrap()
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_its_device_through_a_kill_and_its_reply_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mqtt = free_address();
    let mut server = Server::start_on(folder.path(), mqtt, &[]).await;
    let reading = json!({"profile": "washing_machine", "boot": 1, "seq": 1, "ts": 1_700_000_000_000i64, "m": {"drum_speed_rpm": 800}});
    assert!(publish(&server, "telemetry", &reading).status.success());
    let line = "/v1/devices/wm-1/commands";
    let order = json!({"name": "self_test", "args": {"quick": true}, "expires_in": "1h"});
    let first = until("the device to be known", async || server.client.post(line, &order).await.ok()).await;
    let second = server.client.post(line, &json!({"name": "restart"})).await.unwrap();
    assert!(server.client.post(line, &json!({"name": "explode"})).await.is_err());

    // Nobody was there to take them.
    server.kill();
    let server = Server::start_on(folder.path(), mqtt, &[]).await;
    for (ordered, version) in [(&first, "mqttv311"), (&second, "mqttv5")] {
        let command = received(subscriber(&server, version)).await;
        assert_eq!((&command["id"], &command["name"]), (&ordered["command_id"], &ordered["name"]));
        let reply = json!({"id": command["id"], "ok": true, "result": {"drum": "turns"}});
        assert!(publish(&server, "reply", &reply).status.success());
        until("the command to be answered", async || {
            let page = server.client.get(line).await.unwrap();
            let commands = page["commands"].as_array().unwrap();
            let answered = |one: &&Value| one["command_id"] == ordered["command_id"] && one["state"] == "answered";
            commands.iter().find(answered).map(|one| assert_eq!(one["result"], json!({"drum": "turns"})))
        })
        .await;
    }
    assert_eq!(server.number("select count(*) as n from reply").await, 2);
}
