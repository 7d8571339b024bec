//! SQL as PostgreSQL's clients write it.
//!
//! In: text. Out: statements that the engine plans, and `pg_catalog` beside the tables. Promise: the catalog tells of
//! names and columns only, and the same to every tenant; numbers of objects stay for the life of the process. Never: a
//! statement past `policy`, a row count, a tenant's row.
//!
//! The rewriting (`::regclass`, `any(…)`, catalog functions) is `datafusion-pg-catalog`'s.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider as _, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
        TableProvider,
    },
    common::ParamValues,
    datasource::empty::EmptyTable,
    error::{DataFusionError, Result},
    execution::{SessionState, SessionStateBuilder},
    prelude::SessionContext,
    sql::{
        parser::Statement,
        sqlparser::{
            dialect::PostgreSqlDialect,
            keywords::Keyword,
            parser::{Parser, ParserError},
            tokenizer::{Token, Tokenizer},
        },
    },
};
use datafusion_pg_catalog::{
    pg_catalog::context::EmptyContextProvider, setup_pg_catalog, sql::PostgresCompatibilityParser,
};
use schemas::{
    door::{SqlError, TableSource},
    rollup::Span,
    table::TableName,
};

use super::{
    catalog::{CATALOG, PG_CATALOG, SCHEMA},
    latest,
    policy::{self, Asked},
    problem,
};

/// What the dialect needs beside the engine.
pub(super) struct Postgres {
    parser: PostgresCompatibilityParser,
    state: SessionState,
    catalog: Arc<dyn SchemaProvider>,
}

impl Postgres {
    /// Over the names of the tables.
    pub(super) fn new(state: &SessionState, tables: Arc<dyn TableSource>) -> Result<Self> {
        let list = MemoryCatalogProviderList::new();
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(Outlines(tables)))?;
        list.register_catalog(CATALOG.into(), Arc::new(catalog));
        let state = SessionStateBuilder::new_from_existing(state.clone()).with_catalog_list(Arc::new(list)).build();
        let context = SessionContext::new_with_state(state);
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let missing = || DataFusionError::Configuration("there is no pg_catalog".into());
        let catalog = context.catalog(CATALOG).and_then(|catalog| catalog.schema(PG_CATALOG)).ok_or_else(missing)?;
        Ok(Self { parser: PostgresCompatibilityParser::new(), state: context.state(), catalog })
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    pub(super) fn catalog(&self) -> Arc<dyn SchemaProvider> {
        Arc::clone(&self.catalog)
    }

    /// Parses, rewrites and admits.
    pub(super) fn admit(&self, sql: &str) -> Result<Asked, SqlError> {
        if first_word(sql) == Some(Keyword::EXPLAIN) || policy::begins_refused(sql) {
            return policy::admit(sql);
        }
        // Rewriting loses where things stand: what is no SQL at all is told from the text as written.
        let plain = Parser::parse_sql(&PostgreSqlDialect {}, sql);
        match (self.parser.parse(sql), plain) {
            (Ok(parsed), _) => {
                policy::admit_parsed(parsed.into_iter().map(|one| Statement::Statement(Box::new(one))).collect())
            }
            (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(not_parsed(error, sql)),
        }
    }
}

fn not_parsed(error: ParserError, sql: &str) -> SqlError {
    problem::told(DataFusionError::SQL(Box::new(error), None), sql, &[])
}

fn first_word(sql: &str) -> Option<Keyword> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().ok()?;
    match tokens.into_iter().find(|token| !matches!(token, Token::Whitespace(_)))? {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    }
}

/// One text as the statements in it, empty ones left out.
pub fn split(sql: &str) -> Result<Vec<String>, SqlError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| not_parsed(ParserError::from(error), sql))?;
    let statements = tokens.split(|token| *token == Token::SemiColon);
    let blank = |tokens: &&[Token]| tokens.iter().all(|token| matches!(token, Token::Whitespace(_)));
    let filled: Vec<&[Token]> = statements.filter(|tokens| !blank(tokens)).collect();
    match filled.as_slice() {
        // As written, so that places in it stay.
        [_] => Ok(vec![sql.to_owned()]),
        many => Ok(many.iter().map(|tokens| tokens.iter().map(ToString::to_string).collect()).collect()),
    }
}

/// Bound values as one row.
pub fn row(values: ParamValues) -> Result<RecordBatch, SqlError> {
    let ParamValues::List(values) = values else {
        return Err(SqlError::Invalid("parameters have numbers, not names".into()));
    };
    let arrays = values.iter().map(|value| value.value().to_array_of_size(1)).collect::<Result<Vec<ArrayRef>>>();
    let arrays = arrays.map_err(|error| SqlError::Internal(Box::new(error)))?;
    let fields = arrays.iter().enumerate().map(|(i, a)| Field::new(format!("${}", i + 1), a.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(1)))
        .map_err(|error| SqlError::Internal(Box::new(error)))
}

/// The tables without their rows.
struct Outlines(Arc<dyn TableSource>);

impl std::fmt::Debug for Outlines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlines")
    }
}

#[async_trait]
impl SchemaProvider for Outlines {
    fn table_names(&self) -> Vec<String> {
        let names = self.0.names();
        names.iter().map(ToString::to_string).chain(names.iter().filter_map(latest::served)).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let empty = |name: &TableName| -> Option<Arc<dyn TableProvider>> {
            Some(Arc::new(EmptyTable::new(self.0.snapshot(name)?.schema)))
        };
        if let Some(profile) = latest::profile(name) {
            let rollup = TableName::Rollup(Span::All, profile);
            return empty(&rollup).map(|outline| latest::table(&rollup, outline)).transpose();
        }
        Ok(name.parse::<TableName>().ok().and_then(|name| empty(&name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}
