//! Failure trends through the engine: cases counted by hand, an injected defect, and what every view promises.

use std::collections::HashMap;

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemas::{
    door::{Dialect, Request, ServiceTables, TrendSource as _},
    service::ServiceTable,
    time::Instant,
    trend::Bounds,
};

use super::{
    super::trend::{of_view, views},
    *,
};

const NOW: &str = "2026-11-26T00:00:00Z";
/// 30.4375 days.
const MONTH: f64 = 30.4375;

fn days_ago(days: f64) -> String {
    let now: Instant = NOW.parse().unwrap();
    Instant::from_micros(now.micros() - (days * 86_400e6) as i64).to_string()
}

/// What there is; rows of the service database are given out by tenant, as the real one does.
#[derive(Default)]
struct Fleet {
    devices: Vec<Value>,
    tickets: Vec<Value>,
    outcomes: Vec<Value>,
    faults: Vec<Value>,
}

struct Register(HashMap<ServiceTable, Vec<Value>>);

#[async_trait]
impl ServiceTables for Register {
    async fn rows(&self, tenant: &TenantId, table: ServiceTable) -> Result<RecordBatch, SqlError> {
        let rows = self.0[&table].iter().filter(|row| row["tenant"] == tenant.as_str()).cloned();
        Ok(filled(&table.schema(), &rows.collect::<Vec<_>>()))
    }
}

fn filled(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    if rows.is_empty() { RecordBatch::new_empty(schema.clone()) } else { batch(schema, rows) }
}

impl Fleet {
    /// A device: model, firmware, days since it was installed and first seen, days since it was last seen.
    fn device(&mut self, id: &str, model: &str, firmware: &str, installed: f64, seen: f64) {
        self.devices.push(json!({
            "tenant": "acme", "device_id": id, "profile": "washing_machine", "model": model, "firmware": firmware,
            "batch": format!("{model}-1"), "region": "north", "installed_at": days_ago(installed),
            "first_seen": days_ago(installed), "last_seen": days_ago(seen),
        }));
    }

    fn outcome(&mut self, device: &str, failed: f64, disposition: &str, confirms: Option<bool>) {
        self.outcomes.push(json!({
            "tenant": "acme", "device_id": device, "profile": "washing_machine",
            "outcome_id": format!("o{}", self.outcomes.len()), "fault_key": "drum_bearing/wear",
            "event_time": days_ago(failed - 1.0), "failure_time": days_ago(failed), "disposition": disposition,
            "confirms_fault": confirms, "date": "2026-11-20",
        }));
    }

    fn fault(&mut self, device: &str, code: &str, days: f64, firmware: &str) {
        let at = days_ago(days);
        self.faults.push(json!({
            "tenant": "acme", "device_id": device, "profile": "washing_machine", "boot": 1, "event_time": at,
            "arrival_time": at, "late": false, "firmware": firmware, "code": code, "active": true, "date": at[..10],
        }));
    }

    /// The same rows of another tenant, with a mark.
    fn doubled(mut self) -> Self {
        for rows in [&mut self.devices, &mut self.tickets, &mut self.outcomes, &mut self.faults] {
            let foreign: Vec<Value> = rows
                .iter()
                .cloned()
                .map(|mut row| {
                    row["tenant"] = json!("globex");
                    for field in ["model", "firmware", "batch", "region", "code"] {
                        if row.get(field).is_some_and(|value| !value.is_null()) {
                            row[field] = json!(format!("SECRET-{field}"));
                        }
                    }
                    row
                })
                .collect();
            rows.extend(foreign);
        }
        self
    }

    fn engine(self) -> Engine {
        let shelf = Shelf::default();
        for (name, rows) in [(TableName::Outcome, self.outcomes), (TableName::Fault, self.faults)] {
            let (location, schema) = (Url::parse("file:///nowhere/").unwrap(), table::fixed(&name).unwrap());
            let hot = vec![filled(&schema, &rows)];
            shelf
                .tables
                .lock()
                .unwrap()
                .insert(name, TableSnapshot { location, version: None, schema, hot, raw: Vec::new() });
        }
        let register = HashMap::from([(ServiceTable::Device, self.devices), (ServiceTable::Ticket, self.tickets)]);
        let clock = Arc::new(ManualClock::at(NOW.parse().unwrap()));
        let service: Arc<dyn ServiceTables> = Arc::new(Register(register));
        let mut registry = Registry::default();
        Engine::with_service(Arc::new(shelf), Some(service), clock, Settings::default(), &mut registry).unwrap()
    }
}

/// Three machines: one repaired, one that died, one without a fault.
fn three() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.device("d1", "A", "1.0", 10.0 * MONTH, 0.0);
    fleet.device("d2", "A", "1.1", 10.0 * MONTH, 2.0 * MONTH);
    fleet.device("d3", "B", "1.0", 20.0 * MONTH, 0.0);
    fleet.outcome("d1", 5.0 * MONTH, "part_replaced", Some(true));
    fleet.outcome("d1", 4.0 * MONTH, "no_fault_found", Some(false));
    fleet.outcome("d1", 4.0 * MONTH, "duplicate", None);
    // Before it was installed: not under watch.
    fleet.outcome("d1", 11.0 * MONTH, "part_replaced", Some(true));
    // Found ten days after it was last heard of, and long after.
    fleet.outcome("d2", 2.0 * MONTH - 10.0, "unit_exchanged", Some(true));
    fleet.outcome("d2", 2.0 * MONTH - 40.0, "unit_exchanged", Some(true));
    fleet.outcome("unknown", 1.0, "part_replaced", Some(true));
    fleet
}

#[tokio::test]
async fn failures_by_exposure_are_those_counted_by_hand() {
    let engine = three().doubled().engine();
    let rows = ask(
        &engine,
        "select level, name, devices, failures, round(device_months, 3), round(per_thousand_device_months, 2), \
         round(lower, 2), round(upper, 2) from trend_failure_rate order by level, name",
    )
    .await;
    // Garwood: 0 is 0 to 3.6889, 1 is 0.0253 to 5.5716, 2 is 0.2422 to 7.2247.
    let expected = [
        "batch|A-1|2|2|18.0|111.11|13.46|401.37",
        "batch|B-1|1|0|20.0|0.0|0.0|184.44",
        "component|drum_bearing|3|2|38.0|52.63|6.37|190.12",
        "firmware|1.0|2|1|30.0|33.33|0.84|185.72",
        "firmware|1.1|1|1|8.0|125.0|3.16|696.46",
        "model|A|2|2|18.0|111.11|13.46|401.37",
        "model|B|1|0|20.0|0.0|0.0|184.44",
        "region|north|3|2|38.0|52.63|6.37|190.12",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn the_hazard_is_that_of_first_failures_in_bands_of_age() {
    let engine = three().doubled().engine();
    let rows = ask(
        &engine,
        "select from_month, until_month, devices, failures, round(device_months, 3), round(upper, 1) \
         from trend_hazard_by_age order by from_month",
    )
    .await;
    let expected =
        ["0|1|3|0|3.0|1229.6", "1|3|3|0|6.0|614.8", "3|6|3|1|8.0|696.5", "6|12|2|1|8.0|696.5", "12|24|1|0|8.0|461.1"];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn infants_are_judged_when_they_are_ninety_days_old_or_failed() {
    let mut fleet = Fleet::default();
    // Failed on day 30; lived on; failed on day 91; fell silent on day 20; too young, though it failed.
    for (id, installed, seen) in
        [("d1", 200.0, 0.0), ("d2", 200.0, 0.0), ("d3", 200.0, 0.0), ("d4", 200.0, 180.0), ("d5", 50.0, 0.0)]
    {
        fleet.device(id, "A", "1.0", installed, seen);
    }
    for (id, failed) in [("d1", 170.0), ("d3", 109.0), ("d5", 40.0)] {
        fleet.outcome(id, failed, "part_replaced", Some(true));
    }
    let rows = ask(
        &fleet.doubled().engine(),
        "select level, name, devices, failed, round(share, 4), round(lower, 4), round(upper, 4) \
         from trend_infant_mortality order by level",
    )
    .await;
    // Wilson of 1 in 3.
    assert_eq!(rows, ["batch|A-1|3|1|0.3333|0.0615|0.7923", "model|A|3|1|0.3333|0.0615|0.7923"]);
}

#[tokio::test]
async fn visits_for_nothing_are_a_share_of_those_that_decide() {
    let rows = ask(
        &three().doubled().engine(),
        "select level, name, outcomes, no_fault_found, round(share, 4), round(lower, 4), round(upper, 4) \
         from trend_no_fault_found where level <> 'model' order by level",
    )
    .await;
    // Six of seven outcomes decide; Wilson of 1 in 6.
    let told = "6|1|0.1667|0.0301|0.5635";
    assert_eq!(rows, [format!("component|drum_bearing|{told}"), format!("profile|washing_machine|{told}")]);
}

#[tokio::test]
async fn few_codes_make_most_reports_and_faults_begin_once() {
    let mut fleet = three();
    // One fault told three times within hours, again a week later; another device once.
    for days in [20.0, 19.9, 19.5, 12.0] {
        fleet.fault("d1", "E21", days, "1.0");
    }
    fleet.fault("d3", "E18", 3.0, "1.0");
    let engine = fleet.doubled().engine();
    let sql = "select code, faults, devices, round(share, 2), round(cumulative_share, 2) from trend_fault_pareto";
    assert_eq!(ask(&engine, &format!("{sql} order by faults desc")).await, ["E21|4|1|0.8|0.8", "E18|1|1|0.2|1.0"]);
    let rows = ask(
        &engine,
        "select level, name, devices, faults, round(device_days, 2), round(mean_days, 2), round(lower, 2), \
         round(upper, 2) from trend_time_between_faults where level in ('code', 'model') order by level, name",
    )
    .await;
    // d1 and d3 for 10 and 20 months, d2 for 8: 1156.625 days; A 18 months, B 20.
    let expected = [
        "code|E18|3|1|1156.63|1156.63|207.59|45684.25",
        "code|E21|3|2|1156.63|578.31|160.09|4775.31",
        "model|A|2|2|547.88|273.94|75.83|2261.99",
        "model|B|1|1|608.75|608.75|109.26|24044.34",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn the_fleet_is_told_as_it_is_now() {
    let mut fleet = three();
    for (device, status, severity) in
        [("d1", "inProgress", "critical"), ("d1", "pending", "minor"), ("d3", "closed", "critical")]
    {
        fleet.tickets.push(json!({
            "tenant": "acme", "ticket_id": format!("t{}", fleet.tickets.len()), "device_id": device,
            "fault_key": "drum_bearing/wear", "ticket_type": "fault", "channel": "alarm", "status": status,
            "sub_status": "new", "severity": severity, "priority": "high", "creation_date": days_ago(1.0),
            "last_update": days_ago(0.5), "reopen_count": 0, "alarm_count": 1, "advisory_count": 0,
        }));
    }
    let rows = ask(&fleet.doubled().engine(), "select * from trend_fleet_health").await;
    assert_eq!(rows, ["washing_machine|3|2|1|1|2|1"]);
}

const MODELS: [&str; 3] = ["A", "B", "C"];
const FIRMWARES: [&str; 4] = ["1.0", "1.1", "1.2", "2.0"];
const CODES: [&str; 6] = ["E17", "E18", "E19", "E21", "E57", "E60"];
/// Devices of one model with one firmware.
const DEVICES: usize = 100;
/// Chance that a device reports a code in a week.
const USUAL: f64 = 0.01;

/// Nine weeks of a fleet in which nothing changes, but one defect this week if it is wanted.
fn weeks(seed: u64, defect: Option<(&str, &str, &str)>) -> Fleet {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut fleet = Fleet::default();
    for model in MODELS {
        for firmware in FIRMWARES {
            for device in 0..DEVICES {
                let id = format!("{model}-{firmware}-{device}");
                fleet.device(&id, model, firmware, 100.0, 0.0);
                for (code, week) in CODES.iter().flat_map(|code| (0..9).map(move |week| (*code, week))) {
                    let ill = week == 0 && defect == Some((model, firmware, code));
                    let rate = if ill { 0.15 } else { USUAL };
                    if chance.random::<f64>() < rate {
                        let day = f64::from(week) * 7.0 + chance.random_range(0.1..6.9);
                        fleet.fault(&id, code, day, firmware);
                        // Said again and again it is still one.
                        fleet.fault(&id, code, day - 0.05, firmware);
                    }
                }
            }
        }
    }
    fleet
}

#[tokio::test]
async fn an_emerging_defect_is_found_and_others_seldom_are() {
    let (mut found, mut wrong, mut idle) = (0, 0, 0);
    let sql = "select model, firmware, code from trend_emerging_defect where emerging";
    for seed in 0..10 {
        let rows = ask(&weeks(seed, Some(("B", "2.0", "E57"))).engine(), sql).await;
        found += usize::from(rows.iter().any(|row| row == "B|2.0|E57"));
        wrong += rows.iter().filter(|row| *row != "B|2.0|E57").count();
        let rows = ask(&weeks(1000 + seed, None).engine(), sql).await;
        idle += usize::from(!rows.is_empty());
    }
    assert_eq!(found, 10, "the defect is found with every seed");
    // Of 10 findings and those beside them one in twenty may be false; where nothing is, one fleet in twenty is accused.
    assert!(wrong <= 2, "{wrong} of {} findings are false", found + wrong);
    assert!(idle <= 2, "{idle} of 10 fleets without a defect are accused");
}

#[tokio::test]
async fn the_share_of_false_discoveries_is_that_of_benjamini_and_hochberg() {
    let engine = weeks(7, Some(("A", "1.0", "E17"))).engine();
    let numbers = async |column: &str| -> Vec<f64> {
        let sql = format!("select {column} from trend_emerging_defect order by model, firmware, code");
        ask(&engine, &sql).await.iter().map(|row| row.parse().unwrap()).collect()
    };
    let (p, q) = (numbers("p_value").await, numbers("q_value").await);
    assert!(p.len() > 60, "{} pairs", p.len());
    let m = p.len() as f64;
    for (row, given) in q.iter().enumerate() {
        // By definition: the least, over all thresholds that take this row in, of expected false by found.
        let level = |threshold: f64| m * threshold / p.iter().filter(|other| **other <= threshold).count() as f64;
        let least = p.iter().filter(|other| **other >= p[row]).map(|other| level(*other)).fold(1.0, f64::min);
        assert!((least - given).abs() < 1e-9, "{least} {given}");
    }
    // By hand: p of the defect from the counts beside it.
    let row = ask(
        &engine,
        "select poisson_test(reports, device_weeks, earlier_reports, earlier_device_weeks) = p_value, device_weeks, \
         earlier_device_weeks, baseline from trend_emerging_defect where code = 'E17' and model = 'A' and firmware = '1.0'",
    )
    .await;
    assert_eq!(row, ["true|100.0|800.0|own"]);
}

#[tokio::test]
async fn a_new_model_is_compared_with_the_past_of_its_profile() {
    let mut fleet = weeks(3, None);
    for device in 0..40 {
        let id = format!("new-{device}");
        fleet.device(&id, "N", "3.0", 5.0, 0.0);
        if device < 12 {
            fleet.fault(&id, "E57", 2.0, "3.0");
        }
    }
    let sql = "select model, reports, baseline, round(device_weeks, 2), earlier_device_weeks from trend_emerging_defect \
               where emerging order by q_value limit 1";
    assert_eq!(ask(&fleet.engine(), sql).await, ["N|12|profile|28.57|9600.0"]);
}

#[tokio::test]
async fn every_view_has_the_columns_that_its_page_names() {
    let engine = three().doubled().engine();
    let page = include_str!("../../../../docs/trends.md");
    let trends = engine.trends();
    assert_eq!(trends.len(), views(|_| true).count());
    for trend in trends {
        let view = trend.view();
        let names: Vec<&str> = trend.columns.iter().map(|column| column.name).collect();
        let answer = engine.query(&tenant("acme"), &format!("select * from {view}")).await.unwrap();
        let given: Vec<&str> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(given, names, "{view}");
        let sql = format!(
            "select column_name from information_schema.columns where table_name = '{view}' order by ordinal_position"
        );
        assert_eq!(ask(&engine, &sql).await, names, "{view}");
        assert!(page.contains(&format!("`{view}`")), "{view} is not on the page");
        for column in trend.columns {
            let line = format!("| `{}` | {} | {} |", column.name, column.unit, column.about);
            assert!(page.contains(&line), "{view}: the page lacks\n{line}");
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in [trend.question, trend.definition, trend.source] {
            assert!(words(page).contains(text), "{view}: the page lacks\n{text}");
        }
        for level in trend.levels {
            let bounds = Bounds { level: Some(level), ..Bounds::default() };
            engine.rows(&tenant("acme"), trend, &bounds).await.unwrap();
        }
        let picture = engine.picture(&tenant("acme"), trend, &Bounds::default()).await.unwrap();
        assert!(picture.contains(trend.title) && !picture.contains("SECRET"), "{picture}");
        let definition = format!("select definition from information_schema.views where table_name = '{view}'");
        let definition = ask(&engine, &definition).await.remove(0);
        assert!(!definition.contains('$') && of_view(&view).is_some(), "{definition}");
        ask(&engine, &definition).await;
    }
}

#[tokio::test]
async fn views_are_views_in_every_catalog_and_show_own_rows_only() {
    let engine = three().doubled().engine();
    let kinds = "select table_type, count(*) from information_schema.tables where table_schema = 'public' group by 1 order by 1";
    assert_eq!(ask(&engine, kinds).await, ["BASE TABLE|4", "VIEW|8"]);
    let classes = "select relkind, count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = \
                   c.relnamespace where n.nspname = 'public' group by 1 order by 1";
    let request = Request { dialect: Dialect::Postgres, ..Request::new(classes) };
    let answer = engine.query_with(&tenant("acme"), &request).await.unwrap();
    let rows: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
    assert_eq!(rows.iter().flat_map(lines).collect::<Vec<_>>(), ["r|4", "v|8"]);

    for view in views(|_| true) {
        for (whose, sql) in [
            ("acme", format!("select * from {view}")),
            ("acme", format!("select * from {view} a join {view} b on a.profile <> b.profile or true")),
            ("acme", format!("explain select * from {view}")),
            ("nobody", format!("select * from {view}")),
        ] {
            let rows = ask_as(&engine, whose, &sql).await.unwrap().join("\n");
            assert!(!rows.contains("SECRET") && !rows.contains("globex"), "{sql}: {rows}");
            assert!(whose == "acme" || rows.is_empty(), "{sql}: {rows}");
        }
    }
    let foreign = ask_as(&engine, "globex", "select distinct name from trend_failure_rate where level = 'model'").await;
    assert_eq!(foreign.unwrap(), ["SECRET-model"]);
}

#[tokio::test]
async fn bounds_cut_failures_and_exposure_alike() {
    let engine = three().engine();
    let trend = *engine.trends().iter().find(|trend| trend.name == "failure_rate").unwrap();
    let instant = |days: f64| Some(days_ago(days).parse().unwrap());
    let bounds = Bounds {
        level: Some("model"),
        profile: Some("washing_machine".parse().unwrap()),
        from: instant(6.0 * MONTH),
        until: instant(3.0 * MONTH),
    };
    let answer = engine.rows(&tenant("acme"), trend, &bounds).await.unwrap();
    let rows: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
    let rows: Vec<String> = rows.iter().flat_map(lines).collect();
    assert!(rows[0].starts_with("washing_machine|model|A|2|1|6.0|166.6"), "{rows:?}");
    assert!(rows[1].starts_with("washing_machine|model|B|1|0|3.0|0.0|0.0|"), "{rows:?}");
    let other = Bounds { profile: Some("refrigerator".parse().unwrap()), ..bounds };
    let answer = engine.rows(&tenant("acme"), trend, &other).await.unwrap();
    assert!(answer.batches.try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test]
async fn without_the_service_database_there_are_the_views_of_the_lake() {
    let world = World::new().await;
    let clock = Arc::new(ManualClock::at(NOW.parse().unwrap()));
    let engine = Engine::new(world.shelf.clone(), clock, Settings::default(), &mut Registry::default()).unwrap();
    assert_eq!(ask(&engine, "select code from trend_fault_pareto order by code").await, ["E21", "E22", "E23"]);
    let views =
        "select table_name from information_schema.tables where table_type = 'VIEW' and table_schema = 'public'";
    assert_eq!(ask(&engine, views).await, ["trend_fault_pareto"]);
    let told = error(&engine, "select * from trend_failure_rate").await.to_string();
    assert!(
        told.contains("view trend_failure_rate reads the table device, which this process does not read"),
        "{told}"
    );
    let told = error(&engine, "select * from trend_fault_paretto").await.to_string();
    assert!(told.contains("nearest: \"trend_fault_pareto\""), "{told}");
}

#[tokio::test]
async fn reports_from_before_the_watch_do_not_count() {
    let mut fleet = weeks(5, None);
    // Taken over this week, with all that they reported before.
    for device in 0..60 {
        let id = format!("late-{device}");
        fleet.device(&id, "A", "1.0", 0.01, 0.0);
        for day in [3.0, 10.0] {
            fleet.fault(&id, "E57", day, "1.0");
        }
    }
    let sql = "select count(*) from trend_emerging_defect where emerging";
    assert_eq!(ask(&fleet.engine(), sql).await, ["0"]);
}
