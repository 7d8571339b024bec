//! Commits, their checkpoints and maintenance go on beside one another for as long as devices send.

use std::fs;

use schemas::topic::Channel;
use serde_json::json;

use crate::process::{Server, say, until};

/// Each commit followed by its checkpoint, and maintenance all the time: all that waits in one process for files and for
/// one another.
const BUSY: &str = "[lake]\ncommit_interval = \"100ms\"\ncheckpoint_every = 1\n[maintain]\ninterval = \"1s\"\n";
const COMMITS: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_beside_checkpoints_and_maintenance() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("busy.toml");
    fs::write(&settings, BUSY).unwrap();
    let server = Server::start(&["--config", settings.to_str().unwrap()]).await;
    let table = "table=\"telemetry_washing_machine\"";
    for seq in 1..=COMMITS {
        let body = json!({
            "profile": "washing_machine", "boot": 1, "seq": seq, "ts": "2026-11-21T10:00:00Z",
            "m": { "vibration_mm_s": 2.0 },
        });
        say(&server.broker(), "dev", "wm-1", &[(Channel::Telemetry, body)]).await;
        // Each by itself: as many commits as messages.
        until(&format!("commit {seq}"), async || {
            (server.metric("forewarn_lake_commits_total", table).await >= seq as f64).then_some(())
        })
        .await;
    }
    let rounds = async || server.metric("forewarn_maintenance_runs_total", "").await;
    until("a round of maintenance", async || (rounds().await >= 1.0).then_some(())).await;
    assert_eq!(server.number("select count(*) as n from telemetry_washing_machine").await, COMMITS as i64);
}
