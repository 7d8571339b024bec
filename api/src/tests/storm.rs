//! Many devices with one fault at once: one service problem, tickets held, and given back.

use serde_json::json;

use super::{desk::rand_free::shuffle, *};
use crate::service_problem;

const DEVICES: u64 = 6;

async fn world() -> World {
    let storm = service_problem::Settings { devices: 5, within: Duration::from_secs(3600), share: 0.1 };
    World::with(|app| app.settings.storm = storm).await
}

/// A bad firmware: a device raises every four minutes.
fn storm() -> Vec<Alarm> {
    (0..DEVICES).map(|nth| alarm(&format!("wm-{nth}"), nth * 4)).collect()
}

async fn problems(world: &World) -> Vec<Value> {
    let page = world.json("agent", "GET /v1/service-problems", "", StatusCode::OK).await;
    page["service_problems"].as_array().unwrap().clone()
}

async fn statuses(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for ticket in world.tickets().await {
        *counts
            .entry(format!("{} {}", ticket["status"].as_str().unwrap(), ticket["sub_status"].as_str().unwrap()))
            .or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_storm_is_one_problem_with_tickets_that_are_held_in_whatever_order_it_is_told() {
    for seed in 0..8 {
        let world = world().await;
        let mut events: Vec<Alarm> =
            storm().into_iter().flat_map(|alarm| [alarm.clone(), cleared(&alarm), alarm]).collect();
        shuffle(&mut events, seed);
        for batch in events.chunks(4) {
            world.alarms(batch).await;
        }
        // A replay of the whole.
        world.alarms(&events).await;
        let problems = problems(&world).await;
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0]["affected"], DEVICES);
        assert_eq!(problems[0]["firmware"], "1.4.2");
        assert_eq!(problems[0]["first_alert"], "2026-11-21T10:00:00Z");
        assert_eq!(statuses(&world).await, BTreeMap::from([("held service_problem".into(), DEVICES as usize)]));
        let line =
            format!("GET /v1/tickets?service_problem_id={}", problems[0]["service_problem_id"].as_str().unwrap());
        let page = world.json("agent", &line, "", StatusCode::OK).await;
        assert_eq!(page["tickets"].as_array().unwrap().len(), DEVICES as usize);
        assert_eq!(world.metric("forewarn_service_problems_total").await, "1");
        assert_eq!(world.metric("forewarn_tickets_held_total").await, DEVICES.to_string());
    }
}

#[tokio::test]
async fn few_devices_other_firmware_or_a_long_time_are_no_storm() {
    let world = world().await;
    world.alarms(&storm()[..4]).await;
    let mut other = storm()[4].clone();
    other.firmware = Some("1.5.0".into());
    let late = alarm("wm-4", 24 * 60);
    // One device again and again.
    let again: Vec<Alarm> = (0..20).map(|nth| alarm("wm-0", nth)).collect();
    world.alarms(&[vec![other, late], again].concat()).await;
    assert!(problems(&world).await.is_empty());
    assert_eq!(statuses(&world).await, BTreeMap::from([("acknowledged awaiting_owner".into(), 5)]));
}

#[tokio::test]
async fn a_small_share_of_a_large_fleet_is_no_storm() {
    let world = world().await;
    let seen: Vec<_> = (0..51)
        .map(|nth| schemas::door::DeviceSeen {
            tenant: world.tenant.clone(),
            device_id: format!("wm-{nth}").parse().unwrap(),
            profile: "washing_machine".parse().unwrap(),
            firmware: Some("1.4.2".into()),
            last_seen: at("2026-11-21T09:00:00Z"),
        })
        .collect();
    world.desk().devices(&seen).await.unwrap();
    world.alarms(&storm()[..5]).await;
    assert!(problems(&world).await.is_empty(), "5 of 51 are less than a tenth");
    world.alarms(&storm()[5..]).await;
    assert_eq!(problems(&world).await.len(), 1, "6 of 51 are more");
    assert_eq!(statuses(&world).await, BTreeMap::from([("held service_problem".into(), 6)]));
}

#[tokio::test]
async fn a_ticket_in_work_stays_with_its_agent() {
    let world = world().await;
    world.alarms(&storm()[..1]).await;
    let ticket_id = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    let start = json!({"owner": "ann", "note": {"kind": "contact", "text": "called"}, "status": "inProgress"});
    world.json("agent", &format!("PATCH /v1/tickets/{ticket_id}"), start, StatusCode::OK).await;
    world.alarms(&storm()[1..]).await;
    let ticket = world.json("agent", &format!("GET /v1/tickets/{ticket_id}"), "", StatusCode::OK).await;
    assert_eq!((&ticket["status"], &ticket["owner"]), (&json!("inProgress"), &json!("ann")));
    assert_eq!(ticket["service_problem_id"], problems(&world).await[0]["service_problem_id"]);
}

#[tokio::test]
async fn a_problem_that_ends_gives_its_tickets_back_and_the_next_storm_is_another() {
    let world = world().await;
    world.alarms(&storm()).await;
    let id = problems(&world).await[0]["service_problem_id"].as_str().unwrap().to_owned();
    let line = format!("PATCH /v1/service-problems/{id}");
    // An agent takes one of them out.
    let one = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    world
        .json(
            "agent",
            &format!("PATCH /v1/tickets/{one}"),
            json!({"owner": "ann", "status": "inProgress"}),
            StatusCode::OK,
        )
        .await;
    world.clock.advance(Duration::from_secs(7200));
    assert_eq!(world.ask("stranger", &line, json!({"status": "resolved"})).await.status, 404);
    world
        .json("agent", &line, json!({"owner": "bob", "note": "bad valve", "status": "inProgress"}), StatusCode::OK)
        .await;
    assert_eq!(statuses(&world).await.get("held service_problem"), Some(&5));
    let ended = world.json("agent", &line, json!({"status": "resolved"}), StatusCode::OK).await;
    assert_eq!((&ended["status"], &ended["owner"]), (&json!("resolved"), &json!("bob")));
    assert_eq!(ended["resolution_date"], "2026-11-21T12:00:00Z");
    let found = statuses(&world).await;
    assert_eq!(found.values().sum::<usize>(), 6);
    assert_eq!(found.get("acknowledged awaiting_owner"), Some(&5), "{found:?}");
    let problem = world.json("agent", &line, json!({"status": "inProgress"}), StatusCode::CONFLICT).await;
    assert!(problem["detail"].as_str().unwrap().ends_with("legal is nothing"), "{problem}");
    // What is told late of the storm that is over makes no new one; a storm after it does.
    world.alarms(&(10..20).map(|nth| alarm(&format!("wm-{nth}"), nth)).collect::<Vec<_>>()).await;
    assert_eq!(problems(&world).await.len(), 1);
    world.alarms(&(20..25).map(|nth| alarm(&format!("wm-{nth}"), 200 + nth)).collect::<Vec<_>>()).await;
    let found = problems(&world).await;
    assert_eq!((found.len(), &found[0]["status"], &found[0]["affected"]), (2, &json!("acknowledged"), &json!(5)));
}

#[tokio::test]
async fn a_planned_outage_of_a_model_is_no_storm() {
    let world = world().await;
    let model = json!({"profile": "washing_machine", "starts_at": "2026-11-21T09:00:00Z",
        "ends_at": "2026-11-22T10:00:00Z", "reason": "update"});
    world.json("agent", "POST /v1/maintenance-windows", model, StatusCode::CREATED).await;
    world.alarms(&storm()).await;
    assert!(problems(&world).await.is_empty());
    assert!(world.tickets().await.is_empty());
}
