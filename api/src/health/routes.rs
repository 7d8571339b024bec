//! `/health/live`, `/health/ready` and `/metrics`: no token, and nothing of any tenant.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::door::Progress;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, problem::Problem, store};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)).routes(routes!(metrics))
}

/// One part and how it is.
#[derive(Debug, Serialize, ToSchema)]
struct Check {
    /// Whether it works; `absent` where it does not run in this process.
    status: Status,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Health)]
enum Status {
    Ok,
    Failing,
    Absent,
}

/// The parts that must work.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    /// The service database answers.
    database: Check,
    /// The log takes messages.
    log: Check,
    /// Queries can be asked.
    sql: Check,
}

/// How far the pipeline is, in frames since it began.
#[derive(Debug, Serialize, ToSchema)]
struct Pipeline {
    /// Synced to the log.
    durable: u64,
    /// Decoded.
    decoded: u64,
    /// Rows in Delta.
    committed: u64,
    /// Alarms with the service desk; absent where detection runs elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    detected: Option<u64>,
    /// Why appending does not work at present, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Which limits hold at present: `disk`, `log` (it is full), `memory` (devices are not read on).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<String>,
}

impl From<Progress> for Pipeline {
    fn from(p: Progress) -> Self {
        Self {
            durable: p.durable,
            decoded: p.decoded,
            committed: p.committed,
            detected: p.detected,
            trouble: p.trouble,
            limits: p.limits,
        }
    }
}

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// All checks together.
    status: Status,
    /// Each part.
    checks: Checks,
    /// The pipeline, where it runs in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Pipeline>,
}

/// The process lives.
#[utoipa::path(get, path = "/health/live", tag = "operations", security(()),
    responses((status = 200, description = "It answers", body = String)))]
async fn live() -> &'static str {
    "ok\n"
}

/// Every part that must work does.
#[utoipa::path(get, path = "/health/ready", tag = "operations", security(()), responses(
    (status = 200, description = "Ready", body = Readiness),
    (status = 503, description = "A part does not work; the checks say which", body = Readiness)))]
async fn ready(State(app): State<Arc<App>>) -> Response {
    let check = |detail: Option<String>| match detail {
        None => Check { status: Status::Ok, detail: None },
        detail => Check { status: Status::Failing, detail },
    };
    let absent = || Check { status: Status::Absent, detail: None };
    let database = match store::ping(&app.db).await {
        Ok(()) => None,
        Err(error) => {
            tracing::error!(cause = crate::problem::chain(&error), "ask the service database");
            Some("the service database does not answer".to_owned())
        }
    };
    let progress = app.progress.as_ref().map(|source| source.progress());
    let checks = Checks {
        database: check(database),
        log: progress.as_ref().map_or_else(absent, |progress| check(progress.trouble.clone())),
        sql: app.sql.as_ref().map_or_else(absent, |_| check(None)),
    };
    let failing = [&checks.database, &checks.log, &checks.sql].iter().any(|check| check.status == Status::Failing);
    let (code, status) =
        if failing { (StatusCode::SERVICE_UNAVAILABLE, Status::Failing) } else { (StatusCode::OK, Status::Ok) };
    (code, Json(Readiness { status, checks, progress: progress.map(Pipeline::from) })).into_response()
}

/// Everything that the process counts, as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, description = "OpenMetrics text", body = String)))]
async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.registry).map_err(Problem::internal)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
