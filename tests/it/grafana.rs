//! The dashboards of `deploy/grafana` and what Grafana's PostgreSQL data source asks by itself, sent as Grafana sends
//! it: macros expanded as its `macros.go` does, then a simple query. Grafana itself is not in Debian; psql sends.

use std::{fs, path::Path, process::Command};

use forewarn::dev::Secrets;
use schemas::{
    time::{Clock as _, Instant, SystemClock},
    topic::Channel,
};
use serde_json::{Value, json};

use crate::process::{Server, say, until};

/// From and to of a dashboard, and the width of a point.
struct Range {
    from: Instant,
    to: Instant,
    interval: &'static str,
}

/// Grafana's `gtime.ParseInterval`, as far as panels use it.
fn seconds(interval: &str) -> u64 {
    let interval = interval.trim_matches('\'');
    let (number, unit) = interval.split_at(interval.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => panic!("interval {interval:?}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// One macro of `macros.go`.
fn evaluate(range: &Range, name: &str, args: &[&str]) -> String {
    let (from, to) = (range.from, range.to);
    let (from_s, to_s) = (from.micros() / 1_000_000, to.micros() / 1_000_000);
    match name {
        "__time" => format!("{} AS \"time\"", args[0]),
        "__timeEpoch" => format!("extract(epoch from {}) as \"time\"", args[0]),
        "__timeFilter" => format!("{} BETWEEN '{from}' AND '{to}'", args[0]),
        "__timeFrom" => format!("'{from}'"),
        "__timeTo" => format!("'{to}'"),
        "__timeGroup" => {
            let seconds = seconds(args[1]);
            format!("floor(extract(epoch from {})/{seconds})*{seconds}", args[0])
        }
        "__timeGroupAlias" => format!("{} AS \"time\"", evaluate(range, "__timeGroup", args)),
        "__unixEpochFilter" => format!("{0} >= {from_s} AND {0} <= {to_s}", args[0]),
        "__unixEpochGroup" => {
            let seconds = seconds(args[1]);
            format!("floor(({})/{seconds})*{seconds}", args[0])
        }
        "__unixEpochGroupAlias" => format!("{} AS \"time\"", evaluate(range, "__unixEpochGroup", args)),
        other => panic!("unknown macro {other}"),
    }
}

/// Variables, then what is global, then macros: as Grafana does.
fn expand(range: &Range, variables: &[(&str, &str)], sql: &str) -> String {
    let mut sql = sql.to_owned();
    for (name, value) in variables {
        sql = sql.replace(&format!("${name}"), value);
    }
    let mut sql = sql.replace("$__interval", range.interval);
    // \$([_a-zA-Z0-9]+)\(([^\)]*)\)
    while let Some(start) = sql.find("$__") {
        let open = start + sql[start..].find('(').expect("a macro has arguments");
        let close = open + sql[open..].find(')').unwrap();
        let args: Vec<&str> = sql[open + 1..close].split(',').map(|arg| arg.trim_matches(' ')).collect();
        // Of old: directly before a comma it names its column.
        let name = match &sql[start + 1..open] {
            "__timeGroup" if sql[close + 1..].starts_with(',') => "__timeGroupAlias",
            name => name,
        };
        let text = evaluate(range, name, &args);
        sql.replace_range(start..=close, &text);
    }
    sql
}

/// What Grafana's `postgresMetaQuery.ts` puts in place of the search path.
const IN_SEARCH_PATH: &str = r#"
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )"#;

fn columns_of(table: &str) -> String {
    format!(
        r#"SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('{table}'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('{table}'))[1]
          AND quote_ident(table_name) = (parse_ident('{table}'))[2]
        ELSE quote_ident(table_name) = '{table}'
          AND {IN_SEARCH_PATH}
      END"#
    )
}

struct World {
    server: Server,
    token: String,
    port: String,
    range: Range,
}

impl World {
    async fn new() -> Self {
        let server = Server::start(&[]).await;
        let secrets = Secrets::of(&server.data);
        let port = secrets.addresses().unwrap().postgres.unwrap().port().to_string();
        let token = secrets.admin_token().unwrap();
        let (now, hour) = (SystemClock.now(), std::time::Duration::from_secs(3600));
        let telemetry = json!({
            "profile": "washing_machine", "boot": 1, "seq": 0, "ts": now.to_string(), "firmware": "1.2",
            "m": {"drum_speed_rpm": 800, "vibration_mm_s": 2.1},
        });
        let fault = json!({
            "profile": "washing_machine", "boot": 1, "seq": 1, "ts": now.to_string(), "code": "E57", "active": true,
        });
        let letter = json!({"profile": "washing_machine", "boot": 1, "seq": 2, "ts": "no time", "m": {}});
        let said = [(Channel::Telemetry, telemetry), (Channel::Fault, fault), (Channel::Telemetry, letter)];
        say(&server.broker(), "dev", "wm-1", &said).await;
        until("the ticket", async || server.tickets().await.pop()).await;
        let plate = json!({"model": "WM-1", "installed_at": now.minus(hour * 24 * 100).to_string()});
        server.client.put("/v1/devices/wm-1/nameplate", &plate).await.unwrap();
        let outcome = json!({
            "device_id": "wm-1", "profile": "washing_machine", "fault_key": "drum_bearing/wear",
            "disposition": "part_replaced", "part_replaced": "WM-BRG-6205", "failure_time": now.minus(hour).to_string(),
        });
        server.client.post("/v1/outcomes", &outcome).await.unwrap();
        for table in ["outcome", "dead_letter", "alarm"] {
            let sql = format!("select count(*) from {table}");
            until(table, async || (server.number(&sql).await == 1).then_some(())).await;
        }
        let range = Range { from: now.minus(hour * 24), to: now.plus(hour), interval: "1m" };
        Self { server, token, port, range }
    }

    /// Rows with their header, as CSV.
    fn ask(&self, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            psql.env_remove(name);
        }
        let output = psql
            .args([
                "-X",
                "--csv",
                "-q",
                "-w",
                "-h",
                "127.0.0.1",
                "-U",
                "grafana",
                "-p",
                &self.port,
                "-d",
                "dev",
                "-c",
                sql,
            ])
            .env("PGPASSWORD", &self.token)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{sql}\n{said}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    let mut found: Vec<(String, Value)> = files.map(read).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Panels that have nothing to show of one moment: no hour of the ledger is closed, nothing is foretold, and a device that
/// was heard of once was not under watch for any time.
const EMPTY: [&str; 6] = [
    "Emerging defects",
    "Expected failures",
    "Messages by hour of arrival",
    "Devices heard by hour",
    "Devices with most missing messages",
    "Mean time between faults",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_every_dashboard_is_answered() {
    let world = World::new().await;
    let mut panels = 0;
    for (name, dashboard) in dashboards() {
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "query" {
                assert_eq!(world.ask(variable["query"].as_str().unwrap())[1..], ["washing_machine"]);
            }
        }
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let variables = [("profile", "'washing_machine','refrigerator'"), ("level", "model")];
                let sql = expand(&world.range, &variables, target["rawSql"].as_str().unwrap());
                assert!(!sql.contains('$'), "{name}, {title}: {sql}");
                let rows = world.ask(&sql);
                assert!(rows.len() > 1 || EMPTY.contains(&title), "{name}, {title} shows nothing:\n{sql}");
                if target["format"] == "time_series" {
                    assert!(rows[0].starts_with("time,"), "{name}, {title}: {rows:?}");
                }
                panels += 1;
            }
        }
    }
    assert!(panels >= 20, "{panels} panels");
    assert!(world.server.tickets().await.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_macro_of_the_data_source_is_understood() {
    let world = World::new().await;
    for (sql, header) in [
        ("select $__time(event_time), code from fault", "time,code"),
        ("select $__timeEpoch(event_time), code from fault", "time,code"),
        ("select $__timeGroup(event_time, '5m'), count(*) as n from fault group by 1", "time,n"),
        ("select $__timeGroup(event_time, '5m') as t, count(*) as n from fault group by 1", "t,n"),
        (
            "select $__timeGroupAlias(event_time, $__interval), count(*) as n from fault where $__timeFilter(event_time) group by time order by time",
            "time,n",
        ),
        ("select code from fault where event_time > $__timeFrom() and event_time < $__timeTo()", "code"),
        (
            "select code from fault where event_time between $__timeFrom()::timestamptz and $__timeTo()::timestamptz",
            "code",
        ),
        ("select $__unixEpochGroupAlias(boot, 1m), count(*) as n from fault group by 1", "time,n"),
    ] {
        let rows = world.ask(&expand(&world.range, &[], sql));
        assert_eq!((rows[0].as_str(), rows.len()), (header, 2), "{sql}: {rows:?}");
    }
    // A macro's arguments end at the first bracket: an expression of its own goes into a sub-query.
    let sql = "select code from (select code, extract(epoch from event_time) as e from fault) as f \
               where $__unixEpochFilter(e)";
    assert_eq!(world.ask(&expand(&world.range, &[], sql)), ["code", "E57"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_data_source_asks_by_itself_is_answered() {
    let world = World::new().await;
    // pgx pings with a comment.
    assert!(world.ask("-- ping").is_empty());
    assert_eq!(world.ask("SELECT current_setting('server_version_num')::int/100 as version"), ["version", "1600"]);
    assert_eq!(world.ask("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"), ["extversion"]);
    let schemas = "SELECT schema_name AS \"name\" FROM information_schema.schemata WHERE schema_name NOT IN \
                   ('information_schema', 'pg_catalog', 'pg_toast', '_timescaledb_cache') ORDER BY schema_name";
    assert_eq!(world.ask(schemas), ["name", "public"]);
    let tables = format!(
        r#"SELECT
    CASE WHEN {IN_SEARCH_PATH}
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema',
                             'pg_catalog',
                             '_timescaledb_cache',
                             '_timescaledb_catalog',
                             '_timescaledb_internal',
                             '_timescaledb_config',
                             'timescaledb_information',
                             'timescaledb_experimental')
    ORDER BY CASE WHEN {IN_SEARCH_PATH} THEN 0 ELSE 1 END, 1"#
    );
    let tables = world.ask(&tables);
    for table in ["fault", "device", "telemetry_washing_machine", "trend_failure_rate"] {
        assert!(tables.iter().any(|row| row == table), "{table} is not listed: {tables:?}");
    }
    let of_schema = "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables \
                     WHERE quote_ident(table_schema) = 'public' ORDER BY 1";
    assert_eq!(world.ask(of_schema).len(), tables.len());
    for table in ["telemetry_washing_machine", "public.telemetry_washing_machine"] {
        let columns = world.ask(&columns_of(table));
        for column in ["device_id,text", "event_time,timestamp with time zone", "vibration_mm_s,double precision"] {
            assert!(columns.iter().any(|row| row == column), "{table} {column}: {columns:?}");
        }
    }
    let columns = world.ask(&columns_of("trend_emerging_defect"));
    assert!(columns.contains(&"emerging,boolean".to_owned()), "{columns:?}");
}
