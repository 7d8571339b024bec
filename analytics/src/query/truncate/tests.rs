use arrow::{
    array::{ArrayRef, RecordBatch, TimestampMicrosecondArray},
    compute::concat_batches,
};
use datafusion::{execution::SessionStateBuilder, prelude::SessionContext};
use proptest::prelude::*;

use super::*;

async fn ask(rule: bool, micros: &[i64], zone: &str, sql: &str) -> (RecordBatch, String) {
    let config = super::super::config(&super::super::Settings::default());
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(config.with_create_default_catalog_and_schema(true));
    if rule {
        state = state.with_analyzer_rules(rules());
    }
    let context = SessionContext::new_with_state(state.build());
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone(zone));
    context.register_batch("t", RecordBatch::try_from_iter_with_nullable([("at", at, true)]).unwrap()).unwrap();
    let plan = context.sql(sql).await.unwrap();
    let text = plan.clone().into_optimized_plan().unwrap().to_string();
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let batches = plan.collect().await.unwrap();
    (concat_batches(&schema, &batches).unwrap(), text)
}

const UNITS: [&str; 8] = ["second", "minute", "hour", "day", "WEEK", "month", "quarter", "year"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From before the era to long after.
    #[test]
    fn the_same_instants_types_and_names(micros in prop::collection::vec(-4_000_000_000_000_000..8_000_000_000_000_000_i64, 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for unit in UNITS {
            let sql = format!("select date_trunc('{unit}', at) from t order by at");
            let (with, _) = runtime.block_on(ask(true, &micros, "UTC", &sql));
            let (without, _) = runtime.block_on(ask(false, &micros, "UTC", &sql));
            prop_assert_eq!(with, without, "{}", unit);
        }
    }
}

#[tokio::test]
async fn where_it_is_applied() {
    let cases = [
        ("UTC", "select date_trunc('day', at) from t", true),
        (
            "UTC",
            "select count(*), date_trunc('hour', at) as h from t group by 2 having date_trunc('hour', at) > '2000-01-01'",
            true,
        ),
        ("UTC", "select 1 from t where date_trunc('week', at) in (select date_trunc('week', at) from t)", true),
        ("UTC", "select date_trunc('day', at) from t where date_trunc('day', at) = '2026-01-01T00:00:00Z'", true),
        (
            "UTC",
            "select date_trunc('day', at), count(*) from t group by rollup(date_trunc('day', at)) order by 1",
            false,
        ),
        ("+00:00", "select date_trunc('minute', at) from t", true),
        ("UTC", "select date_trunc('month', at) from t", false),
        ("Europe/Berlin", "select date_trunc('day', at) from t", false),
    ];
    for (zone, sql, applied) in cases {
        let (with, plan) = ask(true, &[0, 1_767_225_600_000_000], zone, sql).await;
        assert_eq!(plan.contains("date_bin"), applied, "{sql}: {plan}");
        let (without, _) = ask(false, &[0, 1_767_225_600_000_000], zone, sql).await;
        assert_eq!(with, without, "{sql}");
    }
}
