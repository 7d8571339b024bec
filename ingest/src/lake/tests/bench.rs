//! What the tests stand on: a pump's profile, made-up rows of any schema, a lake that runs, and a reader that knows
//! nothing of the lake.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use arrow::{
    array::{
        ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, MapBuilder, MapFieldNames,
        RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    compute::concat_batches,
    datatypes::{DataType, Int64Type, SchemaRef},
};
use deltalake_core::{DeltaTable, datafusion::prelude::SessionContext};
use prometheus_client::registry::Registry;
use schemas::{
    door::{Chunk, Cursor, Feed, Rows, TableSource},
    id::{LogOffset, ProfileName},
    profile::{Metric, MetricType, Profile, Profiles},
    table::{self as tables, TableName},
    time::Instant,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::super::{Lake, LakeError, Settings};

/// Longest that a test waits for a state.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn pump() -> TableName {
    TableName::Telemetry(ProfileName::parse("pump").unwrap())
}

/// A profile with these metrics.
pub(super) fn profiles(metrics: &[(&str, MetricType)]) -> Profiles {
    let metrics = metrics.iter().map(|(name, r#type)| Metric {
        name: (*name).to_owned(),
        unit: String::new(),
        r#type: *r#type,
        min: None,
        max: None,
        description: String::new(),
    });
    let mut profiles = Profiles::default();
    profiles.insert(Profile {
        name: ProfileName::parse("pump").unwrap(),
        title: "Pump".to_owned(),
        version: 1,
        cadence: Duration::from_secs(10),
        late_after: Duration::from_secs(60),
        metrics: metrics.collect(),
        components: Vec::new(),
        faults: Vec::new(),
        rules: Vec::new(),
        commands: Vec::new(),
        indicators: Vec::new(),
    });
    profiles
}

pub(super) fn pumps() -> Profiles {
    profiles(&[
        ("pressure_bar", MetricType::Float),
        ("starts", MetricType::Integer),
        ("running", MetricType::Boolean),
        ("mode", MetricType::Text),
    ])
}

pub(super) fn schema(profiles: &Profiles, table: &TableName) -> SchemaRef {
    match table {
        TableName::Telemetry(name) => tables::telemetry(profiles.get(name.as_str()).unwrap()),
        fixed => tables::fixed(fixed).unwrap(),
    }
}

/// Rows number `from` to `to`: each value tells its row; optional ones are absent in every fifth row; a day has 1000.
pub(super) fn fill(schema: &SchemaRef, from: i64, to: i64) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let numbers = (from..to).map(|n| (!field.is_nullable() || n % 5 != 4).then_some(n));
        match field.data_type() {
            DataType::Utf8 => {
                Arc::new(numbers.map(|n| n.map(|n| format!("{} {n:06}", field.name()))).collect::<StringArray>())
            }
            DataType::Int64 => Arc::new(numbers.collect::<Int64Array>()),
            DataType::Float64 => Arc::new(numbers.map(|n| n.map(|n| n as f64 / 4.0)).collect::<Float64Array>()),
            DataType::Boolean => Arc::new(numbers.map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>()),
            DataType::Binary => {
                let bytes = numbers.map(|n| n.map(|n| vec![0xff, 0x00, (n % 256) as u8])).collect::<Vec<_>>();
                Arc::new(BinaryArray::from_iter(bytes))
            }
            DataType::Date32 => {
                Arc::new(numbers.map(|n| n.map(|n| 20_000 + (n / 1000) as i32)).collect::<Date32Array>())
            }
            DataType::Timestamp(..) => {
                let micros = numbers.map(|n| n.map(|n| (20_000 + n / 1000) * 86_400_000_000 + n * 1_000_001));
                Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
            DataType::Map(..) => {
                let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
                let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
                for n in numbers {
                    for entry in 0..n.unwrap_or(0) % 3 {
                        map.keys().append_value(format!("k{entry}"));
                        map.values().append_option((entry == 0).then(|| n.unwrap().to_string()));
                    }
                    map.append(n.is_some()).unwrap();
                }
                Arc::new(map.finish())
            }
            other => panic!("no such column in any table: {other}"),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// One chunk: frame n is row n of every given table.
pub(super) fn chunk(profiles: &Profiles, tables: &[TableName], from: u64, to: u64) -> Arc<Chunk> {
    let rows = tables
        .iter()
        .map(|table| Rows { table: table.clone(), batch: fill(&schema(profiles, table), from as i64, to as i64) });
    Arc::new(Chunk { start: LogOffset(from), end: LogOffset(to), now: Instant::EPOCH, rows: rows.collect() })
}

/// Without rollups, which have tests of their own.
fn bare() -> Settings {
    Settings { rollups: false, ..Settings::default() }
}

/// Commits only when told to stop.
pub(super) fn lazy() -> Settings {
    Settings { commit_interval: Duration::from_secs(3600), ..bare() }
}

/// Commits whatever is there as soon as it can.
pub(super) fn eager() -> Settings {
    Settings { commit_interval: Duration::ZERO, ..bare() }
}

pub(super) async fn open(root: &Path, profiles: &Profiles, settings: Settings) -> Result<Lake, LakeError> {
    Lake::open(root, profiles, settings, &mut Registry::default()).await
}

struct Watch(watch::Sender<u64>);

impl Cursor for Watch {
    fn advance(&self, to: LogOffset) {
        self.0.send_modify(|at| *at = (*at).max(to.0));
    }
}

/// A lake at work.
pub(super) struct Running {
    pub(super) source: Arc<dyn TableSource>,
    pub(super) feed: mpsc::Sender<Arc<Chunk>>,
    cursor: watch::Receiver<u64>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), LakeError>>,
}

impl Running {
    pub(super) fn start(lake: Lake) -> Self {
        let (feed, chunks) = mpsc::channel(4);
        let (sender, cursor) = watch::channel(0);
        let stop = CancellationToken::new();
        let source = lake.source();
        let task = tokio::spawn(lake.run(Feed { chunks, cursor: Arc::new(Watch(sender)) }, stop.clone()));
        Self { source, feed, cursor, stop, task }
    }

    pub(super) async fn send(&self, chunk: Arc<Chunk>) {
        tokio::time::timeout(DEADLINE, self.feed.send(chunk)).await.expect("the lake takes a chunk").unwrap();
    }

    /// Until all before `offset` is in Delta.
    pub(super) async fn durable(&mut self, offset: u64) {
        let reached = self.cursor.wait_for(|at| *at >= offset);
        tokio::time::timeout(DEADLINE, reached).await.expect("the cursor moves").unwrap();
    }

    pub(super) fn cursor(&self) -> u64 {
        *self.cursor.borrow()
    }

    /// Until the hot rows of `table` are so many.
    pub(super) async fn hot(&self, table: &TableName, rows: usize) {
        until(|| hot_rows(self.source.as_ref(), table) == rows).await;
    }

    /// Gives the signal to stop.
    pub(super) async fn stop(self) -> Result<(), LakeError> {
        self.stop.cancel();
        self.end().await
    }

    /// Ends the feed.
    pub(super) async fn end(self) -> Result<(), LakeError> {
        let Self { feed, task, stop: _, .. } = self;
        drop(feed);
        tokio::time::timeout(DEADLINE, task).await.expect("the lake ends").unwrap()
    }

    /// Ends the feed; as kill -9 once `dead`. Tells whether the lake ended by itself, and what the log was told.
    pub(super) async fn end_unless(self, dead: impl Fn() -> bool) -> (bool, u64) {
        let Self { feed, task, cursor, .. } = self;
        drop(feed);
        until(|| dead() || task.is_finished()).await;
        let ended = !dead();
        match ended {
            true => task.await.unwrap().unwrap(),
            false => {
                task.abort();
                let _ = task.await;
            }
        }
        (ended, *cursor.borrow())
    }

    /// As kill -9: nothing is finished.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(super) fn hot_rows(source: &dyn TableSource, table: &TableName) -> usize {
    source.snapshot(table).unwrap().hot.iter().map(RecordBatch::num_rows).sum()
}

/// Until something holds, looking again at each turn of the scheduler.
pub(super) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("a state is reached");
}

/// The table as a stranger reads it: deltalake's own provider, over its own store.
pub(super) async fn delta(location: &Url, version: Option<u64>) -> DeltaTable {
    let builder = deltalake_core::DeltaTableBuilder::from_url(location.clone()).unwrap();
    match version {
        Some(version) => builder.with_version(version).load().await.unwrap(),
        None => builder.load().await.unwrap(),
    }
}

pub(super) fn location(root: &Path, table: &TableName) -> Url {
    Url::from_directory_path(root.canonicalize().unwrap().join(table.to_string())).unwrap()
}

/// Runs SQL over a table called `t`.
pub(super) async fn query(table: DeltaTable, sql: &str) -> RecordBatch {
    let context = SessionContext::new();
    context.register_table("t", table.table_provider().await.unwrap()).unwrap();
    let answer = context.sql(sql).await.unwrap();
    let schema = Arc::new(answer.schema().as_arrow().clone());
    let batches = answer.collect().await.unwrap();
    concat_batches(batches.first().map_or(&schema, |batch| batch.schema_ref()), &batches).unwrap()
}

/// Column `boot`, which numbers the rows.
pub(super) async fn numbers(table: DeltaTable) -> Vec<i64> {
    let rows = query(table, "select boot from t order by boot").await;
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

pub(super) async fn stored(root: &Path, table: &TableName) -> Vec<i64> {
    numbers(delta(&location(root, table), None).await).await
}

pub(super) fn count(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

/// Values of all columns of a sorted answer, as text: representations may differ (views, dictionaries), values not.
pub(super) fn text(rows: &RecordBatch) -> HashMap<String, Vec<String>> {
    let options = arrow::util::display::FormatOptions::default().with_null("null");
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let shown = arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
        (field.name().clone(), (0..rows.num_rows()).map(|row| shown.value(row).to_string()).collect())
    });
    columns.collect()
}
