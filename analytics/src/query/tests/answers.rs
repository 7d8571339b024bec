//! What comes out.

use arrow::datatypes::DataType;

use super::{super::ColdTables, *};

#[tokio::test]
async fn a_row_is_seen_once_wherever_it_lies() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let sql = "select device_id, count(*) from fault group by device_id order by device_id";
    let once = ["d1|1", "d2|1", "d3|1"];
    // Cut at version 2: the third commit is already in the folder, its rows are still hot.
    assert_eq!(ask(&engine, sql).await, once);
    world.show(TableName::Fault, world.faults.clone(), Some(3), faults(), vec![]);
    assert_eq!(ask(&engine, sql).await, once);
    // An older snapshot than the one that is open, and further back.
    let hot = [fault("acme", "d2", "E22", "2026-11-21"), fault("acme", "d3", "E23", "2026-11-22")];
    world.show(TableName::Fault, world.faults.clone(), Some(1), faults(), vec![batch(&faults(), &hot)]);
    assert_eq!(ask(&engine, sql).await, once);
    // Before the first commit there are only hot rows; the folder may not even be there.
    let nowhere = Url::parse("file:///nowhere/fault/").unwrap();
    world.show(
        TableName::Fault,
        nowhere,
        None,
        faults(),
        vec![batch(&faults(), &hot[..1]), batch(&faults(), &hot[1..])],
    );
    assert_eq!(ask(&engine, sql).await, once[1..]);
    world.show(TableName::Fault, world.faults.clone(), None, faults(), vec![]);
    assert_eq!(ask(&engine, "select count(*) from fault").await, ["0"]);
}

#[tokio::test]
async fn a_query_sees_its_tables_at_one_moment() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let sql =
        "select (select count(*) from fault) as a, count(*) as b, (select count(*) from telemetry_washing_machine) as c
               from fault a join fault b on a.device_id = b.device_id where a.code in (select code from fault)";
    let answer = engine.query(&tenant("acme"), sql).await.unwrap();
    // The tables move on while the answer is under way.
    world.show(TableName::Fault, world.faults.clone(), Some(3), faults(), vec![]);
    let rows: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
    assert_eq!(lines(&rows[0]), ["3|3|3"]);
    let mut taken = world.shelf.taken.lock().unwrap().clone();
    taken.sort();
    assert_eq!(taken, [TableName::Telemetry("washing_machine".parse().unwrap()), TableName::Fault]);
}

#[tokio::test]
async fn columns_have_the_types_of_the_table() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let answer = engine.query(&tenant("acme"), "select * from telemetry_washing_machine").await.unwrap();
    assert_eq!(answer.schema.fields(), telemetry().fields());
    drop(answer);

    let sql = "select seq, event_time, extra['x'], extra['y'], date from telemetry_washing_machine order by seq";
    assert_eq!(
        ask(&engine, sql).await,
        [
            "1|2026-11-21T10:01:00.500Z|7|SECRET-NOT|2026-11-21",
            "2|2026-11-21T10:02:00.500Z|8|null|2026-11-21",
            "3|2026-11-21T10:03:00.500Z|null|null|2026-11-21",
        ]
    );
    let sql = "select date_bin(interval '1 hour', event_time) as hour, count(*) from telemetry_washing_machine
               where event_time >= '2026-11-21T10:02:00Z' and extra['x'] is not null group by hour";
    assert_eq!(ask(&engine, sql).await, ["2026-11-21T10:00:00Z|1"]);
    let sql = "select arrow_typeof(now()), extract(hour from event_time) from telemetry_washing_machine limit 1";
    let now = ask(&engine, sql).await;
    assert!(now[0].contains("UTC") && now[0].ends_with("|10"), "{now:?}");
}

#[tokio::test]
async fn days_without_a_match_are_not_read() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let cases = [
        ("select * from fault", 2),
        ("select * from fault where date = '2026-11-21'", 1),
        ("select * from fault where date > '2026-11-21'", 0),
        ("select * from fault where event_time < '2026-11-21T00:00:00Z'", 1),
        ("select * from fault where event_time between '2026-11-21T00:00:00Z' and '2026-11-21T23:00:00Z'", 1),
        ("select count(*) from fault where device_id = 'd1'", 1),
    ];
    for (sql, files) in cases {
        let plan = ask(&engine, &format!("explain {sql}")).await.join("\n");
        let read = plan.split("files=").nth(1).map_or(0, |rest| rest[..1].parse().unwrap());
        assert_eq!(read, files, "{sql}\n{plan}");
    }
    let day = "select device_id from fault where date = '2026-11-21'";
    assert_eq!(ask(&engine, day).await, ["d2"]);
    assert_eq!(ask(&engine, "select device_id from fault where date > '2026-11-21'").await, ["d3"]);
}

#[tokio::test]
async fn a_column_that_a_part_does_not_have_yet_is_null_there() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let mut fields = faults().fields().to_vec();
    fields.insert(3, Arc::new(arrow::datatypes::Field::new("colour", DataType::Utf8, true)));
    let wider: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields));
    let mut new = fault("acme", "d4", "E24", "2026-11-22");
    new["colour"] = json!("white");
    let hot = vec![batch(&faults(), &[fault("acme", "d3", "E23", "2026-11-22")]), batch(&wider, &[new])];
    world.show(TableName::Fault, world.faults.clone(), Some(COLD_FAULTS), wider, hot);
    let sql = "select device_id, colour from fault order by device_id";
    assert_eq!(ask(&engine, sql).await, ["d1|null", "d2|null", "d3|null", "d4|white"]);
    assert_eq!(ask(&engine, "select device_id from fault where colour = 'white'").await, ["d4"]);
}

#[tokio::test]
async fn now_is_the_clocks_time() {
    let engine = World::new().await.engine(Settings::default());
    assert_eq!(ask(&engine, "select cast(now() as varchar)").await, ["2013-04-29T12:00:00Z"]);
    assert_eq!(ask(&engine, "select cast(current_date as varchar)").await, ["2013-04-29"]);
}

#[tokio::test]
async fn a_stopped_servers_tables_can_be_asked() {
    let world = World::new().await;
    let tables = ColdTables::open(world.folder.path()).await.unwrap();
    let engine = Engine::new(Arc::new(tables), clock(), Settings::default(), &mut Registry::default()).unwrap();
    assert_eq!(ask(&engine, "show tables").await, ["fault", "telemetry_washing_machine", "trend_fault_pareto"]);
    assert_eq!(ask(&engine, "select count(*) from fault").await, ["3"]);
    assert_eq!(ask(&engine, "select extra['x'] from telemetry_washing_machine").await, ["7"]);
    assert!(ColdTables::open(&world.folder.path().join("nowhere")).await.is_err());
}

#[tokio::test]
async fn a_server_in_another_process_is_followed() {
    let world = World::new().await;
    let tables = Arc::new(ColdTables::open(world.folder.path()).await.unwrap());
    let engine = Engine::new(tables.clone(), clock(), Settings::default(), &mut Registry::default()).unwrap();
    let count = "select count(*) from fault";
    assert_eq!(ask(&engine, count).await, ["3"]);
    let late = batch(&faults(), &[fault("acme", "d9", "E99", "2026-11-23")]);
    writing::append(&world.faults, late).await;
    assert_eq!(ask(&engine, count).await, ["3"], "the version that was opened");
    tables.refresh().await.unwrap();
    assert_eq!(ask(&engine, count).await, ["4"]);
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_our_fault_and_says_nothing_of_our_folders() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    world.show(TableName::Fault, world.faults.clone(), Some(99), faults(), vec![]);
    let failed = error(&engine, "select * from fault").await;
    assert!(matches!(&failed, SqlError::Internal(_)), "{failed:?}");
    assert_eq!(failed.to_string(), "run the query");
}
