//! Statements with parameters, and those that PostgreSQL's clients send.

use arrow::{
    array::{ArrayRef, StringArray},
    datatypes::{DataType, Field},
};
use schemas::door::{Dialect, Request};

use super::*;

fn postgres(sql: &str) -> Request {
    Request { dialect: Dialect::Postgres, ..Request::new(sql) }
}

async fn texts(world: &World, tenant: &str, request: &Request) -> Result<Vec<String>, SqlError> {
    // Kept until the answer is read: an engine that is dropped stops its queries.
    let engine = world.engine(Settings::default());
    let answer = engine.query_with(&tenant.parse().unwrap(), request).await?;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    let first = batches.iter().flat_map(|batch| {
        let options = FormatOptions::default();
        let column = ArrayFormatter::try_new(batch.column(0), &options).unwrap();
        (0..batch.num_rows()).map(|row| column.value(row).to_string()).collect::<Vec<_>>()
    });
    Ok(first.collect())
}

#[tokio::test]
async fn a_parameter_has_the_type_of_what_it_is_compared_with() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let tenant = "acme".parse().unwrap();
    for dialect in [Dialect::Own, Dialect::Postgres] {
        let sql = "select device_id from fault where event_time > $1 and code = $2";
        let request = Request { dialect, ..Request::new(sql) };
        let told = engine.describe(&tenant, &request).await.unwrap();
        let types: Vec<&DataType> = told.parameters.fields().iter().map(|field| field.data_type()).collect();
        assert!(matches!(types[..], [DataType::Timestamp(_, Some(_)), DataType::Utf8]), "{types:?}");
        assert_eq!(told.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["device_id"]);
    }
    let told = engine.describe(&tenant, &postgres("select $1 as x")).await.unwrap();
    assert_eq!(told.parameters.field(0), &Field::new("$1", DataType::Utf8, true));
    assert!(matches!(engine.describe(&tenant, &postgres("delete from fault")).await, Err(SqlError::Refused(_))));
}

#[tokio::test]
async fn bound_values_find_the_tenants_rows_only() {
    let world = World::new().await;
    let bound = |code: &str| {
        let value: ArrayRef = Arc::new(StringArray::from(vec![code]));
        let parameters = Some(RecordBatch::try_from_iter([("code", value)]).unwrap());
        Request { parameters, ..postgres("select device_id from fault where code = $1") }
    };
    assert_eq!(texts(&world, "acme", &bound("E22")).await.unwrap(), ["d2"]);
    assert!(texts(&world, "acme", &bound("SECRET-1")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_catalog_tells_every_tenant_the_same_and_keeps_its_numbers() {
    let world = World::new().await;
    let engine = world.engine(Settings::default());
    let number = postgres("select oid::text from pg_catalog.pg_class where relname = 'fault'");
    let names = postgres(
        "select relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = \
                          c.relnamespace where n.nspname = 'public' order by 1",
    );
    let mut seen = Vec::new();
    for tenant in ["acme", "globex", "acme"] {
        for request in [&number, &names] {
            let answer = engine.query_with(&tenant.parse().unwrap(), request).await.unwrap();
            let batches: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
            let rows = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            assert!(rows.contains("fault") || rows.contains("| 1"), "{rows}");
            seen.push(rows);
        }
    }
    assert_eq!(seen[..2], seen[2..4]);
    assert_eq!(seen[..2], seen[4..]);
}

#[tokio::test]
async fn what_is_no_reading_is_refused_in_this_dialect_too() {
    let world = World::new().await;
    for sql in [
        "copy fault to '/tmp/x'",
        "insert into fault values (1)",
        "create table x as select 1",
        "select 1 into x",
        "with x as (delete from fault returning 1) select * from x",
        "explain analyze select * from fault",
        "set x = 1",
        "select * from information_schema.df_settings",
    ] {
        let refused = texts(&world, "acme", &postgres(sql)).await;
        assert!(matches!(refused, Err(SqlError::Refused(_) | SqlError::Syntax { .. })), "{sql}: {refused:?}");
    }
    let Err(SqlError::Syntax { line, column, .. }) = texts(&world, "acme", &postgres("select *\n form fault")).await
    else {
        panic!("it is no SQL");
    };
    assert_eq!((line, column), (Some(2), Some(7)));
}
