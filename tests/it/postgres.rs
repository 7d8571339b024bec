//! The PostgreSQL door with its real clients: psql, and psycopg where `FOREWARN_PYTHON` is a Python that has it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output, Stdio},
};

use forewarn::dev::Secrets;
use schemas::topic::Channel;
use serde_json::json;

use crate::process::{Server, say, until};

/// A server with a door, and one washing machine's rows in it.
struct Door {
    server: Server,
    address: SocketAddr,
    token: String,
}

impl Door {
    async fn open() -> Self {
        let server = Server::start(&[]).await;
        let secrets = Secrets::of(&server.data);
        let address = secrets.addresses().unwrap().postgres.unwrap();
        let token = secrets.admin_token().unwrap();
        let now = schemas::time::Clock::now(&schemas::time::SystemClock).to_string();
        let telemetry = json!({
            "profile": "washing_machine", "boot": 1, "seq": 0, "ts": now,
            "m": {"drum_speed_rpm": 800, "vibration_mm_s": 2.1},
        });
        let fault = json!({
            "profile": "washing_machine", "boot": 1, "seq": 1, "ts": now, "code": "E21", "active": true,
        });
        let said = [(Channel::Telemetry, telemetry), (Channel::Fault, fault)];
        say(&server.broker(), "dev", "wm-1", &said).await;
        until("the rows", async || {
            let faults = server.number("select count(*) from fault").await;
            (faults == 1 && server.number("select count(*) from telemetry_washing_machine").await == 1).then_some(())
        })
        .await;
        Self { server, address, token }
    }

    /// psql, not started yet: no start-up file, bare rows.
    fn psql(&self, database: &str, password: &str) -> Command {
        let mut psql = Command::new("psql");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            psql.env_remove(name);
        }
        let port = self.address.port().to_string();
        psql.args(["-X", "-A", "-t", "-q", "-w", "-h", "127.0.0.1", "-U", "ann", "-p", &port, "-d", database])
            .env("PGPASSWORD", password);
        psql
    }

    fn ask(&self, statement: &str) -> Output {
        self.psql("dev", &self.token).args(["-c", statement]).output().unwrap()
    }

    /// What psql prints of a statement that is answered.
    fn answer(&self, statement: &str) -> String {
        let output = self.ask(statement);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{statement}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What psql complains of.
    fn complaint(&self, statement: &str) -> String {
        let output = self.ask(statement);
        assert!(!output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_describes_joins_and_is_told_what_is_wrong() {
    let mut door = Door::open().await;
    let tables = door.answer("\\dt");
    assert!(tables.contains("|telemetry_washing_machine|") && tables.contains("|fault|"), "{tables}");
    let columns = door.answer("\\d telemetry_washing_machine");
    assert!(columns.contains("vibration_mm_s|double precision|"), "{columns}");
    assert!(columns.contains("event_time|timestamp with time zone|"), "{columns}");
    let views = door.answer("\\dv");
    assert!(views.contains("public|trend_failure_rate|view|") && !views.contains("|fault|"), "{views}");
    let described = door.answer("\\d+ fault");
    assert!(described.contains("event_time|timestamp with time zone|"), "{described}");
    let described = door.answer("\\d+ trend_emerging_defect");
    assert!(described.contains("emerging|boolean|"), "{described}");
    let with_sizes = door.answer("\\dt+");
    assert!(with_sizes.contains("|device|table|") && with_sizes.contains("|fault|table|"), "{with_sizes}");
    assert!(door.answer("\\dn").contains("public|"));
    assert!(door.answer("\\l").contains("forewarn|"));
    assert!(door.answer("\\dn+").contains("public|") && door.answer("\\l+").contains("forewarn|"));
    // No roles, no functions and aggregates of one's own: empty lists.
    for list in ["\\du", "\\du+", "\\df", "\\df+", "\\da"] {
        assert_eq!(door.answer(list), "", "{list}");
    }
    let joined = "select f.device_id, f.code, t.vibration_mm_s from fault f \
                  join telemetry_washing_machine t on t.device_id = f.device_id";
    assert_eq!(door.answer(joined), "wm-1|E21|2.1\n");
    assert_eq!(door.answer("begin; select 1; select 2; commit"), "1\n2\n");
    assert_eq!(door.answer("set statement_timeout = '5s'; show statement_timeout"), "5s\n");

    let wrong = door.complaint("select * form fault");
    assert!(wrong.contains("LINE 1: select * form fault") && wrong.contains('^'), "{wrong}");
    for (statement, said) in [
        ("copy fault to stdout", "COPY is not allowed"),
        ("create table x (a int)", "queries only read"),
        ("drop table fault", "queries only read"),
        ("insert into fault values (1)", "queries only read"),
        ("select * from no_such", "there is no table"),
        ("select no_such from fault", "there is no column"),
    ] {
        let complaint = door.complaint(statement);
        assert!(complaint.contains(said), "{statement}: {complaint}");
    }

    for (database, password, said) in [
        ("dev", "fw_no_such_token", "the password is no token in force"),
        ("globex", door.token.as_str(), "there is no database"),
    ] {
        let output = door.psql(database, password).args(["-c", "select 1"]).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && complaint.contains(said), "{database}: {complaint}");
    }
    assert!(door.server.metric("forewarn_postgres_refused_total", "password").await >= 1.0);
    assert!(door.server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_disturbs_nobody_else() {
    let mut door = Door::open().await;
    let mut standing = door
        .psql("dev", &door.token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut to = standing.stdin.take().unwrap();
    let mut from = BufReader::new(standing.stdout.take().unwrap());
    let mut asked = |statement: &str| {
        writeln!(to, "{statement};").unwrap();
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(asked("select count(*) from fault"), "1\n");
    let startup = |version: u32| [&8u32.to_be_bytes()[..], &version.to_be_bytes()].concat();
    let garbage = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        vec![0; 64],
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        // Questions of somebody who has shown no token.
        [startup(0x0003_0000), b"Q\0\0\0\x0dselect 1\0".to_vec()].concat(),
        [startup(0x0003_0000), b"P\0\0\0\x10\0select 1\0\0\0S\0\0\0\x04".to_vec()].concat(),
        [startup(0x0003_0000), b"p\0\0\0\x06x\0".to_vec(), b"Q\0\0\0\x0dselect 1\0".to_vec()].concat(),
        startup(0x0009_0000),
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(door.address).unwrap();
        // It may be closed before all was written.
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.windows(9).any(|window| window.starts_with(b"D\0\0\0")), "a row was answered to {bytes:?}");
    }
    assert_eq!(asked("select code from fault"), "E21\n");
    drop(to);
    assert!(standing.wait().unwrap().success());
    assert!(door.server.stop().await);
}

const PSYCOPG: &str = r#"
import datetime, sys, threading
import psycopg
host, port, token = sys.argv[1:]
now = datetime.datetime.now(datetime.timezone.utc)
with psycopg.connect(host=host, port=port, user="ann", password=token, dbname="dev") as connection:
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        cursor.execute(
            "select device_id, vibration_mm_s, event_time from telemetry_washing_machine "
            "where vibration_mm_s > %s and drum_speed_rpm > %s and device_id = %s and event_time <= %s",
            (1.5, 700, "wm-1", now + datetime.timedelta(seconds=60)),
        )
        [(device, vibration, at)] = cursor.fetchall()
        assert (device, vibration) == ("wm-1", 2.1), (device, vibration)
        assert abs((now - at).total_seconds()) < 3600, (now, at)
    assert connection.execute("select code from fault where device_id = %s", ("wm-2",)).fetchall() == []
    for _ in range(8):  # psycopg prepares what it has sent five times
        assert connection.execute("select code from fault where code = %s", ("E21",)).fetchall() == [("E21",)]
    try:
        connection.execute("delete from fault where code = %s", ("E21",))
        raise SystemExit("a delete was taken")
    except psycopg.errors.ReadOnlySqlTransaction:
        connection.rollback()
    cursor = connection.cursor()
    for row in cursor.stream("select * from generate_series(1, 1000)"):
        pass
    assert row == (1000,), row
    # Until the query has begun there is nothing to cancel.
    done = threading.Event()
    def cancel():
        while not done.wait(0.1):
            connection.cancel()
    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        connection.execute("select count(*) from generate_series(1, 100000000) a, generate_series(1, 1000) b")
        raise SystemExit("nothing was cancelled")
    except psycopg.errors.QueryCanceled as error:
        assert "took longer" not in str(error), error
    finally:
        done.set()
        thread.join()
    connection.rollback()
print("ok")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_binds_parameters_as_text_and_binary_and_cancels() {
    let Some(python) = std::env::var_os("FOREWARN_PYTHON") else {
        println!("skipped: FOREWARN_PYTHON is not set; scripts/python makes such a Python");
        return;
    };
    let door = Door::open().await;
    let (host, port) = (door.address.ip().to_string(), door.address.port().to_string());
    let output = Command::new(python).args(["-c", PSYCOPG, &host, &port, &door.token]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", door.server.said());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    assert!(door.server.metric("forewarn_postgres_cancelled_total", "").await >= 1.0);
}
