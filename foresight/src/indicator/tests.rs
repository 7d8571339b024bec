use proptest::prelude::*;
use schemas::time::Instant;

use super::*;

const STATISTICS: [Statistic; 11] = [
    Statistic::Count,
    Statistic::Last,
    Statistic::Mean,
    Statistic::Std,
    Statistic::Min,
    Statistic::Max,
    Statistic::Change,
    Statistic::Slope,
    Statistic::Drift { baseline: 1 },
    Statistic::Drift { baseline: 4 },
    Statistic::Ewma,
];
const WINDOWS: [Window; 4] =
    [Window::Rows { rows: 1 }, Window::Rows { rows: 5 }, Window::Time { seconds: 600.0 }, Window::Life];

fn definitions() -> Vec<Definition> {
    let mut definitions = Vec::new();
    for metric in ["current_a", "vibration_mm_s"] {
        for statistic in STATISTICS {
            for window in WINDOWS {
                let mut definition = Definition::of(metric, statistic, window);
                definition.name += &definitions.len().to_string();
                definitions.push(definition);
            }
        }
    }
    definitions
}

fn metrics() -> Vec<String> {
    vec!["current_a".into(), "vibration_mm_s".into()]
}

type Row = (Instant, [Option<f64>; 2]);

/// The page's table, word for word, from all rows at once.
fn from_all(rows: &[Row], definition: &Definition) -> f64 {
    let metric = usize::from(definition.metric != "current_a");
    let now = rows.last().unwrap().0;
    let points = |rows: &[(usize, Row)]| -> Vec<(f64, Instant, f64)> {
        rows.iter().filter_map(|(ordinal, (at, values))| Some((*ordinal as f64, *at, values[metric]?))).collect()
    };
    let all: Vec<(usize, Row)> = rows.iter().copied().enumerate().collect();
    let life = points(&all);
    let window = match definition.window {
        Window::Rows { rows } => points(&all[all.len().saturating_sub(rows as usize)..]),
        Window::Time { seconds } => {
            let within = |at: Instant| now.hours_since(at) * 3600.0 < seconds;
            life.iter().copied().filter(|(_, at, _)| within(*at)).collect()
        }
        Window::Life => life.clone(),
    };
    let n = window.len() as f64;
    let values: Vec<f64> = window.iter().map(|(.., x)| *x).collect();
    let mean = values.iter().sum::<f64>() / n;
    let by_row = matches!(definition.window, Window::Rows { .. });
    let time = |point: &(f64, Instant, f64)| if by_row { point.0 } else { point.1.hours_since(now) };
    match definition.statistic {
        Statistic::Count => n,
        _ if definition.statistic == Statistic::Ewma => {
            let mut known: Option<(f64, Instant)> = None;
            for (_, at, x) in &life {
                known = Some(match (known, definition.window) {
                    (None, _) => (*x, *at),
                    (Some((e, _)), Window::Rows { rows }) => (e + 2.0 / (f64::from(rows) + 1.0) * (x - e), *at),
                    (Some((e, then)), Window::Time { seconds }) => {
                        (e + (1.0 - 0.5_f64.powf(at.hours_since(then) * 3600.0 / seconds)) * (x - e), *at)
                    }
                    (Some(_), Window::Life) => (0.0, *at),
                });
            }
            if definition.window == Window::Life { mean } else { known.map_or(f64::NAN, |(e, _)| e) }
        }
        _ if window.is_empty() => f64::NAN,
        Statistic::Last => values[values.len() - 1],
        Statistic::Mean => mean,
        Statistic::Std if n < 2.0 => f64::NAN,
        Statistic::Std => (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt(),
        Statistic::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Statistic::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Statistic::Change => values[values.len() - 1] - values[0],
        Statistic::Slope => {
            let middle = window.iter().map(time).sum::<f64>() / n;
            let below: f64 = window.iter().map(|point| (time(point) - middle).powi(2)).sum();
            let above: f64 = window.iter().map(|point| (time(point) - middle) * (point.2 - mean)).sum();
            let one_instant = window.iter().all(|point| time(point) == time(&window[0]));
            if one_instant { f64::NAN } else { above / below }
        }
        Statistic::Drift { baseline } => {
            let first: Vec<f64> = life.iter().take(baseline as usize).map(|(.., x)| *x).collect();
            mean - first.iter().sum::<f64>() / first.len() as f64
        }
        Statistic::Ewma => f64::NAN,
    }
}

fn optional() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![4 => (-50.0..50.0_f64).prop_map(Some), 1 => Just(None)]
}

/// Rows of up to a minute and a half apart, some at one instant, some values missing.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..90_000_i64, optional(), optional());
    proptest::collection::vec(row, 1..60).prop_map(|rows| {
        let mut millis = 1_700_000_000_000;
        rows.into_iter()
            .map(|(step, current, vibration)| {
                millis += if step % 7 == 0 { 0 } else { step };
                (Instant::from_millis(millis), [current, vibration])
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn row_by_row_and_from_all_rows_agree_and_nothing_sees_what_comes_after(rows in rows(), stop in 0..60_usize) {
        let definitions = definitions();
        let mut computer = Computer::new(&metrics(), &definitions).unwrap();
        for upto in 1..=rows.len() {
            let (at, values) = &rows[upto - 1];
            prop_assert!(computer.push(*at, values));
            // From the rows so far only: had a value used a later row, the two would differ.
            for (definition, value) in definitions.iter().zip(computer.values()) {
                let expected = from_all(&rows[..upto], definition);
                let near = (value - expected).abs() <= 1e-6 * (1.0 + expected.abs());
                prop_assert!(near || (value.is_nan() && expected.is_nan()), "{}: {value} for {expected}", definition.name);
            }
            // Written down and read again in the middle, it goes on the same.
            if upto == stop {
                computer = serde_json::from_str(&serde_json::to_string(&computer).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn a_late_row_changes_nothing_and_is_counted() {
    let mut computer = Computer::new(&metrics(), &definitions()).unwrap();
    computer.push(Instant::from_millis(2000), &[Some(1.0), None]);
    let before = format!("{:?}", computer.values());
    assert!(!computer.push(Instant::from_millis(1000), &[Some(9.0), Some(9.0)]));
    assert_eq!(format!("{:?}", computer.values()), before);
    assert_eq!((computer.late(), computer.pushed()), (1, 1));
}

#[test]
fn a_window_of_time_holds_no_more_rows_than_the_bound_and_counts_the_rest() {
    let definition = Definition::of("current_a", Statistic::Count, Window::Time { seconds: 86_400.0 });
    let mut computer = Computer::new(&metrics(), &[definition]).unwrap();
    for second in 0..5000 {
        computer.push(Instant::from_millis(second * 1000), &[Some(1.0), None]);
    }
    assert_eq!((computer.values()[0], computer.cut()), (MAX_POINTS as f64, 5000 - MAX_POINTS as u64));
}

#[test]
fn what_is_missing_is_said_to_be_missing() {
    let definitions = [Statistic::Mean, Statistic::Slope, Statistic::Ewma, Statistic::Count]
        .map(|statistic| Definition::of("current_a", statistic, Window::Rows { rows: 3 }));
    let mut computer = Computer::new(&metrics(), &definitions).unwrap();
    computer.push(Instant::EPOCH, &[Some(f64::NAN), Some(1.0)]);
    let values = computer.values();
    assert!(values[..3].iter().all(|value| value.is_nan()), "{values:?}");
    assert_eq!(values[3], 0.0);
}

#[test]
fn a_definition_out_of_range_is_refused_with_its_range() {
    let of = |statistic, window| {
        Computer::new(&metrics(), &[Definition::of("current_a", statistic, window)]).unwrap_err().to_string()
    };
    assert_eq!(of(Statistic::Mean, Window::Rows { rows: 0 }), "indicator current_a_mean_0: rows = 0: 1 to 4096");
    assert!(of(Statistic::Mean, Window::Time { seconds: f64::NAN }).contains("a number above 0"));
    assert!(of(Statistic::Drift { baseline: 0 }, Window::Life).contains("at least 1"));
    let other = Definition::of("door", Statistic::Mean, Window::Life);
    assert!(Computer::new(&metrics(), &[other]).unwrap_err().to_string().contains("there is no metric door"));
}

#[test]
fn a_definition_reads_like_speech() {
    let text = r#"{"name":"wear","metric":"vibration_mm_s","statistic":{"drift":{"baseline":20}},"window":{"rows":{"rows":10}}}"#;
    let definition: Definition = serde_json::from_str(text).unwrap();
    assert_eq!(definition.statistic, Statistic::Drift { baseline: 20 });
    assert_eq!(serde_json::to_string(&definition).unwrap(), text);
}
