use datafusion::object_store::path::Path;
use serde_json::json;

use super::*;

fn file(stats: Option<Value>) -> File {
    let meta = ObjectMeta {
        location: Path::from("a.parquet"),
        size: 1,
        last_modified: Default::default(),
        e_tag: None,
        version: None,
    };
    File::new(meta, Some("2026-11-21"), stats.map(|stats| stats.to_string()).as_deref())
}

#[test]
fn a_file_is_an_own_one_only_if_its_bounds_say_so() {
    let bounds = |least: &str, greatest: &str, nulls: Value| json!({"numRecords": 2, "minValues": {"tenant": least}, "maxValues": {"tenant": greatest}, "nullCount": {"tenant": nulls}});
    let long = "a".repeat(32);
    let cases = [
        (Some(bounds("acme", "acme", json!(0))), "acme", Some(true)),
        (Some(bounds("acme", "globex", json!(0))), "acme", None),
        (Some(bounds("acme", "globex", json!(0))), "dyson", None),
        (Some(bounds("acme", "acme", json!(0))), "globex", Some(false)),
        (Some(bounds("globex", "globex", json!(0))), "acme", Some(false)),
        // Rows that are nobody's.
        (Some(bounds("acme", "acme", json!(1))), "acme", None),
        (Some(bounds("acme", "acme", json!(null))), "acme", None),
        // Another writer may have cut the texts.
        (Some(bounds(&long, &long, json!(0))), &long, None),
        (Some(bounds(&long, &long, json!(0))), "b", None),
        (Some(json!({"numRecords": 2})), "acme", None),
        (Some(json!("no object")), "acme", None),
        (None, "acme", None),
    ];
    for (stats, tenant, whose) in cases {
        assert_eq!(file(stats.clone()).whose(&tenant.parse().unwrap()), whose, "{stats:?} for {tenant}");
    }
}

#[test]
fn bounds_leave_out_and_are_no_answers() {
    let stored = Arc::new(Schema::new(vec![
        arrow::datatypes::Field::new("level", DataType::Float64, true),
        arrow::datatypes::Field::new("device_id", DataType::Utf8, false),
        arrow::datatypes::Field::new("event_time", schemas::table::instant(), false),
    ]));
    let date = Arc::new(arrow::datatypes::Field::new(PARTITION, DataType::Date32, false));
    let layout = TableSchema::builder(stored).with_table_partition_cols(vec![date]).build();
    let file = file(Some(json!({
        "numRecords": 7,
        "minValues": {"level": -1.5, "device_id": "d1", "event_time": "2026-11-21T10:00:00.000001Z"},
        "maxValues": {"level": 2, "device_id": "d9".repeat(20), "event_time": "2026-11-21T11:00:00Z"},
        "nullCount": {"level": 3, "device_id": 0, "event_time": 0},
    })));
    let known = file.statistics(&layout, true);
    assert_eq!(known.num_rows, Precision::Exact(7));
    let [level, device, time, date] = &known.column_statistics[..] else { panic!("{known:?}") };
    assert_eq!(level.null_count, Precision::Exact(3));
    assert_eq!(level.min_value, Precision::Exact(ScalarValue::from(-1.5)));
    assert_eq!(level.max_value, Precision::Exact(ScalarValue::from(2.0)));
    // A bound that may be cut is none, and with it the other.
    assert_eq!(device.min_value, Precision::Absent);
    let micros = "2026-11-21T10:00:00.000001Z".parse::<Instant>().unwrap().micros();
    assert_eq!(time.min_value, Precision::Exact(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))));
    assert_eq!(date.max_value, Precision::Exact(ScalarValue::Date32(Some(20_778))));
    let told = file.statistics(&layout, false);
    assert_eq!(told.column_statistics[0].max_value, Precision::Inexact(ScalarValue::from(2.0)));
    assert_eq!(told.column_statistics[0].null_count, Precision::Exact(3));
}
