//! Rollups hold what their telemetry table holds, whatever fails, stops or was switched off.

use std::{path::Path, sync::Arc};

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use prometheus_client::registry::Registry;
use schemas::{
    door::{Chunk, Rows},
    id::LogOffset,
    profile::{MetricType, Profiles},
    rollup::{Measure, ROWS, Span},
    table::TableName,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    super::{
        Lake, Settings,
        durable::Durable,
        maintain::{Maintainer, Retention},
    },
    bench::{Running, count, delta, fill, location, open, profiles, pump, pumps, query, schema, stored},
    store::Faulty,
};

fn eager() -> Settings {
    Settings { rollups: true, rollup_interval: std::time::Duration::ZERO, ..super::bench::eager() }
}

fn lazy() -> Settings {
    Settings { rollups: true, ..super::bench::lazy() }
}

fn rollup(span: Span) -> TableName {
    TableName::Rollup(span, "pump".parse().unwrap())
}

/// Row n is of one of three devices, whose firmware changes now and then; a second lies between two rows.
fn of_fleet(profiles: &Profiles, from: u64, to: u64) -> RecordBatch {
    let batch = fill(&schema(profiles, &pump()), from as i64, to as i64);
    let texts = |text: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new((from..to).map(|n| Some(text(n))).collect::<StringArray>())
    };
    let mut columns = batch.columns().to_vec();
    for (name, column) in [
        ("tenant", texts(&|_| "acme".to_owned())),
        ("device_id", texts(&|n| format!("d{}", n % 3))),
        ("firmware", texts(&|n| format!("{}", n / 700))),
    ] {
        columns[batch.schema().index_of(name).unwrap()] = column;
    }
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn chunk(profiles: &Profiles, from: u64, to: u64) -> Arc<Chunk> {
    let rows = vec![Rows { table: pump(), batch: of_fleet(profiles, from, to) }];
    Arc::new(Chunk { start: LogOffset(from), end: LogOffset(to), now: Instant::EPOCH, rows })
}

/// Feeds frames `from` to `to`, ten to a chunk, cut where the lake says.
async fn feed(lake: &Running, cuts: &[LogOffset], from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let end = cuts.iter().map(|cut| cut.0).filter(|cut| *cut > at).chain([at + 10, to]).min().unwrap();
        lake.send(chunk(&pumps(), at, end)).await;
        at = end;
    }
}

async fn run(root: &Path, settings: Settings, from: u64, to: u64) {
    let lake = open(root, &pumps(), settings).await.unwrap();
    let cuts = lake.committed();
    let lake = Running::start(lake);
    feed(&lake, &cuts, from, to).await;
    lake.end().await.unwrap();
}

async fn numbers(root: &Path, table: &TableName, sql: &str) -> Vec<i64> {
    let rows = query(delta(&location(root, table), None).await, sql).await;
    rows.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect()
}

/// Every rollup sums up to what the table holds: rows `0` to `rows`.
async fn check(root: &Path, rows: i64, said: &str) {
    assert_eq!(stored(root, &pump()).await, count(0, rows), "{said}");
    let sums = [
        ("count(*)", "sum(rows)"),
        ("count(starts)", "sum(starts_count)"),
        ("sum(starts)", "sum(starts_sum)"),
        ("max(starts)", "max(starts_max)"),
        ("sum(cast(running as bigint))", "sum(running_sum)"),
        ("count(pressure_bar)", "sum(pressure_bar_count)"),
    ];
    let (rows, devices) = (("count(*)", "sum(rows)"), ("count(distinct device_id)", "count(distinct device_id)"));
    let newest = "max(cast(event_time as bigint)) filter (where starts is not null)";
    let last = (newest, "max(cast(starts_last_time as bigint))");
    for (span, asked) in [
        (Span::Minute, sums.to_vec()),
        (Span::Hour, sums.to_vec()),
        (Span::Day, [&sums[..], &[devices]].concat()),
        (Span::All, vec![rows, devices, last]),
    ] {
        let sql = |asked: Vec<&str>| format!("select {} from t", asked.join(", "));
        let wanted = numbers(root, &pump(), &sql(asked.iter().map(|asked| asked.0).collect())).await;
        let found = numbers(root, &rollup(span), &sql(asked.iter().map(|asked| asked.1).collect())).await;
        assert_eq!(found, wanted, "{span} {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollups_are_committed_beside_their_table() {
    for settings in [eager(), lazy(), Settings { commit_rows: 40, ..lazy() }] {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), settings, 0, 2500).await;
        check(folder.path(), 2500, "").await;
        // All tables reach as far.
        let lake = open(folder.path(), &pumps(), lazy()).await.unwrap();
        assert_eq!(lake.committed(), [LogOffset(2500)]);
        let variance = "select avg(pressure_bar), var_pop(pressure_bar) from t";
        let raw = query(delta(&location(folder.path(), &pump()), None).await, variance).await;
        let value = |rows: &RecordBatch, at: usize| rows.column(at).as_primitive::<Float64Type>().value(0);
        // Of the rollup over all time that of each device and firmware; together they make the same.
        let parts = "select count(*) n from t";
        assert!(numbers(folder.path(), &rollup(Span::All), parts).await[0] >= 12);
        let joined = "select sum(pressure_bar_sum) / sum(pressure_bar_count) m, sum(pressure_bar_sum_squares + \
                      pressure_bar_sum * pressure_bar_sum / pressure_bar_count) / sum(pressure_bar_count) s from t";
        let rolled = query(delta(&location(folder.path(), &rollup(Span::Day)), None).await, joined).await;
        let (mean, square) = (value(&rolled, 0), value(&rolled, 1));
        assert!((mean - value(&raw, 0)).abs() < 1e-9);
        assert!((square - mean * mean - value(&raw, 1)).abs() < 1e-6 * value(&raw, 1), "{square} {mean}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What a reader sees of a rollup: rows that it stands for, in Delta, pending and not summed up yet.
async fn seen(source: &dyn schemas::door::TableSource, span: Span) -> i64 {
    let snapshot = source.moment().remove(&rollup(span)).unwrap();
    let table = delta(&snapshot.location, snapshot.version).await;
    let cold =
        query(table, "select coalesce(sum(rows), 0) from t").await.column(0).as_primitive::<Int64Type>().value(0);
    let pending = snapshot
        .hot
        .iter()
        .map(|batch| batch.column_by_name(ROWS).unwrap().as_primitive::<Int64Type>().values().iter().sum::<i64>());
    cold + pending.sum::<i64>() + snapshot.raw.iter().map(|batch| batch.num_rows() as i64).sum::<i64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_rollup_sees_each_row_once_while_commits_run() {
    let folder = tempfile::tempdir().unwrap();
    // Telemetry as soon as possible, rollups now and then.
    let settings = Settings { rollup_interval: std::time::Duration::from_millis(50), ..eager() };
    let lake = Running::start(open(folder.path(), &pumps(), settings).await.unwrap());
    let (source, to, enough) = (lake.source.clone(), lake.feed.clone(), CancellationToken::new());
    let stop = enough.clone();
    let sending = tokio::spawn(async move {
        let mut at = 0;
        while !stop.is_cancelled() {
            to.send(chunk(&pumps(), at, at + 10)).await.unwrap();
            at += 10;
        }
        at as i64
    });
    let (mut last, mut versions) = (0, std::collections::BTreeSet::new());
    let reading = async {
        while versions.len() < 6 {
            for span in Span::ALL {
                let moment = source.moment();
                let telemetry = &moment[&pump()];
                versions.insert(moment[&rollup(Span::Day)].version.unwrap());
                let cold = stored_at(telemetry).await;
                let hot = telemetry.hot.iter().map(|batch| batch.num_rows() as i64).sum::<i64>();
                let rolled = seen(source.as_ref(), span).await;
                // Taken a little later.
                assert!(rolled >= cold + hot && rolled % 10 == 0, "{span}: {rolled} of {cold} and {hot}");
                assert!(rolled >= last, "{span}: a row vanished");
                last = rolled;
            }
        }
    };
    tokio::time::timeout(super::bench::DEADLINE, reading).await.expect("commits go on meanwhile");
    enough.cancel();
    let sent = sending.await.unwrap();
    assert!(last <= sent);
    lake.end().await.unwrap();
    check(folder.path(), sent, "").await;
}

async fn stored_at(snapshot: &schemas::door::TableSnapshot) -> i64 {
    super::bench::numbers(delta(&snapshot.location, snapshot.version).await).await.len() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_each_change_rollups_are_whole_again() {
    let mut kills = 0;
    let before = tempfile::tempdir().unwrap();
    run(before.path(), eager(), 0, 30).await;
    for changes in 0.. {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        let root = Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
        let store = Arc::new(Faulty::killed_after(Durable::default(), changes));
        // A checkpoint of each table now and then is a change, too.
        let settings = Settings { checkpoint_every: 3, ..eager() };
        let lake = Lake::open_on(store.clone(), &root, &pumps(), settings, &mut Registry::default()).await.unwrap();
        let cuts = lake.committed();
        let lake = Running::start(lake);
        feed(&lake, &cuts, 30, 50).await;
        let (ended, released) = lake.end_unless(|| store.was_killed()).await;
        // What the log was told to be safe is not there any more.
        run(folder.path(), eager(), released, 80).await;
        check(folder.path(), 80, &format!("killed after {changes}")).await;
        if ended {
            break;
        }
        kills += 1;
    }
    // Of five tables at least a file and a version each.
    assert!(kills >= 10, "{kills}");
}

/// Telemetry up to 60, its rollups up to 30: killed between the two, of which the log was told the lesser.
async fn behind() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
    run(folder.path(), eager(), 0, 30).await;
    // Of the telemetry a file and a version take place, and nothing of any rollup.
    let store = Arc::new(Faulty::killed_after(Durable::default(), 2));
    let lake = Lake::open_on(store.clone(), &root, &pumps(), eager(), &mut Registry::default()).await.unwrap();
    let lake = Running::start(lake);
    lake.send(chunk(&pumps(), 30, 60)).await;
    let (ended, released) = lake.end_unless(|| store.was_killed()).await;
    assert_eq!((ended, released), (false, 30));
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_that_lies_behind_is_not_shown_until_it_has_caught_up() {
    let folder = behind().await;
    let lake = open(folder.path(), &pumps(), lazy()).await.unwrap();
    assert_eq!(lake.committed(), [LogOffset(30), LogOffset(60)]);
    let lake = Running::start(lake);
    let source = lake.source.clone();
    assert!(source.snapshot(&rollup(Span::Day)).is_none() && !source.moment().contains_key(&rollup(Span::Day)));
    lake.send(chunk(&pumps(), 30, 60)).await;
    lake.send(chunk(&pumps(), 60, 70)).await;
    lake.hot(&pump(), 10).await;
    for span in Span::ALL {
        assert_eq!(seen(source.as_ref(), span).await, 70, "{span}");
    }
    lake.end().await.unwrap();
    check(folder.path(), 70, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_on_later_and_again_they_are_made_from_the_rows_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let off = || Settings { rollups: false, ..eager() };
    run(folder.path(), off(), 0, 1200).await;
    assert!(!folder.path().join(rollup(Span::Day).to_string()).exists());
    run(folder.path(), eager(), 1200, 1300).await;
    check(folder.path(), 1300, "made").await;
    run(folder.path(), off(), 1300, 1350).await;
    let lake = open(folder.path(), &pumps(), off()).await.unwrap();
    assert!(lake.source().snapshot(&rollup(Span::Day)).is_none(), "what lacks rows is not shown");
    run(folder.path(), lazy(), 1350, 1400).await;
    check(folder.path(), 1400, "made again").await;
    // Off without a row in between: they are whole.
    run(folder.path(), off(), 1400, 1400).await;
    run(folder.path(), lazy(), 1400, 1410).await;
    check(folder.path(), 1410, "as before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_pending_as_rollups_were_switched_off_are_not_lost() {
    let folder = behind().await;
    // Without rollups the log is told that all is safe.
    run(folder.path(), Settings { rollups: false, ..eager() }, 30, 60).await;
    run(folder.path(), eager(), 60, 70).await;
    check(folder.path(), 70, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_metric_adds_columns() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), eager(), 0, 30).await;
    let more = profiles(&[
        ("pressure_bar", MetricType::Float),
        ("starts", MetricType::Integer),
        ("running", MetricType::Boolean),
        ("mode", MetricType::Text),
        ("flow_l_min", MetricType::Float),
    ]);
    // Many commits of telemetry to one of rollups.
    let pending = Settings { rollup_interval: std::time::Duration::from_secs(3600), ..eager() };
    let lake = Running::start(open(folder.path(), &more, pending).await.unwrap());
    let source = lake.source.clone();
    for from in (30..60).step_by(2) {
        lake.send(chunk(&more, from, from + 2)).await;
        super::bench::until(|| super::bench::hot_rows(source.as_ref(), &pump()) == 0).await;
    }
    lake.end().await.unwrap();
    check(folder.path(), 60, "").await;
    for span in [Span::Minute, Span::Hour, Span::Day] {
        let column = Measure::Count.column("flow_l_min");
        let sql = format!("select sum({column}), count(*) - count({column}) from t");
        let [there, before] = numbers(folder.path(), &rollup(span), &sql).await[..] else { panic!("two columns") };
        assert!(there == 24 && before > 0, "{span}: {there} {before}");
    }
    let last = Measure::LastTime.column("flow_l_min");
    let sql = format!("select max(cast({last} as bigint)), count(*) - count({last}) from t");
    let [newest, before] = numbers(folder.path(), &rollup(Span::All), &sql).await[..] else { panic!("two columns") };
    let sql = "select max(cast(event_time as bigint)) filter (where flow_l_min is not null) from t";
    assert!(numbers(folder.path(), &pump(), sql).await == [newest] && before > 0, "{newest} {before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_leaves_one_row_of_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Running::start(open(folder.path(), &pumps(), eager()).await.unwrap());
    for from in (600..1800).step_by(40) {
        lake.send(chunk(&pumps(), if from == 600 { 0 } else { from }, from + 40)).await;
        lake.durable(from + 40).await;
    }
    lake.end().await.unwrap();
    check(folder.path(), 1800, "before").await;
    let settings = super::super::maintain::Settings {
        settle: std::time::Duration::ZERO,
        bytes_per_second: 1 << 40,
        ..Default::default()
    };
    let mut maintainer = Maintainer::offline(folder.path(), settings, Retention::default()).unwrap();
    let now = Instant::from_micros(20_010 * 86_400_000_000);
    for (table, done) in maintainer.round(now, &CancellationToken::new()).await {
        done.unwrap_or_else(|error| panic!("{table}: {error:?}"));
    }
    check(folder.path(), 1800, "after").await;
    for span in Span::ALL {
        let keys = span.keys().iter().map(|key| format!("coalesce(cast({key} as varchar), '-')"));
        let keys =
            format!("select count(*) - count(distinct concat_ws(' ', {})) from t", Vec::from_iter(keys).join(", "));
        assert_eq!(numbers(folder.path(), &rollup(span), &keys).await, [0], "{span}");
    }
    // A late row opens a day again.
    run(folder.path(), eager(), 1800, 1810).await;
    check(folder.path(), 1810, "late").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_kept_by_other_columns_is_named_and_made_anew_once_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), eager(), 0, 1200).await;
    let at = |span| folder.path().join(rollup(span).to_string());
    std::fs::remove_dir_all(at(Span::Hour)).unwrap();
    std::fs::create_dir(at(Span::Hour)).unwrap();
    copy(&at(Span::Day), &at(Span::Hour));
    let error = open(folder.path(), &pumps(), eager()).await.unwrap_err();
    assert!(error.to_string().starts_with("table rollup_1h_pump: it is kept by device_id"), "{error}");
    std::fs::remove_dir_all(at(Span::Hour)).unwrap();
    run(folder.path(), eager(), 1200, 1210).await;
    check(folder.path(), 1210, "made anew").await;
}
