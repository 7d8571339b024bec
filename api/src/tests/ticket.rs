use serde_json::json;

use super::*;

fn new() -> Value {
    json!({"device_id": "wm-9", "profile": "washing_machine", "fault_key": "drum_bearing/wear", "title": "Loud when spinning"})
}

#[tokio::test]
async fn a_ticket_lives_from_acknowledged_to_closed() {
    let world = World::new().await;
    let ticket = world.json("agent", "POST /v1/tickets", new(), StatusCode::CREATED).await;
    let line = format!("PATCH /v1/tickets/{}", ticket["ticket_id"].as_str().unwrap());
    for (body, status, then) in [
        // field or status that the answer must show
        (json!({"status": "inProgress"}), 422, "owner"),
        (json!({"status": "inProgress", "owner": "ann"}), 422, "note"),
        (json!({"owner": "ann"}), 200, "acknowledged awaiting_contact"),
        (json!({"status": "inProgress", "note": {"kind": "contact", "text": "no answer"}}), 200, "inProgress in_work"),
        (json!({"status": "pending"}), 422, "status_change_reason"),
        (json!({"status": "pending", "status_change_reason": "parts"}), 400, "status_change_reason"),
        (json!({"status": "pending", "status_change_reason": "no_answer"}), 200, "pending no_answer"),
        (json!({"status": "resolved", "disposition": "user_guided"}), 409, "status"),
        (json!({"status": "inProgress"}), 200, "inProgress in_work"),
        (json!({"status": "held", "status_change_reason": "parts"}), 200, "held parts"),
        (json!({"status": "inProgress"}), 200, "inProgress in_work"),
        (json!({"status": "resolved"}), 422, "disposition"),
        (json!({"status": "resolved", "disposition": "part_replaced"}), 422, "part_replaced"),
        (json!({"status": "resolved", "disposition": "bewitched"}), 400, "disposition"),
        (
            json!({"status": "resolved", "disposition": "on_site_repaired", "failure_cause": "magic"}),
            400,
            "failure_cause",
        ),
        (
            json!({"status": "resolved", "disposition": "on_site_repaired", "failure_mode": "Wear!"}),
            400,
            "failure_mode",
        ),
        (json!({"disposition": "on_site_repaired"}), 400, "status"),
        (
            json!({"status": "resolved", "disposition": "on_site_repaired", "failure_mechanism": "wear",
            "failure_cause": "expected_wear_and_tear", "detection_method": "continuous_condition_monitoring",
            "maintenance_activity": "repair"}),
            200,
            "resolved verifying",
        ),
        (json!({"status": "closed", "status_change_reason": "verified"}), 422, "status_change_reason"),
        (json!({"status": "inProgress", "status_change_reason": "customer_not_fixed"}), 200, "inProgress reopened"),
        (json!({"status": "resolved", "disposition": "on_site_repaired"}), 200, "resolved verifying"),
        (json!({"status": "closed", "status_change_reason": "customer_confirmed"}), 200, "closed customer_confirmed"),
        (json!({"status": "inProgress"}), 409, "status"),
        (json!({"owner": "bob"}), 409, "owner"),
        (json!({"note": {"text": "thanked us"}}), 200, "closed customer_confirmed"),
        (json!({"status": "acknowledged"}), 409, "status"),
        (json!({}), 400, ""),
        (json!({"colour": "red"}), 400, "colour"),
    ] {
        let answer = world.ask("agent", &line, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let json = answer.json();
        let shown = match status {
            200 => format!("{} {}", json["status"].as_str().unwrap(), json["sub_status"].as_str().unwrap()),
            _ => json["field"].as_str().unwrap_or_default().to_owned(),
        };
        assert_eq!(shown, then, "{body}: {json}");
    }
    let ticket = &world.tickets().await[0];
    assert_eq!((&ticket["reopen_count"], &ticket["owner"]), (&json!(1), &json!("ann")));
}

#[tokio::test]
async fn a_fault_with_an_open_ticket_takes_no_second_one() {
    let world = World::new().await;
    let first = world.json("agent", "POST /v1/tickets", new(), StatusCode::CREATED).await;
    assert_eq!((&first["channel"], &first["status"]), (&json!("agent"), &json!("acknowledged")));
    assert_eq!(first["required_skills"].as_array().unwrap().len(), 2, "from the profile's component");
    let problem = world.json("agent", "POST /v1/tickets", new(), StatusCode::CONFLICT).await;
    assert_eq!(problem["ticket_id"], first["ticket_id"]);
    assert_eq!(problem["type"], "urn:forewarn:problem:conflict");
    // An alarm on the same fault joins it.
    let mut joined = alarm("wm-9", 0);
    joined.perceived_severity = PerceivedSeverity::Critical;
    world.alarms(&[joined]).await;
    let tickets = world.tickets().await;
    assert_eq!(
        (tickets.len(), &tickets[0]["severity"], &tickets[0]["priority"]),
        (1, &json!("critical"), &json!("critical"))
    );
    for (field, value, status) in [
        ("fault_key", "bearing", 400),
        ("fault_key", "gear/wear", 422),
        ("device_id", "a b", 400),
        ("profile", "toaster", 422),
        ("severity", "awful", 400),
        ("title", " ", 400),
        ("title", "a\u{7}b", 400),
        ("tenant", "other", 400),
    ] {
        let mut body = new();
        body["device_id"] = json!("wm-10");
        body[field] = json!(value);
        let answer = world.ask("agent", "POST /v1/tickets", body).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (status, Some(field)), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_body_is_refused() {
    let world = World::new().await;
    let key = [("idempotency-key", "k-1")];
    let first = world.send("agent", "POST /v1/tickets", &key, new()).await;
    let again = world.send("agent", "POST /v1/tickets", &key, new()).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.bytes, again.bytes);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    let mut other = new();
    other["title"] = json!("Silent");
    assert_eq!(world.send("agent", "POST /v1/tickets", &key, other).await.status, 422);
    assert_eq!(world.send("stranger", "POST /v1/tickets", &key, new()).await.status, 201, "keys are per tenant");
    assert_eq!(world.tickets().await.len(), 1);
    world.clock.advance(Duration::from_secs(86_401));
    assert_eq!(world.send("agent", "POST /v1/tickets", &key, new()).await.status, 409, "forgotten after a day");
    for key in ["", "a b", &"x".repeat(129)] {
        assert_eq!(world.send("agent", "POST /v1/tickets", &[("idempotency-key", key)], new()).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_opens_the_ticket() {
    let world = Arc::new(World::new().await);
    let tries = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.ask("agent", "POST /v1/tickets", new()).await.status })
    });
    let mut statuses = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_stale_change_is_refused() {
    let world = World::new().await;
    let ticket = world.send("agent", "POST /v1/tickets", &[], new()).await;
    assert_eq!(ticket.header("etag"), "\"1\"");
    let id = ticket.json()["ticket_id"].as_str().unwrap().to_owned();
    let line = format!("PATCH /v1/tickets/{id}");
    for (etag, status) in
        [("\"1\"", 200), ("\"1\"", 412), ("\"1\", \"2\"", 200), ("*", 200), ("1", 400), ("W/\"4\"", 400)]
    {
        let note = json!({"note": {"text": "x"}});
        let answer = world.send("agent", &line, &[("if-match", etag)], note).await;
        assert_eq!(answer.status, status, "{etag} {}", answer.text());
    }
    let shown = world.ask("agent", &format!("GET /v1/tickets/{id}"), "").await;
    assert_eq!(shown.header("etag"), "\"4\"");
}

#[tokio::test]
async fn pages_of_tickets_have_no_holes_and_filters_hold() {
    let world = World::new().await;
    for nth in 0..25 {
        // An hour apart: together they would be a storm.
        world.alarms(&[alarm(&format!("wm-{nth}"), nth * 61)]).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = world.json("analyst", &format!("GET /v1/tickets?limit=10{after}"), "", StatusCode::OK).await;
        seen.extend(page["tickets"].as_array().unwrap().iter().map(|ticket| ticket["number"].as_i64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
    for (query, count) in [
        ("status=acknowledged", 25),
        ("status=open", 25),
        ("status=closed,resolved", 0),
        ("device_id=wm-3", 1),
        ("fault_key=drum_bearing/wear&device_id=wm-3", 1),
        ("fault_key=drain_pump/blocked", 0),
    ] {
        let page = world.json("analyst", &format!("GET /v1/tickets?{query}"), "", StatusCode::OK).await;
        assert_eq!(page["tickets"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, field) in [
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=x", "after"),
        ("device_id=a/b", "device_id"),
        ("colour=red", "query"),
    ] {
        let problem = world.json("analyst", &format!("GET /v1/tickets?{query}"), "", StatusCode::BAD_REQUEST).await;
        assert_eq!(problem["field"], field, "{query}");
    }
}

#[tokio::test]
async fn bodies_that_are_none_are_told_what_is_wrong() {
    let world = World::new().await;
    for (content_type, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "[]", 400),
        ("application/json", "{\"title\":\"a\"} x", 400),
        ("application/json; charset=utf-8", "{\"title\":1}", 400),
        ("text/plain", "{}", 415),
        ("application/json", &format!("\"{}\"", "x".repeat(1024 * 1024)), 413),
    ] {
        let answer = world.send("agent", "POST /v1/tickets", &[("content-type", content_type)], "").await;
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let request = Request::post("/v1/tickets")
            .header("content-type", content_type)
            .header("authorization", format!("Bearer {}", world.tokens["agent"]))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{content_type} {:.30}", body);
    }
}

#[tokio::test]
async fn a_cancelled_ticket_gives_back_the_visit_it_was_promised() {
    let world = World::new().await;
    let made = world.json("agent", "POST /v1/tickets", new(), StatusCode::CREATED).await;
    let id = made["ticket_id"].as_str().unwrap().to_owned();
    let day = json!([{"start": "08:00", "end": "17:00"}]);
    let technician = json!({"name": "Ana", "skills": made["required_skills"], "home": {"lat": 48.1, "lon": 11.5},
        "time_zone": "Europe/Berlin", "shifts": {"monday": day, "tuesday": day}});
    world.json("admin", "POST /v1/technicians", technician, StatusCode::CREATED).await;
    let site = json!({"lat": 48.2, "lon": 11.6, "time_zone": "Europe/Berlin"});
    world.json("agent", "PUT /v1/devices/wm-9/site", site, StatusCode::OK).await;
    let offered = world.json("agent", &format!("POST /v1/tickets/{id}/slots"), json!({}), StatusCode::OK).await;
    let confirm = json!({"ticket_id": id, "slot_id": offered["slots"][0]["slot_id"]});
    world.json("agent", "POST /v1/appointments", confirm, StatusCode::CREATED).await;
    let shown = world.json("agent", &format!("GET /v1/tickets/{id}"), "", StatusCode::OK).await;
    assert_eq!((&shown["status"], &shown["sub_status"]), (&json!("inProgress"), &json!("visit_booked")));
    assert_eq!((&shown["owner"], &shown["appointments"][0]["state"]), (&json!("agent"), &json!("confirmed")));
    let cancel = json!({"status": "cancelled", "status_change_reason": "customer_withdrew"});
    world.json("agent", &format!("PATCH /v1/tickets/{id}"), cancel, StatusCode::OK).await;
    let shown = world.json("agent", &format!("GET /v1/tickets/{id}"), "", StatusCode::OK).await;
    assert_eq!((&shown["status"], &shown["appointments"][0]["state"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(shown["appointments"][0]["reason"], "ticket_ended");
}
