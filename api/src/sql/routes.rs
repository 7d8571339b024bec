//! `POST /v1/sql`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use schemas::door::{DoorError, SqlAnswer, SqlError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::encode::Encoder;
pub(crate) use super::encode::Form;
use crate::{app::App, auth::Caller, body, problem, problem::Problem};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(query))
}

/// The longest query, in bytes.
const QUERY_MAX: usize = 100_000;

/// A query.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SqlQuery)]
struct Query {
    /// One SELECT over the tenant's tables.
    #[schema(example = "select count(*) from telemetry_washing_machine")]
    query: String,
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SqlColumn)]
struct Column {
    /// Its name; two columns may share one.
    name: String,
    /// Its Arrow type.
    r#type: String,
}

/// An answer as JSON. Instants are RFC 3339, binary is hexadecimal, what is not a number is null, structs are lists.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SqlAnswer)]
pub(crate) struct Answer {
    /// In order.
    columns: Vec<Column>,
    /// Each a list in the order of `columns`.
    #[schema(value_type = Vec<Vec<Object>>)]
    rows: Vec<Vec<Value>>,
}

/// Answers a query over the tenant's rows, read-only. `Accept` chooses JSON, CSV, an Arrow IPC stream or
/// a Parquet file. The answer is streamed; one that breaks off lacks its end.
#[utoipa::path(post, path = "/v1/sql", tag = "sql", request_body = Query, responses(
    (status = 200, description = "The rows", content(
        (Answer = "application/json"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.arrow.stream"),
        (Vec<u8> = "application/vnd.apache.parquet"))),
    (status = 400, description = "Not SQL, or not of these tables; `line` and `column` where known",
        body = problem::Json, content_type = "application/problem+json"),
    (status = 403, description = "Not a query, or not allowed", body = problem::Json, content_type = "application/problem+json"),
    (status = 429, description = "Over a limit", body = problem::Json, content_type = "application/problem+json"),
    (status = 503, description = "Analytics does not run here", body = problem::Json, content_type = "application/problem+json")))]
async fn query(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body::Json(asked): body::Json<Query>,
) -> Result<Response, Problem> {
    let form = form(&headers)?;
    if asked.query.trim().is_empty() || asked.query.len() > QUERY_MAX {
        let detail = format!("query has {} bytes; legal is 1 to {QUERY_MAX}, not all blank", asked.query.len());
        return Err(Problem::bad_request("query", detail));
    }
    let engine = app.sql.as_ref().ok_or_else(|| Problem::unavailable("analytics does not run in this process"))?;
    answer(form, engine.query(&caller.tenant, &asked.query).await.map_err(problem)?).await
}

/// The form that the caller likes best.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let accept = headers.get(header::ACCEPT).map(|value| value.to_str().unwrap_or("not ASCII"));
    Form::accepted(accept).ok_or_else(|| {
        let detail = "accept names none of application/json, text/csv, application/vnd.apache.arrow.stream, \
                      application/vnd.apache.parquet";
        Problem::not_acceptable(detail).at("accept")
    })
}

/// An answer in this form, begun once its first rows are there.
pub(crate) async fn answer(form: Form, answer: SqlAnswer) -> Result<Response, Problem> {
    let SqlAnswer { schema, mut batches } = answer;
    let impossible = |error| match form {
        Form::Parquet => {
            Problem::unprocessable(format!("the answer has no form in Parquet: {error}; cast that column"))
        }
        _ => Problem::internal(error),
    };
    // What goes wrong at once is a problem document, not half an answer.
    let (mut encoder, mut head) = Encoder::begin(form, &schema).map_err(impossible)?;
    let first = batches.next().await.transpose().map_err(problem)?;
    if let Some(first) = &first {
        head.extend(encoder.batch(first).map_err(impossible)?);
    }
    let more = first.is_some();
    let pieces = pieces(SqlAnswer { schema, batches }, encoder, head, more, problem::request_id());
    Ok(([(header::CONTENT_TYPE, form.content_type())], Body::from_stream(pieces)).into_response())
}

fn pieces(
    answer: SqlAnswer,
    encoder: Encoder,
    head: Vec<u8>,
    more: bool,
    request_id: Option<String>,
) -> impl Stream<Item = Result<Bytes, DoorError>> {
    let state = Some((answer.batches, encoder, more));
    let rest = futures::stream::unfold(state, move |state| {
        let request_id = request_id.clone();
        async move {
            let (mut batches, mut encoder, more) = state?;
            let next = if more { batches.next().await } else { None };
            let piece: Result<(Vec<u8>, _), DoorError> = match next {
                Some(Ok(batch)) => {
                    encoder.batch(&batch).map(|piece| (piece, Some((batches, encoder, true)))).map_err(Into::into)
                }
                Some(Err(error)) => Err(error.into()),
                None => encoder.end().map(|piece| (piece, None)).map_err(Into::into),
            };
            match piece {
                Ok((piece, state)) => Some((Ok(Bytes::from(piece)), state)),
                Err(error) => {
                    let cause = problem::chain(error.as_ref());
                    tracing::warn!(request_id, cause, "an answer to a query breaks off");
                    Some((Err(error), None))
                }
            }
        }
    });
    futures::stream::once(async move { Ok(Bytes::from(head)) }).chain(rest)
}

/// Why a query has no answer, as a problem document.
pub(crate) fn problem(error: SqlError) -> Problem {
    match error {
        SqlError::Syntax { message, line, column } => {
            let problem = Problem::bad_request("query", message);
            let problem = line.into_iter().fold(problem, |problem, line| problem.with("line", line));
            column.into_iter().fold(problem, |problem, column| problem.with("column", column))
        }
        SqlError::Invalid(message) => Problem::bad_request("query", message),
        SqlError::Refused(message) => Problem::forbidden(message).at("query"),
        SqlError::Limit(message) => Problem::too_many(message).at("query"),
        SqlError::Internal(source) => Problem::internal(source),
    }
}
