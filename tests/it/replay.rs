//! Recorded fleets through both doors.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    broker::Mosquitto,
    process::{Server, forewarn, free_address, until},
};

/// Every so many drives one begins to fail on the third day.
pub(crate) const FAULTY_EVERY: usize = 20;

/// Writes a recording in Backblaze's form: `days` files of `drives` rows. Faulty drives have pending sectors from the
/// third day on, and the first of them fails on the last.
pub(crate) fn recording(folder: &Path, drives: usize, days: usize) -> u64 {
    for day in 0..days {
        let mut text = String::from(
            "date,serial_number,model,capacity_bytes,failure,smart_1_raw,smart_5_raw,smart_9_raw,smart_194_raw,smart_197_raw\n",
        );
        for drive in 0..drives {
            let faulty = drive % FAULTY_EVERY == 0 && day >= 2;
            let failure = u8::from(drive == 0 && day + 1 == days);
            let pending = if faulty { 8 } else { 0 };
            let hours = 4000 + 24 * day;
            writeln!(
                text,
                "2013-04-{:02},DRIVE{drive:05},HDS5C3030,3000592982016,{failure},0,0,{hours},26,{pending}",
                day + 1
            )
            .unwrap();
        }
        fs::write(folder.join(format!("2013-04-{:02}.csv", day + 1)), text).unwrap();
    }
    (drives * days) as u64
}

/// The command, ready to run.
pub(crate) fn command(set: &str, path: &Path, to: &str, data: &Path) -> Command {
    let mut command = forewarn();
    command.args(["replay", set]).arg(path).args(["--to", to, "--json", "--data"]).arg(data);
    command
}

/// What a finished replay printed last.
pub(crate) fn account(output: &std::process::Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line of JSON")).unwrap()
}

/// Waits for a replay in the background.
pub(crate) async fn finish(child: Child) -> Value {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    account(&output)
}

pub(crate) fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whose rows are compared: everything a drive said, in order.
const DRIVES: &str = "select device_id, boot, seq, event_time, model, capacity_bytes, smart_1_raw, smart_5_raw, \
     smart_9_raw, smart_194_raw, smart_197_raw, late from telemetry_disk_drive order by device_id, seq limit 5000";

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_fleet_gives_the_same_rows_and_tickets_through_the_gateway_and_through_mosquitto() {
    let (drives, days) = (200, 5);
    let folder = tempfile::tempdir().unwrap();
    let messages = recording(folder.path(), drives, days);

    let mut gateway = Server::start(&["--clock", "event"]).await;
    let sent = finish(spawn(command("backblaze", folder.path(), &gateway.mqtt_url(), &gateway.data))).await;
    assert_eq!((sent["published"].as_u64(), sent["acknowledged"].as_u64()), (Some(messages), Some(messages)), "{sent}");
    assert_eq!(sent["rows"].as_u64(), Some(messages), "{sent}");
    let faulty = drives / FAULTY_EVERY;
    assert_eq!(sent["tickets"].as_u64(), Some(faulty as u64), "{sent}");
    assert_eq!((sent["failures"].as_u64(), sent["predicted_failures"].as_u64()), (Some(1), Some(1)), "{sent}");
    // Pending sectors on the third day, failure at the end of the fifth.
    assert_eq!(sent["median_lead_days"].as_f64(), Some(3.0), "{sent}");
    assert_eq!(sent["recall"].as_f64(), Some(1.0), "{sent}");

    // The same again changes nothing: every message is known.
    let again = finish(spawn(command("backblaze", folder.path(), &gateway.mqtt_url(), &gateway.data))).await;
    assert_eq!((again["rows"].as_u64(), again["tickets"].as_u64()), (Some(messages), Some(faulty as u64)), "{again}");
    let through_gateway = gateway.rows(DRIVES).await;
    assert_eq!(through_gateway.len() as u64, messages);
    assert!(gateway.stop().await, "an ordered stop: {}", gateway.said());

    let Some(mosquitto) = Mosquitto::start().await else { return };
    let broker = Server::start(&["--clock", "event", "--broker", &mosquitto.url()]).await;
    until("the subscription", async || broker.said().contains("subscribed").then_some(())).await;
    let sent = finish(spawn(command("backblaze", folder.path(), &mosquitto.url(), &broker.data))).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(messages), "{sent}");
    assert_eq!(sent["tickets"].as_u64(), Some(faulty as u64), "{sent}");
    let through_broker = until("the rows", async || {
        let rows = broker.rows(DRIVES).await;
        (rows.len() as u64 >= messages).then_some(rows)
    })
    .await;
    assert_eq!(through_gateway, through_broker);
}

fn data(set: &str) -> Option<PathBuf> {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../shared/data".into());
    let folder = PathBuf::from(root).join(set);
    if !folder.is_dir() {
        println!("skipped: no recorded data in {}", folder.display());
        return None;
    }
    Some(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_machines_report_faults_and_their_maintenance_becomes_outcomes() {
    let Some(folder) = data("azure_pdm") else { return };
    let server = Server::start(&["--clock", "event"]).await;
    let mut replay = command("azure-pdm", &folder, &server.mqtt_url(), &server.data);
    replay.args(["--limit", "8000"]);
    let sent = finish(spawn(replay)).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(8000), "{sent}");
    let telemetry = server.number("select count(*) as n from telemetry_industrial_machine").await;
    let faults = server.number("select count(*) as n from fault").await;
    assert_eq!(telemetry + faults, 8000);
    assert!(faults > 0);
    assert!(sent["tickets"].as_u64().unwrap() > 0, "{sent}");
    let outcomes = until("the outcomes", async || {
        let confirmed = "select count(*) as n from outcome where confirms_fault and disposition = 'part_replaced'";
        Some(server.number(confirmed).await).filter(|n| *n > 0)
    })
    .await;
    assert!(outcomes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_appliances_report_their_power_in_columns() {
    let Some(folder) = data("appliance_power") else { return };
    let server = Server::start(&["--clock", "event"]).await;
    let mut replay = command("appliance-power", &folder, &server.mqtt_url(), &server.data);
    replay.args(["--limit", "3000"]);
    let sent = finish(spawn(replay)).await;
    assert_eq!(sent["acknowledged"].as_u64(), Some(3000), "{sent}");
    let rows = server.number("select count(*) as n from telemetry_power_monitor").await;
    assert!(rows > 150_000, "an hour in a message: {rows}");
    assert_eq!(server.number("select count(*) as n from dead_letter").await, 0);
}

/// An address for a server that will be killed and started again.
pub(crate) fn address() -> SocketAddr {
    free_address()
}
