//! The same answers with the rule as without it.

use arrow::{
    array::{Float64Array, Int64Array, StringViewArray},
    datatypes::{DataType, Field, Schema},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    execution::{SessionStateBuilder, memory_pool::GreedyMemoryPool, runtime_env::RuntimeEnvBuilder},
    prelude::{SessionConfig, SessionContext},
};
use proptest::prelude::*;

use super::*;

type Row = (Option<u8>, u8, Option<i16>);

const QUERIES: [&str; 5] = [
    "select device_id, count(*), count(x), sum(x), min(x), max(x), avg(q) from t group by device_id",
    "select firmware, stddev(q), sum(x) filter (where n > 3) from t group by firmware",
    "select device_id, firmware, n / 4 as bin, count(distinct n) from t group by device_id, firmware, n / 4",
    "select n / 8 as bin, count(distinct device_id) from t group by 1",
    "select device_id from t where n % 3 = 1 group by device_id having count(*) > 2",
];

fn table(rows: &[Row], batch: usize) -> MemTable {
    let fields = [
        ("device_id", DataType::Utf8View),
        ("firmware", DataType::Utf8View),
        ("n", DataType::Int64),
        ("x", DataType::Int64),
        ("q", DataType::Float64),
    ];
    let schema = Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
    let batches = rows.chunks(batch).enumerate().map(|(at, rows)| {
        let name = |device: &Option<u8>| device.map(|device| format!("a device with a long name {device}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(device, ..)| name(device)).collect::<StringViewArray>()),
            Arc::new(
                rows.iter()
                    .map(|(device, ..)| device.map(|device| format!("{}", device % 3)))
                    .collect::<StringViewArray>(),
            ),
            Arc::new(rows.iter().map(|(_, n, _)| Some(i64::from(*n) + at as i64 % 2)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(.., x)| x.map(i64::from)).collect::<Int64Array>()),
            // Quarters add up to the same whatever the order.
            Arc::new(rows.iter().map(|(.., x)| x.map(|x| f64::from(x) / 4.0)).collect::<Float64Array>()),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    });
    let (even, odd): (Vec<_>, Vec<_>) = batches.enumerate().partition(|(at, _)| at % 2 == 0);
    let plain = |batches: Vec<(usize, RecordBatch)>| batches.into_iter().map(|(_, batch)| batch).collect();
    MemTable::try_new(schema, vec![plain(even), plain(odd)]).unwrap()
}

fn context(rows: &[Row], batch: usize, by_runs: bool, memory: usize) -> SessionContext {
    let environment = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)));
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(2).with_batch_size(16))
        .with_runtime_env(environment.build_arc().unwrap());
    if by_runs {
        state = state.with_physical_optimizer_rule(Arc::new(ByRuns));
    }
    let context = SessionContext::new_with_state(state.build());
    context.register_table("t", Arc::new(table(rows, batch))).unwrap();
    context
}

async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (prop::option::weighted(0.9, 0..20u8), 0..40u8, prop::option::weighted(0.8, any::<i16>()));
    (prop::collection::vec(row, 0..300), any::<bool>()).prop_map(|(mut rows, sorted)| {
        if sorted {
            rows.sort();
        }
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_datafusion(rows in rows(), batch in 1..60usize) {
        run(async {
            for sql in QUERIES {
                let plain = answer(&context(&rows, batch, false, 1 << 30), sql).await;
                assert_eq!(answer(&context(&rows, batch, true, 1 << 30), sql).await, plain, "{sql}");
            }
        });
    }
}

#[test]
fn groups_by_what_files_are_sorted_by_and_by_nothing_else() {
    let context = context(&[(Some(1), 1, Some(1))], 8, true, 1 << 30);
    run(async {
        for (sql, by_runs) in [
            (QUERIES[0], true),
            (QUERIES[2], true),
            ("select n, count(*) from t group by n", false),
            ("select device_id, n, count(*) from t group by device_id, n", false),
            ("select count(*) from t", false),
        ] {
            let plan = answer(&context, &format!("explain format indent {sql}")).await.concat();
            assert_eq!(plan.contains("ByRuns: "), by_runs, "{sql}\n{plan}");
        }
    });
}

#[test]
fn states_go_on_when_memory_is_short() {
    let rows: Vec<Row> = (0..20_000).map(|row| (Some((row / 80) as u8), (row % 40) as u8, Some(row as i16))).collect();
    run(async {
        let memory = MemoryConsumer::new("test").register(&(Arc::new(GreedyMemoryPool::new(1)) as _));
        let context = context(&rows, 1000, true, 1 << 30);
        let plan = context.sql(QUERIES[0]).await.unwrap().create_physical_plan().await.unwrap();
        let mut node = Arc::clone(&plan);
        while node.downcast_ref::<RunAggregate>().is_none() {
            let child = Arc::clone(node.children()[0]);
            node = child;
        }
        let mut table = Table::new(&node.downcast_ref::<RunAggregate>().unwrap().whole, memory).unwrap();
        let mut input = node.children()[0].execute(0, context.task_ctx()).unwrap();
        let batch = input.next().await.unwrap().unwrap();
        table.add(&batch).unwrap();
        assert!(!table.fits());
        assert!(table.emit().unwrap().num_rows() > 0);
        assert_eq!(table.emit().unwrap().num_rows(), 0, "nothing is left");
        assert_eq!(
            answer(&context, "select count(*) from (select device_id from t group by device_id)").await.len(),
            5
        );
    });
}
