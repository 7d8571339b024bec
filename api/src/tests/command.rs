//! Commands from the order to the reply; the gateway's part is played by who asks the courier.

use arrow::array::{ArrayRef, BooleanArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use schemas::{
    door::{Chunk, Commands, Cursor, DeviceSeen, Feed, Parcel, Principal, Receipt, Rows},
    id::LogOffset,
    table::{self, TableName},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::command::{Courier, replies, rules::QUEUE};

const LINE: &str = "POST /v1/devices/wm-1/commands";

fn wm_1() -> Principal {
    Principal { tenant: "dev".parse().unwrap(), device_id: "wm-1".parse().unwrap() }
}

pub(super) async fn heard_of(db: &sqlx::SqlitePool, device: &Principal) {
    let seen = DeviceSeen {
        tenant: device.tenant.clone(),
        device_id: device.device_id.clone(),
        profile: "washing_machine".parse().unwrap(),
        firmware: None,
        last_seen: at("2026-11-21T09:00:00Z"),
    };
    device::store::seen(db, &[seen]).await.unwrap();
}

/// A world that has heard of wm-1, and the courier at work.
async fn world() -> (World, Courier) {
    let world = World::new().await;
    heard_of(&world.app.db, &wm_1()).await;
    let courier = courier(&world).await.0;
    (world, courier)
}

/// A courier of another process, which looks by itself.
async fn courier(world: &World) -> (Courier, CancellationToken) {
    let (db, metrics) = (world.app.db.clone(), world.app.commands.clone());
    let (courier, rounds) = Courier::open(db, world.clock.clone(), metrics).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(rounds.run(stop.clone()));
    (courier, stop)
}

async fn order(world: &World, name: &str) -> String {
    let command = world.json("agent", LINE, json!({ "name": name }), StatusCode::CREATED).await;
    command["command_id"].as_str().unwrap().to_owned()
}

async fn next(courier: &Courier) -> Parcel {
    tokio::time::timeout(DEADLINE, courier.next(&wm_1())).await.expect("a command comes")
}

async fn commands(world: &World) -> Vec<Value> {
    let page = world.json("analyst", "GET /v1/devices/wm-1/commands", "", StatusCode::OK).await;
    page["commands"].as_array().unwrap().clone()
}

async fn until_state(world: &World, command_id: &str, state: &str) -> Value {
    until(state, || async {
        commands(world).await.iter().any(|command| command["command_id"] == command_id && command["state"] == state)
    })
    .await;
    commands(world).await.into_iter().find(|command| command["command_id"] == command_id).unwrap()
}

/// The chunk of frames `start` to `end` with these replies: device, command id, ok.
fn chunk(start: u64, end: u64, said: &[(&str, &str, bool)]) -> Arc<Chunk> {
    let text = |of: fn(&(&str, &str, bool)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(said.iter().map(of)))
    };
    let schema = table::fixed(&TableName::Reply).unwrap();
    let arrival = at("2026-11-21T10:05:00Z").micros();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "tenant" => text(|_| "dev".into()),
            "device_id" => text(|(device, ..)| (*device).into()),
            "id" => text(|(_, id, _)| (*id).into()),
            "ok" => Arc::new(BooleanArray::from_iter(said.iter().map(|(.., ok)| Some(*ok)))),
            "result" => text(|_| r#"{"pump":"turns"}"#.into()),
            "arrival_time" => Arc::new(TimestampMicrosecondArray::from(vec![arrival; said.len()]).with_timezone("UTC")),
            "date" => Arc::new(Date32Array::from(vec![20_778; said.len()])),
            other => panic!("column {other}"),
        })
        .collect();
    let rows = Rows { table: TableName::Reply, batch: RecordBatch::try_new(schema, columns).unwrap() };
    let rows = if said.is_empty() { Vec::new() } else { vec![rows] };
    Arc::new(Chunk { start: LogOffset(start), end: LogOffset(end), now: at("2026-11-21T10:05:00Z"), rows })
}

struct Place(tokio::sync::watch::Sender<u64>);

impl Cursor for Place {
    fn advance(&self, to: LogOffset) {
        self.0.send_replace(to.0);
    }
}

#[tokio::test]
async fn a_command_is_ordered_delivered_and_answered() {
    let (world, courier) = world().await;
    let command_id = order(&world, "self_test").await;
    assert_eq!(commands(&world).await[0]["state"], "pending");
    let parcel = next(&courier).await;
    let payload: Value = serde_json::from_slice(&parcel.payload).unwrap();
    let expected = json!({"id": command_id, "name": "self_test", "args": {}, "expires": "2026-11-22T10:00:00Z"});
    assert_eq!(payload, expected);
    courier.receipt(parcel, Receipt::Delivered);
    until_state(&world, &command_id, "delivered").await;

    let (chunks, feed) = mpsc::channel(4);
    let (place, mut moved) = tokio::sync::watch::channel(0);
    let feed = Feed { chunks: feed, cursor: Arc::new(Place(place)) };
    let stop = CancellationToken::new();
    let (db, metrics, events) = (world.app.db.clone(), world.app.commands.clone(), world.app.events.clone());
    let reading = tokio::spawn(replies::run(db, feed, metrics, events, stop.clone()));
    // Another device's reply to this command counts for nothing; a second one neither.
    chunks.send(chunk(0, 5, &[("wm-2", &command_id, true)])).await.unwrap();
    chunks.send(chunk(5, 9, &[("wm-1", &command_id, true), ("wm-1", "unknown", true)])).await.unwrap();
    chunks.send(chunk(9, 12, &[("wm-1", &command_id, false)])).await.unwrap();
    tokio::time::timeout(DEADLINE, moved.wait_for(|to| *to == 12)).await.unwrap().unwrap();
    assert_eq!(replies::offset(&world.app.db).await.unwrap(), LogOffset(12));
    let answered = until_state(&world, &command_id, "answered").await;
    assert_eq!(answered["ok"], true);
    assert_eq!(answered["result"], json!({"pump": "turns"}));
    assert_eq!(answered["delivered"], "2026-11-21T10:00:00Z");
    assert_eq!(answered["ended"], "2026-11-21T10:05:00Z");
    // Frames without replies are noted at the end at the latest.
    chunks.send(chunk(12, 20, &[])).await.unwrap();
    drop(chunks);
    tokio::time::timeout(DEADLINE, reading).await.unwrap().unwrap().unwrap();
    assert_eq!(replies::offset(&world.app.db).await.unwrap(), LogOffset(20));
}

#[tokio::test]
async fn what_was_handed_over_before_the_stop_is_noted() {
    let (world, _) = world().await;
    let (chunks, feed) = mpsc::channel(4);
    let (place, _moved) = tokio::sync::watch::channel(0);
    let feed = Feed { chunks: feed, cursor: Arc::new(Place(place)) };
    for (start, end) in [(0, 5), (5, 9)] {
        chunks.send(chunk(start, end, &[])).await.unwrap();
    }
    let stop = CancellationToken::new();
    stop.cancel();
    let (db, metrics, events) = (world.app.db.clone(), world.app.commands.clone(), world.app.events.clone());
    tokio::time::timeout(DEADLINE, replies::run(db, feed, metrics, events, stop)).await.unwrap().unwrap();
    assert_eq!(replies::offset(&world.app.db).await.unwrap(), LogOffset(9));
}

#[tokio::test]
async fn commands_go_out_in_order_one_at_a_time_and_again_until_they_are_taken() {
    let (world, courier) = world().await;
    let (first, second) = (order(&world, "self_test").await, order(&world, "restart").await);
    let parcel = next(&courier).await;
    assert_eq!(parcel.command_id, first);
    // While it is on its way nobody gets the other, over whatever connection.
    let device = wm_1();
    let mut other = Box::pin(courier.next(&device));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut other).await.is_err());
    drop(parcel);
    let again = tokio::time::timeout(DEADLINE, other).await.unwrap();
    assert_eq!(again.command_id, first, "the connection broke: it is the oldest again");
    courier.receipt(again, Receipt::Refused("busy".into()));
    let parcel = next(&courier).await;
    assert_eq!(parcel.command_id, second);
    assert_eq!(until_state(&world, &first, "refused").await["reason"], "busy");
    courier.receipt(parcel, Receipt::Delivered);
    until_state(&world, &second, "delivered").await;
}

#[tokio::test]
async fn what_waits_survives_the_process_and_expires_on_its_day() {
    let (world, elder) = world().await;
    let line = "POST /v1/devices/wm-1/commands";
    world.json("agent", line, json!({"name": "self_test", "expires_in": "1h"}), StatusCode::CREATED).await;
    let lasting = order(&world, "restart").await;
    drop(next(&elder).await);
    let (younger, _stop) = courier(&world).await;
    world.clock.advance(Duration::from_secs(3600));
    let parcel = next(&younger).await;
    assert_eq!(parcel.command_id, lasting, "the other has expired");
    assert_eq!(crate::command::store::expire_all(&world.app.db, world.clock.now()).await.unwrap(), 1);
    let states: Vec<_> = commands(&world).await.iter().map(|command| command["state"].clone()).collect();
    assert_eq!(states, ["pending", "expired"]);
    let page = world.json("agent", "GET /v1/devices/wm-1/commands?state=expired", "", StatusCode::OK).await;
    assert_eq!(page["commands"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_with_the_reason() {
    let (world, _courier) = world().await;
    for (who, line, body, status, said) in [
        ("analyst", LINE, json!({"name": "self_test"}), 403, "role"),
        ("agent", LINE, json!({"name": "explode"}), 422, "self_test, restart"),
        ("agent", LINE, json!({"name": "self_test", "expires_in": "91d"}), 400, "expires_in"),
        ("agent", LINE, json!({"name": "self_test", "expires_in": "soon"}), 400, "expires_in"),
        ("agent", LINE, json!({"name": "self_test", "args": {"x": "y".repeat(9000)}}), 400, "at most 8192"),
        ("agent", LINE, json!({"name": "self_test", "args": [1]}), 400, "args"),
        ("agent", LINE, json!({"nam": "self_test"}), 400, "nam"),
        ("agent", "POST /v1/devices/wm-9/commands", json!({"name": "self_test"}), 404, "never heard of"),
        ("stranger", LINE, json!({"name": "self_test"}), 404, "never heard of"),
        ("agent", "GET /v1/devices/wm-1/commands?state=lost", json!(""), 400, "pending"),
    ] {
        let answer = world.ask(who, line, body).await;
        assert!(answer.status == status && answer.text().contains(said), "{who} {line}: {}", answer.text());
    }
    assert!(commands(&world).await.is_empty());
}

#[tokio::test]
async fn a_key_makes_a_repeat_harmless_and_a_full_line_takes_no_more() {
    let (world, _courier) = world().await;
    let key = [("idempotency-key", "k1")];
    let first = world.send("agent", LINE, &key, json!({"name": "self_test"})).await;
    let again = world.send("agent", LINE, &key, json!({"name": "self_test"})).await;
    assert_eq!((first.status, again.status, again.header("idempotency-replayed")), (201, 201, "true"));
    assert_eq!(first.json(), again.json());
    let other = world.send("agent", LINE, &key, json!({"name": "restart"})).await;
    assert_eq!(other.status, 422);
    for _ in 1..QUEUE {
        order(&world, "self_test").await;
    }
    let full = world.ask("agent", LINE, json!({"name": "self_test"})).await;
    assert_eq!(full.status, 429, "{}", full.text());
    assert_eq!(full.json()["command_id"], first.json()["command_id"]);
    // What has expired makes room.
    world.clock.advance(Duration::from_secs(2 * 86_400));
    order(&world, "self_test").await;
}
