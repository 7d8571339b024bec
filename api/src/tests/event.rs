use futures::StreamExt;
use serde_json::json;

use super::*;

/// Reads events off a stream until there are so many; comments do not count.
struct Reader {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(world: &World, headers: &[(&str, &str)]) -> Self {
        let response = world.response("agent", "GET /v1/events", headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event as (id, event, data).
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.unwrap_or_default().to_owned()
                };
                if !field("data").is_empty() {
                    return Some((field("id"), field("event"), serde_json::from_str(&field("data")).unwrap()));
                }
                continue;
            }
            let piece = tokio::time::timeout(DEADLINE, self.body.next()).await.expect("an event within the deadline");
            self.text.push_str(std::str::from_utf8(&piece?.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn an_agent_hears_of_a_new_ticket_at_once_and_resumes_where_it_stopped() {
    let world = World::new().await;
    let mut live = Reader::open(&world, &[]).await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    let (first_id, kind, ticket) = live.next().await.unwrap();
    assert_eq!(kind, "forewarn.ticket.created");
    assert_eq!(ticket["specversion"], "1.0");
    assert_eq!(ticket["source"], "/forewarn/dev");
    assert_eq!(ticket["id"], json!(first_id));
    assert_eq!(ticket["data"]["fault_key"], "drum_bearing/wear");
    assert_eq!(ticket["data"]["ticket_id"], ticket["subject"]);
    assert_eq!(live.next().await.unwrap().1, "forewarn.alarm.raised");
    drop(live);
    // While nobody listens:
    let line = format!("PATCH /v1/tickets/{}", ticket["subject"].as_str().unwrap());
    let start = json!({"owner": "ann", "note": {"kind": "contact", "text": "called"}, "status": "inProgress"});
    world.json("agent", &line, start, StatusCode::OK).await;
    world.alarms(&[cleared(&alarm("wm-17", 0))]).await;
    let mut resumed = Reader::open(&world, &[("last-event-id", &first_id)]).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(resumed.next().await.unwrap().1);
    }
    assert_eq!(kinds, ["forewarn.alarm.raised", "forewarn.ticket.status_changed", "forewarn.alarm.cleared"]);
    // and goes on live.
    world.alarms(&[alarm("wm-18", 0)]).await;
    for kind in ["forewarn.ticket.created", "forewarn.alarm.raised"] {
        assert_eq!(resumed.next().await.unwrap().1, kind);
    }
    // A stop ends it.
    world.app.events.close();
    assert_eq!(resumed.next().await, None);
}

#[tokio::test]
async fn another_tenants_events_do_not_pass() {
    let world = World::new().await;
    let mut live = Reader::open(&world, &[]).await;
    let mut foreign = alarm("wm-17", 0);
    foreign.tenant = "other".parse().unwrap();
    world.alarms(&[foreign]).await;
    world.alarms(&[alarm("wm-99", 0)]).await;
    assert_eq!(live.next().await.unwrap().2["data"]["device_id"], "wm-99");
}

#[tokio::test]
async fn a_place_that_is_no_longer_kept_is_told() {
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0), alarm("wm-18", 0)]).await;
    sqlx::query("delete from event where event_id <= 2").execute(&world.app.db).await.unwrap();
    let mut late = Reader::open(&world, &[("last-event-id", "1")]).await;
    let (_, kind, gap) = late.next().await.unwrap();
    assert_eq!((kind.as_str(), gap), ("gap", json!({"last_event_id": 1, "first_kept": 3})));
    assert_eq!(late.next().await.unwrap().0, "3");
    for wrong in ["x", "-1", "1.5"] {
        let answer = world.send("agent", "GET /v1/events", &[("last-event-id", wrong)], "").await;
        assert_eq!((answer.status, answer.json()["field"].clone()), (400, json!("last-event-id")));
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_counted() {
    let world = World::with(|app| app.settings.event_patience = Duration::from_millis(50)).await;
    let response = world.response("agent", "GET /v1/events", &[], "").await;
    for nth in 0..100 {
        world.alarms(&[alarm(&format!("wm-{nth}"), 0)]).await;
    }
    let world = &world;
    until("the stream is cut", || async {
        world.metric("forewarn_event_streams_cut_total{reason=\"slow\"}").await == "1"
    })
    .await;
    until("the stream is gone", || async { world.metric("forewarn_event_streams").await == "0" }).await;
    drop(response);
}

#[tokio::test]
async fn streams_are_bounded() {
    let world = World::with(|app| app.settings.event_streams = 2).await;
    let open = [Reader::open(&world, &[]).await, Reader::open(&world, &[]).await];
    let refused = world.ask("agent", "GET /v1/events", "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    drop(open);
    let world = &world;
    until("the streams are gone", || async { world.metric("forewarn_event_streams").await == "0" }).await;
    Reader::open(world, &[]).await;
}
