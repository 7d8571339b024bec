//! Words for what went wrong.
//!
//! In: DataFusion's error. Out: ours, for the analyst: what is wrong, where, and what to do. Never: text of internal
//! errors; they stay in `source`.

use std::error::Error as _;

use arrow::error::ArrowError;
use datafusion::{
    common::{Column, SchemaError},
    error::DataFusionError,
    sql::sqlparser::parser::ParserError,
};
use schemas::door::SqlError;

/// How alike two names must be (Jaro-Winkler, 1 is equal) for one to be proposed for the other.
const ALIKE: f64 = 0.8;

/// Names proposed at most.
const PROPOSED: usize = 3;

/// Names listed at most where none is alike.
const LISTED: usize = 40;

/// Rewords an error; `tables` are the names to propose, `sql` is there where the text did not parse.
pub(super) fn told(error: DataFusionError, sql: &str, tables: &[String]) -> SqlError {
    match error.find_root() {
        DataFusionError::SQL(parser, _) => syntax(parser, sql),
        DataFusionError::SchemaError(schema, _) => SqlError::Invalid(schema_text(schema)),
        DataFusionError::Plan(text) => SqlError::Invalid(plan_text(&plain(text), tables)),
        DataFusionError::NotImplemented(text) => SqlError::Invalid(format!("not supported: {}", plain(text))),
        DataFusionError::Execution(text) | DataFusionError::Configuration(text) => SqlError::Invalid(plain(text)),
        DataFusionError::ArrowError(arrow, _) if about_values(arrow) => SqlError::Invalid(arrow.to_string()),
        DataFusionError::ResourcesExhausted(text) => SqlError::Limit(exhausted(text)),
        _ => SqlError::Internal(Box::new(error)),
    }
}

/// Whether the query's own values are to blame.
fn about_values(error: &ArrowError) -> bool {
    use ArrowError::{
        ArithmeticOverflow, CastError, ComputeError, DivideByZero, InvalidArgumentError, NotYetImplemented, ParseError,
    };
    error.source().is_none()
        && matches!(
            error,
            CastError(_)
                | ParseError(_)
                | DivideByZero
                | ArithmeticOverflow(_)
                | InvalidArgumentError(_)
                | ComputeError(_)
                | NotYetImplemented(_)
        )
}

fn exhausted(text: &str) -> String {
    if text.contains("disk") {
        return "sorting and grouping needed more disk than queries may use; filter by date or device, or read fewer \
                columns"
            .into();
    }
    "the query needs more memory than its share (query.memory_bytes divided by query.concurrent); filter by date or \
     device, read fewer columns, or group by fewer values"
        .into()
}

fn syntax(error: &ParserError, sql: &str) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (text, place) = match text.rsplit_once(" at Line: ") {
        Some((text, place)) => (text, place.split_once(", Column: ")),
        None => (text, None),
    };
    let number = |digits: &str| digits.trim().parse::<u64>().ok();
    let line = place.and_then(|(line, _)| number(line));
    let column = place.and_then(|(_, column)| number(column));
    let at = match (line, column) {
        (Some(line), Some(column)) => format!(" at line {line}, column {column}"),
        _ => String::new(),
    };
    let message = format!("{text}{at}; {}", hint(text, sql));
    SqlError::Syntax { message, line, column }
}

fn hint(text: &str, sql: &str) -> &'static str {
    if text.contains("Unterminated") || sql.matches('\'').count() % 2 == 1 {
        "a text begins and ends with ', and a ' inside is written ''"
    } else if text.contains("found: EOF") {
        "something is missing at the end"
    } else if sql.contains('`') {
        "a name with unusual letters stands in double quotes, not in `"
    } else {
        "a statement looks like: select device_id, count(*) from fault where date >= '2026-11-01' group by device_id"
    }
}

fn schema_text(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return error.to_string() };
    let names: Vec<&str> = valid_fields.iter().map(Column::name).collect();
    let mut text = format!("there is no column {:?}", field.name);
    if let Some(relation) = &field.relation {
        text += &format!(" in {relation}");
    }
    text += &proposal(&field.name, &names, "columns");
    if nearest(&field.name, &names).is_empty() {
        text += "; a text stands in single quotes";
    }
    text
}

fn plan_text(text: &str, tables: &[String]) -> String {
    let missing = text.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    let Some(missing) = missing else { return text.into() };
    let name = missing.strip_prefix("forewarn.public.").unwrap_or(missing);
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    format!("there is no table {name:?}{}", proposal(name, &names, "tables"))
}

fn proposal(name: &str, names: &[&str], what: &str) -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let near = nearest(name, names);
    if !near.is_empty() {
        return format!("; nearest: {}", quoted(&near));
    }
    match names.len() {
        0 => String::new(),
        1..=LISTED => format!("; {what}: {}", quoted(names)),
        many => format!("; {what}: {} and {} more", quoted(&names[..LISTED]), many - LISTED),
    }
}

/// The names most like `name`, best first.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> =
        names.iter().map(|other| (strsim::jaro_winkler(&name, &other.to_lowercase()), *other)).collect();
    scored.retain(|(score, _)| *score >= ALIKE);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().take(PROPOSED).map(|(_, name)| name).collect()
}

/// Without a back trace, should one be on.
fn plain(text: &str) -> String {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text).to_owned()
}
