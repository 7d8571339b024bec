//! Answers over HTTP as Parquet files, read back by pyarrow and DuckDB, where `FOREWARN_PYTHON` is a Python that has them.
//! And pictures of answers, from the command line.

use std::process::Command;

use forewarn::dev::Secrets;
use serde_json::json;

use crate::{
    process::{Server, forewarn},
    replay,
};

const READ: &str = r#"
import sys
import duckdb
import pyarrow.parquet as parquet

file, empty, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
table = parquet.read_table(file)
assert table.num_rows == rows, table.num_rows
assert parquet.ParquetFile(file).metadata.num_row_groups >= 1
types = {field.name: str(field.type) for field in table.schema}
assert types["event_time"] == "timestamp[us, tz=UTC]" and types["vibration_mm_s"] == "double", types
assert types["extra"].startswith("map<string"), types
devices = sorted(set(table.column("device_id").to_pylist()))
assert len(devices) == 4, devices
((n, counted, least),) = duckdb.sql(f"select count(*), count(distinct device_id), min(seq) from '{file}'").fetchall()
assert (n, counted, least) == (rows, 4, 0), (n, counted, least)
assert duckdb.sql(f"select max(event_time) >= min(event_time) from '{file}'").fetchall() == [(True,)]
none = parquet.read_table(empty)
assert none.num_rows == 0 and none.column_names == ["device_id", "code"], none.schema
assert duckdb.sql(f"select count(*) from '{empty}'").fetchall() == [(0,)]
print("ok")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn parquet_over_http_is_read_by_pyarrow_and_duckdb_and_an_answer_is_drawn() {
    let mut server = Server::start(&[]).await;
    let secrets = Secrets::of(&server.data);
    let mut load = forewarn();
    load.args(["load", "--to", &server.mqtt_url(), "--connections", "4", "--messages", "2000", "--json", "--data"]);
    load.arg(&server.data);
    let sent = replay::finish(replay::spawn(load)).await;
    let rows = sent["acknowledged"].as_u64().unwrap();
    server.settled(rows).await;

    // Drawn by the command, from the running server.
    let picture = server.data.join("picture.svg");
    let sql = "select date_bin(interval '1 minute', event_time) as minute, avg(vibration_mm_s) as vibration from \
               telemetry_washing_machine group by 1";
    let drawn =
        forewarn().args(["query", sql, "--data"]).arg(&server.data).arg("--plot").arg(&picture).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("minute (UTC)") && svg.contains("vibration"), "{svg}");
    let mut words = forewarn();
    words.args(["query", "select 'a' as a", "--data"]).arg(&server.data).arg("--plot").arg(&picture);
    let words = words.output().unwrap();
    let said = String::from_utf8_lossy(&words.stderr);
    assert!(!words.status.success() && said.contains("no column after the first is a number"), "{said}");

    let http = secrets.addresses().unwrap().http.unwrap();
    let fetch = async |name: &str, sql: &str| {
        let request = reqwest::Client::new()
            .post(format!("http://{http}/v1/sql"))
            .bearer_auth(secrets.admin_token().unwrap())
            .header("accept", "application/vnd.apache.parquet")
            .json(&json!({ "query": sql }));
        let answer = request.send().await.unwrap();
        let form = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), form.as_str()), (200, "application/vnd.apache.parquet"), "{sql}");
        let file = server.data.join(name);
        std::fs::write(&file, answer.bytes().await.unwrap()).unwrap();
        file
    };
    let whole = fetch("rows.parquet", "select * from telemetry_washing_machine").await;
    let empty = fetch("empty.parquet", "select device_id, code from fault where false").await;
    if let Some(python) = std::env::var_os("FOREWARN_PYTHON") {
        let output = Command::new(python).args(["-c", READ]).args([&whole, &empty]).arg(rows.to_string()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    } else {
        println!("not read back: FOREWARN_PYTHON is not set; scripts/python makes such a Python");
    }
    assert!(server.stop().await, "an ordered stop");
}
