//! Power cuts: the process is killed while a fleet sends, and started again on the same folder.

use crate::{
    broker::Mosquitto,
    process::{Server, until},
    replay::{self, FAULTY_EVERY},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_exactly_once_however_often_the_process_is_killed() {
    let (drives, days) = (600, 5);
    let recording = tempfile::tempdir().unwrap();
    let messages = replay::recording(recording.path(), drives, days);
    let data = tempfile::tempdir().unwrap();
    let mqtt = replay::address();

    let mut server = Server::start_on(data.path(), mqtt, &["--clock", "event"]).await;
    let child = replay::spawn(replay::command("backblaze", recording.path(), &server.mqtt_url(), data.path()));
    for share in [0.15, 0.4, 0.65, 0.9] {
        let mark = (messages as f64 * share) as u64;
        until("the next kill", async || {
            let progress = server.client.progress().await.ok()?;
            (progress.durable >= mark).then_some(())
        })
        .await;
        server.kill();
        server = Server::start_on(data.path(), mqtt, &["--clock", "event"]).await;
    }
    let sent = replay::finish(child).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");
    assert!(sent["reconnects"].as_u64().unwrap() > 0, "the kills were felt: {sent}");

    server.settled(messages).await;
    let count = |query: &'static str| server.number(query);
    assert_eq!(count("select count(*) as n from telemetry_disk_drive").await as u64, messages);
    let distinct = "select count(*) as n from (select distinct device_id, boot, seq from telemetry_disk_drive)";
    assert_eq!(count(distinct).await as u64, messages);
    let faulty = drives / FAULTY_EVERY;
    let tickets = server.tickets().await;
    assert_eq!(tickets.len(), faulty, "one ticket per faulty drive");
    let alarms = "select count(*) as n from (select distinct device_id, alarm_id, state from alarm)";
    assert_eq!(count(alarms).await, count("select count(*) as n from alarm").await, "each alarm once");
    assert_eq!(count("select count(distinct device_id) as n from alarm where state = 'raised'").await as usize, faulty);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mosquitto_acknowledged_is_there_exactly_once_however_often_the_process_is_killed() {
    let Some(mosquitto) = Mosquitto::start().await else { return };
    let (drives, days) = (600, 15);
    let recording = tempfile::tempdir().unwrap();
    let messages = replay::recording(recording.path(), drives, days);
    let data = tempfile::tempdir().unwrap();
    let url = mosquitto.url();
    let arguments = ["--clock", "event", "--broker", &url];
    let mqtt = replay::address();

    let mut server = Server::start_on(data.path(), mqtt, &arguments).await;
    // From here on Mosquitto keeps for us what it acknowledges.
    until("the subscription", async || server.said().contains("subscribed").then_some(())).await;
    // It must not ask the server that is killed, and knows no folder of its: a day in a third of a second.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut fleet = replay::command("backblaze", recording.path(), &url, elsewhere.path());
    fleet.args(["--speed", "260000"]);
    let mut child = replay::spawn(fleet);
    for share in [0.1, 0.3, 0.5, 0.7, 0.9] {
        let mark = (messages as f64 * share) as u64;
        until("the next kill", async || {
            let progress = server.client.progress().await.ok()?;
            (progress.durable >= mark).then_some(())
        })
        .await;
        if share < 0.2 {
            assert!(child.try_wait().unwrap().is_none(), "the fleet is still sending");
        }
        server.kill();
        server = Server::start_on(data.path(), mqtt, &arguments).await;
    }
    let sent = replay::finish(child).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");

    let rows = "select count(*) as n from telemetry_disk_drive";
    until("what Mosquitto still holds", async || (server.number(rows).await as u64 >= messages).then_some(())).await;
    server.settled(messages).await;
    assert_eq!(server.number(rows).await as u64, messages);
    let distinct = "select count(*) as n from (select distinct device_id, boot, seq from telemetry_disk_drive)";
    assert_eq!(server.number(distinct).await as u64, messages);
    assert_eq!(server.number("select count(*) as n from dead_letter").await, 0);
    assert_eq!(server.tickets().await.len(), drives / FAULTY_EVERY, "one ticket per faulty drive");
}
