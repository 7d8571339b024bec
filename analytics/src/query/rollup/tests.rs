use std::sync::Mutex;

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt as _;
use prometheus_client::registry::Registry;
use schemas::{
    door::{SqlEngine as _, TableSnapshot, TableSource},
    profile::Profiles,
    rollup::{self, Span, singles},
    table::{self, TableName},
    time::ManualClock,
};
use serde_json::{Value, json};
use url::Url;

use super::{
    super::{Engine, Settings},
    *,
};

/// A table and its rollups without a file: some increments are there, some rows have still to be summed up.
struct Shelf(Mutex<std::collections::BTreeMap<TableName, TableSnapshot>>);

impl TableSource for Shelf {
    fn names(&self) -> Vec<TableName> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        self.0.lock().unwrap().get(table).cloned()
    }
}

/// Of two devices with two firmwares, a reading every 20 minutes for three days, of two metrics now and then none.
fn readings() -> RecordBatch {
    let schema = table::telemetry(Profiles::builtin().get("washing_machine").unwrap());
    let start: jiff::Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
    let rows = (0..216_i64).map(|n| {
        let at = start + jiff::SignedDuration::from_mins(n * 20);
        let mut row = json!({
            "tenant": if n % 9 == 8 { "globex" } else { "acme" }, "device_id": format!("d{}", n % 2), "boot": 1, "seq": n,
            "event_time": at.to_string(), "arrival_time": at.to_string(), "late": false,
            "firmware": if n < 90 { "1.0" } else { "2.0" }, "cycle_count": 1000 + n, "date": at.to_string()[..10],
        });
        if n % 7 != 3 {
            // Whole quarters: sums are the same in any order.
            row["vibration_mm_s"] = json!(1000.0 + (n % 13) as f64 / 4.0);
        }
        row
    });
    let mut decoder = arrow::json::ReaderBuilder::new(schema).build_decoder().unwrap();
    decoder.serialize(&rows.collect::<Vec<Value>>()).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn engine(rollups: bool) -> Engine {
    let rows = readings();
    let name = |span| TableName::Rollup(span, "washing_machine".parse().unwrap());
    let location = Url::parse("file:///nowhere/").unwrap();
    let snapshot = |schema, hot, raw| TableSnapshot { location: location.clone(), version: None, schema, hot, raw };
    let mut tables = std::collections::BTreeMap::new();
    let telemetry = TableName::Telemetry("washing_machine".parse().unwrap());
    tables.insert(telemetry, snapshot(rows.schema(), vec![rows.slice(0, 150), rows.slice(150, 66)], vec![]));
    for span in Span::ALL {
        let schema = rollup::schema(&rows.schema(), span);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let taken = singles(&rows.slice(0, 150), names, span).unwrap();
        tables.insert(name(span), snapshot(schema, vec![taken], vec![rows.slice(150, 66)]));
    }
    let settings = Settings { rollups, ..Settings::default() };
    let clock = ManualClock::at("2026-11-22T12:34:56.789Z".parse().unwrap());
    let shelf = Shelf(Mutex::new(tables));
    Engine::new(Arc::new(shelf), Arc::new(clock), settings, &mut Registry::default()).unwrap()
}

/// Names, types and rows as text, the rows sorted.
async fn ask(engine: &Engine, sql: &str) -> (String, Vec<String>) {
    let answer = engine.query(&"acme".parse().unwrap(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let fields: Vec<String> =
        answer.schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    let batches: Vec<RecordBatch> =
        answer.batches.try_collect().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let options = FormatOptions::default().with_null("null");
    let mut lines = Vec::new();
    for batch in &batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let shown = columns.iter().map(|column| {
                let text = column.value(row).to_string();
                // A sum in another order: ten digits are enough.
                text.parse::<f64>().ok().filter(|_| text.contains('.')).map_or(text, |number| format!("{number:.9e}"))
            });
            lines.push(shown.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    (fields.join(", "), lines)
}

/// Asks with and without rollups, and which of them were read.
async fn check(sql: &str, wanted: &[&str]) {
    let (with, without) = (engine(true), engine(false));
    let sql = sql.replace(" t ", " telemetry_washing_machine ").replace(" t)", " telemetry_washing_machine)");
    let (_, plan) = ask(&with, &format!("explain {sql}")).await;
    let plan = plan.join("\n");
    let scanned = ["rollup_1d", "rollup_1h", "rollup_1m", "telemetry"];
    let read: Vec<&str> =
        scanned.into_iter().filter(|name| plan.contains(&format!("TableScan: {name}_washing_machine"))).collect();
    assert_eq!(read, wanted, "{sql}\n{plan}");
    let (ours, theirs) = (ask(&with, &sql).await, ask(&without, &sql).await);
    assert_eq!(ours, theirs, "{sql}\n{plan}");
    assert!(!ours.1.is_empty(), "{sql}");
}

#[tokio::test]
async fn the_coarsest_rollup_that_answers_is_read() {
    const ALL: &str = "count(*), count(vibration_mm_s), min(vibration_mm_s), max(vibration_mm_s) as most, \
                       sum(vibration_mm_s), avg(vibration_mm_s), sum(cycle_count), avg(cycle_count), max(cycle_count), \
                       stddev(vibration_mm_s), var_pop(cycle_count), stddev_pop(vibration_mm_s), var_samp(vibration_mm_s), \
                       min(event_time), max(event_time), count(device_id), max(firmware)";
    for (rest, wanted) in [
        ("from t where true", "rollup_1h"),
        ("from t group by device_id", "rollup_1d"),
        ("from t group by date", "rollup_1h"),
        ("from t where firmware = '2.0' group by device_id, date_trunc('day', event_time)", "rollup_1d"),
        ("from t group by date_bin(interval '6 hours', event_time)", "rollup_1h"),
        ("from t group by date_trunc('hour', event_time), firmware", "rollup_1h"),
        ("from t group by date_trunc('month', event_time)", "rollup_1h"),
        ("from t group by date_trunc('month', event_time), device_id", "rollup_1d"),
        ("from t group by date_part('hour', event_time)", "rollup_1h"),
        ("from t group by extract(dow from event_time)", "rollup_1h"),
        ("from t group by time_bucket('2 days', event_time), device_id", "rollup_1d"),
        ("from t group by time_bucket('40 minutes', event_time)", "rollup_1m"),
        ("from t group by time_bucket('1 day', event_time, timestamp '2026-01-01T06:00:00Z')", "rollup_1h"),
        ("from t where event_time >= '2026-11-21T00:00:00Z' and event_time < '2026-11-22T00:00:00Z'", "rollup_1h"),
        ("from t where event_time > '2026-11-20T23:59:59.999999Z' and device_id < 'd3'", "rollup_1d"),
        ("from t where event_time between '2026-11-21T05:00:00Z' and '2026-11-21T08:59:59.999999Z'", "rollup_1h"),
        ("from t where date > '2026-11-20' or device_id = 'd1' group by firmware", "rollup_1d"),
        ("from t where device_id in ('d1', 'd7') and cast(event_time as date) = '2026-11-21'", "rollup_1d"),
    ] {
        check(&format!("select {ALL} {rest}"), &[wanted]).await;
    }
}

#[tokio::test]
async fn devices_are_told_apart_by_the_day_only() {
    let per_day = "count(*), avg(vibration_mm_s), stddev(cycle_count), max(event_time)";
    for (asked, rest, wanted) in [
        (per_day, "group by date_trunc('hour', event_time), device_id", "telemetry"),
        (per_day, "where device_id = 'd1' group by time_bucket('40 minutes', event_time)", "telemetry"),
        (
            "count(distinct device_id), max(cycle_count)",
            "group by date_bin(interval '6 hours', event_time)",
            "telemetry",
        ),
        ("count(distinct device_id), max(cycle_count)", "group by date", "rollup_1d"),
        ("max(device_id), count(vibration_mm_s)", "where true", "rollup_1d"),
        ("count(*) filter (where device_id <> 'd0'), count(distinct firmware)", "where true", "rollup_1d"),
        ("count(distinct firmware)", "where true", "rollup_1h"),
    ] {
        check(&format!("select {asked} from t {rest}"), &[wanted]).await;
    }
}

#[tokio::test]
async fn what_single_readings_decide_is_read_from_them() {
    for sql in [
        "select count(*) from t where vibration_mm_s > 1001 group by device_id",
        "select median(vibration_mm_s) from t group by device_id",
        "select device_id, last_value(vibration_mm_s order by event_time) from t group by device_id",
        "select count(distinct vibration_mm_s) from t group by device_id",
        "select count(*) from t group by seq",
        "select count(*) from t group by date_bin(interval '30 seconds', event_time)",
        "select count(*) from t group by date_trunc('second', event_time)",
        "select sum(vibration_mm_s * 2) from t group by device_id",
        "select count(*) filter (where vibration_mm_s > 1001) from t group by device_id",
        "select count(distinct event_time) from t group by device_id",
        "select corr(vibration_mm_s, cycle_count) from t group by firmware",
        "select count(*) from t where event_time = '2026-11-21T00:00:00Z' group by device_id",
        "select vibration_mm_s from t where date = '2026-11-21'",
        // The log of the table knows.
        "select count(*) from t limit 1",
    ] {
        check(sql, &["telemetry"]).await;
    }
}

#[tokio::test]
async fn the_edges_of_a_range_come_from_finer_ones() {
    let sums =
        "count(*), avg(vibration_mm_s), stddev(vibration_mm_s), min(event_time), max(event_time), sum(cycle_count)";
    for (range, wanted) in [
        ("event_time >= '2026-11-20T05:00:00Z'", &["rollup_1h"][..]),
        ("event_time >= '2026-11-20T05:01:00Z'", &["rollup_1h", "rollup_1m"]),
        ("event_time >= now() - interval '2 days'", &["rollup_1h", "rollup_1m", "telemetry"]),
        ("event_time < '2026-11-22T07:40:00.5Z'", &["rollup_1h", "rollup_1m", "telemetry"]),
        (
            "event_time between '2026-11-21T05:20:00Z' and '2026-11-21T08:40:00Z'",
            &["rollup_1h", "rollup_1m", "telemetry"],
        ),
    ] {
        check(&format!("select {sums} from t where {range}"), wanted).await;
        check(&format!("select {sums} from t where {range} and firmware = '2.0' group by tenant"), wanted).await;
    }
    for (range, wanted) in [
        ("event_time >= '2026-11-20T05:00:00Z'", &["rollup_1d", "telemetry"][..]),
        ("event_time >= now() - interval '2 days'", &["rollup_1d", "telemetry"]),
        ("event_time between '2026-11-21T05:20:00Z' and '2026-11-21T08:40:00Z'", &["telemetry"]),
        ("event_time >= '2026-11-21T00:00:00Z'", &["rollup_1d"]),
    ] {
        check(&format!("select device_id, {sums} from t where {range} group by device_id"), wanted).await;
    }
    let narrow = "select count(*), max(vibration_mm_s) from t where event_time >= '2026-11-21T05:20:00.5Z' \
                  and event_time < '2026-11-21T05:20:30Z' group by tenant";
    let (with, without) = (engine(true), engine(false));
    let narrow = narrow.replace(" t ", " telemetry_washing_machine ");
    assert_eq!(ask(&with, &narrow).await, ask(&without, &narrow).await);
}

#[tokio::test]
async fn only_the_aggregate_is_replaced() {
    for sql in [
        "select a.device_id, n, most from (select device_id, count(*) as n from t group by device_id) a join (select \
         device_id, max(vibration_mm_s) as most from t group by device_id) b on a.device_id = b.device_id order by n",
        "select x.date, count(*) filter (where x.device_id = 'd1') as one, count(distinct x.device_id) from t as x group by \
         x.date having count(*) > 3 order by 1 limit 2",
        "select upper(kind) as kind, count(*) from (select device_id || '-' || firmware as kind from t ) group by upper(kind)",
        "select date_trunc('day', event_time) as day, count(distinct device_id) as devices from t group by 1",
        "select approx_distinct(device_id) from t group by firmware",
        "select distinct device_id, firmware from t where event_time >= '2026-11-21T00:00:00Z'",
    ] {
        check(sql, &["rollup_1d"]).await;
    }
    let fleet = "with fleet as (select firmware as version, avg(vibration_mm_s) as mean, stddev(vibration_mm_s) as spread \
                 from t group by firmware), device as (select device_id, firmware, avg(vibration_mm_s) as level from t group \
                 by device_id, firmware) select device_id, (level - mean) / spread as score from device join fleet on \
                 firmware = version";
    check(fleet, &["rollup_1d", "rollup_1h"]).await;
    let days = "select day, sum(n) over (order by day) from (select date_trunc('day', x.event_time) as day, count(*) as n \
                from t as x group by 1) order by 1";
    check(days, &["rollup_1h"]).await;
}

#[tokio::test]
async fn nothing_sums_up_to_what_nothing_is() {
    for sql in [
        "select count(*), count(vibration_mm_s), sum(vibration_mm_s), avg(vibration_mm_s), stddev(vibration_mm_s), \
         max(event_time) from t where device_id = 'unknown'",
        "select sum(vibration_mm_s), avg(drain_seconds), count(drain_seconds), stddev(drain_seconds) from t group by device_id",
    ] {
        check(sql, &["rollup_1d"]).await;
    }
}

#[test]
fn a_range_is_covered_once_by_whole_buckets() {
    use super::fits::Range;
    let bound = |op: &str, at: i64| {
        let at = lit(ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())));
        if op == ">=" { col("event_time").gt_eq(at) } else { col("event_time").lt(at) }
    };
    const HOUR: i64 = 3_600_000_000;
    let mut range = Range::default();
    assert!(range.take(&bound(">=", 5 * HOUR + 1)) && range.take(&bound("<", 50 * HOUR)));
    let pieces = range.cover(&[Span::Day, Span::Hour]);
    let told: Vec<String> = pieces.iter().map(|(span, range)| format!("{span:?} {range:?}")).collect();
    let piece = |span: &str, from: i64, to: i64| format!("{span} Range {{ from: Some({from}), to: Some({to}) }}");
    assert_eq!(
        told,
        [
            piece("None", 5 * HOUR + 1, 6 * HOUR),
            piece("Some(Hour)", 6 * HOUR, 24 * HOUR),
            piece("Some(Day)", 24 * HOUR, 48 * HOUR),
            piece("Some(Hour)", 48 * HOUR, 50 * HOUR),
        ]
    );
}
