//! What is wrong, as PostgreSQL's clients read it: SQLSTATE, text, hint, place.

use pgwire::error::{ErrorInfo, PgWireError};
use schemas::door::SqlError;

/// An error of a statement; the connection goes on.
pub(super) fn error(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), code.into(), message.into())))
}

/// An error that ends the connection.
pub(super) fn fatal(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".into(), code.into(), message.into())))
}

/// The engine's error.
pub(super) fn told(problem: SqlError, sql: &str) -> PgWireError {
    let code = code(&problem, sql);
    let position = match &problem {
        SqlError::Syntax { line: Some(line), column: Some(column), .. } => position(sql, *line, *column),
        _ => None,
    };
    if let SqlError::Internal(cause) = &problem {
        tracing::error!(cause = %cause, "answer a query over PostgreSQL");
    }
    let text = problem.to_string();
    // Our texts say what is wrong, then what to do.
    let (message, hint) = match text.split_once("; ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (text, None),
    };
    let mut info = ErrorInfo::new("ERROR".into(), code.into(), message);
    info.hint = hint;
    info.position = position.map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

fn code(problem: &SqlError, sql: &str) -> &'static str {
    let word = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match problem {
        SqlError::Syntax { .. } => "42601",
        SqlError::Invalid(text) if text.starts_with("there is no column") => "42703",
        SqlError::Invalid(text) if text.starts_with("there is no table") => "42P01",
        SqlError::Invalid(_) => "42000",
        SqlError::Refused(_) => match word.as_str() {
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "CREATE" | "DROP" | "ALTER" | "TRUNCATE" => "25006",
            _ => "0A000",
        },
        SqlError::Limit(text) if text.contains("took longer") => "57014",
        SqlError::Limit(text) if text.contains("memory") => "53200",
        SqlError::Limit(_) => "54000",
        SqlError::Internal(_) => "XX000",
    }
}

/// The place in characters from 1, as clients count.
fn position(sql: &str, line: u64, column: u64) -> Option<u64> {
    let before = sql.split_inclusive('\n').take(usize::try_from(line.checked_sub(1)?).ok()?);
    let before: usize = before.map(|line| line.chars().count()).sum();
    Some(before as u64 + column)
}
