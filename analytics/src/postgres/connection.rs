//! One connection: who it is, what it has set, what it runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use futures::{StreamExt as _, stream};
use pgwire::{
    api::{
        ClientInfo, Type,
        auth::DefaultServerParameterProvider,
        portal::Format,
        results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag},
    },
    error::{PgWireError, PgWireResult},
    messages::response::TransactionStatus,
};
use schemas::door::{Dialect, Holder, Request, Statement};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    problem::{self, error, fatal},
    session::{Command, Refusal, Session, command},
    shape::{shape, shown},
};

/// Why a connection is only told that it cannot stay.
pub(super) struct Full(pub(super) usize);

/// The state of one connection.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) full: Option<Full>,
    holder: Mutex<Option<Holder>>,
    session: Mutex<Session>,
    /// Ends what runs now.
    pub(super) running: Arc<Mutex<CancellationToken>>,
    pub(super) key: Mutex<Option<super::Key>>,
    pub(super) parameters: DefaultServerParameterProvider,
}

/// What a mutex keeps; here a panic leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused((code, text): Refusal) -> PgWireError {
    error(code, text)
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, full: Option<Full>) -> Self {
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = "16.6".into();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        parameters.time_zone = "UTC".into();
        Self {
            shared,
            full,
            holder: Mutex::default(),
            session: Mutex::default(),
            running: Arc::default(),
            key: Mutex::default(),
            parameters,
        }
    }

    /// Whether a token was shown.
    pub(super) fn is_known(&self) -> bool {
        lock(&self.holder).is_some()
    }

    pub(super) fn holder(&self) -> PgWireResult<Holder> {
        lock(&self.holder).clone().ok_or_else(|| fatal("28000", "no token was shown"))
    }

    pub(super) fn request(&self, sql: &str) -> Request {
        Request { dialect: Dialect::Postgres, timeout: lock(&self.session).timeout(), ..Request::new(sql) }
    }

    /// What needs no engine; none for all else.
    pub(super) fn own(
        &self,
        sql: &str,
        status: TransactionStatus,
        format: FieldFormat,
    ) -> PgWireResult<Option<Response>> {
        self.holder()?;
        let command = command(sql);
        if status == TransactionStatus::Error && !matches!(command, Some(Command::End(_))) {
            return Err(error("25P02", "the transaction has failed; only ROLLBACK is answered until it ends"));
        }
        Ok(match command {
            None => None,
            Some(Command::Begin) => Some(Response::TransactionStart(Tag::new("BEGIN"))),
            Some(Command::End(word)) => Some(Response::TransactionEnd(Tag::new(word))),
            Some(Command::Done(word)) => Some(Response::Execution(Tag::new(word))),
            Some(Command::Set(name, value)) => {
                let reset = sql.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("reset"));
                let word = if reset { "RESET" } else { "SET" };
                lock(&self.session).set(&name, value.as_deref()).map_err(refused)?;
                Some(Response::Execution(Tag::new(word)))
            }
            Some(Command::Show(name)) => {
                let value = lock(&self.session).show(&name).map_err(refused)?;
                let fields = Arc::new(vec![FieldInfo::new(name, None, None, Type::TEXT, format)]);
                let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
                encoder.encode_field(&Some(value))?;
                let row = encoder.take_row();
                let mut response = QueryResponse::new(fields, stream::iter([Ok(row)]));
                response.set_command_tag("SHOW");
                Some(Response::Query(response))
            }
            Some(Command::Refused(what, instead)) => {
                let text = format!("{what}: queries only read; {instead}");
                return Err(problem::told(schemas::door::SqlError::Refused(text), sql));
            }
        })
    }

    /// Runs a query; its rows come as they are read.
    pub(super) async fn run(
        &self,
        request: &Request,
        format: &Format,
        told: Option<&Statement>,
    ) -> PgWireResult<Response> {
        let holder = self.holder()?;
        self.shared.metrics.queries.inc();
        let cancelled = CancellationToken::new();
        *lock(&self.running) = cancelled.clone();
        let answer = tokio::select! {
            () = cancelled.cancelled() => return Err(PgWireError::QueryCanceled),
            answer = self.shared.engine.query_with(&holder.tenant, request) => answer,
        };
        let answer = answer.map_err(|problem| problem::told(problem, &request.sql))?;
        let schema = shown(told.map_or(&answer.schema, |told| &told.schema));
        let fields = Arc::new(arrow_schema_to_pg_fields(&schema, format, None)?);
        let (rows_fields, sql) = (Arc::clone(&fields), request.sql.clone());
        let batches = stream::unfold(Some((answer.batches, cancelled)), |state| async {
            let (mut batches, cancelled) = state?;
            tokio::select! {
                () = cancelled.cancelled() => Some((Err(None), None)),
                batch = batches.next() => match batch? {
                    Ok(batch) => Some((Ok(batch), Some((batches, cancelled)))),
                    Err(problem) => Some((Err(Some(problem)), None)),
                },
            }
        });
        let rows = batches.flat_map(move |batch| {
            let rows = match batch {
                Ok(batch) => match shape(&batch, &schema) {
                    Ok(batch) => encode_recordbatch(Arc::clone(&rows_fields), batch).collect(),
                    Err(problem) => vec![Err(error("22000", problem.to_string()))],
                },
                Err(Some(problem)) => vec![Err(problem::told(problem, &sql))],
                Err(None) => vec![Err(PgWireError::QueryCanceled)],
            };
            stream::iter(rows)
        });
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }

    pub(super) async fn login(&self, client: &(impl ClientInfo + ?Sized), secret: &str) -> PgWireResult<()> {
        let metrics = &self.shared.metrics;
        let metadata = |key: &str| client.metadata().get(key).map(String::as_str).unwrap_or_default();
        let (user, database) = (metadata("user").to_owned(), metadata("database").to_owned());
        let held = self.shared.tokens.token(secret).await;
        let holder = held.map_err(|cause| {
            tracing::error!(cause = %cause, "check a token");
            fatal("XX000", "the token could not be checked")
        })?;
        let Some(holder) = holder else {
            metrics.refused("password");
            return Err(fatal("28P01", "the password is no token in force; it is the token fw_… of the API"));
        };
        if !holder.may_query {
            metrics.refused("role");
            return Err(fatal("42501", "the token's role may not query; this needs analyst or admin"));
        }
        let tenant = holder.tenant.as_str();
        if !["", tenant, "forewarn", user.as_str()].contains(&database.as_str()) {
            metrics.refused("database");
            return Err(fatal("3D000", format!("there is no database {database:?}; yours is {tenant:?}")));
        }
        tracing::info!(tenant, token = holder.name, "a PostgreSQL client logged in");
        if let Some(name) = client.metadata().get("application_name") {
            let _ = lock(&self.session).set("application_name", Some(name));
        }
        *lock(&self.holder) = Some(holder);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = lock(&self.key).take() {
            lock(&self.shared.keys).remove(&key);
        }
        lock(&self.running).cancel();
    }
}

/// What runs under which key.
pub(super) type Keys = HashMap<super::Key, Arc<Mutex<CancellationToken>>>;
