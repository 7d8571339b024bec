//! Maintenance keeps every row, whatever fails, and drops those that are past their time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::{
    door::{Chunk, Rows},
    id::LogOffset,
    table::TableName,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    super::{
        durable::Durable,
        maintain::{
            Figures, Keep, MaintainError, Maintainer, Retention, Settings,
            merge::{Fate, merge},
        },
        metrics::Maintenance,
        part::{encode, sort},
    },
    bench::{
        Running, chunk, count, delta, eager, fill, lazy, location, numbers, open, pump, pumps, query, schema, stored,
    },
    store::Faulty,
};

/// Merges whatever it may, at once, and deletes nothing that was just written.
fn keen() -> Settings {
    Settings { settle: Duration::ZERO, files: 4, bytes_per_second: 1 << 40, ..Settings::default() }
}

/// Day 20_000 is 2024-10-04; `fill` puts a thousand rows to a day.
fn after_days(days: i64) -> Instant {
    Instant::from_micros((20_000 + days) * 86_400_000_000)
}

async fn round(maintainer: &mut Maintainer, now: Instant, table: &TableName) -> Result<Figures, MaintainError> {
    maintainer.round(now, &CancellationToken::new()).await.remove(table).unwrap()
}

/// A stopped lake whose table got each ten rows in a commit of their own.
async fn many_files(folder: &std::path::Path, from: u64, to: u64) {
    let mut lake = Running::start(open(folder, &pumps(), eager()).await.unwrap());
    for from in (from..to).step_by(10) {
        lake.send(chunk(&pumps(), &[pump()], from, from + 10)).await;
        lake.durable(from + 10).await;
    }
    lake.end().await.unwrap();
}

/// Files of rows on the disk, whether or not any version knows them.
fn files(folder: &std::path::Path) -> usize {
    let table = location(folder, &pump()).to_file_path().unwrap();
    let days = table.read_dir().unwrap().map(|day| day.unwrap().path());
    days.filter(|day| day.to_string_lossy().contains("date=")).map(|day| day.read_dir().unwrap().count()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_over_becomes_one_file_with_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    many_files(folder.path(), 0, 120).await;
    let url = location(folder.path(), &pump());
    let before = delta(&url, None).await;
    let sql = "select * from t order by boot";
    let rows = super::bench::text(&query(before.clone(), sql).await);
    let mut maintainer = Maintainer::offline(folder.path(), keen(), Retention::default()).unwrap();
    let figures = round(&mut maintainer, after_days(1), &pump()).await.unwrap();
    assert_eq!((figures.files_before, figures.files_after, figures.rows_dropped), (12, 1, 0));
    assert_eq!(super::bench::text(&query(delta(&url, None).await, sql).await), rows);
    for (sql, answer) in [
        ("select count(*) from t where pressure_bar >= 29.5", 1),
        ("select count(*) from t where device_id = 'device_id 000119'", 1),
        ("select count(*) from t where event_time >= (select max(event_time) from t)", 1),
    ] {
        let answered = query(delta(&url, None).await, sql).await;
        assert_eq!(answered.column(0).as_primitive::<Int64Type>().value(0), answer, "{sql}");
    }
    // Whoever reads the version of before still can.
    assert_eq!(numbers(before).await, count(0, 120));
    // Nothing is due any more, and the lake goes on where it was.
    assert_eq!(round(&mut maintainer, after_days(1), &pump()).await.unwrap().merges, 0);
    drop(maintainer);
    let lake = open(folder.path(), &pumps(), lazy()).await.unwrap();
    assert_eq!(lake.committed(), [LogOffset(120)]);
    // Once their time is over the old files go, and only they.
    let at_once = Settings { vacuum_after: Duration::ZERO, ..keen() };
    let mut maintainer = Maintainer::offline(folder.path(), at_once, Retention::default()).unwrap();
    assert_eq!(round(&mut maintainer, after_days(1), &pump()).await.unwrap().files_deleted, 12);
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_given_once() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = open(folder.path(), &profiles, lazy()).await.unwrap();
    let held = lake.maintainer(keen(), Retention::default()).unwrap();
    let refused = Maintainer::offline(folder.path(), keen(), Retention::default()).unwrap_err();
    assert!(matches!(refused, MaintainError::Held(_)), "{refused}");
    drop(held);
    Maintainer::offline(folder.path(), keen(), Retention::default()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_each_row_once_while_commits_and_merges_run() {
    let (folder, profiles) = (tempfile::tempdir().unwrap(), pumps());
    let lake = open(folder.path(), &profiles, eager()).await.unwrap();
    let mut maintainer = lake.maintainer(keen(), Retention::default()).unwrap();
    let mut lake = Running::start(lake);
    let mut merges = 0;
    for from in (0..200).step_by(10) {
        lake.send(chunk(&profiles, &[pump()], from, from + 10)).await;
        lake.durable(from + 10).await;
        // The open day: only full size classes are merged.
        merges += round(&mut maintainer, after_days(0), &pump()).await.unwrap().merges;
        let snapshot = lake.source.snapshot(&pump()).unwrap();
        let mut rows = numbers(delta(&snapshot.location, snapshot.version).await).await;
        for batch in &snapshot.hot {
            rows.extend(batch.column_by_name("boot").unwrap().as_primitive::<Int64Type>().values());
        }
        rows.sort_unstable();
        assert_eq!(rows, count(0, from as i64 + 10), "at version {:?}", snapshot.version);
        assert_eq!(
            snapshot.version,
            delta(&snapshot.location, None).await.version(),
            "the version that is shown stays behind"
        );
    }
    assert!(merges >= 4, "{merges}");
    lake.end().await.unwrap();
    assert_eq!(stored(folder.path(), &pump()).await, count(0, 200));
    assert!(delta(&location(folder.path(), &pump()), None).await.get_file_uris().unwrap().count() < 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_are_not_outrun_by_a_table_that_is_committed_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(folder.path(), &pumps(), eager()).await.unwrap();
    let mut maintainer = lake.maintainer(keen(), Retention::default()).unwrap();
    let mut lake = Running::start(lake);
    let enough = CancellationToken::new();
    let stop = enough.clone();
    let committing = tokio::spawn(async move {
        let mut at = 0;
        while !stop.is_cancelled() {
            lake.send(chunk(&pumps(), &[pump()], at, at + 10)).await;
            at += 10;
            lake.durable(at).await;
        }
        (lake, at)
    });
    let (mut merges, mut lost) = (0, 0);
    let maintaining = async {
        while merges < 6 {
            let figures = round(&mut maintainer, after_days(0), &pump()).await.unwrap();
            (merges, lost) = (merges + figures.merges, lost + figures.races_lost);
        }
    };
    tokio::time::timeout(super::bench::DEADLINE, maintaining).await.expect("merges go on");
    // One each at most: a commit that was made before the merge had its turn.
    assert!(lost <= merges, "{lost} races of {merges} merges");
    enough.cancel();
    let (lake, sent) = committing.await.unwrap();
    lake.end().await.unwrap();
    assert_eq!(stored(folder.path(), &pump()).await, count(0, sent as i64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_fails_at_any_write_keeps_every_row_once() {
    for (name, unheard) in [("merged-", false), ("merged-", true), (".json", false), (".json", true)] {
        let folder = tempfile::tempdir().unwrap();
        many_files(folder.path(), 0, 60).await;
        let root = Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
        let store = Arc::new(Faulty::new(Durable::default(), name, 1, unheard));
        let mut maintainer =
            Maintainer::new(store, root, None, keen(), Retention::default(), Maintenance::default()).unwrap();
        let first = round(&mut maintainer, after_days(1), &pump()).await;
        // A version that was written unheard is found.
        assert_eq!(first.is_ok(), name == ".json" && unheard, "{name} {unheard}: {first:?}");
        assert_eq!(stored(folder.path(), &pump()).await, count(0, 60), "{name} {unheard}");
        round(&mut maintainer, after_days(1), &pump()).await.unwrap();
        let table = delta(&location(folder.path(), &pump()), None).await;
        assert_eq!(table.get_file_uris().unwrap().count(), 1, "{name} {unheard}");
        assert_eq!(numbers(table).await, count(0, 60), "{name} {unheard}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_change_no_row_is_lost_or_doubled() {
    let mut kills = 0;
    for changes in 0.. {
        let folder = tempfile::tempdir().unwrap();
        // Two days.
        many_files(folder.path(), 970, 1030).await;
        let root = Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
        let store = Arc::new(Faulty::killed_after(Durable::default(), changes));
        let at_once = Settings { vacuum_after: Duration::ZERO, ..keen() };
        let (keep, metrics) = (Retention::default(), Maintenance::default());
        let mut killed = Maintainer::new(store.clone(), root, None, at_once.clone(), keep, metrics).unwrap();
        let first = round(&mut killed, after_days(2), &pump()).await;
        assert_eq!(first.is_err(), store.was_killed(), "{changes}: {first:?}");
        drop(killed);
        assert_eq!(stored(folder.path(), &pump()).await, count(970, 1030), "{changes}");
        let mut next = Maintainer::offline(folder.path(), at_once, Retention::default()).unwrap();
        assert_eq!(round(&mut next, after_days(2), &pump()).await.unwrap().files_after, 2, "{changes}");
        assert_eq!(stored(folder.path(), &pump()).await, count(970, 1030), "{changes}");
        assert_eq!(files(folder.path()), 2, "{changes}");
        if !store.was_killed() {
            break;
        }
        kills += 1;
    }
    // Two files and two versions at least, a checkpoint, and six files deleted.
    assert!(kills >= 11, "{kills}");
}

/// Rows `from` to `to` of one day, of five tenants, fifty devices and a thousand instants, so that many have equal keys.
fn scattered(from: i64, to: i64) -> RecordBatch {
    let batch = fill(&schema(&pumps(), &pump()), from, to);
    // Knuth's multiplicative hash: looks like chance and is the same each time.
    let any = |n: i64, salt: i64, of: i64| ((n + salt).wrapping_mul(2_654_435_761).rem_euclid(1 << 32) * of) >> 32;
    let tenant: StringArray = (from..to).map(|n| Some(format!("tenant{}", any(n, 1, 5)))).collect();
    let device: StringArray = (from..to).map(|n| Some(format!("device{}", any(n, 7919, 50)))).collect();
    let time = (from..to).map(|n| Some(20_000 * 86_400_000_000 + any(n, 104_729, 1000)));
    let time = time.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    let date: Date32Array = (from..to).map(|_| Some(20_000)).collect();
    let mut columns = batch.columns().to_vec();
    for (name, column) in [
        ("tenant", Arc::new(tenant) as ArrayRef),
        ("device_id", Arc::new(device)),
        ("event_time", Arc::new(time)),
        ("date", Arc::new(date)),
    ] {
        columns[batch.schema().index_of(name).unwrap()] = column;
    }
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[test]
fn a_merge_keeps_order_and_rows_whatever_lies_where() {
    // Longer than a decoded batch, shorter, empty at the end of one: 8192 rows are a batch.
    let bounds = [0, 20_000, 20_001, 28_193, 45_000];
    let table = schema(&pumps(), &pump());
    let encoded =
        bounds.windows(2).map(|bounds| encode(&sort(&scattered(bounds[0], bounds[1])).unwrap()).unwrap().remove(0));
    let files = Vec::from_iter(encoded.map(|part| part.bytes));
    let without = Vec::from_iter(0..table.fields().len() - 1);
    let schema = Arc::new(table.project(&without).unwrap());
    let drops = |tenant: &str| match tenant {
        "tenant2" => Fate::Drop,
        _ => Fate::Keep,
    };
    for (most, dropping, least_files) in [(usize::MAX, false, 1), (200_000, false, 3), (usize::MAX, true, 2)] {
        let keep = |_: &str| Fate::Keep;
        let fate: &dyn Fn(&str) -> Fate = if dropping { &drops } else { &keep };
        let cuts = Vec::from_iter(dropping.then(|| "tenant2".to_owned()));
        let outcome = merge(&schema, files.clone(), most, fate, &cuts, None).unwrap();
        let (merged, dropped) = (outcome.files, outcome.dropped as usize);
        assert!(merged.len() >= least_files && (most < usize::MAX || merged.len() == least_files), "{}", merged.len());
        let (mut keys, mut boots) = (Vec::new(), Vec::<i64>::new());
        for file in merged {
            let before = boots.len();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file.bytes).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
                let (tenant, device) = (text("tenant"), text("device_id"));
                let time = batch.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
                for row in 0..batch.num_rows() {
                    keys.push((tenant.value(row).to_owned(), device.value(row).to_owned(), time.value(row)));
                }
                boots.extend(batch.column_by_name("boot").unwrap().as_primitive::<Int64Type>().values());
            }
            let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap();
            assert_eq!(stats["numRecords"], boots.len() - before);
            assert_eq!(stats["minValues"]["tenant"], keys[before].0.as_str());
            assert_eq!(stats["maxValues"]["tenant"], keys[keys.len() - 1].0.as_str());
        }
        assert!(keys.is_sorted(), "most {most}, dropping {dropping}");
        assert_eq!(keys.iter().any(|key| key.0 == "tenant2"), !dropping);
        assert_eq!((boots.len() + dropped, dropped > 0), (45_000, dropping));
        boots.sort_unstable();
        boots.dedup();
        assert_eq!(boots.len() + dropped, 45_000);
    }
}

/// Rows of four tenants by turns.
fn of_tenants(from: u64, to: u64) -> Arc<Chunk> {
    let batch = fill(&schema(&pumps(), &pump()), from as i64, to as i64);
    let tenants: StringArray = (from..to).map(|n| Some(["acme", "bolt", "cog", "dyno"][n as usize % 4])).collect();
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of("tenant").unwrap()] = Arc::new(tenants) as ArrayRef;
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let rows = vec![Rows { table: pump(), batch }];
    Arc::new(Chunk { start: LogOffset(from), end: LogOffset(to), now: Instant::EPOCH, rows })
}

async fn by_tenant(root: &std::path::Path) -> BTreeMap<String, i64> {
    let sql = "select cast(tenant as varchar) t, count(*) n from t group by 1 order by 1";
    let table = delta(&location(root, &pump()), None).await;
    let rows = super::bench::text(&query(table, sql).await);
    rows["t"].iter().cloned().zip(rows["n"].iter().map(|n| n.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_past_their_time_go_by_table_and_tenant() {
    let days = |days: u64| Some(Keep(Duration::from_secs(days * 86_400)));
    let own = |telemetry| Retention { telemetry, ..Retention::default() };
    let tenant = BTreeMap::from([("bolt".parse().unwrap(), own(days(2))), ("cog".parse().unwrap(), own(days(30)))]);
    let retention = Retention { telemetry: days(10), fault: days(1), tenant, ..Retention::default() };
    let folder = tempfile::tempdir().unwrap();
    let lake = Running::start(open(folder.path(), &pumps(), lazy()).await.unwrap());
    lake.send(of_tenants(0, 400)).await;
    lake.send(of_tenants(400, 800)).await;
    lake.end().await.unwrap();
    let mut maintainer = Maintainer::offline(folder.path(), keen(), retention).unwrap();
    let wanted = |counts: [(&str, i64); 4]| {
        let left = counts.into_iter().filter(|(_, n)| *n > 0);
        BTreeMap::from_iter(left.map(|(tenant, n)| (tenant.to_owned(), n)))
    };
    // Rows of day 0 are young until its end: age counts from there.
    for (day, dropped, left) in [
        (2, 0, [("acme", 200), ("bolt", 200), ("cog", 200), ("dyno", 200)]),
        (3, 200, [("acme", 200), ("bolt", 0), ("cog", 200), ("dyno", 200)]),
        (10, 0, [("acme", 200), ("bolt", 0), ("cog", 200), ("dyno", 200)]),
        (11, 400, [("acme", 0), ("bolt", 0), ("cog", 200), ("dyno", 0)]),
        (30, 0, [("acme", 0), ("bolt", 0), ("cog", 200), ("dyno", 0)]),
        (31, 200, [("acme", 0), ("bolt", 0), ("cog", 0), ("dyno", 0)]),
    ] {
        let figures = round(&mut maintainer, after_days(day), &pump()).await.unwrap();
        assert_eq!(figures.rows_dropped, dropped, "day {day}");
        assert_eq!(by_tenant(folder.path()).await, wanted(left), "day {day}");
        let again = round(&mut maintainer, after_days(day), &pump()).await.unwrap();
        assert_eq!((again.merges, again.rows_dropped), (0, 0), "day {day}");
    }
}
