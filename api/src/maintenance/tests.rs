use std::time::Duration;

use axum::http::StatusCode;
use schemas::alarm::Alarm;
use serde_json::json;

use crate::tests::{World, alarm, cleared};

async fn window(world: &World, body: serde_json::Value) -> String {
    let made = world.json("agent", "POST /v1/maintenance-windows", body, StatusCode::CREATED).await;
    made["maintenance_window_id"].as_str().unwrap().to_owned()
}

fn of_device(from: &str, to: &str) -> serde_json::Value {
    json!({"device_id": "wm-17", "starts_at": from, "ends_at": to, "reason": "moving house"})
}

async fn planned(world: &World, alarm: &Alarm) -> (bool, bool) {
    let found = world.json("agent", &format!("GET /v1/alarms/{}", alarm.alarm_id), "", StatusCode::OK).await;
    (found["planned_outage_indicator"].as_bool().unwrap(), found["ticket_id"].is_string())
}

#[tokio::test]
async fn an_alarm_in_a_planned_outage_is_kept_and_marked_and_opens_no_ticket() {
    let world = World::new().await;
    window(&world, of_device("2026-11-21T10:10:00Z", "2026-11-21T10:20:00Z")).await;
    // By event time, the end excluded; whatever order they come in.
    for (minute, inside) in [(15, true), (9, false), (20, false), (10, true), (19, true)] {
        let one = alarm("wm-17", minute);
        world.alarms(&[one.clone(), one.clone()]).await;
        assert_eq!(planned(&world, &one).await, (inside, !inside), "{minute}");
    }
    let neighbour = alarm("wm-18", 15);
    world.alarms(std::slice::from_ref(&neighbour)).await;
    assert_eq!(planned(&world, &neighbour).await, (false, true));
    assert_eq!(world.tickets().await.len(), 2);
    assert_eq!(world.metric("forewarn_alarms_planned_total").await, "3");
}

#[tokio::test]
async fn a_window_of_a_model_is_one_of_all_its_devices_and_of_no_other_tenant() {
    let world = World::new().await;
    let model = json!({"profile": "washing_machine", "starts_at": "2026-11-21T10:00:00Z",
        "ends_at": "2026-11-22T10:00:00Z", "reason": "update of the firmware"});
    window(&world, model).await;
    let mut stranger = alarm("wm-99", 5);
    stranger.tenant = "other".parse().unwrap();
    world.alarms(&[alarm("wm-17", 5), alarm("wm-18", 5), stranger]).await;
    assert!(world.tickets().await.is_empty());
    let page = world.json("stranger", "GET /v1/tickets", "", StatusCode::OK).await;
    assert_eq!(page["tickets"].as_array().unwrap().len(), 1);
    let page = world.json("stranger", "GET /v1/maintenance-windows", "", StatusCode::OK).await;
    assert_eq!(page["maintenance_windows"], json!([]));
}

#[tokio::test]
async fn a_window_that_is_ended_hides_nothing_after_it() {
    let world = World::new().await;
    let begun = window(&world, of_device("2026-11-21T09:00:00Z", "2026-11-21T12:00:00Z")).await;
    let coming = window(&world, of_device("2026-11-21T13:00:00Z", "2026-11-21T14:00:00Z")).await;
    for (id, ends_at) in [(begun, "2026-11-21T10:00:00Z"), (coming, "2026-11-21T13:00:00Z")] {
        let line = format!("DELETE /v1/maintenance-windows/{id}");
        assert_eq!(world.ask("stranger", &line, "").await.status, 404);
        assert_eq!(world.json("agent", &line, "", StatusCode::OK).await["ends_at"], ends_at);
        let line = format!("GET /v1/maintenance-windows/{id}");
        assert_eq!(world.json("analyst", &line, "", StatusCode::OK).await["ends_at"], ends_at);
    }
    world.alarms(&[alarm("wm-17", 5), alarm("wm-17", 190)]).await;
    assert_eq!(world.tickets().await.len(), 1);
}

#[tokio::test]
async fn an_alarm_that_outlasts_its_outage_gets_its_ticket() {
    let world = World::new().await;
    window(&world, of_device("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z")).await;
    let (short, long) = (alarm("wm-17", 5), alarm("wm-17", 6));
    world.alarms(&[short.clone(), cleared(&short), long.clone()]).await;
    let outlasted = async || {
        let app = &world.app;
        let storm = &app.settings.storm;
        let now = schemas::time::Clock::now(world.clock.as_ref());
        crate::alarm::store::outlasted(&app.db, &app.profiles, storm, now).await.unwrap().len()
    };
    world.clock.advance(Duration::from_secs(3600) + super::GRACE - Duration::from_secs(1));
    assert_eq!(outlasted().await, 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((outlasted().await, outlasted().await), (1, 0));
    assert_eq!(planned(&world, &long).await, (true, true));
    assert_eq!(planned(&world, &short).await, (true, false));
    assert_eq!(world.tickets().await.len(), 1);
}

#[tokio::test]
async fn what_is_illegal_is_said_by_field() {
    let world = World::new().await;
    let good = of_device("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
    for (key, value, field) in [
        ("device_id", json!("a b"), "device_id"),
        ("device_id", json!(null), "device_id"),
        ("profile", json!("washing_machine"), "device_id"),
        ("ends_at", json!("2026-11-21T10:00:00Z"), "ends_at"),
        ("ends_at", json!("2028-11-21T10:00:00Z"), "ends_at"),
        ("starts_at", json!("soon"), "starts_at"),
        ("reason", json!(" "), "reason"),
    ] {
        let mut body = good.clone();
        body[key] = value;
        let problem = world.json("agent", "POST /v1/maintenance-windows", body, StatusCode::BAD_REQUEST).await;
        assert_eq!(problem["field"], field, "{problem}");
    }
    let body = json!({"profile": "toaster", "starts_at": "2026-11-21T10:00:00Z", "ends_at": "2026-11-21T11:00:00Z",
        "reason": "x"});
    let problem = world.json("agent", "POST /v1/maintenance-windows", body, StatusCode::BAD_REQUEST).await;
    assert_eq!(problem["detail"], "no profile \"toaster\" is loaded");
}
