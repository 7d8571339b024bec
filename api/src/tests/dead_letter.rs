use std::sync::Mutex;

use arrow::{
    array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::Schema,
};
use schemas::door::{DoorError, Letter, Reinject, Request, SqlAnswer, SqlEngine, SqlError, Statement};
use serde_json::json;

use super::*;

/// Topic, content type, payload, arrival in microseconds.
type Row = (String, Option<&'static str>, String, i64);

/// The letters of tenant `dev`. The queries themselves are tried against the real engine in `tests/it`.
struct Letters(Vec<Row>);

#[async_trait::async_trait]
impl SqlEngine for Letters {
    async fn describe(&self, _: &TenantId, _: &Request) -> Result<Statement, SqlError> {
        Err(SqlError::Refused("nothing is prepared over HTTP".into()))
    }

    async fn query_with(&self, tenant: &TenantId, request: &Request) -> Result<SqlAnswer, SqlError> {
        let sql = request.sql.as_str();
        let batch = if sql.starts_with("select count(*)") {
            let count: ArrayRef = Arc::new(Int64Array::from(vec![3]));
            RecordBatch::try_from_iter([("n", count)]).unwrap()
        } else {
            let after = |word: &str| sql.rsplit_once(word).map(|(_, rest)| rest.split([' ', ')']).next().unwrap());
            let number = |word: &str| after(word).map(|text| text.parse::<i64>().unwrap());
            let (until, limit) = (number("arrival_time < arrow_cast(cast(").unwrap(), number(" limit ").unwrap());
            let since = match sql.contains("arrival_time >=") {
                true => number("arrival_time >= arrow_cast(cast(").unwrap(),
                false => i64::MIN,
            };
            let legal = |row: &&Row| tenant.as_str() == "dev" && (since..until).contains(&row.3);
            let rows: Vec<&Row> = self.0.iter().filter(legal).take(limit as usize).collect();
            let columns: [(&str, ArrayRef); 4] = [
                ("topic", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)))),
                ("content_type", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)))),
                ("payload", Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.2)))),
                (
                    "arrival_time",
                    Arc::new(
                        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.3)).with_timezone("UTC"),
                    ),
                ),
            ];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
        };
        let schema: Arc<Schema> = batch.schema();
        Ok(SqlAnswer { schema, batches: Box::pin(futures::stream::iter([Ok(batch)])) })
    }
}

/// A log that breaks after so many letters.
#[derive(Default)]
struct Log {
    taken: Mutex<Vec<Letter>>,
    room: Option<usize>,
}

#[async_trait::async_trait]
impl Reinject for Log {
    async fn reinject(&self, letter: Letter) -> Result<(), DoorError> {
        let mut taken = self.taken.lock().unwrap();
        if self.room.is_some_and(|room| taken.len() >= room) {
            return Err("the disk is gone".into());
        }
        taken.push(letter);
        Ok(())
    }
}

fn row(device: &str, profile: &str, arrival: i64) -> Row {
    let payload = format!(r#"{{"profile":"{profile}","boot":1,"seq":{arrival},"ts":1,"m":{{}}}}"#);
    (format!("fw/v1/dev/{device}/telemetry"), None, payload, arrival)
}

async fn world(rows: Vec<Row>, room: Option<usize>) -> (World, Arc<Log>) {
    let log = Arc::new(Log { room, ..Log::default() });
    let letters = log.clone();
    let world = World::with(move |app| {
        app.sql = Some(Arc::new(Letters(rows)));
        app.letters = Some(letters);
    })
    .await;
    (world, log)
}

const LINE: &str = "POST /v1/dead-letters/replay";

#[tokio::test]
async fn each_letter_is_sent_once_and_only_its_own_tenants() {
    let mut rows: Vec<Row> = (0..10).map(|arrival| row("wm-1", "kettle", arrival)).collect();
    // Three letters of one message, and what only looks like one of the tenant's.
    rows.extend([rows[9].clone(), rows[9].clone()]);
    rows.push(("fw/v1/other/wm-1/telemetry".into(), None, "{}".into(), 11));
    rows.push(("fw/v1/dev/wm-1/command".into(), None, "{}".into(), 12));
    let (world, log) = world(rows, None).await;
    let done = world.json("admin", LINE, json!({}), StatusCode::OK).await;
    assert_eq!((&done["replayed"], &done["known"], &done["refused"]), (&json!(10), &json!(0), &json!(3 + 2)), "{done}");
    assert_eq!(done["next"], json!(null));
    let again = world.json("admin", LINE, json!({}), StatusCode::OK).await;
    assert_eq!((&again["replayed"], &again["known"]), (&json!(0), &json!(10)), "{again}");
    let stranger = world.json("stranger", LINE, json!({}), StatusCode::OK).await;
    assert_eq!((&stranger["replayed"], &stranger["known"]), (&json!(0), &json!(0)), "{stranger}");
    let taken = log.taken.lock().unwrap();
    let arrivals: Vec<String> = taken.iter().map(|letter| String::from_utf8_lossy(&letter.payload).into()).collect();
    assert_eq!(arrivals.len(), 10);
    assert!(arrivals.iter().enumerate().all(|(at, text)| text.contains(&format!("\"seq\":{at},"))), "in their order");
}

#[tokio::test]
async fn many_letters_are_sent_page_by_page_whatever_arrives_together() {
    // Four in each microsecond, so that a page ends within one; then more in one than a page has.
    let mut rows: Vec<Row> = (0..1000).map(|n| row(&format!("wm-{n}"), "kettle", n / 4)).collect();
    rows.extend((0..700).map(|n| row(&format!("fan-{n}"), "kettle", 500)));
    rows.push(row("wm-1", "kettle", 501));
    let all = rows.len();
    let (world, log) = world(rows, None).await;
    let (mut asked, mut replayed) = (json!({}), 0);
    loop {
        let done = world.json("admin", LINE, &asked, StatusCode::OK).await;
        assert_eq!(done["known"], 0, "{done}");
        replayed += done["replayed"].as_u64().unwrap();
        if done["next"].is_null() {
            break;
        }
        asked = json!({"since": done["next"], "until": done["until"]});
    }
    assert_eq!((replayed, log.taken.lock().unwrap().len()), (all as u64, all));
}

#[tokio::test]
async fn letters_of_one_kind_of_device() {
    let rows = vec![row("wm-1", "kettle", 1), row("wm-2", "toaster", 2), {
        let (topic, content_type, _, arrival) = row("wm-3", "", 3);
        (topic, content_type, r#"{"ts":1,"m":{}}"#.into(), arrival)
    }];
    let (world, log) = world(rows, None).await;
    let done = world.json("admin", LINE, json!({"profile": "kettle"}), StatusCode::OK).await;
    assert_eq!((&done["replayed"], &done["other_profile"]), (&json!(1), &json!(2)), "{done}");
    // A letter that names no profile goes by what is known of its device.
    let seen = schemas::door::DeviceSeen {
        tenant: world.tenant.clone(),
        device_id: "wm-3".parse().unwrap(),
        profile: "kettle".parse().unwrap(),
        firmware: None,
        last_seen: world.clock.now(),
    };
    device::store::seen(&world.app.db, &[seen]).await.unwrap();
    let done = world.json("admin", LINE, json!({"profile": "kettle"}), StatusCode::OK).await;
    assert_eq!(
        (&done["replayed"], &done["known"], &done["other_profile"]),
        (&json!(1), &json!(1), &json!(1)),
        "{done}"
    );
    let names: Vec<String> = log.taken.lock().unwrap().iter().map(|letter| letter.topic.to_string()).collect();
    assert_eq!(names, ["fw/v1/dev/wm-1/telemetry", "fw/v1/dev/wm-3/telemetry"]);
}

#[tokio::test]
async fn what_the_log_took_is_noted_even_where_it_breaks() {
    let (world, log) = world((0..5).map(|arrival| row("wm-1", "kettle", arrival)).collect(), Some(3)).await;
    let problem = world.json("admin", LINE, json!({}), StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(problem["detail"].as_str().unwrap().contains("took 3"), "{problem}");
    assert!(!problem.to_string().contains("disk"), "{problem}");
    assert_eq!(world.ask("admin", LINE, json!({})).await.status, 503);
    assert_eq!(log.taken.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn bad_requests_and_parted_roles_are_told() {
    let (whole, _) = world(Vec::new(), None).await;
    for (body, field) in [
        (json!({"reasons": ["foreign_topic"]}), "reasons"),
        (json!({"reasons": []}), "reasons"),
        (json!({"reasons": ["tired"]}), "reasons[0]"),
        (json!({"profile": "a b"}), "profile"),
        (json!({"tenant": "other"}), "tenant"),
    ] {
        let problem = whole.json("admin", LINE, &body, StatusCode::BAD_REQUEST).await;
        assert_eq!(problem["field"], field, "{body}");
    }
    assert_eq!(whole.ask("analyst", LINE, json!({})).await.status, 403);
    let parted = World::new().await;
    assert_eq!(parted.ask("admin", LINE, json!({})).await.status, 503);
}
