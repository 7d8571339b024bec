//! Killed anywhere, replayed from anywhere before: each row once.

use std::sync::Arc;

use deltalake_core::kernel::{Action, transaction::CommitData};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use schemas::{id::LogOffset, profile::Profiles, table::TableName};
use url::Url;

use super::{
    super::{LakeError, Settings, commit::Cut, durable::Durable, table::Table},
    bench::{Running, chunk, count, delta, eager, fill, lazy, location, open, pump, pumps, schema, stored},
};

/// Feeds frames `from` to `to`, ten to a chunk, cut where the lake says.
async fn feed(lake: &Running, cuts: &[LogOffset], profiles: &Profiles, tables: &[TableName], from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let end = cuts.iter().map(|cut| cut.0).filter(|cut| *cut > at).chain([at + 10, to]).min().unwrap();
        lake.send(chunk(profiles, tables, at, end)).await;
        at = end;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_chunk_and_commit() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    feed(&lake, &[], &profiles, &[pump()], 0, 95).await;
    lake.hot(&pump(), 95).await;
    lake.kill().await;
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 0));
    let again = open(folder.path(), &profiles, lazy()).await.unwrap();
    assert_eq!(again.committed(), []);
    let lake = Running::start(again);
    feed(&lake, &[], &profiles, &[pump()], 0, 120).await;
    lake.end().await.unwrap();
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_while_committing() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let tables = [pump(), TableName::Fault, TableName::Status];
    for round in 1..=6 {
        let lake = open(folder.path(), &profiles, Settings { checkpoint_every: 3, ..eager() }).await.unwrap();
        let cuts = lake.committed();
        let mut lake = Running::start(lake);
        // From the very beginning each time: whatever is committed is skipped.
        feed(&lake, &cuts, &profiles, &tables, 0, round * 60).await;
        lake.durable((round - 1) * 60 + 10).await;
        lake.kill().await;
    }
    let lake = open(folder.path(), &profiles, lazy()).await.unwrap();
    let cuts = lake.committed();
    let lake = Running::start(lake);
    feed(&lake, &cuts, &profiles, &tables, 0, 400).await;
    lake.end().await.unwrap();
    for table in tables {
        assert_eq!(stored(folder.path(), &table).await, count(0, 400), "{table}");
    }
}

async fn second_handle(folder: &std::path::Path) -> Table {
    let url: Url = location(folder, &pump());
    Table::open(pump(), Arc::new(Durable::default()), url, &schema(&pumps(), &pump())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_took_place_unheard_is_not_repeated() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 30)).await;
    lake.hot(&pump(), 30).await;
    // The very commit that the lake is about to make, by another hand.
    let batch = fill(&schema(&profiles, &pump()), 0, 30);
    Cut::new(vec![batch], LogOffset(0), LogOffset(30)).commit(&mut second_handle(folder.path()).await).await.unwrap();
    let source = lake.source.clone();
    lake.end().await.unwrap();
    let snapshot = schemas::door::TableSource::snapshot(source.as_ref(), &pump()).unwrap();
    assert_eq!((snapshot.version, snapshot.hot.len()), (Some(1), 0));
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_committer_is_noticed() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 30)).await;
    lake.hot(&pump(), 30).await;
    let batch = fill(&schema(&profiles, &pump()), 0, 20);
    Cut::new(vec![batch], LogOffset(0), LogOffset(20)).commit(&mut second_handle(folder.path()).await).await.unwrap();
    let error = lake.end().await.unwrap_err();
    assert!(matches!(error, LakeError::SecondCommitter { found: LogOffset(20), own: LogOffset(30), .. }), "{error}");
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_taken_by_an_optimiser_is_passed_over() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 30)).await;
    lake.hot(&pump(), 30).await;
    let table = delta(&location(folder.path(), &pump()), None).await;
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let bytes = CommitData::new(Vec::<Action>::new(), operation, Default::default(), Vec::new()).get_bytes().unwrap();
    let entry = deltalake_core::logstore::CommitOrBytes::LogBytes(bytes);
    table.log_store().write_commit_entry(1, entry, Default::default()).await.unwrap();
    lake.end().await.unwrap();
    let table = delta(&location(folder.path(), &pump()), None).await;
    assert_eq!(table.version(), Some(2));
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_breaks_the_order_stops_the_lake() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, eager()).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 30)).await;
    lake.end().await.unwrap();
    for chunks in [[(20, 31), (31, 32)], [(30, 40), (41, 50)]] {
        let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
        for (from, to) in chunks {
            let _ = lake.feed.send(chunk(&profiles, &[pump()], from, to)).await;
        }
        let error = lake.end().await.unwrap_err();
        assert!(matches!(error, LakeError::Chunk { .. }), "{error}");
    }
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    let other = TableName::Telemetry("lathe".parse().unwrap());
    let mut wrong = Arc::unwrap_or_clone(chunk(&profiles, &[TableName::Fault], 30, 31));
    wrong.rows[0].table = other;
    lake.send(Arc::new(wrong)).await;
    let error = lake.end().await.unwrap_err();
    assert_eq!(error.to_string(), "rows from 30 for table telemetry_lathe: there is no such table");
}
