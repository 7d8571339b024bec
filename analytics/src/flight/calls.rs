//! The calls of Flight SQL, one function each.
//!
//! A statement is asked of the engine when its `FlightInfo` is: the answer waits on the shelf under its ticket. So what
//! is wrong with it is the answer to that call, and it is planned once.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, Ticket,
    decode::FlightRecordBatchStream,
    error::FlightError,
    flight_service_server::FlightService,
    sql::{
        ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
        ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest, ActionEndTransactionRequest, Any, Command,
        CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
        CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
        CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult,
        SqlInfo, TicketStatementQuery,
        server::{DoPutError, FlightSqlService, PeekableFlightDataStream},
    },
};
use futures::{Stream, TryStreamExt as _, stream};
use prost::Message as _;
use schemas::door::Request as Asked;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{
    login,
    metadata::{self, CATALOG, SCHEMA, TABLE_TYPES},
    service::{Service, info, ipc, no_statement, one, status},
    shelf::Prepared,
};

/// `CancelFlightInfo`, which arrow-flight leaves to its users.
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// What is told to whoever wants to write.
const READ_ONLY: &str = "queries only read: updates, ingestion, transactions, savepoints and Substrait plans are not \
                         taken; data comes in over MQTT";

fn read_only<T>() -> Result<T, Status> {
    Err(Status::unimplemented(READ_ONLY))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        self.tenant(request.metadata()).await?;
        let secret = login::secret(request.metadata())?;
        let bearer = format!("Bearer {secret}").parse();
        let bearer = bearer.map_err(|_| Status::unauthenticated("the token is not ASCII"))?;
        let answer = HandshakeResponse { protocol_version: 0, payload: secret.into() };
        let answer: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(stream::iter([Ok(answer)]));
        let mut answer = Response::new(answer);
        answer.metadata_mut().insert(login::HEADER, bearer);
        Ok(answer)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        if query.transaction_id.is_some_and(|id| !id.is_empty()) {
            return read_only();
        }
        self.ticket(&tenant, &Asked::new(query.query), request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let asked = self.prepared(&tenant, &query.prepared_statement_handle)?;
        self.ticket(&tenant, &asked, request.into_inner()).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &self.server.schema(), request.into_inner())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, metadata::primary_keys().schema_ref(), request.into_inner())
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, metadata::foreign_keys().schema_ref(), request.into_inner())
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, metadata::foreign_keys().schema_ref(), request.into_inner())
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, metadata::foreign_keys().schema_ref(), request.into_inner())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        info(&query, &self.types.schema(), request.into_inner())
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        read_only()
    }

    async fn get_flight_info_fallback(
        &self,
        command: Command,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.tenant(request.metadata()).await?;
        Err(Status::unimplemented(format!("{} is not known here", command.type_url())))
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let Some(reading) = self.shelf.take(&tenant, &ticket.statement_handle, Instant::now()) else {
            return Err(Status::not_found("there is no such ticket: it was used, cancelled or has expired; ask again"));
        };
        self.metrics.ended("taken", 1);
        Ok(self.read(reading))
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let asked = self.prepared(&tenant, &query.prepared_statement_handle)?;
        let answer = self.doors.engine.query_with(&tenant, &asked).await.map_err(status)?;
        let (cancel, now) = (self.stop.child_token(), Instant::now());
        let handle = self.shelf.put(&tenant, answer, cancel, now);
        let handle = handle.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let reading = self.shelf.take(&tenant, &handle, now).ok_or_else(|| Status::internal("read the answer"))?;
        Ok(self.read(reading))
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        let mut catalogs = query.into_builder();
        catalogs.append(CATALOG);
        Ok(one(catalogs.build()?))
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        let mut schemas = query.into_builder();
        schemas.append(CATALOG, SCHEMA);
        Ok(one(schemas.build()?))
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        Ok(one(self.tables(&tenant, query).await?))
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        let mut types = query.into_builder();
        TABLE_TYPES.into_iter().for_each(|r#type| types.append(r#type));
        Ok(one(types.build()?))
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(query.into_builder(&self.server).build()?))
    }

    async fn do_get_primary_keys(
        &self,
        _: CommandGetPrimaryKeys,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(metadata::primary_keys()))
    }

    async fn do_get_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(metadata::foreign_keys()))
    }

    async fn do_get_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(metadata::foreign_keys()))
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(metadata::foreign_keys()))
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        self.tenant(request.metadata()).await?;
        Ok(one(query.into_builder(&self.types).build()?))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let handle = query.prepared_statement_handle;
        let prepared = self.shelf.prepared(&tenant, &handle, Instant::now()).ok_or_else(no_statement)?;
        let sent = request.into_inner().map_err(FlightError::from);
        let mut sent = FlightRecordBatchStream::new_from_flight_data(sent);
        let mut row: Option<RecordBatch> = None;
        while let Some(batch) = sent.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            if batch.num_rows() > 1 || row.is_some() {
                return Err(Status::invalid_argument(
                    "bind one row of parameters at a time; for many values join against VALUES",
                ));
            }
            row = Some(batch);
        }
        let row = row.ok_or_else(|| Status::invalid_argument("bind one row of parameters; there was none"))?;
        let (given, wanted) = (row.num_columns(), prepared.statement.parameters.fields().len());
        if given != wanted {
            return Err(Status::invalid_argument(format!("the statement has {wanted} parameters, not {given}")));
        }
        if !self.shelf.bind(&tenant, &handle, row, Instant::now()) {
            return Err(no_statement());
        }
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_fallback(
        &self,
        _: Request<PeekableFlightDataStream>,
        _: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        read_only()
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(Status::invalid_argument(error.to_string()))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only()
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only()
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only()
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only()
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        if query.transaction_id.is_some_and(|id| !id.is_empty()) {
            return read_only();
        }
        let statement = self.doors.engine.describe(&tenant, &Asked::new(&*query.query)).await.map_err(status)?;
        let (dataset_schema, parameter_schema) = (ipc(&statement.schema)?, ipc(&statement.parameters)?);
        let prepared = Prepared { sql: query.query, statement, parameters: None };
        let handle = self.shelf.prepare(&tenant, prepared, Instant::now());
        let prepared_statement_handle = handle.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle, dataset_schema, parameter_schema })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let tenant = self.tenant(request.metadata()).await?;
        self.shelf.close(&tenant, &query.prepared_statement_handle);
        Ok(())
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        read_only()
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        read_only()
    }

    async fn do_action_end_transaction(
        &self,
        _: ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        read_only()
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        read_only()
    }

    async fn do_action_end_savepoint(&self, _: ActionEndSavepointRequest, _: Request<Action>) -> Result<(), Status> {
        read_only()
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let info = FlightInfo::decode(&*query.info);
        self.cancel(&tenant, &info.map_err(|_| Status::invalid_argument("info is no FlightInfo"))?)?;
        // The number of CANCEL_RESULT_CANCELLED is that of CANCEL_STATUS_CANCELLED; arrow-flight hides the former.
        Ok(ActionCancelQueryResult { result: CancelStatus::Cancelled as i32 })
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let description = "Cancels a query\nRequest: CancelFlightInfoRequest\nResponse: CancelFlightInfoResult".into();
        Some(vec![Ok(ActionType { r#type: CANCEL_FLIGHT_INFO.into(), description })])
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let tenant = self.tenant(request.metadata()).await?;
        let action = request.into_inner();
        if action.r#type != CANCEL_FLIGHT_INFO {
            return Err(Status::unimplemented(format!("the action {:?} is not known here", action.r#type)));
        }
        let asked = CancelFlightInfoRequest::decode(&*action.body);
        let asked = asked.map_err(|_| Status::invalid_argument("the body is no CancelFlightInfoRequest"))?;
        self.cancel(&tenant, &asked.info.unwrap_or_default())?;
        let body = CancelFlightInfoResult::new(CancelStatus::Cancelled).encode_to_vec().into();
        Ok(Response::new(Box::pin(stream::iter([Ok(arrow_flight::Result { body })]))))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
