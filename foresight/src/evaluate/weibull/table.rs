//! From a table's columns to lifetimes, by one rule for all tables.
//!
//! - ages: `lower` and `upper` (or one stem with `l` and `u`); otherwise the first column named like a measure of use
//!   (hours, days, cycles, miles, time … also kilo-, mega-, thousand); otherwise, if an event column says that it is
//!   censored, the only column of numbers that is left;
//! - events: `event`, `status`, `censored`, `code`, else `mode` or `cause`, else columns of 0 and 1 named after failure;
//!   no such column: every row failed, unless the ages are few and repeat, which is a plan of measurements;
//! - event codes: words (`Censored`, `Right`, `Suspended`, `Survived` … still running; `Left`; `Interval`; any other word a
//!   failure, and its cause); numbers as R's `Surv` has them (0 running, 1 failed, 2 left, 3 interval), or as SPLIDA has
//!   them where a 4 occurs (1 failed, 2 running, 3 left, 4 interval);
//! - counts: `count`, `counts`, `number`, `weight`, `frequency`; truncation: `truntime` with `truntype`, or `trun_…`;
//! - `Start` and `End` among the events: a history of repairs per unit; the lifetimes are the times between them.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use crate::{
    evaluate::{EvaluateError, open},
    survival::{Ended, Lifetime, Seen, SurvivalError},
};

/// What a table holds.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) lifetimes: Vec<Lifetime>,
    /// With causes, where all ages are exact.
    pub(super) ended: Vec<Ended<String>>,
    pub(super) columns: BTreeMap<&'static str, String>,
    pub(super) rejected: BTreeMap<String, usize>,
    pub(super) notes: Vec<String>,
}

const USE: [&str; 17] = [
    "time",
    "times",
    "age",
    "life",
    "lifetime",
    "seconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "months",
    "years",
    "cycles",
    "miles",
    "kilometers",
    "km",
    "revolutions",
];
const SCALES: [&str; 5] = ["kilo", "mega", "thousand", "million", "k"];
const EVENTS: [&str; 7] = ["event", "status", "censored", "censor", "code", "mode", "cause"];
const COUNTS: [&str; 7] = ["count", "counts", "number", "weight", "weights", "freq", "frequency"];
const RUNNING: [&str; 13] = [
    "c",
    "cens",
    "censor",
    "censored",
    "right",
    "rcensored",
    "suspended",
    "suspension",
    "survived",
    "survivor",
    "running",
    "alive",
    "none",
];
const OPENS: &str = "start";
const CLOSES: [&str; 2] = ["end", "mend"];
/// Rows per distinct age from which on a table without events is a plan of measurements and not of failures.
const PLAN_ROWS_PER_AGE: usize = 4;

/// How a row ended.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Failed(Option<String>),
    Running,
    Left,
    Interval,
    Opens,
    Closes,
}

struct Sheet {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    fn named(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.headers.iter().position(|header| header == name))
    }

    fn number(&self, row: &[String], column: usize) -> Option<f64> {
        row.get(column)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn all_numbers(&self, column: usize) -> bool {
        self.rows.iter().all(|row| self.number(row, column).is_some())
    }
}

pub(super) fn read(options: &Options) -> Result<Table, EvaluateError> {
    let form = |problem: String| EvaluateError::form(&options.file, problem);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(open(&options.file)?);
    let headers = reader.headers().map_err(|error| form(error.to_string()))?;
    let headers = headers.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase()).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        rows.push(record.map_err(|error| form(error.to_string()))?.iter().map(str::to_owned).collect());
    }
    lifetimes(&Sheet { headers, rows }, options).map_err(form)
}

/// The columns a table was read by.
struct Columns {
    ages: (usize, Option<usize>),
    event: Option<usize>,
    cause: Option<usize>,
    indicators: Vec<usize>,
    count: Option<usize>,
}

fn lifetimes(sheet: &Sheet, options: &Options) -> Result<Table, String> {
    let mut table = Table::default();
    let columns = columns(sheet, options, &mut table)?;
    let name = |column: usize| sheet.headers[column].clone();
    table.columns.insert("time", name(columns.ages.0));
    let told = [("time_upper", columns.ages.1), ("event", columns.event), ("count", columns.count)];
    for (role, column) in told.into_iter().chain([("cause", columns.cause)]) {
        if let Some(column) = column {
            table.columns.insert(role, name(column));
        }
    }
    let events = events(sheet, &columns, &mut table);
    if columns.event.is_none() && columns.indicators.is_empty() && options.time.is_none() {
        let ages: BTreeSet<&str> = sheet.rows.iter().map(|row| row[columns.ages.0].as_str()).collect();
        if ages.len() * PLAN_ROWS_PER_AGE <= sheet.rows.len() {
            return Err(format!(
                "no event column, and {} rows at {} ages of {:?} are a plan of measurements, not of failures; \
                 columns are {:?}",
                sheet.rows.len(),
                ages.len(),
                name(columns.ages.0),
                sheet.headers
            ));
        }
        table.notes.push("no event column: every row counts as a failure".into());
    }
    if events.iter().any(|event| matches!(event, Event::Opens | Event::Closes)) {
        between_repairs(sheet, &columns, &events, &mut table);
        return Ok(table);
    }
    let window = windows(sheet);
    for (row, event) in sheet.rows.iter().zip(&events) {
        let count = columns.count.map_or(Some(1.0), |column| sheet.number(row, column));
        let Some(count) = count else {
            *table.rejected.entry("no count".into()).or_default() += 1;
            continue;
        };
        if count == 0.0 {
            continue;
        }
        let lower = sheet.number(row, columns.ages.0);
        let upper = columns.ages.1.map_or(lower, |column| sheet.number(row, column));
        let seen = match (event, lower, upper) {
            (Event::Failed(_), Some(at), Some(to)) if to > at => Seen::FailedBetween(at, to),
            (Event::Failed(_), Some(at), _) => Seen::Failed(at),
            (Event::Running, Some(until), _) => Seen::Survived(until),
            (Event::Left, _, Some(at)) => Seen::FailedBefore(at),
            (Event::Interval, Some(after), Some(before)) if columns.ages.1.is_some() => {
                Seen::FailedBetween(after, before)
            }
            (Event::Interval, Some(at), _) if columns.ages.1.is_none() => Seen::Failed(at),
            _ => {
                *table.rejected.entry("no age".into()).or_default() += 1;
                continue;
            }
        };
        let lifetime = Lifetime::new(seen, count).and_then(|lifetime| match window(row) {
            Some((from, to)) => lifetime.within(from, to),
            None => Ok(lifetime),
        });
        let cause = match event {
            Event::Failed(cause) => cause.clone().or(Some("failed".into())),
            _ => None,
        };
        push(&mut table, lifetime, cause);
    }
    // Causes are told apart where every age is exact.
    if table.ended.len() < table.lifetimes.len() {
        table.ended.clear();
    }
    Ok(table)
}

fn push(table: &mut Table, lifetime: Result<Lifetime, SurvivalError>, cause: Option<String>) {
    match lifetime {
        Ok(lifetime) => {
            table.lifetimes.push(lifetime);
            let (count, untruncated) = (lifetime.count(), lifetime.entered() <= 0.0);
            if let (Seen::Failed(age) | Seen::Survived(age), true) = (lifetime.seen(), untruncated && count > 0.0) {
                table.ended.push(Ended { age, cause, count });
            }
        }
        Err(SurvivalError::Age { .. }) => {
            *table.rejected.entry("a failure at age zero or below".into()).or_default() += 1
        }
        Err(error) => *table.rejected.entry(format!("{error}")).or_default() += 1,
    }
}

fn columns(sheet: &Sheet, options: &Options, table: &mut Table) -> Result<Columns, String> {
    let chosen = |name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => match sheet.named(&[name.to_lowercase().as_str()]) {
            Some(column) => Ok(Some(column)),
            None => Err(format!("no column {name:?}; columns are {:?}", sheet.headers)),
        },
    };
    let count = chosen(&options.count)?.or(sheet.named(&COUNTS));
    let mut event = chosen(&options.event)?.or(sheet.named(&EVENTS));
    // `turn_hours, turn_event, phase_hours, …`: several lifetimes per row.
    let prefixed: Vec<(&str, usize)> = (sheet.headers.iter().enumerate())
        .filter_map(|(column, name)| Some((name.strip_suffix("_event")?, column)))
        .filter(|(prefix, _)| *prefix != "trun")
        .collect();
    let mut prefix = String::new();
    if let (None, Some((first, column))) = (event, prefixed.first()) {
        (event, prefix) = (Some(*column), format!("{first}_"));
        let others: Vec<&str> = prefixed[1..].iter().map(|(name, _)| *name).collect();
        table
            .notes
            .push(format!("lifetimes of {first}; {others:?} stand in the same rows: name their columns to fit them"));
    }
    let measures_use = |name: &str| {
        let name = name.strip_prefix(prefix.as_str()).unwrap_or(name).replace([' ', '_', '-', '.'], "");
        let plain = SCALES.iter().find_map(|scale| name.strip_prefix(scale).filter(|rest| USE.contains(rest)));
        plain.is_some() || USE.contains(&name.as_str())
    };
    let pair = sheet.named(&["lower"]).zip(sheet.named(&["upper"])).or_else(|| {
        sheet.headers.iter().enumerate().find_map(|(column, name)| {
            let upper = sheet.named(&[format!("{}u", name.strip_suffix('l')?).as_str()])?;
            Some((column, upper))
        })
    });
    let indicators: Vec<usize> = (sheet.headers.iter().enumerate())
        .filter(|(_, name)| event.is_none() && name.contains("fail"))
        .filter(|(column, _)| sheet.rows.iter().all(|row| matches!(row[*column].trim(), "0" | "1")))
        .map(|(column, _)| column)
        .collect();
    let only_number = || {
        let free = |column: &usize| Some(*column) != event && Some(*column) != count && sheet.all_numbers(*column);
        let free: Vec<usize> = (0..sheet.headers.len()).filter(free).collect();
        (event.is_some() && free.len() == 1).then(|| free[0])
    };
    let ages = match (chosen(&options.time)?, pair) {
        (Some(column), _) => (column, None),
        (None, Some((lower, upper))) => (lower, Some(upper)),
        (None, None) => match sheet.headers.iter().position(|name| measures_use(name)).or_else(only_number) {
            Some(column) => (column, None),
            None => {
                return Err(format!(
                    "no column of ages (hours, cycles, lower and upper …); columns are {:?}",
                    sheet.headers
                ));
            }
        },
    };
    let cause = sheet.named(&["mode", "cause"]).filter(|column| Some(*column) != event);
    Ok(Columns { ages, event, cause, indicators, count })
}

fn events(sheet: &Sheet, columns: &Columns, table: &mut Table) -> Vec<Event> {
    let Some(column) = columns.event else {
        let which = |row: &Vec<String>| {
            let mut on = columns.indicators.iter().filter(|column| row[**column].trim() == "1");
            match on.next() {
                Some(cause) => Event::Failed(Some(sheet.headers[*cause].clone())),
                None if columns.indicators.is_empty() => Event::Failed(None),
                None => Event::Running,
            }
        };
        return sheet.rows.iter().map(which).collect();
    };
    let words: BTreeSet<String> = sheet.rows.iter().map(|row| word(&row[column])).collect();
    let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
    let codes: [Event; 5] = match &numbers {
        Some(numbers) if numbers.contains(&4.0) => {
            table.notes.push("event codes of SPLIDA: 1 failed, 2 running, 3 left, 4 interval".into());
            [Event::Running, Event::Failed(None), Event::Running, Event::Left, Event::Interval]
        }
        Some(_) if matches!(sheet.headers[column].as_str(), "censored" | "censor") => {
            [Event::Failed(None), Event::Running, Event::Running, Event::Running, Event::Running]
        }
        Some(numbers) if columns.ages.1.is_none() && numbers.iter().any(|code| *code > 1.0) => {
            table.notes.push("event codes above 1 with one age: 2 found failed, 3 failed at it".into());
            [Event::Running, Event::Failed(None), Event::Left, Event::Interval, Event::Interval]
        }
        _ => [Event::Running, Event::Failed(None), Event::Left, Event::Interval, Event::Interval],
    };
    let repairs = words.iter().any(|word| word == OPENS || CLOSES.contains(&word.as_str()));
    let of = |row: &Vec<String>| {
        let word = word(&row[column]);
        if numbers.is_some() {
            let code = word.parse::<f64>().map_or(0, |code| code as usize);
            return codes[code.min(4)].clone();
        }
        match word.as_str() {
            word if RUNNING.contains(&word) => Event::Running,
            "left" | "lcensored" => Event::Left,
            "interval" | "icensored" => Event::Interval,
            word if word == OPENS => Event::Opens,
            word if CLOSES.contains(&word) => Event::Closes,
            _ if repairs => Event::Failed(None),
            _ => Event::Failed(Some(row[column].trim().to_owned())),
        }
    };
    let mut events: Vec<Event> = sheet.rows.iter().map(of).collect();
    if let Some(cause) = columns.cause {
        for (event, row) in events.iter_mut().zip(&sheet.rows) {
            if matches!(event, Event::Failed(_)) {
                *event = Event::Failed(Some(row[cause].trim().to_owned()));
            }
        }
    }
    events
}

fn word(text: &str) -> String {
    text.trim().to_lowercase().replace(['-', '_', ' '], "")
}

/// The ages between which a row's failure had to lie to be in the table.
fn windows(sheet: &Sheet) -> impl Fn(&[String]) -> Option<(f64, f64)> + '_ {
    let pair = sheet.named(&["trun_lower"]).zip(sheet.named(&["trun_upper"]));
    let single = sheet.named(&["truntime", "trunctime"]);
    let kind = sheet.named(&["trun_event", "truntype", "trunccode"]);
    move |row| {
        let (lower, upper) = match (pair, single) {
            (Some((lower, upper)), _) => (sheet.number(row, lower)?, sheet.number(row, upper)?),
            (None, Some(column)) => (sheet.number(row, column)?, sheet.number(row, column)?),
            (None, None) => return None,
        };
        match word(row.get(kind?)?).as_str() {
            // Counted only if it outlived the age; counted only if it failed by the age.
            "left" | "3" => Some((lower, f64::INFINITY)),
            "right" | "2" => Some((0.0, upper)),
            "interval" | "4" => Some((lower, upper)),
            _ => None,
        }
    }
}

/// Times between repairs of each unit; the last one, up to the end of its history, is a survival.
fn between_repairs(sheet: &Sheet, columns: &Columns, events: &[Event], table: &mut Table) {
    let used = [Some(columns.ages.0), columns.event, columns.count];
    let unit = (0..sheet.headers.len()).find(|column| !used.contains(&Some(*column)));
    let mut histories: BTreeMap<&str, Vec<(f64, &Event)>> = BTreeMap::new();
    for (row, event) in sheet.rows.iter().zip(events) {
        let unit = unit.map_or("", |column| row[column].trim());
        match sheet.number(row, columns.ages.0) {
            Some(age) => histories.entry(unit).or_default().push((age, event)),
            None => *table.rejected.entry("no age".into()).or_default() += 1,
        }
    }
    for history in histories.values_mut() {
        let order = |event: &Event| match event {
            Event::Opens => 0,
            Event::Closes => 2,
            _ => 1,
        };
        history.sort_by(|one, other| one.0.total_cmp(&other.0).then(order(one.1).cmp(&order(other.1))));
        let mut since = 0.0;
        for (age, event) in history.iter() {
            let length = age - since;
            since = *age;
            match event {
                Event::Opens => {}
                Event::Closes if length > 0.0 => push(table, Lifetime::new(Seen::Survived(length), 1.0), None),
                Event::Closes => {}
                _ if length > 0.0 => push(table, Lifetime::new(Seen::Failed(length), 1.0), Some("failed".into())),
                _ => *table.rejected.entry("a repair at the age of the one before".into()).or_default() += 1,
            }
        }
    }
    table.columns.insert("unit", unit.map_or_else(String::new, |column| sheet.headers[column].clone()));
    let says = "a history of repairs: the lifetimes are the times between them, as if each made the unit new";
    table.notes.push(says.into());
}
