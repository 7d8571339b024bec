//! Two tenants with devices of the same names in one server: whatever one asks, at whatever door, no byte of an answer
//! is of the other. Each door shows the marks to whom they belong, so that their absence means something.

mod tricks;

use std::process::Command;

use forewarn::{client::Client, dev::Secrets, fleet::device::Broker};
use schemas::topic::Channel;
use serde_json::{Value, json};

use self::tricks::{VIEWS, tricks};
use crate::{
    broker::Mosquitto,
    process::{Server, forewarn, say, until},
};

/// Whose rows nobody else may see, and who tries.
const TENANTS: [&str; 2] = ["acme", "globex"];
/// Devices that both have, and one that only globex has.
const DEVICES: [&str; 3] = ["wm-1", "wm-2", "wm-3"];
const SECRET_DEVICE: &str = "wm-of-globex-only";
/// Forms of an answer over HTTP.
const FORMS: [&str; 4] =
    ["application/json", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"];

/// A mark of a tenant, as it stands in codes, models and parts.
fn mark(tenant: &str, what: &str) -> String {
    format!("{}-MARK-{what}", tenant.to_uppercase())
}

/// A number that stands in one tenant's telemetry only.
fn number(tenant: &str) -> f64 {
    if tenant == "globex" { 1_313.131_25 } else { 717.717_5 }
}

struct World {
    server: Server,
    tokens: Vec<String>,
    http: String,
    broker: Mosquitto,
}

impl World {
    async fn new() -> Option<Self> {
        let mosquitto = Mosquitto::start().await?;
        let server = Server::start(&["--broker", &mosquitto.url()]).await;
        until("the subscription", async || server.said().contains("subscribed").then_some(())).await;
        let http = format!("http://{}", Secrets::of(&server.data).addresses().unwrap().http.unwrap());
        let token = |tenant: &str| {
            let mut command = forewarn();
            command.args(["token", "--data"]).arg(&server.data);
            command.args(["create", "--tenant", tenant, "--role", "admin", "--name", "ann"]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let tokens = TENANTS.map(token).to_vec();
        let world = Self { server, tokens, http, broker: mosquitto };
        // Into files, and once more, so that rows are hot as well.
        for boot in [1, 2] {
            for tenant in TENANTS {
                world.publish(tenant, boot).await;
            }
            let rows = boot * 2 * (2 * DEVICES.len() as i64 + 1);
            until("the rows", async || {
                let sql = "select (select count(*) from telemetry_washing_machine) + (select count(*) from fault) as n";
                let mut sum = 0;
                for tenant in TENANTS {
                    sum += crate::process::rows(&world.client(tenant), sql).await[0]["n"].as_i64()?;
                }
                (sum >= rows).then_some(())
            })
            .await;
            if boot == 1 {
                world.server.settled(1).await;
            }
        }
        for tenant in TENANTS {
            world.serve(tenant).await;
        }
        Some(world)
    }

    fn token(&self, tenant: &str) -> &str {
        &self.tokens[usize::from(tenant == "globex")]
    }

    fn client(&self, tenant: &str) -> Client {
        Client::new(&self.http, self.token(tenant)).unwrap()
    }

    /// Telemetry, faults of a kind that opens tickets, and a fault code that is a mark.
    async fn publish(&self, tenant: &str, boot: i64) {
        let broker = self.broker.address;
        let broker = Broker { host: broker.ip().to_string(), port: broker.port(), password: None };
        let now = schemas::time::Clock::now(&schemas::time::SystemClock).to_string();
        let devices = DEVICES.into_iter().chain((tenant == "globex").then_some(SECRET_DEVICE));
        for (place, device) in devices.enumerate() {
            let firmware = mark(tenant, "firmware");
            let code = if place == 0 { "E57".to_owned() } else { mark(tenant, "code") };
            let telemetry = json!({
                "profile": "washing_machine", "boot": boot, "seq": 0, "ts": now, "firmware": firmware,
                "m": {"drum_speed_rpm": number(tenant), "vibration_mm_s": 2.5, "strange": mark(tenant, "extra")},
            });
            let fault = json!({
                "profile": "washing_machine", "boot": boot, "seq": 1, "ts": now, "code": code, "active": true,
                "freeze": {"note": mark(tenant, "freeze")},
            });
            say(&broker, tenant, device, &[(Channel::Telemetry, telemetry), (Channel::Fault, fault)]).await;
        }
    }

    /// Nameplates, outcomes, a technician and a planned outage, all with marks.
    async fn serve(&self, tenant: &str) {
        let client = self.client(tenant);
        until("tickets and devices", async || {
            let tickets = client.all("/v1/tickets", "tickets").await.ok()?;
            let devices = client.all("/v1/devices", "devices").await.ok()?;
            (!tickets.is_empty() && devices.len() >= DEVICES.len()).then_some(())
        })
        .await;
        for device in DEVICES {
            let plate = json!({
                "model": mark(tenant, "model"), "batch": mark(tenant, "batch"), "region": mark(tenant, "region"),
                "installed_at": "2026-01-01T00:00:00Z",
            });
            client.put(&format!("/v1/devices/{device}/nameplate"), &plate).await.unwrap();
            let outcome = json!({
                "outcome_id": format!("{}-{device}", mark(tenant, "outcome")), "device_id": device,
                "profile": "washing_machine", "fault_key": format!("{tenant}_bearing/{tenant}_mode"),
                "disposition": "part_replaced", "part_replaced": mark(tenant, "part"),
            });
            client.post("/v1/outcomes", &outcome).await.unwrap();
        }
        until("the outcomes", async || {
            let rows = crate::process::rows(&client, "select count(*) as n from outcome").await;
            (rows[0]["n"] == DEVICES.len()).then_some(())
        })
        .await;
    }

    async fn http(&self, tenant: &str, method: &str, path: &str, accept: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.http));
        request = request.bearer_auth(self.token(tenant)).header("accept", accept);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        // An answer that breaks off is what it was until then.
        let bytes = answer.bytes().await.map(|bytes| bytes.to_vec()).unwrap_or_default();
        (status, bytes)
    }

    async fn sql(&self, tenant: &str, sql: &str, accept: &str) -> (u16, Vec<u8>) {
        self.http(tenant, "POST", "/v1/sql", accept, Some(&json!({ "query": sql }))).await
    }

    fn psql(&self, tenant: &str, command: &str) -> Vec<u8> {
        let address = Secrets::of(&self.server.data).addresses().unwrap().postgres.unwrap();
        let mut psql = Command::new("psql");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            psql.env_remove(name);
        }
        let output = psql
            .args(["-X", "-w", "-h", "127.0.0.1", "-U", "ann", "-p", &address.port().to_string(), "-d", tenant])
            .args(["-v", "VERBOSITY=verbose", "-c", command])
            .env("PGPASSWORD", self.token(tenant))
            .output()
            .unwrap();
        [output.stdout, output.stderr].concat()
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// What of globex stands in an answer that acme was given; what acme asked may be said again.
fn foreign(asked: &str, answer: &[u8]) -> Option<String> {
    let lower = answer.to_ascii_lowercase();
    let value = number("globex");
    for needle in ["globex", SECRET_DEVICE, "1313.13"] {
        let again = asked.to_lowercase().contains(needle);
        if !again && holds(&lower, needle.as_bytes()) {
            return Some(needle.to_owned());
        }
    }
    // Marks are never asked for in full.
    let marks = ["model", "batch", "region", "code", "part", "firmware", "extra", "freeze", "outcome"];
    let found = marks.into_iter().map(|what| mark("globex", what)).find(|mark| holds(answer, mark.as_bytes()));
    found.or_else(|| holds(answer, &value.to_le_bytes()).then(|| format!("{value} as eight bytes")))
}

fn assert_own(door: &str, asked: &str, answer: &[u8]) {
    if let Some(found) = foreign(asked, answer) {
        panic!("{door}: {asked}\nshows {found}:\n{}", String::from_utf8_lossy(answer));
    }
}

const TELEMETRY: &str = "telemetry_washing_machine";

/// What shows each tenant its own marks, and which.
const CONTROLS: [(&str, &str); 7] = [
    ("select code from fault", "code"),
    ("select freeze from fault", "freeze"),
    ("select firmware from telemetry_washing_machine", "firmware"),
    ("select model from device", "model"),
    ("select part_replaced from outcome", "part"),
    ("select name from trend_failure_rate where level = 'batch'", "batch"),
    ("select code from trend_fault_pareto", "code"),
];

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_http_in_every_form_shows_own_rows_only() {
    let Some(world) = World::new().await else { return };
    for tenant in TENANTS {
        for (sql, what) in CONTROLS {
            for accept in FORMS {
                let (status, bytes) = world.sql(tenant, sql, accept).await;
                let text = String::from_utf8_lossy(&bytes);
                assert!(
                    status == 200 && holds(&bytes, mark(tenant, what).as_bytes()),
                    "{tenant} {sql} {accept}: {text}"
                );
            }
        }
        let sql = format!("select drum_speed_rpm from {TELEMETRY}");
        let (_, bytes) = world.sql(tenant, &sql, FORMS[2]).await;
        assert!(holds(&bytes, &number(tenant).to_le_bytes()), "numbers are found in an Arrow stream");
    }
    for sql in tricks() {
        // Views are asked in every form by their names, below; joined, in one.
        let forms = if sql.contains("trend_") { &FORMS[..1] } else { &FORMS[..] };
        for accept in forms {
            let (status, bytes) = world.sql("acme", &sql, accept).await;
            assert_own(accept, &sql, &bytes);
            assert!(status < 500, "{sql}: {status} {}", String::from_utf8_lossy(&bytes));
        }
    }
    // Counts come from own rows, not from statistics of files that hold both tenants' rows.
    let counts = format!("select (select count(*) from {TELEMETRY}) as t, (select count(*) from fault) as f");
    let rows = crate::process::rows(&world.client("acme"), &counts).await;
    assert_eq!(rows, [json!({"t": 2 * DEVICES.len(), "f": 2 * DEVICES.len()})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trends_pictures_and_the_service_side_show_own_rows_only() {
    let Some(world) = World::new().await else { return };
    let list = world.client("acme").get("/v1/trends").await.unwrap();
    let names: Vec<String> =
        list["trends"].as_array().unwrap().iter().map(|trend| trend["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), VIEWS.len());
    let mut shown = 0;
    for name in &names {
        for suffix in ["", ".svg", "?profile=washing_machine", ".svg?profile=washing_machine"] {
            let path = format!("/v1/trends/{name}{suffix}");
            for accept in FORMS {
                let (status, bytes) = world.http("acme", "GET", &path, accept, None).await;
                assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
                assert_own("trends", &path, &bytes);
                shown += usize::from(holds(&bytes, b"ACME-MARK"));
            }
        }
    }
    assert!(shown >= 20, "{shown} answers show the tenant's own marks");
    let (_, picture) = world.http("globex", "GET", "/v1/trends/failure_rate.svg", "*/*", None).await;
    assert!(holds(&picture, mark("globex", "model").as_bytes()), "{}", String::from_utf8_lossy(&picture));

    let theirs = world.client("globex").all("/v1/tickets", "tickets").await.unwrap();
    let ticket = theirs[0]["ticket_id"].as_str().unwrap();
    let alarms = world.client("globex").get("/v1/alarms").await.unwrap();
    let alarm = alarms["alarms"][0]["alarm_id"].as_str().unwrap();
    let own = world.client("acme").all("/v1/tickets", "tickets").await.unwrap();
    let own = own[0]["ticket_id"].as_str().unwrap();
    let (text, note) = (json!({"note": "mine"}), json!({"status": "acknowledged"}));
    let outcome = json!({
        "device_id": "wm-1", "ticket_id": ticket, "fault_key": "a/b", "disposition": "no_fault_found",
    });
    let paths: Vec<(&str, String, Option<&Value>)> = vec![
        ("GET", "/v1/tickets?limit=1000".into(), None),
        ("GET", format!("/v1/tickets/{own}"), None),
        ("GET", format!("/v1/tickets/{ticket}"), None),
        ("PATCH", format!("/v1/tickets/{ticket}"), Some(&note)),
        ("POST", format!("/v1/tickets/{ticket}/slots"), Some(&text)),
        ("GET", "/v1/devices?limit=1000".into(), None),
        ("GET", "/v1/devices/wm-1".into(), None),
        ("GET", format!("/v1/devices/{SECRET_DEVICE}"), None),
        ("GET", format!("/v1/devices/{SECRET_DEVICE}/commands"), None),
        ("GET", format!("/v1/devices/{SECRET_DEVICE}/site"), None),
        ("PUT", format!("/v1/devices/{SECRET_DEVICE}/nameplate"), Some(&text)),
        ("POST", format!("/v1/devices/{SECRET_DEVICE}/commands"), Some(&text)),
        ("POST", format!("/v1/devices/{SECRET_DEVICE}/credential"), None),
        ("GET", "/v1/alarms?limit=1000".into(), None),
        ("GET", format!("/v1/alarms/{alarm}"), None),
        ("GET", "/v1/advisories".into(), None),
        ("GET", "/v1/service-problems".into(), None),
        ("GET", "/v1/maintenance-windows".into(), None),
        ("GET", "/v1/technicians".into(), None),
        ("GET", "/v1/appointments".into(), None),
        ("GET", "/v1/tokens".into(), None),
        ("POST", "/v1/outcomes".into(), Some(&outcome)),
    ];
    for (method, path, body) in paths {
        let (status, bytes) = world.http("acme", method, &path, "application/json", body).await;
        assert_own("REST", &format!("{method} {path}"), &bytes);
        assert!(status < 500, "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        if path.contains(ticket) || path.contains(alarm) || (path.contains(SECRET_DEVICE) && method == "GET") {
            let silent = status == 404 || !String::from_utf8_lossy(&bytes).contains("ticket_id");
            assert!(silent, "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        }
    }
    let (_, bytes) = world.http("globex", "GET", "/v1/devices?limit=1000", "application/json", None).await;
    assert!(holds(&bytes, mark("globex", "region").as_bytes()) && holds(&bytes, SECRET_DEVICE.as_bytes()));
    // Nothing of the other tenant has changed.
    let after = world.client("globex").all("/v1/tickets", "tickets").await.unwrap();
    assert_eq!(after.len(), theirs.len());
    assert_eq!(after[0]["status"], theirs[0]["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgresql_door_and_its_catalog_show_own_rows_only() {
    let Some(world) = World::new().await else { return };
    for tenant in TENANTS {
        for (sql, what) in CONTROLS {
            let answer = world.psql(tenant, sql);
            assert!(holds(&answer, mark(tenant, what).as_bytes()), "{sql}: {}", String::from_utf8_lossy(&answer));
        }
    }
    let catalog = world.psql("acme", "select relname from pg_catalog.pg_class where relkind in ('r', 'v')");
    assert!(
        holds(&catalog, b"trend_failure_rate") && holds(&catalog, b"ticket"),
        "{}",
        String::from_utf8_lossy(&catalog)
    );
    let tables = [
        "pg_class",
        "pg_attribute",
        "pg_tables",
        "pg_views",
        "pg_matviews",
        "pg_roles",
        "pg_authid",
        "pg_database",
        "pg_settings",
        "pg_namespace",
        "pg_stat_user_tables",
        "pg_statistic",
        "pg_stat_gssapi",
        "pg_description",
        "pg_proc",
        "pg_type",
        "pg_index",
        "pg_constraint",
        "pg_stat_activity",
        "pg_stats",
        "pg_user",
        "pg_shadow",
    ];
    let mut asked: Vec<String> = tricks();
    asked.extend(tables.map(|table| format!("select * from pg_catalog.{table}")));
    asked.extend(
        ["\\d", "\\dt+", "\\dv+", "\\d+ device", "\\d+ trend_failure_rate", "\\l", "\\dn+", "\\du+", "\\df", "\\dp"]
            .map(str::to_owned),
    );
    asked.extend(
        [
            "copy fault to stdout",
            "copy (select * from device) to stdout",
            "begin; select * from device; commit",
            "declare c cursor for select * from fault",
            "select current_user, current_database(), version()",
            "select pg_relation_size('fault'::regclass), pg_total_relation_size('device'::regclass)",
            "select reltuples, relpages from pg_class where relname = 'fault'",
            "prepare p as select * from device; execute p",
            "set search_path = 'acme'; select * from fault",
            "select * from pg_catalog.pg_class c, device d where c.relname = 'device'",
        ]
        .map(str::to_owned),
    );
    for sql in asked {
        assert_own("PostgreSQL", &sql, &world.psql("acme", &sql));
    }
    let output = world.psql("acme", "\\c globex");
    assert!(holds(&output, b"there is no database"), "{}", String::from_utf8_lossy(&output));
}

/// Asks over Flight SQL, and with tickets and handles of the other tenant.
const FLIGHT: &str = include_str!("flight.py");

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_with_another_tenants_tickets_shows_own_rows_only() {
    let Some(python) = std::env::var_os("FOREWARN_PYTHON") else {
        println!("skipped: FOREWARN_PYTHON is not set; scripts/python makes such a Python");
        return;
    };
    let Some(world) = World::new().await else { return };
    let address = Secrets::of(&world.server.data).addresses().unwrap().flight.unwrap().to_string();
    let mut questions = tricks();
    questions.extend(CONTROLS.map(|(sql, _)| sql.to_owned()));
    let file = world.server.data.join("questions.json");
    std::fs::write(&file, serde_json::to_string(&questions).unwrap()).unwrap();
    let mut asking = Command::new(python);
    asking.args(["-c", FLIGHT, &address, world.token("acme"), world.token("globex")]);
    asking.stdin(std::fs::File::open(&file).unwrap());
    let output = tokio::task::spawn_blocking(move || asking.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", world.server.said());
    let answers: std::collections::BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), questions.len() + 8);
    for (sql, answer) in &answers {
        let bytes = decoded(answer);
        if sql == "control" {
            assert!(holds(&bytes, mark("globex", "code").as_bytes()), "{}", String::from_utf8_lossy(&bytes));
        } else {
            assert_own("Flight SQL", sql, &bytes);
        }
    }
    for (sql, what) in CONTROLS {
        assert!(holds(&decoded(&answers[sql]), mark("acme", what).as_bytes()), "{sql}");
    }
    let tables = decoded(&answers["CommandGetTables"]);
    assert!(holds(&tables, b"trend_failure_rate"), "{}", String::from_utf8_lossy(&tables));
}

/// Base64, as Python writes it.
fn decoded(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|byte| *byte != b'=').map(|byte| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    });
    let bits: Vec<u8> = digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}
