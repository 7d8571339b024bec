//! Functions through the engine, as an analyst calls them.

use proptest::{collection::vec, option, prelude::*};

use super::*;

async fn ask(sql: &str) -> Result<Vec<String>, SqlError> {
    ask_as(&World::new().await.engine(Settings::default()), "acme", sql).await
}

async fn refused(sql: &str) -> String {
    match ask(sql).await {
        Err(SqlError::Invalid(text)) => text,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn limits_of_rates_and_shares() {
    let sql = "select round(r.lower, 4), round(r.upper, 4), round(w.lower, 4), round(w.upper, 4) from \
               (select rate_interval(10, 2) r, wilson_interval(3, 10) w)";
    assert_eq!(ask(sql).await.unwrap(), ["2.3977|9.1952|0.1078|0.6032"]);
    let sql = "select rate_interval(n, e) is null, wilson_interval(n, e, 0.9) is null from \
               (values (null, 1), (0, 0), (1, null), (0, 5)) as t (n, e)";
    assert_eq!(ask(sql).await.unwrap(), ["true|true", "true|true", "true|true", "false|false"]);
    for (sql, says) in [
        ("select rate_interval(-1, 2)", "events is -1; legal is a whole number of at least 0"),
        ("select rate_interval(1.5, 2)", "events is 1.5"),
        ("select rate_interval(1, 0)", "exposure is 0 although there are 1 events"),
        ("select rate_interval(1, 'nan'::double)", "exposure is NaN"),
        ("select wilson_interval(3, 2)", "hits is 3; legal is 0 to cases, which is 2"),
        ("select wilson_interval(3, 4, 95)", "level is 95; legal is above 0 and below 1"),
    ] {
        let text = refused(sql).await;
        assert!(text.contains(says), "{sql}: {text}");
    }
}

#[tokio::test]
async fn every_example_of_the_page_gives_what_it_shows() {
    let page = include_str!("../../../../docs/sql/functions.md");
    let engine = World::new().await.engine(Settings::default());
    let mut examples = 0;
    for part in page.split("```sql\n").skip(1) {
        let (sql, rest) = part.split_once("```").unwrap();
        let shown = rest.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
        let rows = ask_as(&engine, "acme", sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(rows.join("\n"), shown.trim_end(), "{sql}");
        examples += 1;
    }
    assert!(examples >= 10, "{examples} examples were found");
}

#[tokio::test]
async fn buckets_begin_where_said() {
    let buckets = "select time_bucket('7 days', t), time_bucket('1 month', t), time_bucket(interval '15 minutes', t), \
                   time_bucket('1 hour', t, timestamp '2026-11-01T00:30:00') from \
                   (values (timestamp '2026-11-25T10:29:59')) as r (t)";
    let row = "2026-11-23T00:00:00|2026-11-01T00:00:00|2026-11-25T10:15:00|2026-11-25T09:30:00";
    assert_eq!(ask(buckets).await.unwrap(), [row]);
    let zoned = "select time_bucket('1 hour', event_time) b, count(*) from fault group by b order by b";
    let rows = ["2026-11-20T10:00:00Z|1", "2026-11-21T10:00:00Z|1", "2026-11-22T10:00:00Z|1"];
    assert_eq!(ask(zoned).await.unwrap(), rows);
    for (sql, says) in [
        ("select time_bucket('0 s', event_time) from fault", "width is not above zero"),
        ("select time_bucket('1 month 1 day', event_time) from fault", "width mixes months with days"),
        ("select time_bucket(5, event_time) from fault", "width is Int64; legal is an interval"),
        ("select time_bucket('1 h', 5)", "time is Int64; legal is a timestamp"),
    ] {
        let text = refused(sql).await;
        assert!(text.contains(says), "{sql}: {text}");
    }
}

#[tokio::test]
async fn steps_pass_over_gaps_and_resets() {
    let sql = "select d, delta(v) over w, increase(v) over w, rate(v, t) over w from \
               (select d, v, to_timestamp(s) as t from (values ('a', 1, 10.0), ('a', 3, 14.0), ('a', 4, null), \
               ('a', 5, 'nan'::double), ('a', 7, 2.0), ('a', 7, 3.0), ('b', 1, 100.0), ('b', 2, 101.0)) as r (d, s, v)) \
               window w as (partition by d order by t, v) order by d, t, v";
    let rows = [
        "a|null|null|null",
        "a|4.0|4.0|2.0",
        "a|null|null|null",
        "a|null|null|null",
        "a|-12.0|2.0|0.5",
        "a|1.0|1.0|null",
        "b|null|null|null",
        "b|1.0|1.0|1.0",
    ];
    assert_eq!(ask(sql).await.unwrap(), rows);
    let text = refused("select rate(boot, seq) over (order by event_time) from fault").await;
    assert!(text.contains("legal is a timestamp"), "{text}");
}

#[tokio::test]
async fn fits_are_those_of_the_command() {
    let data = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let folder = std::path::Path::new(&data).join("smrd");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let engine = World::new().await.engine(Settings::default());
    for (table, eta, beta) in [
        ("bearingcage", "11792.18", "2.0353"),
        ("shockabsorber", "27718.72", "3.1605"),
        ("fan", "26296.85", "1.0584"),
        ("locomotivecontrol", "183.40", "2.3313"),
    ] {
        let file = folder.join(format!("{table}.csv"));
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        let column = |name: &str| header.iter().position(|column| *column == name);
        let (event, count) = (column("event").unwrap(), column("count"));
        let rows: Vec<String> = lines
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                let failed = !["Censored", "Survived"].contains(&cells[event]);
                format!("({}, {failed}, {})", cells[0], count.map_or("1", |count| cells[count]))
            })
            .collect();
        let sql = format!(
            "select round(w.eta, 2), round(w.beta, 4), w.eta, w.beta, w.log_likelihood, w.eta_lower, w.beta_upper, w.n, \
             w.failures, w.problem is null, l.mu, l.sigma \
             from (select weibull_fit(t, f, c) w, lognormal_fit(t, f, c) l from (values {}) as r (t, f, c))",
            rows.join(", ")
        );
        let answer = ask_as(&engine, "acme", &sql).await.unwrap().remove(0);
        let cells: Vec<&str> = answer.split('|').collect();
        let number = |place: usize| cells[place].parse::<f64>().unwrap();
        let close = |ours: f64, theirs: f64| assert!((ours / theirs - 1.0).abs() < 1e-4, "{table}: {ours} {theirs}");
        close(number(0), eta.parse().unwrap());
        close(number(1), beta.parse().unwrap());
        let report = foresight::evaluate::weibull::run(&foresight::evaluate::weibull::Options::new(file)).unwrap();
        let same = |place: usize, theirs: f64| {
            assert!((number(place) / theirs - 1.0).abs() < 1e-9, "{table} {place}: {} {theirs}", number(place));
        };
        same(2, report.eta);
        same(3, report.beta);
        same(4, report.log_likelihood);
        same(5, report.eta_interval.lower.unwrap());
        same(6, report.beta_interval.upper.unwrap());
        same(7, report.n);
        same(8, report.failures);
        assert_eq!(cells[9], "true", "{table}");
        let log_normal = report.log_normal.unwrap();
        same(10, log_normal.mu);
        same(11, log_normal.sigma);
    }
}

#[tokio::test]
async fn a_group_without_a_fit_leaves_the_others_theirs() {
    let sql = "select d, w.beta is null, w.n, w.failures, w.problem is null from (select d, weibull_fit(t, f) w from \
               (values ('a', 1, true), ('a', 2, true), ('a', 4, false), ('b', 5, false), ('c', 7, null)) as r (d, t, f) \
               group by d) order by d";
    assert_eq!(ask(sql).await.unwrap(), ["a|false|3.0|2.0|true", "b|true|1.0|0.0|false", "c|true|null|null|true"]);
    for (sql, says) in [
        ("select weibull_fit(-1, true)", "time is -1; legal is a finite number above 0 for a failure"),
        ("select weibull_fit(1, true, 0)", "weight is 0; legal is a finite number above 0"),
        ("select kaplan_meier(1, 'yes')", "legal is true (failed) or false (still running)"),
        ("select weibull_fit(value, true) from generate_series(1, 300000)", "more than 100000 different lifetimes"),
        ("select top_k(value, 3) from generate_series(1, 70000)", "more than 65536 different values"),
        ("select top_k(code, 0) from fault", "k is 0; legal is 1 to 1000"),
        ("select histogram(1, 5, 5, 2)", "low is 5 and high is 5"),
        ("select histogram(1, 0, 5, 0)", "buckets is 0; legal is 1 to 10000"),
    ] {
        let text = refused(sql).await;
        assert!(text.contains(says), "{sql}: {text}");
    }
}

#[tokio::test]
async fn counts_are_put_together_over_partitions() {
    let sql = "select t, count(*) as n from (select unnest(top_k(value % 7, 2)) as t from generate_series(1, 1000)) \
               group by t order by t";
    assert_eq!(ask(sql).await.unwrap().len(), 2);
    let sql = "select sum(h['count']), count(*) from (select unnest(histogram(value, 10, 20, 4)) as h from \
               generate_series(1, 50000))";
    assert_eq!(ask(sql).await.unwrap(), ["50000|6"]);
    let sql = "select k, sum(s['events']) from (select value % 3 as k, unnest(kaplan_meier(value, true)) as s from \
               generate_series(1, 20000) group by value % 3) group by k order by k";
    assert_eq!(ask(sql).await.unwrap(), ["0|6666.0", "1|6667.0", "2|6667.0"]);
}

/// A runtime and an engine for many small questions.
fn still() -> (tokio::runtime::Runtime, Engine) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(async { World::new().await.engine(Settings::default()) });
    (runtime, engine)
}

fn shown(number: Option<f64>) -> String {
    number.map_or("null".into(), |number| format!("{number:?}"))
}

#[test]
fn increases_are_those_of_a_plain_loop() {
    let (runtime, engine) = still();
    proptest!(ProptestConfig::with_cases(48), |(readings in vec((0_usize..3, option::of(-50_i32..50)), 1..40))| {
        let mut last = [None; 3];
        let (mut rows, mut expected) = (Vec::new(), Vec::new());
        for (second, (device, value)) in readings.into_iter().enumerate() {
            let value = value.map(f64::from);
            rows.push(format!("({device}, {second}, {})", shown(value)));
            let step = value.and_then(|value| last[device].replace((value, second)).map(|(before, then)| {
                let added = if value < before { value } else { value - before };
                (added, added / (second - then) as f64)
            }));
            expected.push(format!("{}|{}", shown(step.map(|step| step.0)), shown(step.map(|step| step.1))));
        }
        let sql = format!(
            "select increase(v) over w, rate(v, to_timestamp(s)) over w from (values {}) as r (d, s, v) \
             window w as (partition by d order by s) order by s",
            rows.join(", ")
        );
        prop_assert_eq!(runtime.block_on(ask_as(&engine, "acme", &sql)).unwrap(), expected);
    });
}

#[test]
fn the_as_of_of_the_page_is_that_of_a_plain_search() {
    let page = include_str!("../../../../docs/sql/functions.md");
    let example =
        page.split("```sql\n").find(|part| part.contains("with both as")).unwrap().split("```").next().unwrap();
    let (faults, readings) =
        (between(example, "(values ", ") as f ("), between(example, "from (values ('a', 3", ") as r ("));
    let readings = format!("('a', 3{readings}");
    let (runtime, engine) = still();
    let plan = runtime.block_on(ask_as(&engine, "acme", &format!("explain {example}"))).unwrap().join("\n");
    assert!(plan.contains("BoundedWindowAggExec") && !plan.contains("Join"), "{plan}");
    let row = || (0_i64..3, 0_i64..80);
    proptest!(ProptestConfig::with_cases(48), |(mut failed in vec(row(), 1..12), read in vec(row(), 1..25))| {
        failed.sort_unstable();
        let text = |rows: &[(i64, i64)], last: &dyn Fn(i64) -> String| {
            rows.iter().map(|(d, t)| format!("('{d}', {t}, {})", last(*t))).collect::<Vec<_>>().join(", ")
        };
        let sql = example
            .replace(&readings, &text(&read, &|t| format!("{t}.0")))
            .replace(faults, &text(&failed, &|_| "'E1'".into()));
        let nearest = |(d, t): &(i64, i64)| {
            let before = read.iter().filter(|(device, at)| device == d && at <= t && t - at <= 20).map(|(_, at)| *at).max();
            format!("{d}|{t}|E1|{}", shown(before.map(|at| at as f64)))
        };
        let expected: Vec<String> = failed.iter().map(nearest).collect();
        prop_assert_eq!(runtime.block_on(ask_as(&engine, "acme", &sql)).unwrap(), expected);
    });
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}
