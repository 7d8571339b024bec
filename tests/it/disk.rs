//! Disks that refuse: full, and read-only.
//!
//! Needs to mount, which root may; elsewhere the tests say that they are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    process::{Server, free_address, until},
    replay,
};

/// Somewhere that is unmounted with the test.
struct Mount(PathBuf);

impl Mount {
    /// None where this is not permitted.
    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(arguments).arg(at).output();
        match done {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            refused => {
                println!("skipped: mounting is not permitted here: {refused:?}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

/// What `/health/ready` says: its status code and its body.
async fn health(server: &Server) -> (u16, Value) {
    let http = forewarn::dev::Secrets::of(&server.data).addresses().unwrap().http.unwrap();
    let answer = reqwest::get(format!("http://{http}/health/ready")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until readiness fails because of the log, and gives the reason.
async fn refusal(server: &Server) -> String {
    until("the log to be in trouble", async || {
        let (status, body) = health(server).await;
        let failing = status == 503 && body["checks"]["log"]["status"] == json!("failing");
        failing.then(|| body["checks"]["log"]["detail"].as_str().unwrap().to_owned())
    })
    .await
}

async fn ready(server: &Server) {
    until("the server to be ready again", async || (health(server).await.0 == 200).then_some(())).await;
}

/// Small segments, so that they are rolled and given back often.
fn settings(folder: &Path) -> PathBuf {
    let path = folder.join("forewarn.toml");
    let text = "[log]\nsegment_bytes = 1048576\nmax_bytes = 1073741824\n[lake]\nrollups = false\ncommit_interval = \"500ms\"\n\
                [pipeline]\ncheckpoint_interval = \"500ms\"\n[detect]\ncheckpoint_interval = \"500ms\"\n";
    fs::write(&path, text).unwrap();
    path
}

async fn exactly_once(server: &Server, messages: u64) {
    server.settled(messages).await;
    let rows = "select count(*) as n from telemetry_disk_drive";
    assert_eq!(server.number(rows).await as u64, messages);
    let distinct = "select count(*) as n from (select distinct device_id, boot, seq from telemetry_disk_drive)";
    assert_eq!(server.number(distinct).await as u64, messages);
    assert_eq!(server.number("select count(*) as n from dead_letter").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_acknowledgements_and_loses_nothing_and_room_is_enough_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=24m", "tmpfs"], &data) else { return };
    let recording = tempfile::tempdir().unwrap();
    let messages = replay::recording(recording.path(), 600, 20);
    let config = settings(folder.path());
    let mqtt = free_address();
    let arguments = ["--clock", "event", "--config", config.to_str().unwrap()];
    let mut server = Server::start_on(&data, mqtt, &arguments).await;

    let child = replay::spawn(replay::command("backblaze", recording.path(), &server.mqtt_url(), &data));
    until("the fleet to be on its way", async || {
        (server.client.progress().await.ok()?.durable > messages / 20).then_some(())
    })
    .await;
    // Another program takes what is left.
    let ballast = data.join("ballast");
    fill(&ballast);
    let why = refusal(&server).await;
    assert!(why.contains("log file") && why.contains("No space left on device"), "{why}");
    let stuck = server.client.progress().await.unwrap();
    assert!(stuck.durable < messages, "the disk was full before the fleet was done: {stuck:?}");
    // What is there can still be asked for.
    assert!(server.number("select count(*) as n from telemetry_disk_drive").await > 0);
    // It stays so, and says so, however often the fleet tries.
    let failed = server.metric("forewarn_log_failed_frames_total", "").await;
    until("twenty more tries", async || {
        let (status, body) = health(&server).await;
        assert_eq!(status, 503, "{body}");
        (server.metric("forewarn_log_failed_frames_total", "").await >= failed + 20.0).then_some(())
    })
    .await;
    let still = server.client.progress().await.unwrap();
    assert_eq!(still.durable, stuck.durable, "nothing is taken while the disk is full");

    fs::remove_file(&ballast).unwrap();
    ready(&server).await;
    let sent = replay::finish(child).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");
    exactly_once(&server, messages).await;
    assert!(server.stop().await, "an ordered stop: {}", server.said());
    assert_eq!(strays(&data.join("lake/telemetry_disk_drive")), Vec::<String>::new(), "files of tries that failed");
    // And all of it is on disk.
    let server = Server::start_on(&data, mqtt, &arguments).await;
    exactly_once(&server, messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_drained_with_the_logs_reserve_which_is_made_again() {
    const RESERVE: u64 = 6 << 20;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=32m", "tmpfs"], &data) else { return };
    let recording = tempfile::tempdir().unwrap();
    let messages = replay::recording(recording.path(), 600, 20);
    // Commits and checkpoints so seldom that there is something to drain when the disk is full.
    let config = folder.path().join("forewarn.toml");
    let text = format!(
        "[log]\nsegment_bytes = 1048576\nmax_bytes = 1073741824\nreserve_bytes = {RESERVE}\n\
         [lake]\nrollups = false\ncommit_interval = \"5s\"\n[pipeline]\ncheckpoint_interval = \"2s\"\n"
    );
    fs::write(&config, text).unwrap();
    let mqtt = free_address();
    let arguments = ["--clock", "event", "--config", config.to_str().unwrap()];
    let server = Server::start_on(&data, mqtt, &arguments).await;
    let reserve = data.join("log/reserve");
    let allocated = || fs::metadata(&reserve).map_or(0, |stat| std::os::unix::fs::MetadataExt::blocks(&stat) * 512);
    assert_eq!(allocated(), RESERVE);

    let child = replay::spawn(replay::command("backblaze", recording.path(), &server.mqtt_url(), &data));
    until("the fleet to be on its way", async || {
        (server.client.progress().await.ok()?.durable > messages / 20).then_some(())
    })
    .await;
    let ballast = data.join("ballast");
    fill(&ballast);
    refusal(&server).await;
    let stuck = server.client.progress().await.unwrap();
    assert_eq!(stuck.limits, ["disk"], "{stuck:?}");
    // Not a byte is free for anybody else, and yet all that was acknowledged becomes rows.
    until("what is durable to be committed and looked at", async || {
        let progress = server.client.progress().await.ok()?;
        (progress.committed >= stuck.durable && progress.detected? >= stuck.durable).then_some(())
    })
    .await;

    fs::remove_file(&ballast).unwrap();
    ready(&server).await;
    until("the reserve to be there again", async || (allocated() == RESERVE).then_some(())).await;
    let sent = replay::finish(child).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");
    exactly_once(&server, messages).await;
}

/// Data files of a table that no commit of it names.
fn strays(table: &Path) -> Vec<String> {
    let names =
        |folder: &Path| -> Vec<PathBuf> { fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let commits =
        names(&table.join("_delta_log")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
    let told: String = commits.map(|path| fs::read_to_string(path).unwrap()).collect();
    let days = names(table).into_iter().filter(|path| path.is_dir() && !path.ends_with("_delta_log"));
    let files = days.flat_map(|day| names(&day)).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    files.filter(|name| !told.contains(name.as_str())).collect()
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let bytes = vec![0x5a; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_stops_the_acknowledgements_until_it_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let recording = tempfile::tempdir().unwrap();
    let messages = replay::recording(recording.path(), 600, 20);
    let config = settings(folder.path());
    let mqtt = free_address();
    let arguments = ["--clock", "event", "--config", config.to_str().unwrap()];
    let server = Server::start_on(&data, mqtt, &arguments).await;
    let child = replay::spawn(replay::command("backblaze", recording.path(), &server.mqtt_url(), &data));
    until("the fleet to be on its way", async || {
        (server.client.progress().await.ok()?.durable > messages / 20).then_some(())
    })
    .await;

    // Files that are open stay writable, as nothing may be mounted read-only while they are: the next one cannot be
    // created.
    let path = data.to_str().unwrap();
    let Some(mount) = Mount::new(&["--bind", path], &data) else {
        replay::finish(child).await;
        return;
    };
    let done = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&data).status().unwrap();
    assert!(done.success());
    let why = refusal(&server).await;
    assert!(why.contains("log file") && why.contains("Read-only file system"), "{why}");
    assert!(server.client.progress().await.unwrap().durable < messages);

    drop(mount);
    ready(&server).await;
    let sent = replay::finish(child).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");
    exactly_once(&server, messages).await;
}
