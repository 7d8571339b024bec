//! The engine over real Delta tables in a temporary folder, with hot rows behind a small table source.

mod answers;
mod functions;
mod isolation;
mod limits;
mod prepared;
mod statements;
mod trends;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt as _;
use prometheus_client::registry::Registry;
use schemas::{
    door::{SqlEngine as _, SqlError, TableSnapshot, TableSource},
    id::TenantId,
    profile::Profiles,
    table::{self, TableName},
    time::{Clock, ManualClock},
};
use serde_json::{Value, json};
use url::Url;

use super::{Engine, Settings, lake::writing};

/// Tables that the test sets, and a note of every snapshot taken.
#[derive(Default)]
struct Shelf {
    tables: Mutex<BTreeMap<TableName, TableSnapshot>>,
    taken: Mutex<Vec<TableName>>,
}

impl TableSource for Shelf {
    fn names(&self) -> Vec<TableName> {
        self.tables.lock().unwrap().keys().cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        self.taken.lock().unwrap().push(table.clone());
        self.tables.lock().unwrap().get(table).cloned()
    }
}

/// Two tenants' faults and telemetry: cold in two commits on two days, a third commit that came "later", and hot rows.
struct World {
    folder: tempfile::TempDir,
    shelf: Arc<Shelf>,
    faults: Url,
}

const COLD_FAULTS: u64 = 2;

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let schema = faults();
        let location = writing::create(&root.join("fault"), &schema).await;
        let first = [fault("acme", "d1", "E21", "2026-11-20"), fault("globex", "g1", "SECRET-1", "2026-11-20")];
        let second = [fault("globex", "g2", "SECRET-2", "2026-11-21"), fault("acme", "d2", "E22", "2026-11-21")];
        let third = [fault("acme", "d3", "E23", "2026-11-22"), fault("globex", "g3", "SECRET-3", "2026-11-22")];
        for rows in [&first, &second, &third] {
            writing::append(&location, batch(&schema, rows)).await;
        }
        let world = Self { folder, shelf: Arc::default(), faults: location.clone() };
        world.show(TableName::Fault, location, Some(COLD_FAULTS), schema.clone(), vec![batch(&schema, &third)]);

        let name = TableName::Telemetry("washing_machine".parse().unwrap());
        let schema = telemetry();
        let location = writing::create(&root.join(name.to_string()), &schema).await;
        let cold = [
            reading("acme", "d1", 1, json!({"x": "7", "y": "SECRET-NOT"})),
            reading("globex", "g1", 1, json!({"x": "SECRET-4"})),
        ];
        let version = writing::append(&location, batch(&schema, &cold)).await;
        let hot = [reading("acme", "d1", 2, json!({"x": "8"})), reading("acme", "d1", 3, json!(null))];
        world.show(name, location, Some(version), schema.clone(), vec![batch(&schema, &hot)]);
        world
    }

    fn show(&self, name: TableName, location: Url, version: Option<u64>, schema: SchemaRef, hot: Vec<RecordBatch>) {
        self.shelf
            .tables
            .lock()
            .unwrap()
            .insert(name, TableSnapshot { location, version, schema, hot, raw: Vec::new() });
    }

    fn engine(&self, settings: Settings) -> Engine {
        Engine::new(self.shelf.clone(), clock(), settings, &mut Registry::default()).unwrap()
    }
}

/// Stands still in the recorded year.
fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at("2013-04-29T12:00:00Z".parse().unwrap()))
}

fn faults() -> SchemaRef {
    table::fixed(&TableName::Fault).unwrap()
}

fn telemetry() -> SchemaRef {
    table::telemetry(Profiles::builtin().get("washing_machine").unwrap())
}

fn fault(tenant: &str, device: &str, code: &str, date: &str) -> Value {
    json!({
        "tenant": tenant, "device_id": device, "profile": "washing_machine", "boot": 1, "seq": 1,
        "event_time": format!("{date}T10:00:00Z"), "arrival_time": format!("{date}T10:00:01Z"), "late": false,
        "code": code, "active": true, "date": date,
    })
}

fn reading(tenant: &str, device: &str, seq: i64, extra: Value) -> Value {
    json!({
        "tenant": tenant, "device_id": device, "boot": 1, "seq": seq, "event_time": format!("2026-11-21T10:0{seq}:00.5Z"),
        "arrival_time": "2026-11-21T11:00:00Z", "late": false, "extra": extra, "date": "2026-11-21",
    })
}

fn batch(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    let mut decoder = arrow::json::ReaderBuilder::new(schema.clone()).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// Rows as text, columns between bars.
async fn ask_as(engine: &Engine, whose: &str, sql: &str) -> Result<Vec<String>, SqlError> {
    let answer = engine.query(&tenant(whose), sql).await?;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    Ok(batches.iter().flat_map(lines).collect())
}

async fn ask(engine: &Engine, sql: &str) -> Vec<String> {
    ask_as(engine, "acme", sql).await.unwrap_or_else(|error| panic!("{sql}: {error}: {error:?}"))
}

async fn error(engine: &Engine, sql: &str) -> SqlError {
    match ask_as(engine, "acme", sql).await {
        Ok(rows) => panic!("{sql}: {rows:?}"),
        Err(error) => error,
    }
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    let line = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(line).collect()
}
