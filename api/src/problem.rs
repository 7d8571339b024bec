//! What a client is told when something is wrong: an RFC 9457 problem document.
//!
//! In: a refusal or an error. Out: `application/problem+json`. Promise: the client sees the problem and the request
//! id, the log sees the cause under the same id. Never: a cause, a path or SQL in an answer.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

tokio::task_local! {
    /// The id of the request that this task answers.
    pub(crate) static REQUEST_ID: String;
}

/// The id of the request being answered, or nothing outside one.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// A refusal or a failure, ready to be an answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    more: Map<String, Value>,
    retry_after_seconds: Option<u32>,
}

/// A problem as it stands in an answer (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Json {
    /// Names the kind of problem; stable, for programs.
    #[schema(example = "urn:forewarn:problem:conflict")]
    r#type: String,
    /// The kind in words.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What is wrong with this request, and what is legal.
    detail: String,
    /// The request id; the log has the cause under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The field that is wrong, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Members that belong to this kind of problem.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Map<String, Value>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (detail, field, more, retry_after_seconds) = (detail.into(), None, Map::new(), None);
        Self { status, kind, title, detail, field, more, retry_after_seconds }
    }

    /// 400: a field of the request is not legal; the detail says what is.
    pub fn bad_request(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = field.into();
        let problem = Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is not legal", detail);
        Self { field: (!field.is_empty()).then_some(field), ..problem }
    }

    /// 401: no token, or none that is in force.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
    }

    /// 403: the caller's role may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed", detail)
    }

    /// 404: there is no such thing, or not for this tenant.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// 405: the path knows other methods.
    pub(crate) fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The path has no such method", detail)
    }

    /// 406: none of the forms asked for can be given.
    pub fn not_acceptable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "The answer has no such form", detail)
    }

    /// 408: the answer took too long.
    pub(crate) fn timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The answer took too long", detail)
    }

    /// 409: it contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It contradicts what is there", detail)
    }

    /// 412: the thing has changed since the caller read it.
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile", detail)
    }

    /// 413: the body is larger than the limit.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415: the body is of a form that is not taken.
    pub(crate) fn unsupported_media(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body has another form", detail)
    }

    /// 422: well formed, and not possible.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "It cannot be done so", detail)
    }

    /// 429: over a limit; try again later.
    pub fn too_many(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "A limit is reached", detail);
        Self { retry_after_seconds: Some(1), ..problem }
    }

    /// 503: a part that is needed does not work at present, or does not run here.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "It does not work at present", detail);
        Self { retry_after_seconds: Some(5), ..problem }
    }

    /// 500: logs the cause with the request id and shows none of it.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = chain(error.into().as_ref());
        tracing::error!(request_id = request_id(), cause, "answer a request");
        let detail = "Something broke on our side; the log has the cause under this request's id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something broke", detail)
    }

    /// With one more member, such as the id of the ticket that is in the way.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Naming the field that is wrong.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::unavailable("The database has no free connection; try again."),
            error => Self::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = Json {
            r#type: format!("urn:forewarn:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            instance: request_id(),
            field: self.field,
            more: self.more,
        };
        let body = serde_json::to_vec(&json).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"forewarn\""));
        }
        response
    }
}
