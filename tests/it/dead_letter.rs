//! A message of an unknown kind of device: kept, listed, and stored once when the profile is there.

use std::{fs, path::Path, process::Output};

use schemas::topic::Channel;
use serde_json::{Value, json};

use crate::process::{Server, forewarn, free_address, say, until};

const KETTLE: &str = r#"
name = "kettle"
title = "Kettle"
version = 1
cadence = "60s"
late_after = "1h"

[[metric]]
name = "water_c"
unit = "Cel"
type = "float"
min = 0
max = 100
description = "Temperature of the water."
"#;

/// The README's question to the ledger.
const LEDGER: &str = "select device_id, sum(received) as received, sum(duplicate) as duplicate, \
    sum(rejected) as rejected, sum(late) as late, last_value(missing order by revision) as missing, \
    last_value(gaps order by revision) as gaps from ledger \
    where channel = 'telemetry' and hour >= now() - interval '1 day' group by device_id order by missing desc";

async fn send(server: &Server, device: &str, payloads: &[Value]) {
    let said: Vec<_> = payloads.iter().map(|payload| (Channel::Telemetry, payload.clone())).collect();
    say(&server.broker(), "dev", device, &said).await;
}

fn reading(seq: i64, water: f64) -> Value {
    json!({ "profile": "kettle", "boot": 1, "seq": seq, "ts": 1_700_000_000_000i64 + seq * 1000, "m": { "water_c": water } })
}

/// Runs `forewarn dead-letter …` on a data folder; what it printed last, as JSON.
async fn dead_letter(data: &Path, arguments: &[&str]) -> Value {
    let mut command = forewarn();
    command.arg("dead-letter").args(arguments).arg("--data").arg(data);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line of JSON")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_profile_that_came_later_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let profiles = folder.path().join("profiles");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&profiles).unwrap();
    let settings = folder.path().join("forewarn.toml");
    fs::write(&settings, format!("profiles = {:?}\n", profiles.display().to_string())).unwrap();
    let config = ["--config", settings.to_str().unwrap()];

    // Five readings of a kettle, one of them twice, one that no kettle can have; and one that is no kettle's.
    let mut server = Server::start_on(&data, free_address(), &config).await;
    let mut readings: Vec<Value> = (0..5).map(|seq| reading(seq, 20.0)).collect();
    let mut again = reading(3, 20.0);
    again["firmware"] = json!("1.1");
    readings.extend([again, reading(7, 700.0)]);
    readings.push(json!({ "profile": "toaster", "boot": 1, "seq": 1, "ts": 1_700_000_000_000i64, "m": {} }));
    send(&server, "k-1", &readings).await;
    let letters = "select count(*) as n from dead_letter";
    until("the letters", async || (server.number(letters).await == 8).then_some(())).await;
    let listed =
        dead_letter(&data, &["list", "--reason", "unknown_profile", "--since", "1h", "--format", "json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 8, "{listed}");
    assert!(listed[0]["detail"].as_str().unwrap().contains("toaster"), "newest first: {listed}");
    let few = dead_letter(&data, &["list", "--limit", "2", "--format", "json"]).await;
    assert_eq!(few.as_array().unwrap().len(), 2);
    assert!(server.stop().await, "{}", server.said());

    // No server: the list still answers.
    let listed = dead_letter(&data, &["list", "--reason", "wrong_type,unknown_profile", "--format", "json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 8, "{listed}");

    fs::write(profiles.join("kettle.toml"), KETTLE).unwrap();
    let mut server = Server::start_on(&data, free_address(), &config).await;
    let done = dead_letter(&data, &["replay", "--profile", "kettle", "--json"]).await;
    assert_eq!(done, json!({ "replayed": 7, "known": 0, "other_profile": 1, "refused": 0 }));
    let stored = "select seq, water_c, late from telemetry_kettle order by seq";
    let rows = until("the rows", async || {
        let rows = server.rows(stored).await;
        (rows.len() >= 5).then_some(rows)
    })
    .await;
    let expected: Vec<Value> = (0..5).map(|seq| json!({ "seq": seq, "water_c": 20.0, "late": true })).collect();
    assert_eq!(rows, expected);
    // The fourth was told twice, and is one row; the impossible one is a letter again, for another reason.
    let impossible = "select count(*) as n from dead_letter where reason = 'out_of_range'";
    until("the impossible one", async || (server.number(impossible).await == 1).then_some(())).await;
    server.settled(8 + 7).await;

    // The second time only that one is sent, and is refused again; then the profile is mended, and it is stored.
    let only = ["replay", "--reason", "unknown_profile", "--profile", "kettle", "--json"];
    let again = dead_letter(&data, &only).await;
    assert_eq!(again, json!({ "replayed": 0, "known": 7, "other_profile": 1, "refused": 0 }));
    let before = server.client.progress().await.unwrap().durable;
    assert_eq!(server.rows(stored).await, expected);
    assert_eq!(server.number(letters).await, 9);
    assert!(server.stop().await, "{}", server.said());

    fs::write(profiles.join("kettle.toml"), KETTLE.replace("max = 100", "max = 1000")).unwrap();
    let server = Server::start_on(&data, free_address(), &config).await;
    let done = dead_letter(&data, &["replay", "--reason", "out_of_range", "--json"]).await;
    assert_eq!(done, json!({ "replayed": 1, "known": 0, "other_profile": 0, "refused": 0 }));
    server.settled(before + 1).await;
    let hot = until("the hot kettle", async || {
        let rows = server.rows("select seq from telemetry_kettle where water_c = 700").await;
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    assert_eq!(hot, [json!({ "seq": 7 })]);
    let done = dead_letter(&data, &["replay", "--reason", "out_of_range", "--json"]).await;
    assert_eq!(done["replayed"], 0, "{done}");
    assert_eq!(server.number("select count(*) as n from telemetry_kettle").await, 6);

    // The hour is not over, unless it ends just now: the question is legal, and nobody was counted twice.
    let ledger = server.rows(LEDGER).await;
    assert!(ledger.len() <= 1, "{ledger:?}");
}
