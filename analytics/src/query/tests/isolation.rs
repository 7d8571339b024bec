//! A tenant sees only its own rows, whatever it tries.

use super::*;

/// Marks of the other tenant, its rows, and the server's folders.
const FOREIGN: [&str; 7] = ["globex", "SECRET-1", "SECRET-2", "SECRET-3", "SECRET-4", "g1", ".parquet"];

#[tokio::test]
async fn no_statement_shows_anothers_rows() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let folder = world.folder.path().to_string_lossy().into_owned();
    let tricks = [
        "select * from fault",
        "select * from forewarn.public.fault where tenant <> 'acme' or true",
        "select count(*), min(tenant), max(code), count(distinct tenant) from fault",
        "select tenant, count(*) from fault group by tenant",
        "select b.* from fault a join fault b on a.tenant <> b.tenant",
        "select a.device_id, b.code from fault a full outer join fault b on a.device_id = b.device_id and a.boot > 5",
        "select * from fault where code in (select code from fault where tenant like 'glo%')",
        "select (select max(code) from fault where tenant like 'g%')",
        "select * from fault f where exists (select 1 from fault g where g.tenant <> f.tenant)",
        "select f.code, l.code from fault f, lateral (select code from fault g where g.device_id <> f.device_id) l",
        "with fault as (select * from public.fault) select * from fault",
        "with recursive r as (select code from fault union all select r.code from r join fault on false) table r",
        "select code from fault union select code from public.fault except select 'E21'",
        "select lag(code) over (order by device_id), first_value(tenant) over (order by tenant desc) from fault",
        "select array_agg(code), string_agg(device_id, ',') from fault",
        "select approx_distinct(code), approx_percentile_cont(seq, 0.5) from fault",
        "select extra, map_keys(extra) from telemetry_washing_machine where extra['x'] is not null",
        "select * from fault order by tenant desc limit 1",
        "select * from fault where tenant > 'acme'",
        "select 1 from fault where 1 / (case when tenant = 'acme' then 1 else 0 end) = 1",
        "select sum(1 / (case when starts_with(code, 'E') then 1 else 0 end)) from fault",
        // An error text must not carry a foreign value out: the cast meets only own rows.
        "select cast(code as int) from fault",
        "select * from fault where cast(code as int) = 1",
        "select * from fault where cast(device_id as int) = 1 and tenant = 'globex'",
        "select * from fault where arrow_cast(code, 'Int64') > 0 or date = '2026-11-20'",
        "select * from fault order by cast(substr(code, 1) as int) limit 1",
        "select max(cast(extra['x'] as int)) from telemetry_washing_machine",
        "explain select * from fault where code = 'E21'",
        "explain select count(*), max(code) from fault",
        "explain select * from fault a join telemetry_washing_machine b on a.device_id = b.device_id",
        "explain analyze select * from fault",
        "explain verbose select * from fault",
        "explain format indent select * from fault",
        "show tables",
        "show columns from fault",
        "describe fault",
        "select * from information_schema.tables",
        "select * from information_schema.columns",
        "select * from information_schema.views",
        "select * from information_schema.schemata",
        "select * from information_schema.df_settings",
        "select * from \"information_schema\".\"df_settings\"",
        "show all",
        "select * from globex.fault",
        "select * from faul",
        "select cod from fault",
        "select * from 'fault'",
        "select * from fault where tenant = ''' or ''1''=''1'",
    ];
    for sql in tricks {
        let text = match ask_as(&engine, "acme", sql).await {
            Ok(rows) => rows.join("\n"),
            Err(error) => error.to_string(),
        };
        // What was asked may be said again.
        let foreign = FOREIGN.iter().copied().chain([folder.as_str()]).filter(|mark| !sql.contains(mark));
        for mark in foreign {
            assert!(!text.contains(mark), "{sql} shows {mark}:\n{text}");
        }
    }
    assert_eq!(ask(&engine, "select count(*), count(distinct tenant), min(tenant) from fault").await, ["3|1|acme"]);
    assert_eq!(ask(&engine, "select count(*) from fault where tenant = 'globex'").await, ["0"]);
    assert_eq!(ask_as(&engine, "globex", "select count(*) from fault").await.unwrap(), ["3"]);
    assert_eq!(ask_as(&engine, "nobody", "select count(*) from fault").await.unwrap(), ["0"]);
    // The casts above do fail, and on an own value.
    let failed = error(&engine, "select * from fault where cast(code as int) = 1").await;
    assert!(matches!(&failed, SqlError::Invalid(text) if text.contains("'E2")), "{failed:?}");
}

#[tokio::test]
async fn counts_from_file_statistics_are_never_used() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    // A table of the other tenant alone: its files' statistics know 1 row and its greatest code.
    let location = writing::create(&world.folder.path().join("other"), &faults()).await;
    let version =
        writing::append(&location, batch(&faults(), &[fault("globex", "g9", "SECRET-9", "2026-11-22")])).await;
    world.show(TableName::Fault, location, Some(version), faults(), vec![]);
    assert_eq!(ask(&engine, "select count(*), max(code), min(date) from fault").await, ["0|null|null"]);
    assert_eq!(ask(&engine, "select count(*) from fault where date = '2026-11-22'").await, ["0"]);
    assert_eq!(ask_as(&engine, "globex", "select count(*), max(code) from fault").await.unwrap(), ["1|SECRET-9"]);
}

#[tokio::test]
async fn a_filter_that_can_fail_meets_only_own_rows() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    // Own codes are numbers, the other tenant's are not: a cast that met them would fail, with their text.
    let rows = [fault("globex", "g1", "SECRET-1", "2026-11-21"), fault("acme", "d1", "7", "2026-11-21")];
    let location = writing::create(&world.folder.path().join("numbers"), &faults()).await;
    let version = writing::append(&location, batch(&faults(), &rows)).await;
    world.show(TableName::Fault, location, Some(version), faults(), vec![batch(&faults(), &rows)]);
    for filter in [
        "cast(code as int) = 7",
        "cast(code as int) = 7 and date = '2026-11-21'",
        "code like '7' or cast(code as int) > 0",
        "case when cast(code as int) = 7 then true end",
        "100 / cast(code as int) = 14 and seq = 1",
        "device_id in (select device_id from fault where cast(code as int) between 1 and 9)",
        "code = '7' order by cast(code as int) limit 3",
    ] {
        assert_eq!(ask(&engine, &format!("select device_id, code from fault where {filter}")).await, ["d1|7", "d1|7"]);
    }
    assert_eq!(ask(&engine, "select sum(cast(code as int)), max(100 / cast(code as int)) from fault").await, ["14|14"]);
}

#[tokio::test]
async fn a_file_of_one_tenant_needs_no_fence_and_is_not_there_for_others() {
    let world = World::new().await;
    let schema = faults();
    let root = world.folder.path().canonicalize().unwrap();
    let location = writing::create(&root.join("one"), &schema).await;
    writing::append(&location, batch(&schema, &[fault("acme", "d1", "E21", "2026-11-20")])).await;
    let rows = [fault("globex", "g1", "SECRET-1", "2026-11-21"), fault("globex", "g2", "SECRET-2", "2026-11-21")];
    let version = writing::append(&location, batch(&schema, &rows)).await;
    world.show(TableName::Fault, location, Some(version), schema, Vec::new());
    let engine = world.engine(Settings::default());
    for (whose, count, codes) in [("acme", "1", "E21"), ("globex", "2", "SECRET-1,SECRET-2"), ("nobody", "0", "null")] {
        assert_eq!(ask_as(&engine, whose, "select count(*) from fault").await.unwrap(), [count], "{whose}");
        let listed = ask_as(&engine, whose, "select string_agg(code, ',' order by code) from fault").await.unwrap();
        assert_eq!(listed, [codes], "{whose}");
        let plan = ask_as(&engine, whose, "explain select code from fault where seq >= 0").await.unwrap().join("\n");
        assert!(!plan.contains("TenantRows"), "{plan}");
        assert_eq!(plan.contains("ParquetScan"), whose != "nobody", "{plan}");
    }
    // By date, from the log alone.
    let plan = ask(&engine, "explain select code from fault where date = '2026-11-21'").await.join("\n");
    assert!(!plan.contains("ParquetScan"), "{plan}");
}
