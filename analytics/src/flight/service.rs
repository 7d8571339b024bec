//! What the calls have in common: who asks, tickets and their answers, rows as messages, errors as gRPC says them.

use std::{pin::Pin, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
    ipc::writer::IpcWriteOptions,
};
use arrow_flight::{
    FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    sql::{
        Any, CommandGetTables, ProstMessageExt, TicketStatementQuery,
        metadata::{SqlInfoData, XdbcTypeInfoData},
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use prost::Message as _;
use schemas::{
    door::{Request as Asked, SqlError},
    id::TenantId,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, metadata::MetadataMap};

use super::{
    Doors, login,
    metadata::{self, CATALOG, SCHEMA},
    metrics::Metrics,
    shelf::{Reading, Shelf},
};

/// An answer on its way.
type Data = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send + 'static>>;

/// The calls, over the engine.
pub(super) struct Service {
    pub(super) doors: Doors,
    pub(super) shelf: Arc<Shelf>,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
    pub(super) server: SqlInfoData,
    pub(super) types: XdbcTypeInfoData,
}

impl Service {
    /// Over these doors; `stop` ends all answers.
    pub(super) fn new(
        doors: Doors,
        shelf: Arc<Shelf>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, FlightError> {
        Ok(Self { doors, shelf, metrics, stop, server: metadata::server()?, types: metadata::types()? })
    }

    /// Whose rows the caller may see.
    pub(super) async fn tenant(&self, headers: &MetadataMap) -> Result<TenantId, Status> {
        let refused = |status: Status| {
            self.metrics.logins_refused.inc();
            status
        };
        let secret = login::secret(headers).map_err(refused)?;
        let holder =
            self.doors.tokens.token(&secret).await.map_err(|error| internal("check a token", error.as_ref()))?;
        let Some(holder) = holder else {
            return Err(refused(Status::unauthenticated("the token is unknown, expired or revoked")));
        };
        if !holder.may_query {
            return Err(refused(Status::permission_denied("the token's role may not ask in SQL")));
        }
        Ok(holder.tenant)
    }

    /// Starts a query and puts its answer aside under a ticket.
    pub(super) async fn ticket(
        &self,
        tenant: &TenantId,
        asked: &Asked,
        descriptor: FlightDescriptor,
    ) -> Result<Response<FlightInfo>, Status> {
        let answer = self.doors.engine.query_with(tenant, asked).await.map_err(status)?;
        let schema = Arc::clone(&answer.schema);
        let statement_handle = self.shelf.put(tenant, answer, self.stop.child_token(), Instant::now());
        let statement_handle = statement_handle.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        info(&TicketStatementQuery { statement_handle }, &schema, descriptor)
    }

    pub(super) fn prepared(&self, tenant: &TenantId, handle: &Bytes) -> Result<Asked, Status> {
        let prepared = self.shelf.prepared(tenant, handle, Instant::now()).ok_or_else(no_statement)?;
        let wanted = prepared.statement.parameters.fields().len();
        if wanted > 0 && prepared.parameters.is_none() {
            return Err(Status::invalid_argument(format!("bind {wanted} parameters first")));
        }
        Ok(Asked { parameters: prepared.parameters, ..Asked::new(prepared.sql) })
    }

    /// An answer's batches until it ends, is cancelled, or the server stops.
    pub(super) fn read(&self, Reading { answer, place }: Reading) -> Response<Data> {
        let (cancel, stop) = (place.cancel.clone(), self.stop.clone());
        let cut = cancel.clone();
        let broken = stream::once(async move {
            match (stop.is_cancelled(), cut.is_cancelled()) {
                (true, _) => Some(Err(Status::unavailable("the server stops; ask again later"))),
                (_, true) => Some(Err(Status::cancelled("the query was cancelled"))),
                _ => None,
            }
        });
        let batches = answer.batches.map_err(status).take_until(cancel.cancelled_owned());
        let batches = batches.chain(broken.filter_map(future::ready));
        let batches = batches.map(move |batch| {
            // Its place is free when the stream is dropped.
            let _ = &place;
            batch
        });
        data(answer.schema, batches)
    }

    pub(super) fn cancel(&self, tenant: &TenantId, info: &FlightInfo) -> Result<(), Status> {
        let handles = info.endpoint.iter().filter_map(|endpoint| {
            let any = Any::decode(&*endpoint.ticket.as_ref()?.ticket).ok()?;
            any.unpack::<TicketStatementQuery>().ok()?.map(|ticket| ticket.statement_handle)
        });
        let cancelled = handles.filter(|handle| self.shelf.cancel(tenant, handle)).count();
        self.metrics.ended("cancelled", cancelled);
        if cancelled == 0 {
            return Err(Status::not_found("there is no such query: it has ended, or its ticket has expired"));
        }
        Ok(())
    }

    /// Rows of a question that the door itself asks.
    async fn ask(&self, tenant: &TenantId, sql: &str) -> Result<Vec<RecordBatch>, Status> {
        let answer = self.doors.engine.query(tenant, sql).await.map_err(status)?;
        answer.batches.try_collect().await.map_err(status)
    }

    pub(super) async fn tables(&self, tenant: &TenantId, query: CommandGetTables) -> Result<RecordBatch, Status> {
        let sql = format!(
            "select table_name, table_type from information_schema.tables where table_schema = '{SCHEMA}' order by 1"
        );
        let mut tables = query.into_builder();
        for batch in self.ask(tenant, &sql).await? {
            let text = |column: usize| -> Result<StringArray, Status> {
                let column = cast(batch.column(column), &DataType::Utf8).map_err(FlightError::from)?;
                let text = column.as_any().downcast_ref::<StringArray>().cloned();
                text.ok_or_else(|| Status::internal("list tables"))
            };
            let (names, types) = (text(0)?, text(1)?);
            for (name, r#type) in names.iter().flatten().zip(types.iter().flatten()) {
                let schema = match tables.include_schema() {
                    true => {
                        let asked = Asked::new(format!("select * from {SCHEMA}.\"{}\"", name.replace('"', "\"\"")));
                        self.doors.engine.describe(tenant, &asked).await.map_err(status)?.schema
                    }
                    false => Arc::new(Schema::empty()),
                };
                let r#type = if r#type == "VIEW" { "VIEW" } else { "TABLE" };
                tables.append(CATALOG, SCHEMA, name, r#type, &schema).map_err(Status::from)?;
            }
        }
        tables.build().map_err(Status::from)
    }
}

/// What is read with a ticket: the ticket's bytes, the columns.
pub(super) fn info(
    ticket: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
    let info = FlightInfo::new().try_with_schema(schema).map_err(FlightError::from)?;
    let info = info.with_endpoint(endpoint).with_descriptor(descriptor);
    Ok(Response::new(info.with_total_records(-1).with_total_bytes(-1).with_ordered(true)))
}

/// Batches as messages, made when the client reads on. Dictionaries are spelled out, as ADBC wants them.
fn data(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Response<Data> {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema);
    let data = encoder.build(batches.map_err(FlightError::from)).map_err(Status::from);
    Response::new(Box::pin(data))
}

pub(super) fn one(batch: RecordBatch) -> Response<Data> {
    data(batch.schema(), stream::iter([Ok(batch)]))
}

/// A schema as the messages of prepared statements carry it.
pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into().map_err(FlightError::from)?;
    Ok(bytes)
}

/// Why there is no answer, in gRPC's words.
pub(super) fn status(error: SqlError) -> Status {
    match error {
        SqlError::Syntax { message, .. } | SqlError::Invalid(message) => Status::invalid_argument(message),
        SqlError::Refused(message) => Status::permission_denied(message),
        SqlError::Limit(message) => Status::resource_exhausted(message),
        SqlError::Internal(source) => internal("run the query", source.as_ref()),
    }
}

/// The client sees the attempt, the log sees the cause.
fn internal(attempt: &str, error: &dyn std::error::Error) -> Status {
    let causes: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    tracing::error!(cause = causes.join(": "), "{attempt} for Flight SQL");
    Status::internal(format!("{attempt}: something broke on the server; its log tells what"))
}

pub(super) fn no_statement() -> Status {
    Status::not_found("there is no such prepared statement: it was closed, or has not been used for an hour")
}
