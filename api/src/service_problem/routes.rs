//! `/v1/service-problems`: what many devices have in common, to read and to end.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use schemas::time::Instant;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Common, ProblemStatus, ServiceProblem, rules,
    store::{self, Patch, PatchError},
};
use crate::{
    app::App,
    auth::Caller,
    body,
    problem::{self, Problem},
};

const NOTE_MAX: usize = 4000;
const OWNER_MAX: usize = 60;

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, patch))
}

/// A service problem (TM Forum 656 names). Its tickets: `/v1/tickets?service_problem_id=`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceProblem)]
pub(crate) struct ServiceProblemJson {
    /// Its id.
    service_problem_id: String,
    /// In the order of opening; for people.
    number: i64,
    /// The model of its devices.
    profile: String,
    /// Their firmware, if told.
    firmware: Option<String>,
    /// What is wrong with them.
    #[schema(example = "drain_pump/breakdown")]
    fault_key: String,
    /// Where it stands.
    status: ProblemStatus,
    /// Who works on it.
    owner: Option<String>,
    /// X.733 severity of the alarm that made it one.
    severity: &'static str,
    /// One line.
    title: String,
    /// Why it is one, in numbers.
    description: String,
    /// What was found.
    note: Option<String>,
    /// Tickets that were ever gathered under it.
    affected: u32,
    /// Event time of the first alarm.
    #[schema(value_type = String, format = DateTime)]
    first_alert: Instant,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    creation_date: Instant,
    /// Its last change.
    #[schema(value_type = String, format = DateTime)]
    last_update: Instant,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolution_date: Option<Instant>,
    /// Goes up with each change.
    version: i64,
}

impl From<ServiceProblem> for ServiceProblemJson {
    fn from(problem: ServiceProblem) -> Self {
        let Common { profile, firmware, fault_key } = problem.common;
        Self {
            service_problem_id: problem.service_problem_id,
            number: problem.number,
            profile: profile.into(),
            firmware,
            fault_key: fault_key.into(),
            status: problem.status,
            owner: problem.owner,
            severity: problem.severity.as_str(),
            title: problem.title,
            description: problem.description,
            note: problem.note,
            affected: problem.affected,
            first_alert: problem.first_alert,
            creation_date: problem.creation_date,
            last_update: problem.last_update,
            resolution_date: problem.resolution_date,
            version: problem.version,
        }
    }
}

/// Which problems.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those that are not over.
    open: Option<bool>,
    /// 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// One page of service problems.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceProblems {
    /// Newest first.
    service_problems: Vec<ServiceProblemJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Lists service problems, newest first.
#[utoipa::path(get, path = "/v1/service-problems", tag = "tickets", params(Which), responses(
    (status = 200, description = "One page", body = ServiceProblems),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<Json<ServiceProblems>, Problem> {
    let after = which.after.map(|text| body::field("after", &text)).transpose()?;
    let limit = body::page_limit(which.limit)?;
    let page = store::list(&app.db, &caller.tenant, which.open.unwrap_or(false), after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit as usize).map(|last| last.number.to_string());
    Ok(Json(ServiceProblems { service_problems: page.into_iter().map(ServiceProblemJson::from).collect(), next }))
}

fn missing(service_problem_id: &str) -> Problem {
    Problem::not_found(format!("there is no service problem {service_problem_id:?}"))
}

/// Shows a service problem.
#[utoipa::path(get, path = "/v1/service-problems/{service_problem_id}", tag = "tickets",
    params(("service_problem_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The service problem", body = ServiceProblemJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(service_problem_id): Path<String>,
) -> Result<Json<ServiceProblemJson>, Problem> {
    let found = store::get(&app.db, &caller.tenant, &service_problem_id).await?;
    Ok(Json(found.ok_or_else(|| missing(&service_problem_id))?.into()))
}

/// A change of a service problem; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceProblemPatch {
    /// Who works on it; 1 to 60 characters.
    owner: Option<String>,
    /// What was found; 1 to 4000 characters.
    note: Option<String>,
    /// `inProgress`, `resolved` or `cancelled`; the last two give its held tickets back.
    status: Option<ProblemStatus>,
}

/// Changes a service problem. When it is resolved or cancelled, tickets that are held for it are acknowledged again.
#[utoipa::path(patch, path = "/v1/service-problems/{service_problem_id}", tag = "tickets",
    request_body = ServiceProblemPatch,
    params(("service_problem_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The service problem", body = ServiceProblemJson),
    (status = 409, description = "Its status has no such step", body = problem::Json, content_type = "application/problem+json"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(service_problem_id): Path<String>,
    body::Json(asked): body::Json<ServiceProblemPatch>,
) -> Result<Json<ServiceProblemJson>, Problem> {
    body::optional_text("owner", asked.owner.as_deref(), OWNER_MAX)?;
    body::optional_text("note", asked.note.as_deref(), NOTE_MAX)?;
    let patch = Patch { owner: asked.owner, note: asked.note, status: asked.status };
    let (tenant, now) = (&caller.tenant, app.clock.now());
    let changed =
        store::patch(&app.db, tenant, &service_problem_id, patch, now).await.map_err(|error| match error {
            PatchError::NotFound => missing(&service_problem_id),
            PatchError::NotInTable { from, .. } => {
                let legal: Vec<&str> = rules::next(from).iter().map(|status| status.as_str()).collect();
                let legal = if legal.is_empty() { "nothing".to_owned() } else { legal.join(", ") };
                Problem::conflict(format!("{error}; legal is {legal}")).at("status")
            }
            PatchError::Db(error) => error.into(),
        })?;
    // The first of them now; the relay gives back what is left, also after a crash.
    if !changed.status.is_open() {
        store::release(&app.db, now).await?;
    }
    app.events.wake();
    Ok(Json(changed.into()))
}
