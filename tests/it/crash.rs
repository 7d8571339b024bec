//! Power cuts: the process is killed while a fleet sends, and started again on the same folder.

use crate::{
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
