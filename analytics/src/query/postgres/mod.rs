//! SQL as PostgreSQL's clients write it.
//!
//! In: text. Out: statements that the engine plans, and `pg_catalog` beside the tables. Promise: the catalog tells of
//! names and columns only, and the same to every tenant; numbers of objects stay for the life of the process. Never: a
//! statement past `policy`, a row count, a tenant's row.
//!
//! The rewriting (`::regclass`, `any(…)`, catalog functions) is `datafusion-pg-catalog`'s. Ours beside it:
//! `known` (sub-queries with a known answer), `constant` and `setting` (functions), `information` (types in
//! `information_schema`).

mod constant;
pub(super) mod information;
mod known;
mod setting;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema, SchemaRef},
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
    logical_expr::{ScalarUDF, TableType},
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
    service::ServiceTable,
    table::TableName,
};

pub use self::setting::DEFAULTS;
use super::{
    catalog::{CATALOG, PG_CATALOG, SCHEMA, names, table_type},
    latest,
    policy::{self, Asked},
    problem,
    trend::{self, Planner},
};

/// What the dialect needs beside the engine.
pub(super) struct Postgres {
    parser: PostgresCompatibilityParser,
    state: SessionState,
    catalog: Arc<dyn SchemaProvider>,
}

impl Postgres {
    /// Over the names of the tables.
    pub(super) fn new(state: &SessionState, outlines: Outlines) -> Result<Self> {
        let list = outlines.catalogs()?;
        let state = SessionStateBuilder::new_from_existing(state.clone()).with_catalog_list(list).build();
        let context = SessionContext::new_with_state(state);
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        context.register_udf(ScalarUDF::from(setting::CurrentSetting::new()));
        for function in constant::all() {
            context.register_udf(ScalarUDF::from(function));
        }
        let missing = || DataFusionError::Configuration("there is no pg_catalog".into());
        let catalog = context.catalog(CATALOG).and_then(|catalog| catalog.schema(PG_CATALOG)).ok_or_else(missing)?;
        // That of this dialect stands among the schemas.
        let mut state = context.state();
        state.config_mut().options_mut().catalog.information_schema = false;
        Ok(Self { parser: PostgresCompatibilityParser::new(), state, catalog })
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
        match (self.parser.parse(&known::answered(sql)), plain) {
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
    // As written: a quote inside a text stays doubled.
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .with_unescape(false)
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

/// The tables without their rows, and the views over them.
#[derive(Clone)]
pub(super) struct Outlines {
    tables: Arc<dyn TableSource>,
    /// Whether the service database's tables are among them.
    service: bool,
    /// None where views are planned over these outlines.
    views: Option<Arc<Planner>>,
}

impl Outlines {
    pub(super) fn new(tables: Arc<dyn TableSource>, service: bool, views: Arc<Planner>) -> Self {
        Self { tables, service, views: Some(views) }
    }

    /// A list of catalogs with just these.
    fn catalogs(self) -> Result<Arc<dyn CatalogProviderList>> {
        let list = MemoryCatalogProviderList::new();
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(self))?;
        list.register_catalog(CATALOG.into(), Arc::new(catalog));
        Ok(Arc::new(list))
    }

    async fn schema(&self, name: &str) -> Result<Option<SchemaRef>> {
        if let (Some(view), Some(views)) = (trend::of_view(name), &self.views) {
            let outlines = Self { views: None, ..self.clone() };
            return views.schema(view, outlines.catalogs()?).await.map(Some);
        }
        if let Ok(table) = name.parse::<ServiceTable>() {
            return Ok(self.service.then(|| table.schema()));
        }
        if let Some(profile) = latest::profile(name) {
            let rollup = TableName::Rollup(Span::All, profile);
            let Some(snapshot) = self.tables.snapshot(&rollup) else { return Ok(None) };
            return Ok(Some(latest::table(&rollup, Arc::new(EmptyTable::new(snapshot.schema)))?.schema()));
        }
        let snapshot = name.parse::<TableName>().ok().and_then(|name| self.tables.snapshot(&name));
        Ok(snapshot.map(|snapshot| snapshot.schema))
    }
}

impl std::fmt::Debug for Outlines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlines")
    }
}

#[async_trait]
impl SchemaProvider for Outlines {
    fn table_names(&self) -> Vec<String> {
        names(self.tables.as_ref(), self.service)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let schema = self.schema(name).await?;
        Ok(schema.map(|schema| Arc::new(EmptyTable::new(schema)) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then(|| table_type(name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}
