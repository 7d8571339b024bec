//! Time, memory, rows, and how many at once.

use std::time::Duration;

use futures::StreamExt as _;

use super::*;

#[tokio::test]
async fn a_query_over_its_time_ends() {
    let world = World::new().await;
    let engine = world.engine(Settings { timeout: Duration::from_millis(300), ..Settings::default() });
    let sql =
        "select count(*) from generate_series(1, 100000000) a, generate_series(1, 1000) b where a.value <> b.value";
    let failed = error(&engine, sql).await;
    assert!(matches!(&failed, SqlError::Limit(text) if text.contains("0.3 s (query.timeout)")), "{failed:?}");
    // An answer that nobody reads is over its time too.
    let answer = engine.query(&tenant("acme"), "select * from generate_series(1, 100000000)").await.unwrap();
    until(|| engine.permits.available_permits() == 8).await;
    let last = answer.batches.collect::<Vec<_>>().await.pop().unwrap();
    assert!(matches!(&last, Err(SqlError::Limit(text)) if text.contains("query.timeout")), "{last:?}");
}

#[tokio::test]
async fn a_query_over_its_memory_fails_alone() {
    let world = World::new().await;
    let engine = world.engine(Settings { memory_bytes: 8 << 20, concurrent: 2, ..Settings::default() });
    // The left side of a cross join is held in memory: 2 million numbers in a share of 4 MiB.
    let hungry = "select sum(a.value * b.value) from generate_series(1, 2000000) a, generate_series(1, 2000000) b";
    let modest = "select count(*) from (select value % 10 as v from generate_series(1, 10000)) group by v limit 1";
    let (failed, fine) = tokio::join!(ask_as(&engine, "acme", hungry), ask_as(&engine, "acme", modest));
    let failed = failed.unwrap_err();
    assert!(matches!(&failed, SqlError::Limit(text) if text.contains("query.memory_bytes")), "{failed:?}");
    assert_eq!(fine.unwrap(), ["1000"]);
}

#[tokio::test]
async fn a_long_answer_ends_after_its_rows() {
    let world = World::new().await;
    let engine = world.engine(Settings { max_rows: 10, ..Settings::default() });
    assert_eq!(ask(&engine, "select * from generate_series(1, 10)").await.len(), 10);
    let answer = engine.query(&tenant("acme"), "select * from generate_series(1, 1000)").await.unwrap();
    let items: Vec<_> = answer.batches.collect().await;
    let rows: usize = items.iter().flatten().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 10);
    let last = items.last().unwrap();
    assert!(matches!(last, Err(SqlError::Limit(text)) if text.contains("query.max_rows") && text.contains("LIMIT")));
}

#[tokio::test]
async fn a_statement_may_not_be_endless() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let long = format!("select {} 1", "1 +".repeat(100_000));
    assert!(matches!(error(&engine, &long).await, SqlError::Limit(_)));
    let deep = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(matches!(error(&engine, &deep).await, SqlError::Syntax { .. }));
}

#[tokio::test]
async fn the_queue_is_bounded_and_a_dropped_answer_makes_room() {
    let world = World::new().await;
    let mut registry = Registry::default();
    let settings = Settings { concurrent: 1, max_rows: usize::MAX, ..Settings::default() };
    let engine = Engine::new(world.shelf.clone(), clock(), settings, &mut registry).unwrap();
    let endless = engine.query(&tenant("acme"), "select * from generate_series(1, 1000000000)").await.unwrap();
    // One runs; four may wait; the fifth is told at once.
    let more = futures::future::join_all((0..5).map(|_| ask_as(&engine, "acme", "select count(*) from fault")));
    let (more, ()) = tokio::join!(more, async {
        tokio::task::yield_now().await;
        drop(endless);
    });
    let (fine, refused): (Vec<_>, Vec<_>) = more.into_iter().partition(Result::is_ok);
    assert_eq!(fine.len(), 4);
    assert!(matches!(&refused[..], [Err(SqlError::Limit(text))] if text.contains("query.concurrent")), "{refused:?}");
    until(|| engine.permits.available_permits() == 1).await;

    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "forewarn_query_finished_total{outcome=\"ok\"} 4",
        "forewarn_query_finished_total{outcome=\"limit\"} 1",
        "forewarn_query_finished_total{outcome=\"cancelled\"} 1",
        "forewarn_query_running 0",
        "forewarn_query_duration_seconds_count 6",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("forewarn_query_rows_total"));
}

#[test]
fn settings_without_sense_are_refused() {
    for (setting, settings) in [
        ("memory_bytes", Settings { memory_bytes: 0, ..Settings::default() }),
        ("concurrent", Settings { concurrent: 0, ..Settings::default() }),
        ("timeout", Settings { timeout: Duration::ZERO, ..Settings::default() }),
    ] {
        let made = Engine::new(Arc::new(Shelf::default()), clock(), settings, &mut Registry::default());
        assert!(made.is_err_and(|error| error.to_string().contains(setting)));
    }
    let read: Settings = serde_json::from_value(json!({"timeout": "5s", "threads": 1})).unwrap();
    assert_eq!((read.timeout, read.threads, read.concurrent), (Duration::from_secs(5), 1, 8));
    assert!(serde_json::from_value::<Settings>(json!({"timeouts": "5s"})).is_err());
}

/// Waits for a state.
async fn until(reached: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(tokio::time::Instant::now() < deadline, "not reached in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
