//! The door on a free port, with the engine behind it and arrow-flight's own client before it.

use std::collections::BTreeMap;

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Int64Type, Schema},
    util::pretty::pretty_format_batches,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, FlightInfo, Ticket,
    decode::FlightRecordBatchStream,
    sql::{
        CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
        CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo, client::FlightSqlServiceClient,
    },
};
use futures::TryStreamExt as _;
use prost::Message as _;
use schemas::{
    door::{self, Holder, TableSnapshot, TableSource},
    profile::Profiles,
    table::{self, TableName},
    time::ManualClock,
};
use serde_json::json;
use tonic::{Code, transport::Channel};

use super::*;
use crate::query;

type Client = FlightSqlServiceClient<Channel>;

/// Longest wait for any state.
const DEADLINE: Duration = Duration::from_secs(60);

/// Rows of `acme`: enough that a join of three times the table never ends by itself.
const ROWS: usize = 2000;

/// What outlives the test.
const ENDLESS: &str = "select a.seq from fault a cross join fault b cross join fault c";

/// Hot rows of two tenants in the table `fault`, and one of each table else.
struct Tables(RecordBatch);

impl TableSource for Tables {
    fn names(&self) -> Vec<TableName> {
        vec![TableName::Fault, TableName::Telemetry("washing_machine".parse().unwrap())]
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        let location = "file:///nowhere/".parse().unwrap();
        let (schema, hot) = match table {
            TableName::Fault => (self.0.schema(), vec![self.0.clone()]),
            TableName::Telemetry(profile) => (table::telemetry(Profiles::builtin().get(profile.as_str())?), vec![]),
            _ => return None,
        };
        Some(TableSnapshot { location, version: None, schema, hot, raw: Vec::new() })
    }
}

/// Tokens by tenant; `silent` may not ask.
struct Tokens;

#[async_trait::async_trait]
impl TokenAuth for Tokens {
    async fn token(&self, secret: &str) -> Result<Option<Holder>, door::DoorError> {
        let holder = |tenant: &str, may_query| Holder { tenant: tenant.parse().unwrap(), name: "t".into(), may_query };
        Ok(match secret {
            "acme-token" => Some(holder("acme", true)),
            "globex-token" => Some(holder("globex", true)),
            "silent-token" => Some(holder("acme", false)),
            _ => None,
        })
    }
}

struct World {
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), DoorError>>,
}

impl World {
    async fn with(max_connections: usize) -> Self {
        let schema = table::fixed(&TableName::Fault).unwrap();
        let fault = |tenant: &str, seq: usize, code: &str| {
            json!({
                "tenant": tenant, "device_id": format!("{tenant}-1"), "profile": "washing_machine", "boot": 1, "seq": seq,
                "event_time": "2026-11-20T10:00:00Z", "arrival_time": "2026-11-20T10:00:01Z", "late": false,
                "code": code, "active": true, "date": "2026-11-20",
            })
        };
        let mut rows = vec![fault("globex", 1, "SECRET-1"), fault("globex", 2, "SECRET-2")];
        rows.extend((0..ROWS).map(|seq| fault("acme", seq, &format!("E{}", seq % 10))));
        let mut decoder = arrow::json::ReaderBuilder::new(schema).with_batch_size(1 << 16).build_decoder().unwrap();
        decoder.serialize(&rows).unwrap();
        let tables = Arc::new(Tables(decoder.flush().unwrap().unwrap()));
        let clock = Arc::new(ManualClock::at("2026-11-21T00:00:00Z".parse().unwrap()));
        let mut registry = Registry::default();
        let settings = query::Settings { max_rows: 1 << 40, ..query::Settings::default() };
        let engine = Arc::new(query::Engine::new(tables, clock, settings, &mut registry).unwrap());
        let doors = Doors { engine, tokens: Arc::new(Tokens), key: [7; 32] };
        let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), max_connections, ..Settings::default() };
        let flight = Flight::open(settings, doors, &mut registry).await.unwrap();
        let (address, stop) = (flight.local_addr(), CancellationToken::new());
        let served = tokio::spawn(flight.run(stop.clone()));
        Self { address, registry, stop, served }
    }

    async fn new() -> Self {
        Self::with(16).await
    }

    async fn client(&self, token: &str) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        let mut client = FlightSqlServiceClient::new(channel);
        if !token.is_empty() {
            client.set_token(token.to_owned());
        }
        client
    }

    /// Waits until a metric has this value.
    async fn becomes(&self, line: &str) {
        let reached = async {
            loop {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
                if text.lines().any(|said| said == line) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("waited for {line}"));
    }
}

async fn read(client: &mut Client, info: &FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let ticket: Ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: FlightRecordBatchStream = client.do_get(ticket).await?;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let told = Schema::try_from(info.clone()).unwrap();
    batches.iter().for_each(|batch| assert_eq!(batch.schema().fields(), told.fields()));
    Ok(batches)
}

async fn ask(client: &mut Client, sql: &str) -> Result<String, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    Ok(pretty_format_batches(&read(client, &info).await?).unwrap().to_string())
}

/// The code and text of an error.
fn told(error: impl Into<FlightError>) -> (Code, String) {
    let status = tonic::Status::from(error.into());
    (status.code(), status.message().to_owned())
}

fn values(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let column = |batch: &RecordBatch| batch.column_by_name(column).unwrap().as_string::<i32>().clone();
    batches.iter().flat_map(|batch| column(batch).iter().flatten().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_answered_with_the_tenants_own_rows() {
    let world = World::new().await;
    for (token, count) in [("acme-token", ROWS), ("globex-token", 2)] {
        let mut client = world.client(token).await;
        let table = ask(&mut client, "select count(*) as n, count(distinct tenant) as t from fault").await.unwrap();
        assert!(table.contains(&format!("| {count} ")) && table.contains("| 1 |"), "{table}");
    }
    let mut client = world.client("acme-token").await;
    let info = client.execute("select seq from fault where seq < 0".into(), None).await.unwrap();
    assert!(read(&mut client, &info).await.unwrap().iter().all(|batch| batch.num_rows() == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_without_a_token_in_force() {
    let world = World::new().await;
    for (token, code) in
        [("", Code::Unauthenticated), ("nobody", Code::Unauthenticated), ("silent-token", Code::PermissionDenied)]
    {
        let mut client = world.client(token).await;
        assert_eq!(told(client.execute("select 1".into(), None).await.unwrap_err()).0, code, "{token}");
        assert_eq!(told(client.get_catalogs().await.unwrap_err()).0, code, "{token}");
        assert_eq!(told(client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap_err()).0, code, "{token}");
        assert_eq!(told(client.prepare("select 1".into(), None).await.unwrap_err()).0, code, "{token}");
    }
    let mut client = world.client("").await;
    assert!(client.handshake("ann", "nobody").await.is_err());
    client.handshake("ann", "acme-token").await.unwrap();
    assert_eq!(client.token().map(String::as_str), Some("acme-token"));
    assert!(ask(&mut client, "select 1 as one").await.unwrap().contains("| 1   |"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_its_kind() {
    let world = World::new().await;
    let mut client = world.client("acme-token").await;
    for (sql, code, text) in [
        ("selec 1", Code::InvalidArgument, "line 1, column 1"),
        ("select 'a", Code::InvalidArgument, "a text begins and ends with '"),
        ("select cod from fault", Code::InvalidArgument, "nearest: \"code\""),
        ("select * from faul", Code::InvalidArgument, "nearest: \"fault\""),
        ("delete from fault", Code::PermissionDenied, "allowed are SELECT"),
        ("explain analyze select * from fault", Code::PermissionDenied, "EXPLAIN takes no options"),
        ("select 1; select 2", Code::PermissionDenied, "one statement at a time"),
    ] {
        let (said, message) = told(ask(&mut client, sql).await.unwrap_err());
        assert_eq!(said, code, "{sql}: {message}");
        assert!(message.contains(text), "{sql}: {message}");
        assert_eq!(told(client.prepare(sql.into(), None).await.unwrap_err()).0, code, "{sql}");
    }
    // A value that cannot be cast breaks the answer off, and is an own one.
    let (_, message) = told(ask(&mut client, "select cast(code as int) from fault").await.unwrap_err());
    assert!(message.contains("'E") && !message.contains("SECRET"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_parameters() {
    let world = World::new().await;
    let mut client = world.client("acme-token").await;
    let sql = "select count(*) as n from fault where code = $1 and seq < $2";
    let mut prepared = client.prepare(sql.into(), None).await.unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 2);
    assert_eq!(prepared.dataset_schema().unwrap().field(0).data_type(), &DataType::Int64);
    let (code, message) = told(prepared.execute().await.unwrap_err());
    assert!(code == Code::InvalidArgument && message.contains("bind 2 parameters"), "{message}");
    for (code, below, count) in [("E3", 100, 10), ("E3", 0, 0), ("SECRET-1", 100, 0)] {
        let columns: [(&str, ArrayRef); 2] =
            [("a", Arc::new(StringArray::from(vec![code]))), ("b", Arc::new(Int64Array::from(vec![below])))];
        prepared.set_parameters(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let batches = read(&mut client, &info).await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), count, "{code}");
    }
    for (rows, text) in [(2, "one row of parameters at a time"), (0, "there was none")] {
        let columns: [(&str, ArrayRef); 2] =
            [("a", Arc::new(StringArray::from(vec!["E3"; rows]))), ("b", Arc::new(Int64Array::from(vec![1; rows])))];
        prepared.set_parameters(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let (_, message) = told(prepared.execute().await.unwrap_err());
        assert!(message.contains(text), "{message}");
    }
    prepared.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_has_is_told_in_flights_own_tables() {
    let world = World::new().await;
    let mut client = world.client("acme-token").await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(values(&read(&mut client, &info).await.unwrap(), "catalog_name"), ["forewarn"]);
    let asked = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("pub%".into()) };
    let info = client.get_db_schemas(asked).await.unwrap();
    assert_eq!(values(&read(&mut client, &info).await.unwrap(), "db_schema_name"), ["public"]);
    let asked = CommandGetTables { table_name_filter_pattern: Some("fau%".into()), ..CommandGetTables::default() };
    let info = client.get_tables(asked).await.unwrap();
    assert_eq!(values(&read(&mut client, &info).await.unwrap(), "table_name"), ["fault"]);
    let asked = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = client.get_tables(asked).await.unwrap();
    let tables = read(&mut client, &info).await.unwrap();
    let names = values(&tables, "table_name");
    assert!(names.contains(&"telemetry_washing_machine".to_owned()), "{names:?}");
    let at = names.iter().position(|name| name == "fault").unwrap();
    let bytes = tables[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(at).to_vec();
    let schema = Schema::try_from(arrow_flight::IpcMessage(bytes.into())).unwrap();
    assert!(schema.field_with_name("device_id").is_ok(), "{schema}");
    let info = client.get_table_types().await.unwrap();
    assert_eq!(values(&read(&mut client, &info).await.unwrap(), "table_type"), ["TABLE", "VIEW"]);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerReadOnly, SqlInfo::FlightSqlServerName]).await.unwrap();
    let rows: usize = read(&mut client, &info).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 2);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert!(values(&read(&mut client, &info).await.unwrap(), "type_name").contains(&"timestamp".to_owned()));
    let keys = [
        client.get_primary_keys(CommandGetPrimaryKeys::default()).await.unwrap(),
        client.get_exported_keys(CommandGetExportedKeys::default()).await.unwrap(),
        client.get_imported_keys(CommandGetImportedKeys::default()).await.unwrap(),
        client.get_cross_reference(CommandGetCrossReference::default()).await.unwrap(),
    ];
    for (info, columns) in keys.iter().zip([6, 13, 13, 13]) {
        let batches = read(&mut client, info).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        assert_eq!(Schema::try_from(info.clone()).unwrap().fields().len(), columns);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_used_once_and_by_its_tenant() {
    let world = World::new().await;
    let (mut acme, mut globex) = (world.client("acme-token").await, world.client("globex-token").await);
    let info = acme.execute("select code from fault limit 1".into(), None).await.unwrap();
    assert_eq!(told(read(&mut globex, &info).await.unwrap_err()).0, Code::NotFound);
    read(&mut acme, &info).await.unwrap();
    assert_eq!(told(read(&mut acme, &info).await.unwrap_err()).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_it_is_cancelled_or_nobody_reads_on() {
    let world = World::new().await;
    let mut client = world.client("acme-token").await;
    let cancel = async |info: &FlightInfo, token: &str| {
        let body = CancelFlightInfoRequest { info: Some(info.clone()) }.encode_to_vec();
        let mut client = world.client(token).await;
        let answer = client.do_action(tonic::Request::new(Action::new("CancelFlightInfo", body))).await;
        match answer {
            Ok(mut answer) => answer.try_next().await.map(drop),
            Err(error) => Err(tonic::Status::from(error)),
        }
    };
    // Nobody has come with the ticket yet.
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    world.becomes("forewarn_query_running 1").await;
    assert_eq!(cancel(&info, "globex-token").await.unwrap_err().code(), Code::NotFound);
    cancel(&info, "acme-token").await.unwrap();
    world.becomes("forewarn_query_running 0").await;

    // It is being read.
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    let mut batches = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    batches.try_next().await.unwrap().unwrap();
    cancel(&info, "acme-token").await.unwrap();
    let ended = loop {
        match batches.try_next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(told(ended.unwrap_err()).0, Code::Cancelled);
    world.becomes("forewarn_query_running 0").await;

    // The reader goes away.
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    let mut batches = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    batches.try_next().await.unwrap().unwrap();
    drop(batches);
    world.becomes("forewarn_query_running 0").await;
    world.becomes("forewarn_query_finished_total{outcome=\"cancelled\"} 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_transactions_are_refused() {
    let world = World::new().await;
    let mut client = world.client("acme-token").await;
    let refused = [
        told(client.begin_transaction().await.unwrap_err()),
        told(client.execute_update("delete from fault".into(), None).await.unwrap_err()),
    ];
    for (code, message) in refused {
        assert!(code == Code::Unimplemented && message.contains("queries only read"), "{code}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_a_stop_is_not_held_up() {
    let World { address, registry, stop, served } = World::with(1).await;
    let world = World { address, registry, stop, served };
    let mut client = world.client("acme-token").await;
    let info = client.execute(ENDLESS.into(), None).await.unwrap();
    let mut batches = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    batches.try_next().await.unwrap().unwrap();
    let second = Channel::from_shared(format!("http://{}", world.address)).unwrap().connect_lazy();
    let mut second: Client = FlightSqlServiceClient::new(second);
    second.set_token("acme-token".into());
    assert!(second.execute("select 1".into(), None).await.is_err());
    world.becomes("forewarn_flight_connections 1").await;
    // Who does not read on holds nothing up either.
    let stalled = client.execute(ENDLESS.into(), None).await.unwrap();
    let _stalled = client.do_get(stalled.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    world.stop.cancel();
    let ended = loop {
        match batches.try_next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(told(ended.unwrap_err()).0, Code::Unavailable);
    drop((client, second));
    tokio::time::timeout(DEADLINE, world.served).await.unwrap().unwrap().unwrap();
}

#[test]
fn what_is_told_has_the_columns_of_the_protocol() {
    let types: BTreeMap<String, DataType> = metadata::foreign_keys()
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    assert_eq!(types["update_rule"], DataType::UInt8);
    assert_eq!(types["key_sequence"], DataType::Int32);
}
