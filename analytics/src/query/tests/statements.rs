//! Which statements run, and what is said of those that do not.

use super::*;

#[tokio::test]
async fn only_statements_that_read_are_allowed() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let file = world.folder.path().join("out.csv");
    let copy = format!("copy (select * from fault) to '{}'", file.display());
    let refused = [
        copy.as_str(),
        "copy fault to 'x.parquet'",
        "insert into fault select * from fault",
        "update fault set code = 'E1'",
        "delete from fault",
        "truncate table fault",
        "merge into fault using fault b on true when matched then delete",
        "drop table fault",
        "alter table fault add column x int",
        "create table t as select * from fault",
        "create or replace view v as select * from fault",
        "create external table t stored as csv location '/etc/passwd'",
        "create function f(int) returns int return $1",
        "create schema s",
        "create database d",
        "set datafusion.execution.target_partitions = 1",
        "reset datafusion.execution.target_partitions",
        "set time zone = 'UTC'",
        "begin",
        "commit",
        "prepare p as select 1",
        "execute p(1)",
        "deallocate p",
        "show all",
        "show datafusion.execution.time_zone",
        "show create table fault",
        "show functions",
        "use s",
        "vacuum",
        "analyze table fault",
        "pragma x y z",
        "grant select on fault to b",
        "attach 'x'",
        "explain analyze select 1",
        "explain verbose select 1",
        "explain insert into fault select * from fault",
        "explain explain select 1",
        "select * into t from fault",
        "with t as (delete from fault returning *) select * from t",
        "select 1; drop table fault",
        "select 1; select 2",
    ];
    for sql in refused {
        let failed = error(&engine, sql).await;
        assert!(matches!(&failed, SqlError::Refused(_)), "{sql}: {failed:?}");
        let says = failed.to_string();
        assert!(says.contains("allowed are SELECT, WITH") || says.contains("plain EXPLAIN"), "{sql}: {says}");
    }
    assert!(!file.exists());
    // Nor is there another way to a file.
    for sql in ["select * from '/etc/passwd'", "select * from read_csv('/etc/passwd')", "select * from \"/etc/passwd\""]
    {
        assert!(matches!(error(&engine, sql).await, SqlError::Invalid(_)), "{sql}");
    }
}

#[tokio::test]
async fn statements_that_read_run() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    for (sql, first) in [
        ("select 1", "1"),
        ("values (1, 'a'), (2, 'b')", "1|a"),
        ("with t as (select 2 as n) select n from t;", "2"),
        ("-- of which\n(select count(*) from fault)", "3"),
        ("select * from fault limit 0", ""),
        ("from fault select count(*)", "3"),
        ("show tables", "fault"),
        ("describe fault", "tenant|Utf8View|NO"),
        ("show columns from fault", "forewarn|public|fault|tenant|Utf8View|NO"),
        ("select value from generate_series(1, 3)", "1"),
        ("select count(*) from fault tablesample system (100)", "3"),
    ] {
        match ask_as(&engine, "acme", sql).await {
            Ok(rows) => assert_eq!(rows.first().map_or("", String::as_str), first, "{sql}"),
            // Not every SQL is DataFusion's; but then it says so.
            Err(SqlError::Invalid(text)) => assert!(text.contains("not supported"), "{sql}: {text}"),
            Err(other) => panic!("{sql}: {other:?}"),
        }
    }
    let plan = ask(&engine, "explain select device_id from fault where code = 'E21' limit 5").await.join("\n");
    assert!(plan.starts_with("logical_plan|Projection") && plan.contains("TenantRows: tenant=acme"), "{plan}");
    assert!(plan.contains("ParquetScan: files=1, predicate=code@9 = E21 AND tenant@0 = acme"), "{plan}");
}

#[tokio::test]
async fn a_syntax_error_names_its_place() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    for (sql, place, hint) in [
        ("selec 1", Some((1, 1)), "looks like"),
        ("select device_id\nfrom fault\nwher code = 'E21'", Some((3, 6)), "looks like"),
        ("select 1 +", None, "missing at the end"),
        ("select 'abc", Some((1, 8)), "begins and ends with '"),
        ("select count(* from fault", Some((1, 16)), "looks like"),
        ("", None, "show tables"),
        ("  -- nothing", None, "show tables"),
    ] {
        let failed = error(&engine, sql).await;
        let SqlError::Syntax { message, line, column } = &failed else { panic!("{sql}: {failed:?}") };
        assert_eq!(line.zip(*column), place, "{sql}: {message}");
        assert!(message.contains(hint), "{sql}: {message}");
    }
}

#[tokio::test]
async fn an_unknown_name_brings_the_nearest() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    for (sql, says) in [
        ("select devise_id from fault", "there is no column \"devise_id\"; nearest: \"device_id\""),
        ("select f.cod from fault f", "there is no column \"cod\" in f; nearest: \"code\""),
        ("select * from fault where code = \"E21\"", "a text stands in single quotes"),
        ("select * from falt", "there is no table \"falt\"; nearest: \"fault\""),
        ("select * from telemetry_washingmachine", "nearest: \"telemetry_washing_machine\""),
        ("select * from zzz", "tables: \"telemetry_washing_machine\", \"fault\""),
        ("select contt(*) from fault", "Did you mean"),
        ("select sum(code) from fault", "sum"),
        ("select code + interval '1 day' from fault", "Cannot coerce"),
        ("select 1/0", "Divide by zero"),
        ("select code from fault group by device_id", "GROUP BY"),
        ("select $1", "laceholder"),
    ] {
        let failed = error(&engine, sql).await;
        assert!(matches!(&failed, SqlError::Invalid(text) if text.contains(says)), "{sql}: {failed:?}");
    }
}
