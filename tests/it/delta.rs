//! Our tables are anybody's: deltalake and duckdb read them while a fleet sends.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    process::{Server, forewarn},
    replay,
};

/// Reads the table again and again until the file `done` is there, then once more; prints what it saw as JSON.
const READER: &str = r#"
import json
import sys
import time
from pathlib import Path

import deltalake
import duckdb

table, done = sys.argv[1], Path(sys.argv[2])
COUNTS = "select count(*), count(distinct (device_id, boot, seq)) from rows"
while not deltalake.DeltaTable.is_deltatable(table):
    assert not done.exists(), "there is no table"
    time.sleep(0.05)
seen, reads, last = [], 0, False
while not last:
    last = done.exists()
    delta = deltalake.DeltaTable(table)
    rows = delta.to_pyarrow_dataset()
    ((count, distinct),) = duckdb.sql(COUNTS).fetchall()
    assert count == distinct == rows.count_rows(), (delta.version(), count, distinct)
    if seen and count < seen[-1]:
        raise AssertionError(f"{count} rows after {seen[-1]}")
    if not seen or count > seen[-1]:
        seen.append(count)
    reads += 1
print(json.dumps({"rows": seen[-1], "versions": len(seen), "reads": reads}))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn deltalake_and_duckdb_read_what_grows_and_see_each_row_once() {
    let Some(python) = std::env::var_os("FOREWARN_PYTHON") else {
        println!("skipped: FOREWARN_PYTHON is not set; scripts/python makes such a Python");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (config, done) = (folder.path().join("forewarn.toml"), folder.path().join("done"));
    // Many versions and some checkpoints in a few seconds.
    fs::write(&config, "[lake]\ncommit_interval = \"200ms\"\ncheckpoint_every = 10\n").unwrap();
    let server = Server::start(&["--config", config.to_str().unwrap()]).await;
    let mut reader = Command::new(python);
    reader.args(["-c", READER]).arg(server.data.join("lake/telemetry_washing_machine")).arg(&done);
    let reader = reader.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let mut load = forewarn();
    load.args(["load", "--to", &server.mqtt_url(), "--connections", "8", "--rate", "800", "--for", "5s", "--json"]);
    load.arg("--data").arg(&server.data);
    let sent = replay::finish(replay::spawn(load)).await;
    let acknowledged = sent["acknowledged"].as_u64().unwrap();
    server.settled(acknowledged).await;
    fs::write(&done, "").unwrap();

    let read = replay::finish(reader).await;
    println!("{acknowledged} acknowledged; {read}");
    assert_eq!(read["rows"].as_u64(), Some(acknowledged), "{read}");
    assert!(read["versions"].as_u64().unwrap() > 2, "it was read while it grew: {read}");
    assert_eq!(server.number("select count(*) from telemetry_washing_machine").await as u64, acknowledged);
}
