//! Bodies and queries, parsed once; what is wrong with them is said by field.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{header, request::Parts},
};
use bytes::Bytes;
use schemas::time::Instant;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body. Types that come in this way refuse unknown fields.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A JSON body with the bytes it was parsed from, for idempotency keys.
#[derive(Debug)]
pub struct RawJson<T> {
    /// The body as it came.
    pub bytes: Bytes,
    /// The body, parsed.
    pub value: T,
}

/// A query string. Types that come in this way refuse unknown fields.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for RawJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|text| text.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
        if essence.as_deref() != Some("application/json") {
            let found = content_type.unwrap_or("none");
            let detail = format!("content-type is {found}; legal is application/json");
            return Err(Problem::unsupported_media(detail).at("content-type"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error.status().as_u16() {
            413 => Problem::too_large(error.body_text()),
            _ => Problem::bad_request("", error.body_text()),
        })?;
        let value = parse(&bytes)?;
        Ok(Self { bytes, value })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        RawJson::from_request(request, state).await.map(|body| Self(body.value))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|error| {
        let field = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        Problem::bad_request(field, error.into_inner().to_string())
    })?;
    from.end().map_err(|error| Problem::bad_request("", error.to_string()))?;
    Ok(value)
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::bad_request("query", error.body_text())),
        }
    }
}

/// The most rows of one page.
pub const PAGE_MAX: u32 = 1000;
/// The rows of a page when the caller does not say.
pub const PAGE_DEFAULT: u32 = 100;

/// The page size asked for, checked.
pub fn page_limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        limit => Err(Problem::bad_request("limit", format!("limit is {limit}; legal is 1 to {PAGE_MAX}"))),
    }
}

/// Parses a name or an instant that came in a field.
pub fn field<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::bad_request(name, error.to_string()))
}

/// Checks a text's length, in characters; control characters other than line feed and tab are not legal.
pub fn text(name: &str, text: &str, max: usize) -> Result<(), Problem> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > max {
        return Err(Problem::bad_request(
            name,
            format!("{name} has {length} characters; legal is 1 to {max}, not all blank"),
        ));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Problem::bad_request(
            name,
            format!("{name} holds control characters; line feed and tab are legal"),
        ));
    }
    Ok(())
}

/// For columns: an instant from microseconds.
pub(crate) fn instant(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

/// Checks a text that may be missing.
pub fn optional_text(name: &str, given: Option<&str>, max: usize) -> Result<(), Problem> {
    given.map_or(Ok(()), |given| text(name, given, max))
}
