//! Which statements may run.
//!
//! In: text. Out: one parsed statement that reads, or a refusal that says which statements are allowed.
//! This is the first of three locks; the second is [`verify`] on the plan, the third that plans are only ever turned
//! into streams, so that a plan for a definition would define nothing.

use std::{collections::VecDeque, ops::ControlFlow};

use datafusion::{
    common::TableReference,
    execution::context::SQLOptions,
    logical_expr::LogicalPlan,
    sql::{
        parser::{DFParserBuilder, Statement},
        sqlparser::{
            ast::{self, Visit, Visitor},
            dialect::GenericDialect,
            keywords::Keyword,
            tokenizer::{Token, Tokenizer},
        },
    },
};
use schemas::door::SqlError;

use super::{catalog::SCHEMA, problem};

/// The statements that are allowed, as told to whoever tries another.
const ALLOWED: &str = "SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS and DESCRIBE";

/// Words that begin a statement which would be refused even if it were well-formed.
const REFUSED: [Keyword; 31] = [
    Keyword::ALTER,
    Keyword::ANALYZE,
    Keyword::ATTACH,
    Keyword::BEGIN,
    Keyword::CALL,
    Keyword::COMMIT,
    Keyword::COPY,
    Keyword::CREATE,
    Keyword::DEALLOCATE,
    Keyword::DELETE,
    Keyword::DETACH,
    Keyword::DROP,
    Keyword::EXECUTE,
    Keyword::GRANT,
    Keyword::INSERT,
    Keyword::INSTALL,
    Keyword::KILL,
    Keyword::LOAD,
    Keyword::MERGE,
    Keyword::OPTIMIZE,
    Keyword::PRAGMA,
    Keyword::PREPARE,
    Keyword::RESET,
    Keyword::REVOKE,
    Keyword::ROLLBACK,
    Keyword::SET,
    Keyword::TRUNCATE,
    Keyword::UNLOAD,
    Keyword::UPDATE,
    Keyword::USE,
    Keyword::VACUUM,
];

/// What is asked for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Rows of a statement.
    Rows(Statement),
    /// How a statement would be answered.
    Plan(Statement),
}

/// Parses and admits.
pub(super) fn admit(sql: &str) -> Result<Asked, SqlError> {
    let parsed = DFParserBuilder::new(sql).build().and_then(|mut parser| parser.parse_statements());
    match parsed {
        Ok(statements) => admit_parsed(statements),
        Err(_) if begins_refused(sql) => Err(refusal("This statement")),
        Err(error) => Err(problem::told(error, sql, &[])),
    }
}

/// Admits what was parsed, by whatever parser.
pub(super) fn admit_parsed(mut statements: VecDeque<Statement>) -> Result<Asked, SqlError> {
    let Some(statement) = statements.pop_front() else {
        return Err(SqlError::Syntax {
            message: "there is no statement; try: show tables".into(),
            line: None,
            column: None,
        });
    };
    if !statements.is_empty() {
        return Err(SqlError::Refused(format!("one statement at a time; allowed are {ALLOWED}")));
    }
    match statement {
        Statement::Explain(explain) => {
            let options = &explain.options;
            if options.analyze || options.verbose || options.format.is_some() || options.show_statistics.is_some() {
                // Measured and estimated row counts include rows of other tenants.
                return Err(SqlError::Refused(
                    "EXPLAIN takes no options here: counts in plans are taken before rows of other tenants are left \
                     out; run plain EXPLAIN, or the query itself"
                        .into(),
                ));
            }
            match reading(*explain.statement)? {
                Asked::Rows(statement @ Statement::Statement(_)) => Ok(Asked::Plan(statement)),
                _ => Err(refusal("This use of EXPLAIN")),
            }
        }
        statement => reading(statement),
    }
}

/// The statement if it reads rows.
fn reading(statement: Statement) -> Result<Asked, SqlError> {
    let Statement::Statement(inner) = &statement else {
        return Err(refusal(&verb(&statement.to_string())));
    };
    match &**inner {
        ast::Statement::Query(query) if reads(query) => Ok(Asked::Rows(statement)),
        ast::Statement::Query(_) => Err(refusal("A query that writes")),
        ast::Statement::ExplainTable { .. } | ast::Statement::ShowColumns { .. } => Ok(Asked::Rows(statement)),
        ast::Statement::ShowTables { .. } => {
            let sql = format!(
                "select table_name from information_schema.tables where table_schema = '{SCHEMA}' order by table_name"
            );
            admit(&sql)
        }
        other => Err(refusal(&verb(&other.to_string()))),
    }
}

/// Whether a query has no statement inside that writes.
fn reads(query: &ast::Query) -> bool {
    struct Writes;
    impl Visitor for Writes {
        type Break = ();
        fn pre_visit_statement(&mut self, _: &ast::Statement) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            match query.body.as_select() {
                Some(select) if select.into.is_some() => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Writes).is_continue()
}

/// The second lock: a plan that only reads, over tables that may be shown.
pub(super) fn verify(plan: &LogicalPlan) -> Result<(), SqlError> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(plan).map_err(|_| refusal("This statement"))
}

/// Refuses what would show the engine's own settings: they name folders of the server.
pub(super) fn visible(table: &TableReference) -> Result<(), SqlError> {
    if table.table() == "df_settings" {
        return Err(SqlError::Refused("the engine's settings are not shown; see the server's check-config".into()));
    }
    Ok(())
}

pub(super) fn refusal(what: &str) -> SqlError {
    SqlError::Refused(format!("{what} is not allowed: queries only read; allowed are {ALLOWED}"))
}

/// The first word of a statement, as people say it.
fn verb(statement: &str) -> String {
    statement.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_uppercase()
}

pub(super) fn begins_refused(sql: &str) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let first = tokens.iter().find(|token| !matches!(token, Token::Whitespace(_)));
    matches!(first, Some(Token::Word(word)) if REFUSED.contains(&word.keyword))
}
