//! The Flight SQL door with a real client: ADBC, where `FOREWARN_PYTHON` is a Python that has it.

use std::process::Command;

use forewarn::dev::Secrets;

use crate::{
    process::{Server, forewarn},
    replay,
};

/// Asks as an analyst does; what it expects is written beside each question.
const ADBC: &str = r#"
import sys
import warnings

import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error

warnings.simplefilter("ignore")  # No transactions: ADBC warns that commit does nothing.
address, token, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
TABLE = "telemetry_washing_machine"


def bearer(token):
    return flight.connect(f"grpc://{address}", db_kwargs={DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"})


def told(attempt):
    try:
        attempt()
    except Error as error:
        return str(error)
    raise AssertionError("it was not refused")


with bearer(token) as connection, connection.cursor() as cursor:
    cursor.execute(f"select count(*) as n, count(distinct device_id) as devices from {TABLE}")
    assert cursor.fetchall() == [(rows, 4)]
    cursor.execute(f"select device_id, seq, event_time from {TABLE} order by device_id, seq")
    table = cursor.fetch_arrow_table()
    assert table.num_rows == rows and table.column_names == ["device_id", "seq", "event_time"], table.schema
    first = table.column("device_id")[0].as_py()

    # Parameters are values.
    sql = f"select count(*) from {TABLE} where device_id = $1 and seq < $2"
    for device, below, expected in [(first, 10, 10), (first, 0, 0), ("' or true --", 10, 0)]:
        cursor.execute(sql, (device, below))
        assert cursor.fetchall() == [(expected,)], (device, below)

    # What there is.
    catalogs = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    assert [catalog["catalog_name"] for catalog in catalogs] == ["forewarn"], catalogs
    (schema,) = [schema for schema in catalogs[0]["catalog_db_schemas"] if schema["db_schema_name"] == "public"]
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    columns = [column["column_name"] for column in tables[TABLE]["table_columns"]]
    assert "fault" in tables and "vibration_mm_s" in columns, (list(tables), columns)
    assert "device_id" in connection.adbc_get_table_schema("fault").names
    assert connection.adbc_get_info()["vendor_name"] == "Forewarn"
    assert sorted(connection.adbc_get_table_types()) == ["TABLE", "VIEW"]

    # What is wrong is told, and the connection goes on.
    said = told(lambda: cursor.execute(f"select vibration from {TABLE}"))
    assert 'nearest: "vibration_mm_s"' in said, said
    said = told(lambda: cursor.execute("delete from fault"))
    assert "allowed are SELECT" in said, said
    cursor.execute("select 1")
    assert cursor.fetchall() == [(1,)]

# The token as a password, whatever the user is called.
with flight.connect(f"grpc://{address}", db_kwargs={"username": "ann", "password": token}) as connection:
    with connection.cursor() as cursor:
        cursor.execute(f"select count(*) from {TABLE}")
        assert cursor.fetchall() == [(rows,)]

with bearer("nobody") as connection, connection.cursor() as cursor:
    said = told(lambda: cursor.execute("select 1"))
    assert "the token is unknown, expired or revoked" in said, said
print("ok")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn adbc_asks_binds_lists_and_is_told_what_is_wrong() {
    let Some(python) = std::env::var_os("FOREWARN_PYTHON") else {
        println!("skipped: FOREWARN_PYTHON is not set; scripts/python makes such a Python");
        return;
    };
    let mut server = Server::start(&[]).await;
    let secrets = Secrets::of(&server.data);
    let mut load = forewarn();
    load.args(["load", "--to", &server.mqtt_url(), "--connections", "4", "--messages", "200", "--json", "--data"]);
    load.arg(&server.data);
    let sent = replay::finish(replay::spawn(load)).await;
    let rows = sent["acknowledged"].as_u64().unwrap();
    server.settled(rows).await;

    let address = secrets.addresses().unwrap().flight.unwrap().to_string();
    let (token, rows) = (secrets.admin_token().unwrap(), rows.to_string());
    let mut asking = Command::new(python);
    asking.args(["-c", ADBC, &address, &token, &rows]);
    let output = tokio::task::spawn_blocking(move || asking.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.said());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    assert!(server.stop().await, "an ordered stop");
}
