//! What pgwire asks of a connection: log in, run, prepare, cancel.

use std::{fmt::Debug, sync::Arc};

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, df::deserialize_parameters, into_pg_type};
use async_trait::async_trait;
use futures::{Sink, SinkExt as _};
use pgwire::{
    api::{
        ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, PgWireServerHandlers,
        PidSecretKeyGenerator as _, Type,
        auth::{StartupHandler, finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata},
        cancel::CancelHandler,
        portal::{Format, Portal, PortalExecutionState},
        query::{
            ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_partial_query_response,
            send_query_response, send_ready_for_query,
        },
        results::{FieldFormat, FieldInfo, Response, Tag},
        stmt::QueryParser,
        store::{Entry, PortalStore},
    },
    error::{PgWireError, PgWireResult},
    messages::{
        PgWireBackendMessage, PgWireFrontendMessage, cancel::CancelRequest, extendedquery::Execute,
        response::EmptyQueryResponse, simplequery::Query, startup::Authentication,
    },
};
use schemas::door::Statement;

use super::{
    connection::{Connection, Full, lock},
    problem::{self, error, fatal},
    session::{Command, command},
    shape::shown,
};
use crate::query::postgres::{row, split};

/// The connection as pgwire asks it.
#[derive(Clone)]
pub(super) struct Handler(pub(super) Arc<Connection>);

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    sql: String,
    /// What it takes and gives; none for what needs no engine.
    told: Option<Statement>,
}

impl PgWireServerHandlers for Handler {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::new(self.clone())
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::new(self.clone())
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(self.clone())
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl StartupHandler for Handler {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = &self.0;
        let metrics = &connection.shared.metrics;
        match message {
            PgWireFrontendMessage::Startup(ref startup) => {
                if let Some(Full(most)) = &connection.full {
                    metrics.refused("full");
                    return Err(fatal("53300", format!("{most} connections stand (postgres.max_connections)")));
                }
                if !client.is_secure() && !client.socket_addr().ip().to_canonical().is_loopback() {
                    metrics.refused("cleartext");
                    return Err(fatal("28000", "a token is not taken in clear from another machine"));
                }
                protocol_negotiation(client, startup).await?;
                save_startup_parameters_to_metadata(client, startup);
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                let ask = PgWireBackendMessage::Authentication(Authentication::CleartextPassword);
                client.send(ask).await?;
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let secret = password.into_password()?.password;
                connection.login(client, &secret).await?;
                let (pid, secret) = connection.shared.generator.generate(client);
                let key = (pid, secret.to_bytes().to_vec());
                client.set_pid_and_secret_key(pid, secret);
                *lock(&connection.key) = Some(key.clone());
                lock(&connection.shared.keys).insert(key, Arc::clone(&connection.running));
                finish_authentication(client, &connection.parameters).await?;
            }
            _ => return Err(fatal("08P01", "the password was expected")),
        }
        Ok(())
    }
}

#[async_trait]
impl CancelHandler for Handler {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let shared = &self.0.shared;
        let key = (request.pid, request.secret_key.to_bytes().to_vec());
        let running = lock(&shared.keys).get(&key).cloned();
        if let Some(running) = running {
            shared.metrics.cancelled.inc();
            lock(&running).cancel();
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Handler {
    /// Statements run one after another: each has its place in the engine only while its rows are sent.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.0.holder()?;
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let statements = split(&query.query).map_err(|problem| problem::told(problem, &query.query))?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for sql in statements {
            for response in SimpleQueryHandler::do_query(self, client, &sql).await? {
                match response {
                    Response::Query(rows) => send_query_response(client, rows, true).await?,
                    other => answer(client, other).await?,
                }
            }
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, client: &mut C, sql: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let own = self.0.own(sql, client.transaction_status(), FieldFormat::Text)?;
        let response = match own {
            Some(response) => response,
            None => self.0.run(&self.0.request(sql), &Format::UnifiedText, None).await?,
        };
        Ok(vec![response])
    }
}

/// Sends what has no rows, and notes what it does to the transaction.
async fn answer<C>(client: &mut C, response: Response) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let status = client.transaction_status();
    match response {
        Response::Execution(tag) => send_execution_response(client, tag).await,
        Response::TransactionStart(tag) => {
            client.set_transaction_status(status.to_in_transaction_state());
            send_execution_response(client, tag).await
        }
        Response::TransactionEnd(tag) => {
            client.set_transaction_status(status.to_idle_state());
            send_execution_response(client, tag).await
        }
        _ => Err(error("0A000", "this is not answered here")),
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    /// Rows go out as they are read; pgwire's own way gathers them first.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.0.holder()?;
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                return Ok(client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?);
            }
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
        };
        client.set_state(PgWireConnectionState::QueryInProgress);
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            match ExtendedQueryHandler::do_query(self, client, portal.as_ref(), 0).await? {
                Response::Query(rows) => *state = PortalExecutionState::Suspended(rows),
                other => {
                    *state = PortalExecutionState::Finished;
                    answer(client, other).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
            }
        }
        match &mut *state {
            PortalExecutionState::Suspended(rows) => {
                // None and fewer mean all.
                let most = usize::try_from(message.max_rows).unwrap_or(0);
                if !send_partial_query_response(client, rows, most).await? {
                    *state = PortalExecutionState::Finished;
                }
            }
            _ => send_execution_response(client, Tag::new("SELECT").with_rows(0)).await?,
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let Prepared { sql, told } = &portal.statement.statement;
        let format = &portal.result_column_format;
        if let Format::Individual(codes) = format
            && told.as_ref().is_some_and(|told| told.schema.fields().len() != codes.len())
        {
            return Err(error("08P01", "as many result formats as columns are needed"));
        }
        if let Some(response) = self.0.own(sql, client.transaction_status(), format.format_for(0))? {
            return Ok(response);
        }
        let mut request = self.0.request(sql);
        if let Some(told) = told {
            let expected = told.parameters.fields().len();
            if portal.parameter_len() != expected {
                let text = format!("{} parameters are bound, the statement has {expected}", portal.parameter_len());
                return Err(error("08P01", text));
            }
            if let Format::Individual(codes) = &portal.parameter_format
                && codes.len() != expected
            {
                return Err(error("08P01", "as many parameter formats as parameters are needed"));
            }
            if expected > 0 {
                let given = |i: usize| portal.statement.parameter_types.get(i).cloned().flatten();
                // A type that the statement does not tell is the client's, if it told one.
                let known = told.parameters.fields().iter().enumerate().map(|(i, field)| {
                    let free = *field.data_type() == arrow::datatypes::DataType::Utf8 && given(i).is_some();
                    (!free).then(|| field.data_type())
                });
                let known: Vec<_> = known.collect();
                let values = deserialize_parameters(portal, &known)?;
                request.parameters = Some(row(values).map_err(|problem| problem::told(problem, sql))?);
            }
        }
        self.0.run(&request, format, told.as_ref()).await
    }
}

#[async_trait]
impl QueryParser for Handler {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let holder = self.0.holder()?;
        if command(sql).is_some() {
            return Ok(Some(Prepared { sql: sql.to_owned(), told: None }));
        }
        let told = self.0.shared.engine.describe(&holder.tenant, &self.0.request(sql)).await;
        let told = told.map_err(|problem| problem::told(problem, sql))?;
        Ok(Some(Prepared { sql: sql.to_owned(), told: Some(told) }))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        let fields = prepared.told.iter().flat_map(|told| told.parameters.fields());
        fields.map(|field| into_pg_type(field.data_type())).collect()
    }

    fn get_result_schema(&self, prepared: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        match (&prepared.told, command(&prepared.sql)) {
            (Some(told), _) => {
                if let Format::Individual(codes) = format
                    && codes.len() != told.schema.fields().len()
                {
                    return Err(error("08P01", "as many result formats as columns are needed"));
                }
                arrow_schema_to_pg_fields(&shown(&told.schema), format, None)
            }
            (None, Some(Command::Show(name))) => {
                Ok(vec![FieldInfo::new(name, None, None, Type::TEXT, format.format_for(0))])
            }
            (None, _) => Ok(Vec::new()),
        }
    }
}
