//! Rows come back as they went in, while and after they move from hot to cold.

use std::{collections::BTreeSet, time::Duration};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use schemas::{
    id::LogOffset,
    profile::{MetricType, Profiles},
    table::TableName,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{LakeError, Settings},
    bench::{
        DEADLINE, Running, chunk, count, delta, eager, fill, lazy, location, numbers, open, profiles, pump, pumps,
        query, schema, stored, text,
    },
};

fn all() -> Vec<TableName> {
    TableName::FIXED.into_iter().chain([pump()]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_every_table_comes_back() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let mut lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    for table in all() {
        let snapshot = lake.source.snapshot(&table).unwrap();
        assert_eq!(snapshot.schema, schema(&profiles, &table), "{table}");
        assert_eq!(snapshot.version, Some(0));
    }
    for from in (0..2500).step_by(100) {
        lake.send(chunk(&profiles, &all(), from, from + 100)).await;
    }
    lake.hot(&pump(), 2500).await;
    assert_eq!(lake.cursor(), 0);
    let source = lake.source.clone();
    lake.end().await.unwrap();
    for table in all() {
        let snapshot = source.snapshot(&table).unwrap();
        assert_eq!((snapshot.version, snapshot.hot.len()), (Some(1), 0), "{table}");
        let wanted = fill(&schema(&profiles, &table), 0, 2500);
        let order = if table == TableName::DeadLetter { "topic" } else { "tenant" };
        let rows = query(delta(&snapshot.location, None).await, &format!("select * from t order by {order}")).await;
        assert_eq!(text(&rows), text(&wanted), "{table}");
    }
    lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    assert_eq!(lake.source.snapshot(&pump()).unwrap().schema, schema(&profiles, &pump()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_give_right_answers_and_dates_prune() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = Running::start(open(folder.path(), &profiles, lazy()).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 3000)).await;
    lake.stop_after_rows(3000).await;
    let table = delta(&location(folder.path(), &pump()), None).await;
    assert_eq!(table.get_file_uris().unwrap().count(), 3);
    for (sql, answer) in [
        ("select count(*) from t", 3000),
        ("select count(*) from t where date = date '2024-10-05'", 1000),
        ("select count(*) from t where pressure_bar >= 749.5", 1),
        ("select count(*) from t where pressure_bar is null", 600),
        ("select count(*) from t where device_id = 'device_id 002999'", 1),
        ("select count(*) from t where event_time >= (select max(event_time) from t)", 1),
        ("select max(boot) - min(boot) from t", 2999),
        ("select count(*) from t where extra['k0'] = '2998'", 1),
    ] {
        let rows = query(table.clone(), sql).await;
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), answer, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_each_row_once_while_commits_run() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let settings = Settings { checkpoint_every: 7, ..eager() };
    let lake = Running::start(open(folder.path(), &profiles, settings).await.unwrap());
    let (source, feed, enough) = (lake.source.clone(), lake.feed.clone(), CancellationToken::new());
    let stop = enough.clone();
    let sending = tokio::spawn(async move {
        let mut at = 0;
        while !stop.is_cancelled() {
            feed.send(chunk(&pumps(), &[pump()], at, at + 10)).await.unwrap();
            at += 10;
        }
        at as i64
    });
    let (mut seen, mut versions) = (0, BTreeSet::new());
    let reading = async {
        while versions.len() < 12 {
            let snapshot = source.snapshot(&pump()).unwrap();
            let mut rows = numbers(delta(&snapshot.location, snapshot.version).await).await;
            for batch in &snapshot.hot {
                rows.extend(batch.column_by_name("boot").unwrap().as_primitive::<Int64Type>().values());
            }
            rows.sort_unstable();
            assert_eq!(rows, count(0, rows.len() as i64), "at version {:?}", snapshot.version);
            assert!(rows.len() >= seen, "a row vanished");
            seen = rows.len();
            versions.insert(snapshot.version.unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("commits go on meanwhile");
    enough.cancel();
    let sent = sending.await.unwrap();
    lake.end().await.unwrap();
    assert_eq!(stored(folder.path(), &pump()).await, count(0, sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_one_moment_hold_the_same_chunks_while_commits_run() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let tables = [pump(), TableName::Fault];
    let lake = Running::start(open(folder.path(), &profiles, eager()).await.unwrap());
    let (source, feed, enough) = (lake.source.clone(), lake.feed.clone(), CancellationToken::new());
    let (stop, of) = (enough.clone(), tables.clone());
    let sending = tokio::spawn(async move {
        let mut at = 0;
        while !stop.is_cancelled() {
            feed.send(chunk(&pumps(), &of, at, at + 3)).await.unwrap();
            at += 3;
        }
    });
    // Before Delta is asked: the hot rows end where the last chunk ends, in both tables or, committed, in none.
    let last = |snapshot: &schemas::door::TableSnapshot| {
        let batch = snapshot.hot.last()?;
        Some(batch.column_by_name("boot").unwrap().as_primitive::<Int64Type>().values()[batch.num_rows() - 1])
    };
    let (mut versions, mut moments) = (BTreeSet::new(), 0);
    let reading = async {
        while versions.len() < 6 || moments < 2000 {
            let moment = source.moment();
            let [telemetry, fault] = tables.each_ref().map(|table| &moment[table]);
            if let (Some(telemetry), Some(fault)) = (last(telemetry), last(fault)) {
                assert_eq!(telemetry, fault, "a chunk is torn");
            }
            moments += 1;
            if moments % 500 == 0 {
                let mut rows = Vec::new();
                for snapshot in [telemetry, fault] {
                    let hot: usize = snapshot.hot.iter().map(|batch| batch.num_rows()).sum();
                    rows.push(hot + numbers(delta(&snapshot.location, snapshot.version).await).await.len());
                    versions.insert(snapshot.version.unwrap());
                }
                assert_eq!(rows[0], rows[1], "a chunk is torn");
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("commits go on meanwhile");
    enough.cancel();
    sending.await.unwrap();
    lake.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_adds_and_drops_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |profiles: &Profiles, from, to| {
        let lake = Running::start(open(folder.path(), profiles, lazy()).await.unwrap());
        lake.send(chunk(profiles, &[pump()], from, to)).await;
        lake.end().await.unwrap();
    };
    run(&profiles(&[("pressure_bar", MetricType::Float), ("mode", MetricType::Text)]), 0, 3).await;
    run(&profiles(&[("pressure_bar", MetricType::Float), ("flow_l_min", MetricType::Float)]), 3, 6).await;
    run(&profiles(&[("mode", MetricType::Text), ("flow_l_min", MetricType::Float)]), 6, 9).await;
    let sql = "select pressure_bar, mode, flow_l_min from t order by boot";
    let rows = text(&query(delta(&location(folder.path(), &pump()), None).await, sql).await);
    assert_eq!(rows["pressure_bar"], ["0.0", "0.25", "0.5", "0.75", "null", "1.25", "null", "null", "null"]);
    assert_eq!(rows["mode"][..4], ["mode 000000", "mode 000001", "mode 000002", "null"]);
    assert_eq!(rows["mode"][6..], ["mode 000006", "mode 000007", "mode 000008"]);
    assert_eq!(rows["flow_l_min"], ["null", "null", "null", "0.75", "null", "1.25", "1.5", "1.75", "2.0"]);
    let error = open(folder.path(), &profiles(&[("mode", MetricType::Integer)]), lazy()).await.unwrap_err();
    assert!(matches!(error, LakeError::TypeChanged { .. }), "{error}");
    // A profile that is gone leaves a table that can still be read.
    let lake = open(folder.path(), &Profiles::default(), lazy()).await.unwrap();
    assert!(lake.source().names().contains(&pump()));
    assert_eq!(lake.committed(), [LogOffset(9)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_rows_and_age_start_a_commit() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let settings = Settings { commit_rows: 50, ..lazy() };
    let mut lake = Running::start(open(folder.path(), &profiles, settings).await.unwrap());
    lake.send(chunk(&profiles, &[pump()], 0, 49)).await;
    lake.hot(&pump(), 49).await;
    lake.send(chunk(&profiles, &[pump()], 49, 51)).await;
    lake.durable(51).await;
    lake.stop().await.unwrap();

    let settings = Settings { commit_interval: Duration::from_millis(50), ..lazy() };
    let mut lake = Running::start(open(folder.path(), &profiles, settings).await.unwrap());
    lake.send(chunk(&profiles, &[TableName::Fault], 51, 52)).await;
    lake.durable(52).await;
    assert_eq!(stored(folder.path(), &TableName::Fault).await, [51]);
    // Chunks without rows move the cursor at once.
    lake.send(chunk(&profiles, &[], 52, 60)).await;
    lake.durable(60).await;
    lake.stop().await.unwrap();
}

impl Running {
    async fn stop_after_rows(self, rows: usize) {
        self.hot(&pump(), rows).await;
        self.stop().await.unwrap();
    }
}
