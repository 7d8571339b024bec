//! Questions answered through rollups, against the same questions of the rows themselves, over the real lake: rows that
//! come late and in any order, hot, cold and both, merged and not, and after the lake was opened again.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use analytics::query::{ColdTables, Engine, Settings};
use arrow::{
    array::{Array as _, RecordBatch},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt as _;
use ingest::lake::{
    self, Lake,
    maintain::{Maintainer, Retention},
};
use prometheus_client::registry::Registry;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemas::{
    door::{Chunk, Cursor, Feed, Rows, SqlEngine as _, TableSnapshot, TableSource},
    id::LogOffset,
    profile::{Profile, Profiles},
    table::{self, TableName},
    time::{Instant, ManualClock},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const DAY: i64 = 86_400_000_000;
/// 2026-11-20T00:00:00Z.
const BEGIN: i64 = 20_777 * DAY;

struct Nobody;

impl Cursor for Nobody {
    fn advance(&self, _: LogOffset) {}
}

/// What a source told at one moment.
struct Moment(BTreeMap<TableName, TableSnapshot>);

impl TableSource for Moment {
    fn names(&self) -> Vec<TableName> {
        self.0.keys().cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        self.0.get(table).cloned()
    }
}

/// Washing machines that report every ten seconds, so that all rollups are kept.
fn profiles() -> Profiles {
    let mut profiles = Profiles::default();
    let mut profile = Profile::clone(Profiles::builtin().get("washing_machine").unwrap());
    profile.cadence = Duration::from_secs(10);
    profiles.insert(profile);
    profiles
}

fn telemetry() -> TableName {
    TableName::Telemetry("washing_machine".parse().unwrap())
}

/// Readings within three days, most of them within an hour. Floating-point values are quarters far from zero: a variance
/// by the sum of squares would show it.
fn chunk(chance: &mut ChaCha8Rng, start: u64, rows: u64) -> Arc<Chunk> {
    let schema = table::telemetry(profiles().get("washing_machine").unwrap());
    let reading = |seq: u64, chance: &mut ChaCha8Rng| {
        let micros = match chance.random_range(0..4) {
            0 => chance.random_range(0..3 * DAY),
            1 => chance.random_range(0..72) * 3_600_000_000,
            _ => DAY + chance.random_range(0..3_600) * 1_000_000,
        };
        let at = Instant::from_micros(BEGIN + micros).to_string();
        let device = chance.random_range(0..6);
        let mut row = json!({
            "tenant": if device < 4 { "acme" } else { "globex" }, "device_id": format!("d{}", device % 4), "boot": 1,
            "seq": seq, "event_time": at, "arrival_time": at, "late": false, "date": at[..10],
        });
        if chance.random_bool(0.8) {
            row["firmware"] = json!(["1.0", "2.0"][chance.random_range(0..2)]);
        }
        if chance.random_bool(0.8) {
            row["vibration_mm_s"] = json!(1e6 + f64::from(chance.random_range(-40..40)) / 4.0);
        }
        if chance.random_bool(0.5) {
            row["cycle_count"] = json!(chance.random_range(-1000..1000));
        }
        row
    };
    let rows: Vec<Value> = (0..rows).map(|n| reading(start + n, chance)).collect();
    let end = LogOffset(start + rows.len() as u64);
    let mut decoder = arrow::json::ReaderBuilder::new(schema).build_decoder().unwrap();
    decoder.serialize(&rows).unwrap();
    let rows = vec![Rows { table: telemetry(), batch: decoder.flush().unwrap().unwrap() }];
    Arc::new(Chunk { start: LogOffset(start), end, now: Instant::from_micros(BEGIN), rows })
}

fn question(chance: &mut ChaCha8Rng) -> String {
    let mut pick = |from: &[&str]| from[chance.random_range(0..from.len())].to_owned();
    let group = pick(&[
        "device_id",
        "device_id, firmware",
        "firmware, date",
        "date_trunc('day', event_time)",
        "date_trunc('hour', event_time), firmware",
        "date_trunc('minute', event_time)",
        "date_bin(interval '6 hours', event_time), device_id",
        "time_bucket('2 days', event_time)",
        "date_part('hour', event_time)",
    ]);
    let bound = |chance: &mut ChaCha8Rng| {
        let grain = [DAY, 3_600_000_000, 60_000_000, 1][chance.random_range(0..4)];
        Instant::from_micros(BEGIN + chance.random_range(0..3 * DAY) / grain * grain).to_string()
    };
    let (from, to, one) = (bound(chance), bound(chance), chance.random_range(0..4));
    // Whether devices have to be told apart.
    let devices = ["count(distinct device_id)", "count(device_id)"][chance.random_range(0..2)];
    let range = match chance.random_range(0..5) {
        0 => "true".to_owned(),
        1 => format!("event_time >= '{from}'"),
        2 => format!("event_time < '{to}' and device_id <> 'd{one}'"),
        3 => format!("event_time between '{from}' and '{to}'"),
        _ => format!("date >= '{}' and firmware is not null", &from[..10]),
    };
    format!(
        "select {group}, count(*), count(vibration_mm_s), min(vibration_mm_s), max(vibration_mm_s), sum(vibration_mm_s), \
         avg(vibration_mm_s), stddev(vibration_mm_s), sum(cycle_count), avg(cycle_count), var_pop(cycle_count), \
         min(event_time), max(event_time), {devices} from telemetry_washing_machine where {range} group by \
         {group}"
    )
}

/// Rows as lists of values, sorted; numbers of floating point apart, which differ in their last digits.
async fn ask(engine: &Engine, sql: &str) -> Vec<(Vec<String>, Vec<f64>)> {
    let answer = engine.query(&"acme".parse().unwrap(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let (mut texts, mut numbers) = (Vec::new(), Vec::new());
            for column in batch.columns() {
                match column.as_any().downcast_ref::<arrow::array::Float64Array>() {
                    Some(floats) if floats.is_valid(row) => numbers.push(floats.value(row)),
                    _ => texts.push(ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string()),
                }
            }
            rows.push((texts, numbers));
        }
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn engine(tables: Arc<dyn TableSource>, rollups: bool) -> Engine {
    let settings = Settings { rollups, ..Settings::default() };
    let clock = Arc::new(ManualClock::at(Instant::from_micros(BEGIN + 3 * DAY)));
    Engine::new(tables, clock, settings, &mut Registry::default()).unwrap()
}

/// The same answers; tells how many of the questions a rollup had a part in.
async fn check(tables: Arc<dyn TableSource>, chance: &mut ChaCha8Rng, said: &str) -> usize {
    let (with, without) = (engine(tables.clone(), true), engine(tables, false));
    let mut through = 0;
    for _ in 0..12 {
        let sql = question(chance);
        let plan = ask(&with, &format!("explain {sql}")).await;
        through += usize::from(plan.iter().any(|row| row.0.iter().any(|text| text.contains("TableScan: rollup_"))));
        let (ours, theirs) = (ask(&with, &sql).await, ask(&without, &sql).await);
        assert_eq!(ours.len(), theirs.len(), "{said}: {sql}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.0, theirs.0, "{said}: {sql}");
            for (a, b) in ours.1.iter().zip(&theirs.1) {
                // The raw variance itself has no more digits: a running mean of a million in steps of a quarter.
                assert!((a - b).abs() <= 1e-7 * (1.0 + b.abs()), "{said}: {a} is not {b}: {sql}");
            }
        }
    }
    let latest = "select device_id, event_time, firmware, vibration_mm_s, vibration_mm_s_last_time, cycle_count from \
                  latest_washing_machine";
    let newest = "select device_id, max(event_time), last_value(firmware order by event_time, firmware nulls first), \
                  last_value(vibration_mm_s order by event_time, vibration_mm_s) filter (where vibration_mm_s is not null), \
                  max(event_time) filter (where vibration_mm_s is not null), \
                  last_value(cycle_count order by event_time, cycle_count) filter (where cycle_count is not null) \
                  from telemetry_washing_machine group by device_id";
    assert_eq!(ask(&with, latest).await, ask(&without, newest).await, "{said}");
    through
}

/// Sends rows through a lake and asks at moments of its life.
async fn run(root: &Path, settings: lake::Settings, chance: &mut ChaCha8Rng, from: u64, said: &str) -> (u64, usize) {
    let lake = Lake::open(root, &profiles(), settings, &mut Registry::default()).await.unwrap();
    let source = lake.source();
    let (to, chunks) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(lake.run(Feed { chunks, cursor: Arc::new(Nobody) }, CancellationToken::new()));
    let (mut at, mut through) = (from, 0);
    for round in 0..3 {
        for _ in 0..chance.random_range(1..6) {
            let rows = chance.random_range(1..80);
            to.send(chunk(chance, at, rows)).await.unwrap();
            at += rows;
        }
        through += check(Arc::new(Moment(source.moment())), chance, &format!("{said}, round {round}")).await;
    }
    drop(to);
    task.await.unwrap().unwrap();
    through += check(source, chance, &format!("{said}, stopped")).await;
    (at, through)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_through_rollups_are_those_of_the_rows() {
    let mut through = 0;
    for seed in 0..4 {
        let chance = &mut ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let settings = |commit: u64, rollup: u64| lake::Settings {
            commit_interval: Duration::from_millis(commit),
            rollup_interval: Duration::from_millis(rollup),
            ..Default::default()
        };
        let hour = 3_600_000;
        let (at, hot) = run(folder.path(), settings(hour, hour), chance, 0, &format!("seed {seed}, hot")).await;
        let (at, mixed) = run(folder.path(), settings(0, hour), chance, at, &format!("seed {seed}, pending")).await;
        let (at, cold) = run(folder.path(), settings(0, 0), chance, at, &format!("seed {seed}, eager")).await;
        through += hot + mixed + cold;
        let without = lake::Settings { rollups: false, ..settings(0, 0) };
        let lake = Lake::open(folder.path(), &profiles(), without, &mut Registry::default()).await.unwrap();
        let (to, chunks) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(lake.run(Feed { chunks, cursor: Arc::new(Nobody) }, CancellationToken::new()));
        to.send(chunk(chance, at, 50)).await.unwrap();
        drop(to);
        task.await.unwrap().unwrap();
        // They lack rows now; the tables in a folder are not asked through them, and opening makes them anew.
        let tables = Arc::new(ColdTables::open(folder.path()).await.unwrap());
        assert!(!tables.names().iter().any(|table| matches!(table, TableName::Rollup(..))), "rollups are shown");
        let lake = Lake::open(folder.path(), &profiles(), settings(0, 0), &mut Registry::default()).await.unwrap();
        through += check(lake.source(), chance, &format!("seed {seed}, made anew")).await;
        let maintain = lake::maintain::Settings { settle: Duration::ZERO, files: 4, ..Default::default() };
        drop(lake);
        let mut maintainer = Maintainer::offline(folder.path(), maintain, Retention::default()).unwrap();
        for (table, done) in maintainer.round(Instant::from_micros(BEGIN + 9 * DAY), &Default::default()).await {
            done.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        }
        let tables = Arc::new(ColdTables::open(folder.path()).await.unwrap());
        through += check(tables, chance, &format!("seed {seed}, maintained")).await;
    }
    // Most questions of 14 times 12 of each seed.
    assert!(through > 4 * 14 * 6, "{through}");
}
