use std::sync::Mutex;

use schemas::{
    door::{DoorError, OutcomeSink},
    outcome::{Disposition, Outcome},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

/// A lake that is away at first.
#[derive(Default)]
struct Lake {
    failures: Mutex<u32>,
    taken: Mutex<Vec<Outcome>>,
}

#[async_trait::async_trait]
impl OutcomeSink for Lake {
    async fn outcome(&self, outcome: &Outcome) -> Result<(), DoorError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err("the lake is away".into());
        }
        self.taken.lock().unwrap().push(outcome.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_resolved_ticket_becomes_a_label_even_if_the_lake_was_away() {
    let lake = Arc::new(Lake { failures: Mutex::new(1), ..Lake::default() });
    let world = World::with(|app| app.outcomes = Some(lake.clone())).await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    world.clock.advance(Duration::from_secs(3600));
    let ticket_id = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    let line = format!("PATCH /v1/tickets/{ticket_id}");
    let start = json!({"owner": "ann", "note": {"kind": "contact", "text": "called"}, "status": "inProgress"});
    world.json("agent", &line, start, StatusCode::OK).await;
    let done = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205",
        "failure_mode": "wear", "failure_mechanism": "wear", "failure_cause": "expected_wear_and_tear"});
    world.json("agent", &line, done, StatusCode::OK).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::serve(listener, world.app.clone(), stop.clone()));
    // Counted last, so all else is done by then.
    until("delivered", || async { world.metric("forewarn_outcomes_total").await == "1" }).await;
    assert_eq!(crate::outcome::store::in_line(&world.app.db).await.unwrap(), 0);
    stop.cancel();
    server.await.unwrap().unwrap();
    let taken = lake.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1);
    let outcome = &taken[0];
    assert_eq!(outcome.outcome_id, format!("{ticket_id}.0"));
    assert_eq!(outcome.disposition, Disposition::PartReplaced);
    assert_eq!(outcome.failure_cause.as_deref(), Some("expected_wear_and_tear"));
    assert_eq!(outcome.event_time, at("2026-11-21T11:00:00Z"));
    assert_eq!(world.metric("forewarn_outcomes_total").await, "1");
    assert_eq!(world.metric("forewarn_outcomes_failed_total").await, "1");
}

#[tokio::test]
async fn a_false_alarm_is_a_label_too() {
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    let ticket_id = world.tickets().await[0]["ticket_id"].as_str().unwrap().to_owned();
    let reject = json!({"status": "rejected", "status_change_reason": "false_alarm"});
    world.json("agent", &format!("PATCH /v1/tickets/{ticket_id}"), reject, StatusCode::OK).await;
    let mut conn = world.app.db.acquire().await.unwrap();
    let kept = crate::outcome::store::get(&mut conn, &world.tenant, &format!("{ticket_id}.0")).await.unwrap().unwrap();
    assert_eq!(kept.disposition, Disposition::FalseAlarm);
}

#[tokio::test]
async fn an_outcome_told_twice_is_one_and_told_otherwise_a_conflict() {
    let world = World::new().await;
    let mut body = json!({"outcome_id": "pdm-1", "device_id": "m-1", "profile": "industrial_machine",
        "fault_key": "comp1/failure", "disposition": "part_replaced", "part_replaced": "comp1",
        "event_time": "2015-01-05T06:00:00Z"});
    for (status, known) in [(StatusCode::CREATED, false), (StatusCode::OK, true)] {
        let told = world.json("agent", "POST /v1/outcomes", &body, status).await;
        assert_eq!(told, json!({"outcome_id": "pdm-1", "known": known}));
    }
    body["part_replaced"] = json!("comp2");
    world.json("agent", "POST /v1/outcomes", &body, StatusCode::CONFLICT).await;
    for (field, value, status) in [
        ("outcome_id", json!("a b"), 400),
        ("fault_key", json!("x"), 400),
        ("disposition", json!("fine"), 400),
        ("event_time", json!("yesterday"), 400),
        ("ticket_id", json!("none"), 422),
        ("part_replaced", json!(null), 422),
        ("maintenance_activity", json!("hit it"), 400),
    ] {
        let mut wrong = body.clone();
        wrong["outcome_id"] = json!("pdm-2");
        wrong[field] = value;
        let answer = world.ask("agent", "POST /v1/outcomes", wrong).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (status, Some(field)), "{}", answer.text());
    }
    assert_eq!(crate::outcome::store::in_line(&world.app.db).await.unwrap(), 1);
}
