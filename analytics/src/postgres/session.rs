//! What a connection says about itself rather than about rows: SET, SHOW, transactions.
//!
//! In: one statement. Out: a [`Command`], or none where the engine must answer. Promise: transactions are taken and
//! change nothing, since queries only read; a setting that is taken is answered by SHOW. Never: a guess that a setting
//! had an effect which it has not.

use std::{collections::BTreeMap, time::Duration};

use crate::query::postgres::DEFAULTS;

/// Settings that one connection may have set: drivers set a dozen.
const MAX_SETTINGS: usize = 64;

/// The longest value of a setting.
const MAX_VALUE: usize = 1024;

/// What is as it is.
const FIXED: [&str; 5] =
    ["integer_datetimes", "max_identifier_length", "server_encoding", "server_version", "server_version_num"];

/// A statement that needs no engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Begins a transaction.
    Begin,
    /// Ends one; the word of the answer.
    End(&'static str),
    /// Taken, nothing to do; the word of the answer.
    Done(&'static str),
    /// Sets; none is the default.
    Set(String, Option<String>),
    /// Shows.
    Show(String),
    /// Not to be had here: what, and what to do instead.
    Refused(&'static str, &'static str),
}

/// Reads a statement, if it is one of these.
pub(super) fn command(sql: &str) -> Option<Command> {
    let text = sql.trim().trim_end_matches(';').trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
    let next = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    Some(match word.as_str() {
        "BEGIN" | "START" => Command::Begin,
        "COMMIT" | "END" => Command::End("COMMIT"),
        "ROLLBACK" | "ABORT" if next != "TO" => Command::End("ROLLBACK"),
        "ROLLBACK" => Command::Done("ROLLBACK"),
        "SAVEPOINT" => Command::Done("SAVEPOINT"),
        "RELEASE" => Command::Done("RELEASE"),
        "DISCARD" => Command::Done("DISCARD ALL"),
        "DEALLOCATE" => Command::Done("DEALLOCATE"),
        "CLOSE" => Command::Done("CLOSE CURSOR"),
        "UNLISTEN" => Command::Done("UNLISTEN"),
        "RESET" => Command::Set(rest.to_ascii_lowercase(), None),
        "SHOW" if matches!(next.as_str(), "TABLES" | "COLUMNS" | "FULL" | "EXTENDED") => return None,
        "SHOW" => match rest.to_ascii_lowercase().as_str() {
            "transaction isolation level" => Command::Show("transaction_isolation".into()),
            "time zone" => Command::Show("timezone".into()),
            name => Command::Show(name.trim_matches('"').to_owned()),
        },
        "SET" => set(rest),
        "COPY" => Command::Refused("COPY is not allowed", "run the query itself, or POST it to /v1/sql for CSV"),
        "DECLARE" | "FETCH" | "MOVE" => {
            Command::Refused("cursors of SQL are not kept here", "run the query itself: its rows are streamed")
        }
        "LISTEN" | "NOTIFY" => Command::Refused("notifications are not sent here", "follow GET /v1/events instead"),
        _ => return None,
    })
}

fn set(rest: &str) -> Command {
    let lower = rest.to_ascii_lowercase();
    if lower.starts_with("transaction ") || lower.starts_with("session characteristics") {
        return Command::Done("SET");
    }
    let scoped = ["session ", "local "].iter().find(|scope| lower.starts_with(**scope)).map_or(0, |scope| scope.len());
    let (rest, lower) = (rest[scoped..].trim_start(), lower[scoped..].trim_start());
    let (name, value) = if lower.starts_with("time zone ") {
        ("timezone", &rest["time zone ".len()..])
    } else {
        match (lower.find(" to "), rest.find('=')) {
            (Some(to), equals) if equals.is_none_or(|equals| to < equals) => (&rest[..to], &rest[to + 4..]),
            (_, Some(equals)) => (&rest[..equals], &rest[equals + 1..]),
            (..) => (rest, ""),
        }
    };
    let value = value.trim().trim_matches('\'').trim_matches('"');
    let value = (!value.eq_ignore_ascii_case("default")).then(|| value.to_owned());
    Command::Set(name.trim().trim_matches('"').to_ascii_lowercase(), value)
}

/// Why a setting is not taken: SQLSTATE and text.
pub(super) type Refusal = (&'static str, String);

/// The settings of one connection.
#[derive(Debug, Default)]
pub(super) struct Session(BTreeMap<String, String>);

impl Session {
    /// Takes a setting, or its default.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Refusal> {
        if FIXED.contains(&name) {
            return Err(("55P02", format!("parameter {name:?} cannot be changed")));
        }
        let Some(value) = value else {
            match name {
                "all" => self.0.clear(),
                name => drop(self.0.remove(name)),
            }
            return Ok(());
        };
        if name == "timezone" && !["utc", "gmt", "etc/utc", "z", "0"].contains(&value.to_ascii_lowercase().as_str()) {
            return Err(("22023", format!("TimeZone is {value:?}; times are answered in UTC only")));
        }
        if name == "statement_timeout" && span(value).is_none() {
            return Err(("22023", format!("statement_timeout is {value:?}; legal are milliseconds, or such as '5s'")));
        }
        if value.len() > MAX_VALUE || (self.0.len() >= MAX_SETTINGS && !self.0.contains_key(name)) {
            return Err(("54000", format!("more than {MAX_SETTINGS} settings, or one of more than {MAX_VALUE} bytes")));
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// What is set.
    pub(super) fn show(&self, name: &str) -> Result<String, Refusal> {
        let default = || DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let value = self.0.get(name).cloned().or_else(default);
        value.ok_or_else(|| ("42704", format!("there is no setting {name:?}")))
    }

    /// How long a statement may take, if the client said so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.0.get("statement_timeout").and_then(|value| span(value)).filter(|span| !span.is_zero())
    }
}

fn span(text: &str) -> Option<Duration> {
    let digits = text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len());
    let (number, unit) = text.trim().split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_about_the_connection_needs_no_engine() {
        let set = |name: &str, value: Option<&str>| Command::Set(name.into(), value.map(Into::into));
        for (sql, expected) in [
            ("begin", Command::Begin),
            ("START TRANSACTION READ ONLY;", Command::Begin),
            ("end", Command::End("COMMIT")),
            ("rollback to savepoint x", Command::Done("ROLLBACK")),
            ("set statement_timeout = '5s'", set("statement_timeout", Some("5s"))),
            ("SET SESSION application_name TO 'a = b'", set("application_name", Some("a = b"))),
            ("set time zone 'UTC'", set("timezone", Some("UTC"))),
            ("set extra_float_digits to default", set("extra_float_digits", None)),
            ("reset all", set("all", None)),
            ("show server_version_num", Command::Show("server_version_num".into())),
            ("show transaction isolation level", Command::Show("transaction_isolation".into())),
        ] {
            assert_eq!(command(sql), Some(expected), "{sql}");
        }
        for sql in ["select 1", "show tables", "insert into x values (1)", ""] {
            assert_eq!(command(sql), None, "{sql}");
        }
        assert!(matches!(command("copy fault to stdout"), Some(Command::Refused(..))));
    }

    #[test]
    fn a_setting_that_is_taken_is_shown() {
        let mut session = Session::default();
        session.set("statement_timeout", Some("2min")).unwrap();
        assert_eq!(session.timeout(), Some(Duration::from_secs(120)));
        assert_eq!(session.show("statement_timeout").unwrap(), "2min");
        session.set("all", None).unwrap();
        assert_eq!((session.timeout(), session.show("statement_timeout").unwrap().as_str()), (None, "0"));
        assert_eq!(session.set("timezone", Some("Asia/Tokyo")).unwrap_err().0, "22023");
        assert_eq!(session.set("server_version", Some("9")).unwrap_err().0, "55P02");
        assert_eq!(session.show("no_such").unwrap_err().0, "42704");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,80}", word in "(?i)(set|show|reset|begin)") {
            let _ = command(&text);
            let _ = command(&format!("{word} {text}"));
        }
    }
}
