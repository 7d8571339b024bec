//! The service side as one value, its router and its server.
//!
//! In: the parts that the binary made. Out: a router, and a server that stops when told. Promise: every answer has a
//! request id; every path under `/v1` needs a token; a panic is one answer 500, not a dead process. Never: a part made
//! here; without SQL or without a lake the routes that need them answer 503.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use prometheus_client::registry::Registry;
use schemas::{
    door::{OutcomeSink, ProgressSource, Reinject, SqlEngine, TrendSource},
    profile::Profiles,
    time::Clock,
};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    advisory, alarm, appointment, auth, command, connection, dead_letter, device, event, health, id, maintenance,
    metrics::{Answered, Metrics, Route},
    outcome,
    problem::{self, Problem, REQUEST_ID},
    relay, service_problem, sql, technician, ticket, token, trend,
};

/// What can be set; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the HTTP server listens.
    pub listen: SocketAddr,
    /// The SQLite file; a relative path is taken from the data folder.
    pub database: std::path::PathBuf,
    /// The largest request body.
    pub body_bytes: usize,
    /// The longest time until the head of an answer; queries have their own limit in the engine.
    #[serde(with = "schemas::time::span")]
    pub answer_within: Duration,
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// A connection on which no byte moves for so long is closed; longer than `answer_within`.
    #[serde(with = "schemas::time::span")]
    pub stall: Duration,
    /// Event streams at once.
    pub event_streams: usize,
    /// A comment is sent on a silent event stream this often.
    #[serde(with = "schemas::time::span")]
    pub event_keep_alive: Duration,
    /// An event stream whose client takes nothing for so long is cut off.
    #[serde(with = "schemas::time::span")]
    pub event_patience: Duration,
    /// A resolved ticket whose fault stays away for so long is closed (T_verify).
    #[serde(with = "schemas::time::span")]
    pub verify_after: Duration,
    /// An offered slot keeps a technician's time for so long.
    #[serde(with = "schemas::time::span")]
    pub slot_hold: Duration,
    /// From when on alarms of one model and firmware are one service problem.
    pub storm: service_problem::Settings,
    /// How long requests may go on after the server was told to stop.
    #[serde(with = "schemas::time::span")]
    pub stop_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database: "service.db".into(),
            body_bytes: 1024 * 1024,
            answer_within: Duration::from_secs(60),
            connections: 1024,
            stall: Duration::from_secs(90),
            event_streams: 256,
            event_keep_alive: Duration::from_secs(15),
            event_patience: Duration::from_secs(30),
            verify_after: Duration::from_secs(7 * 86_400),
            slot_hold: appointment::HOLD_TTL,
            storm: service_problem::Settings::default(),
            stop_within: Duration::from_secs(10),
        }
    }
}

/// What a process answers over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Service,
    /// Health and metrics only: a process without the api role.
    Operations,
}

/// The service side: what every handler may use.
pub struct App {
    /// What is answered.
    pub scope: Scope,
    /// The service database, of [`crate::store::open`].
    pub db: SqlitePool,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// The profiles in force.
    pub profiles: Arc<Profiles>,
    /// Wakes event streams.
    pub events: event::Hub,
    /// Answers SQL, where analytics runs in this process.
    pub sql: Option<Arc<dyn SqlEngine>>,
    /// Answers failure trends, where analytics runs in this process.
    pub trends: Option<Arc<dyn TrendSource>>,
    /// Takes outcomes to the lake, where ingest runs in this process.
    pub outcomes: Option<Arc<dyn OutcomeSink>>,
    /// Takes dead letters to the log again, where ingest runs in this process.
    pub letters: Option<Arc<dyn Reinject>>,
    /// Tells how far the pipeline is, where it runs in this process.
    pub progress: Option<Arc<dyn ProgressSource>>,
    /// Everything that the process counts.
    pub registry: Arc<Registry>,
    /// What this crate counts; registered in `registry` by [`Metrics::register`].
    pub metrics: Metrics,
    /// Device credentials in memory, shared with the gateway.
    pub credentials: device::Credentials,
    /// Hands out commands, where the gateway runs in this process.
    pub courier: Option<command::Courier>,
    /// What becomes of commands, counted.
    pub commands: command::metrics::Metrics,
    /// The settings.
    pub settings: Settings,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The document's head; paths come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forewarn",
        description = "Alarms, advisories, tickets, devices, visits, outcomes and SQL of one tenant: the tenant of the token. \
            Errors are RFC 9457 problem documents. Instants are RFC 3339.",
        license(name = "Apache-2.0")
    ),
    components(schemas(problem::Json)),
    security(("token" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("fw_…")).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(advisory::routes::router())
        .merge(alarm::routes::router())
        .merge(appointment::routes::router())
        .merge(command::routes::router())
        .merge(dead_letter::routes::router())
        .merge(device::routes::router())
        .merge(event::routes::router())
        .merge(health::routes::router())
        .merge(maintenance::routes::router())
        .merge(outcome::routes::router())
        .merge(service_problem::routes::router())
        .merge(sql::routes::router())
        .merge(technician::routes::router())
        .merge(ticket::routes::router())
        .merge(token::routes::router())
        .merge(trend::routes::router())
}

/// The OpenAPI document, made from the handlers.
pub fn document() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Every route of the service side, with its layers.
pub fn router(app: Arc<App>) -> Router {
    let router = match app.scope {
        Scope::Service => {
            let (router, document) = routes().split_for_parts();
            router.merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        }
        Scope::Operations => health::routes::router().into(),
    };
    router
        .fallback(async || Problem::not_found("there is no such path; /openapi.json lists all"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed("the path knows other methods"))
        .layer(DefaultBodyLimit::max(app.settings.body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), auth::authenticate))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(format!("a handler panicked: {}", text.unwrap_or("without words"))).into_response()
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id taken over from a client.
const REQUEST_ID_MAX: usize = 64;

/// Around every request: its id, its span, its time limit, its counters.
#[allow(clippy::disallowed_methods, reason = "how long an answer took is measured, not reasoned with")]
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let legal = |text: &&str| {
        (1..=REQUEST_ID_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(legal);
    let request_id = given.map_or_else(|| id::new(app.clock.arrival()), str::to_owned);
    // Only matched routes and known methods become labels: a client cannot make new series.
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    };
    let method = method.to_owned();
    let span = tracing::info_span!("request", request_id, method, route);
    let started = std::time::Instant::now();
    let answer = async {
        match tokio::time::timeout(app.settings.answer_within, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let limit = schemas::time::span::text(app.settings.answer_within);
                Problem::timeout(format!("no answer within {limit}")).into_response()
            }
        }
    };
    let mut response = REQUEST_ID.scope(request_id.clone(), answer.instrument(span.clone())).await;
    let status = response.status();
    let seconds = started.elapsed().as_secs_f64();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), duration_ms = seconds * 1e3, "answered"));
    app.metrics.requests.get_or_create(&Answered { route: route.clone(), method, status: status.as_u16() }).inc();
    app.metrics.seconds.get_or_create(&Route { route }).observe(seconds);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why the server ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener broke.
    #[error("serve HTTP")]
    Listen(#[from] std::io::Error),
}

/// Serves until told to stop, and delivers outcomes meanwhile. Streams end at once, requests may go on for
/// `stop_within`.
pub async fn serve(
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let router = router(app.clone());
    let relay = tokio::spawn(relay::run(app.clone(), stop.clone()));
    let listener = connection::Listener::new(listener, &app.settings, app.metrics.clone());
    let told = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { told.cancelled().await });
    let mut server = tokio::spawn(server.into_future());
    let ended = tokio::select! {
        ended = &mut server => Some(ended),
        () = stop.cancelled() => None,
    };
    app.events.close();
    let ended = match ended {
        Some(ended) => Some(ended),
        None => match tokio::time::timeout(app.settings.stop_within, &mut server).await {
            Ok(ended) => Some(ended),
            Err(_) => {
                tracing::warn!("requests were still going on; they are cut off");
                server.abort();
                None
            }
        },
    };
    stop.cancel();
    if let Err(error) = relay.await {
        tracing::error!(cause = problem::chain(&error), "relay of outcomes");
    }
    match ended {
        Some(Ok(ended)) => Ok(ended?),
        Some(Err(error)) => Err(std::io::Error::other(error).into()),
        None => Ok(()),
    }
}
