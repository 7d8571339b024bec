//! A bearing degrades: telemetry, alarm, ticket, event, visit, outcome.

use std::{pin::pin, time::Duration};

use forewarn::fleet::device::{Answer, Message, Session};
use futures::StreamExt;
use schemas::{
    time::Instant,
    topic::{Channel, Topic},
};
use serde_json::{Value, json};

use crate::process::{Server, until};

const HOUR: Duration = Duration::from_secs(3600);

fn topic(channel: Channel) -> Topic {
    Topic::new("dev".parse().unwrap(), "wm-17".parse().unwrap(), channel)
}

/// A spin every hour; the bearing is quiet for a day and loud from then on.
fn readings(hours: std::ops::Range<u32>) -> Vec<Message> {
    let start: Instant = "2026-03-02T00:00:00Z".parse().unwrap();
    hours
        .map(|hour| {
            let loud = hour >= 24;
            let reading = json!({
                "profile": "washing_machine", "boot": 1, "seq": hour, "ts": start.plus(HOUR * hour).to_string(),
                "firmware": "1.4.2",
                "m": { "drum_speed_rpm": 1200, "vibration_mm_s": if loud { 9.3 } else { 2.4 } },
            });
            Message { topic: topic(Channel::Telemetry), payload: reading.to_string().into(), retain: false }
        })
        .collect()
}

async fn send(server: &Server, messages: &[Message]) {
    let broker = server.broker();
    let mut session = Session::open(&broker, &topic(Channel::Status)).await.unwrap();
    let mut acknowledged = 0;
    session.publish(messages, |_, answer| acknowledged += usize::from(answer == Answer::Acknowledged)).await.unwrap();
    assert_eq!(acknowledged, messages.len());
    session.close().await;
}

async fn ticket(server: &Server) -> Value {
    until("the ticket", async || server.tickets().await.into_iter().next()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worn_bearing_becomes_a_ticket_a_visit_and_a_label() {
    let mut server = Server::start(&["--clock", "event"]).await;
    let client = server.client.clone();

    // Quiet: nobody is woken. Loud for less than the rule's twelve hours: still nobody.
    send(&server, &readings(0..35)).await;
    server.settled(35).await;
    assert!(server.tickets().await.is_empty());

    send(&server, &readings(35..40)).await;
    let opened = ticket(&server).await;
    assert_eq!(opened["device_id"], "wm-17");
    assert_eq!(opened["fault_key"], "drum_bearing/wear");
    assert_eq!(opened["status"], "acknowledged");
    // Loud from hour 24 on; twelve hours later the rule is satisfied.
    assert_eq!(opened["creation_date"], "2026-03-03T12:00:00Z");
    let ticket_id = opened["ticket_id"].as_str().unwrap().to_owned();

    // The same told again, and more of it: one ticket.
    send(&server, &readings(20..60)).await;
    server.settled(80).await;
    assert_eq!(server.tickets().await.len(), 1);

    // The agent hears of it, and sees the numbers behind it.
    let mut events = pin!(client.events(Some("0")).await.unwrap());
    let event = loop {
        let event = events.next().await.unwrap().unwrap();
        if event["type"] == "forewarn.ticket.created" {
            break event;
        }
    };
    assert_eq!(event["subject"], ticket_id.as_str());
    let path = format!("/v1/tickets/{ticket_id}");
    let whole = client.get(&path).await.unwrap();
    let reason = whole.to_string();
    assert!(reason.contains("vibration_mm_s") && reason.contains("7.1"), "the reason stands in the ticket: {whole}");
    assert!(reason.contains("WM-BRG-6205"), "the part to take along: {whole}");

    // A visit: nobody can come before there is somebody who can repair it, and where.
    let day = json!([{ "start": "08:00", "end": "17:00" }]);
    let week = json!({ "monday": day, "tuesday": day, "wednesday": day, "thursday": day, "friday": day });
    let technician = json!({
        "name": "Alba", "skills": ["appliance", "mechanical"], "home": { "lat": 40.42, "lon": -3.70 },
        "time_zone": "Europe/Madrid", "shifts": week,
    });
    client.post("/v1/technicians", &technician).await.unwrap();
    let site = json!({ "lat": 40.31, "lon": -3.73, "time_zone": "Europe/Madrid", "address": "Calle Mayor 1, Getafe" });
    client.put("/v1/devices/wm-17/site", &site).await.unwrap();
    let slots = client.post(&format!("{path}/slots"), &json!({})).await.unwrap();
    let slot = &slots["slots"][0];
    let window: Instant = slot["window_start"].as_str().unwrap().parse().unwrap();
    let now: Instant = "2026-03-04T11:00:00Z".parse().unwrap();
    assert!(window > now, "in the future of the event clock: {slots}");
    let wish = json!({ "ticket_id": ticket_id, "slot_id": slot["slot_id"] });
    let appointment = client.post("/v1/appointments", &wish).await.unwrap();
    assert_eq!(appointment["state"], "confirmed");
    let appointment_id = appointment["appointment_id"].as_str().unwrap();
    let shown = client.get(&path).await.unwrap();
    assert!(shown["appointments"].to_string().contains(appointment_id), "{shown}");
    let calendar = client.text(&format!("/v1/appointments/{appointment_id}/calendar.ics")).await.unwrap();
    assert!(calendar.starts_with("BEGIN:VCALENDAR") && calendar.contains("SEQUENCE:0"), "{calendar}");
    assert!(calendar.contains(appointment_id), "{calendar}");

    // What the technician found returns as a label.
    client.patch(&path, &json!({ "owner": "ann" })).await.unwrap();
    if client.get(&path).await.unwrap()["status"] == "acknowledged" {
        client.patch(&path, &json!({ "status": "inProgress", "contact": "phone" })).await.unwrap();
    }
    let resolved = json!({
        "status": "resolved", "disposition": "part_replaced", "failure_mode": "vibration",
        "failure_mechanism": "wear", "failure_cause": "expected_wear_and_tear",
        "maintenance_activity": "replace", "part_replaced": "WM-BRG-6205",
    });
    client.patch(&path, &resolved).await.unwrap();
    let label = until("the label", async || {
        let rows =
            server.rows("select device_id, fault_key, disposition, confirms_fault, ticket_id from outcome").await;
        rows.into_iter().next()
    })
    .await;
    assert_eq!(label["disposition"], "part_replaced");
    assert_eq!(label["confirms_fault"], true);
    assert_eq!(label["ticket_id"], ticket_id.as_str());

    // In good order: what was taken is in Delta, and the next start finds it.
    assert!(server.stop().await, "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_stop_leaves_all_in_delta_and_the_command_line_reads_it_there() {
    let mut server = Server::start(&["--clock", "event"]).await;
    send(&server, &readings(0..30)).await;
    assert!(server.stop().await, "{}", server.said());
    let output = crate::process::forewarn()
        .args(["query", "select count(*) as n, max(vibration_mm_s) as v from telemetry_washing_machine"])
        .args(["--format", "json", "--data"])
        .arg(&server.data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows, json!([{ "n": 30, "v": 9.3 }]));
}
