use rand_free::shuffle;
use serde_json::json;

use super::*;

/// A shuffle that needs no crate: a linear congruential generator with a fixed seed.
pub(super) mod rand_free {
    pub(in crate::tests) fn shuffle<T>(items: &mut [T], mut seed: u64) {
        for last in (1..items.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            items.swap(last, (seed >> 33) as usize % (last + 1));
        }
    }
}

/// 500 alarms over 24 hours, each raised and cleared, each event ten times: 10,000 events.
fn storm() -> Vec<Alarm> {
    let mut events = Vec::new();
    for nth in 0..500_u64 {
        let mut alarm = alarm("wm-17", nth * 24 * 60 / 500);
        if nth % 100 == 50 {
            alarm.perceived_severity = PerceivedSeverity::Major;
        }
        for _ in 0..10 {
            events.extend([alarm.clone(), cleared(&alarm)]);
        }
    }
    events
}

#[tokio::test]
async fn ten_thousand_repeated_replayed_and_reordered_alarms_make_one_ticket() {
    let mut seen = Vec::new();
    for seed in [1, 2] {
        let world = World::new().await;
        let mut events = storm();
        shuffle(&mut events, seed);
        for batch in events.chunks(250) {
            world.alarms(batch).await;
        }
        let tickets = world.tickets().await;
        assert_eq!(tickets.len(), 1);
        let ticket = &tickets[0];
        assert_eq!((&ticket["alarm_count"], &ticket["severity"]), (&json!(500), &json!("major")));
        assert_eq!(world.metric("forewarn_tickets_opened_total").await, "1");
        assert_eq!(world.metric("forewarn_alarms_total{state=\"raised\"}").await, "500");
        assert_eq!(world.metric("forewarn_alarms_total{state=\"cleared\"}").await, "500");
        let page = world.json("analyst", "GET /v1/alarms?limit=1000", "", StatusCode::OK).await;
        let mut alarms: Vec<String> = page["alarms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alarm| format!("{} {} {}", alarm["alarm_id"], alarm["state"], alarm["alarm_cleared_time"]))
            .collect();
        alarms.sort();
        seen.push(alarms);
    }
    assert_eq!(seen[0].len(), 500);
    assert_eq!(seen[0], seen[1], "the order makes no difference");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_make_one_ticket() {
    let world = World::new().await;
    // Two processes: each with a pool of its own on the same file.
    let second = store::open(&world.folder.path().join("service.db")).await.unwrap();
    let app = &world.app;
    let desks = [world.desk(), Desk::new(second, app.profiles.clone(), app.events.clone(), app.metrics.clone())];
    let writers = desks.into_iter().enumerate().map(|(nth, desk)| {
        tokio::spawn(async move {
            for minute in 0..50 {
                desk.alarms(&[alarm("wm-17", minute * 2 + nth as u64)]).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let tickets = world.tickets().await;
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0]["alarm_count"], 100);
}

#[tokio::test]
async fn a_ticket_says_what_the_agent_the_customer_and_the_technician_need() {
    let world = World::new().await;
    let mut first = alarm("wm-17", 0);
    let profile = world.app.profiles.get("washing_machine").unwrap().clone();
    let rule = profile.rules.iter().find(|rule| rule.fault_key == first.fault_key).unwrap();
    first.specific_problem = rule.name.clone();
    world.alarms(&[first]).await;
    let ticket = &world.tickets().await[0];
    let component = profile.component("drum_bearing").unwrap();
    assert_eq!(ticket["status"], "acknowledged");
    assert_eq!(ticket["sub_status"], "awaiting_owner");
    assert_eq!(ticket["ticket_type"], "incident");
    assert_eq!(ticket["channel"], "alarm");
    assert_eq!(ticket["priority"], "medium");
    assert_eq!(ticket["title"], format!("{}: Bearing worn", component.title));
    assert_eq!(ticket["description"], "vibration_mm_s at or above 4.5 mm/s for 30 min");
    assert_eq!(ticket["customer_text"], json!(rule.customer_text));
    assert_eq!(ticket["required_skills"], json!(component.skills));
    assert_eq!(ticket["recommended_parts"][0]["number"], json!(component.parts[0].number));
    assert_eq!(ticket["creation_date"], "2026-11-21T10:00:05Z");
}

#[tokio::test]
async fn another_fault_or_another_device_has_a_ticket_of_its_own() {
    let world = World::new().await;
    let mut pump = alarm("wm-17", 1);
    pump.fault_key = "drain_pump/blocked".parse().unwrap();
    pump.alarm_id = "0".repeat(32);
    world.alarms(&[alarm("wm-17", 0), pump, alarm("wm-18", 0)]).await;
    assert_eq!(world.tickets().await.len(), 3);
}

async fn resolve(world: &World) -> String {
    let ticket_id = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    let line = format!("PATCH /v1/tickets/{ticket_id}");
    let start = json!({"owner": "ann", "note": {"kind": "contact", "text": "called"}, "status": "inProgress"});
    world.json("agent", &line, start, StatusCode::OK).await;
    let done = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
    world.json("agent", &line, done, StatusCode::OK).await;
    ticket_id
}

#[tokio::test]
async fn a_fault_that_comes_back_after_it_was_resolved_reopens_its_ticket() {
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    world.clock.advance(Duration::from_secs(3600));
    let ticket_id = resolve(&world).await;
    // Raised before the repair, told afterwards: nothing has come back.
    world.alarms(&[alarm("wm-17", 30)]).await;
    assert_eq!(world.tickets().await[0]["status"], "resolved");
    world.alarms(&[alarm("wm-17", 90)]).await;
    let tickets = world.tickets().await;
    assert_eq!(tickets.len(), 1);
    assert_eq!((&tickets[0]["status"], &tickets[0]["reopen_count"]), (&json!("inProgress"), &json!(1)));
    assert_eq!((&tickets[0]["sub_status"], &tickets[0]["owner"]), (&json!("reopened"), &json!("ann")));
    assert_eq!(world.metric("forewarn_tickets_reopened_total").await, "1");
    let detail = world.json("agent", &format!("GET /v1/tickets/{ticket_id}"), "", StatusCode::OK).await;
    let history = detail["history"].as_array().unwrap();
    let last = history.last().unwrap();
    assert_eq!((&last["from_status"], &last["to_status"]), (&json!("resolved"), &json!("inProgress")));
    let times: Vec<Instant> = history.iter().map(|entry| at(entry["at"].as_str().unwrap())).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn a_fault_that_comes_back_after_it_was_closed_opens_a_linked_ticket() {
    const DAY: u64 = 24 * 60;
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0), cleared(&alarm("wm-17", 0))]).await;
    world.clock.advance(Duration::from_secs(3600));
    let first = resolve(&world).await;
    let closed = json!({"status": "closed", "status_change_reason": "customer_confirmed"});
    world.json("agent", &format!("PATCH /v1/tickets/{first}"), closed, StatusCode::OK).await;
    // A late alarm of the same trouble belongs to the closed ticket.
    world.alarms(&[alarm("wm-17", 10)]).await;
    assert_eq!(world.tickets().await.len(), 1);
    assert_eq!(world.tickets().await[0]["alarm_count"], 2);
    world.alarms(&[alarm("wm-17", 30 * DAY)]).await;
    let tickets = world.tickets().await;
    assert_eq!((tickets.len(), &tickets[0]["repeat_of"]), (2, &json!(first)));
    // Long after, it is a new story.
    world.clock.advance(Duration::from_secs(31 * 86_400));
    let second = resolve(&world).await;
    let closed = json!({"status": "closed", "status_change_reason": "customer_confirmed"});
    world.json("agent", &format!("PATCH /v1/tickets/{second}"), closed, StatusCode::OK).await;
    world.alarms(&[alarm("wm-17", 200 * DAY)]).await;
    let tickets = world.tickets().await;
    assert_eq!((tickets.len(), &tickets[0]["repeat_of"]), (3, &json!(null)));
}

#[tokio::test]
async fn an_alarm_from_before_the_component_was_mended_opens_no_ticket_of_another_failure_mode() {
    let loose = |minute| Alarm { fault_key: "drum_bearing/loose".parse().unwrap(), ..alarm("wm-17", minute) };
    let replaced = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
    let nothing = json!({"status": "resolved", "disposition": "no_fault_found"});
    for (done, closed, minute, tickets, counts) in [
        (&replaced, false, 30, 1, 2),
        (&replaced, true, 30, 1, 2),
        (&replaced, true, 90, 2, 1),
        (&replaced, false, 90, 2, 1),
        // Nobody looked for a loose bearing.
        (&nothing, true, 30, 2, 1),
    ] {
        let world = World::new().await;
        world.alarms(&[alarm("wm-17", 0)]).await;
        world.clock.advance(Duration::from_secs(3600));
        let ticket = world.ticket(0).await;
        super::advisory::resolve(&world, &ticket, done.clone()).await;
        if closed {
            world.patch(&ticket, json!({"status": "closed", "status_change_reason": "customer_confirmed"})).await;
        }
        world.alarms(&[loose(minute)]).await;
        let (all, first) = (world.tickets().await, world.ticket(1.min(world.tickets().await.len() - 1)).await);
        assert_eq!((all.len(), &first["alarm_count"]), (tickets, &json!(counts)), "{done} {closed} {minute}");
        assert_eq!(first["reopen_count"], 0);
    }
}

#[tokio::test]
async fn a_resolved_ticket_is_settled_when_its_time_is_over() {
    for (heard, active, reason) in [(true, false, "verified"), (false, false, "unverified"), (true, true, "unverified")]
    {
        let world = World::new().await;
        world.alarms(&[alarm("wm-17", 0)]).await;
        if !active {
            world.alarms(&[cleared(&alarm("wm-17", 0))]).await;
        }
        world.clock.advance(Duration::from_secs(3600));
        resolve(&world).await;
        if heard {
            let seen = schemas::door::DeviceSeen {
                tenant: world.tenant.clone(),
                device_id: "wm-17".parse().unwrap(),
                profile: "washing_machine".parse().unwrap(),
                firmware: None,
                last_seen: world.clock.now().plus(Duration::from_secs(3600)),
            };
            world.desk().devices(&[seen]).await.unwrap();
        }
        let after = world.app.settings.verify_after;
        let settle = || crate::ticket::store::settle(&world.app.db, world.clock.now(), after);
        assert_eq!(settle().await.unwrap(), 0);
        world.clock.advance(after);
        assert_eq!(settle().await.unwrap(), 1);
        assert_eq!(settle().await.unwrap(), 0);
        let ticket = &world.tickets().await[0];
        assert_eq!((&ticket["status"], &ticket["status_change_reason"]), (&json!("closed"), &json!(reason)));
    }
}

#[tokio::test]
async fn history_cannot_be_rewritten() {
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    for sql in ["update ticket_history set text = ''", "delete from ticket_history"] {
        let error = sqlx::query(sql).execute(&world.app.db).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn devices_keep_the_latest_news_whatever_the_order() {
    let world = World::new().await;
    let seen = |hour: u64, firmware: Option<&str>| schemas::door::DeviceSeen {
        tenant: world.tenant.clone(),
        device_id: "wm-17".parse().unwrap(),
        profile: "washing_machine".parse().unwrap(),
        firmware: firmware.map(str::to_owned),
        last_seen: at("2026-11-21T00:00:00Z").plus(Duration::from_secs(3600 * hour)),
    };
    for batch in [[seen(3, Some("1.5")), seen(1, Some("1.4"))], [seen(2, None), seen(4, None)]] {
        world.desk().devices(&batch).await.unwrap();
    }
    world.alarms(&[alarm("wm-17", 0)]).await;
    let device = world.json("analyst", "GET /v1/devices/wm-17", "", StatusCode::OK).await;
    assert_eq!(device["firmware"], "1.5");
    assert_eq!(device["first_seen"], "2026-11-21T01:00:00Z");
    assert_eq!(device["last_seen"], "2026-11-21T04:00:00Z");
    assert_eq!(device["open_tickets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_nameplate_is_checked_kept_and_shown() {
    let world = World::new().await;
    let seen = schemas::door::DeviceSeen {
        tenant: world.tenant.clone(),
        device_id: "wm-17".parse().unwrap(),
        profile: "washing_machine".parse().unwrap(),
        firmware: None,
        last_seen: at("2026-11-21T09:00:00Z"),
    };
    world.desk().devices(&[seen]).await.unwrap();
    let line = "PUT /v1/devices/wm-17/nameplate";
    let told = json!({"model": "W 500", "batch": "2026-07", "installed_at": "2026-08-01T00:00:00Z"});
    assert_eq!(world.send("agent", line, &[], told.clone()).await.status, 204);
    let device = world.send("agent", "GET /v1/devices/wm-17", &[], "").await.json();
    assert_eq!(device["nameplate"]["batch"], "2026-07");
    assert_eq!(device["nameplate"]["region"], json!(null));
    assert_eq!(device["nameplate"]["installed_at"], "2026-08-01T00:00:00Z");

    let empty = world.send("agent", line, &[], json!({"region": ""})).await;
    assert_eq!(empty.status, 400);
    assert!(String::from_utf8_lossy(&empty.bytes).contains("legal is 1 to 100"));
    assert_eq!(world.send("stranger", line, &[], told).await.status, 404);
}
