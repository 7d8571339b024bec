//! Technicians over HTTP: administrators write, agents read.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
    http::StatusCode,
};
use schemas::time::Instant;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Draft, Illegal, Place, Technician, Week, Zone,
    store::{self, KeepError},
};
use crate::{
    app::App,
    auth::{Caller, Role},
    body::{Json, Query, page_limit},
    problem::{self, Problem},
};

/// The routes of this noun.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change))
}

/// A technician in an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Technician)]
pub(crate) struct TechnicianJson {
    technician_id: String,
    name: String,
    /// As in the profiles' components.
    skills: Vec<String>,
    home: Place,
    /// IANA.
    #[schema(value_type = String, example = "Europe/Madrid")]
    time_zone: Zone,
    shifts: Week,
    /// Whether new visits are planned for them.
    active: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Instant,
}

impl From<Technician> for TechnicianJson {
    fn from(technician: Technician) -> Self {
        let Technician { technician_id, tenant: _, draft, created_at, changed_at } = technician;
        let Draft { name, skills, home, time_zone, shifts, active } = draft;
        Self { technician_id, name, skills, home, time_zone, shifts, active, created_at, changed_at }
    }
}

/// A page of technicians.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TechnicianPage {
    technicians: Vec<TechnicianJson>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A new technician.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTechnician {
    name: String,
    /// As in the profiles' components, such as `refrigeration`.
    skills: Vec<String>,
    home: Place,
    /// IANA.
    #[schema(value_type = String, example = "Europe/Madrid")]
    time_zone: Zone,
    /// By weekday, on the wall clock of `time_zone`; `24:00` ends a day. A night is split at midnight.
    shifts: Week,
    /// Whether new visits are planned for them; true if left out.
    #[serde(default = "yes")]
    active: bool,
}

fn yes() -> bool {
    true
}

/// What changes; the rest stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TechnicianPatch {
    name: Option<String>,
    skills: Option<Vec<String>>,
    home: Option<Place>,
    #[schema(value_type = Option<String>)]
    time_zone: Option<Zone>,
    shifts: Option<Week>,
    active: Option<bool>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// 1 to 1000; 100 if left out.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl From<Illegal> for Problem {
    fn from(illegal: Illegal) -> Self {
        Self::bad_request(illegal.field, illegal.to_string())
    }
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Illegal(illegal) => illegal.into(),
            KeepError::Database(error) => error.into(),
        }
    }
}

fn not_found(technician_id: &str) -> Problem {
    Problem::not_found(format!("there is no technician {technician_id:?}"))
}

/// Technicians, oldest first.
#[utoipa::path(get, path = "/v1/technicians", tag = "visits", params(PageQuery), responses(
    (status = 200, body = TechnicianPage), (status = 400, body = problem::Json)))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<Answer<TechnicianPage>, Problem> {
    caller.require(&[Role::Agent, Role::Admin])?;
    let limit = page_limit(page.limit)?;
    let mut found = store::list(&app.db, &caller.tenant, &page.after.unwrap_or_default(), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.technician_id.clone());
    Ok(Answer(TechnicianPage { technicians: found.into_iter().map(TechnicianJson::from).collect(), next }))
}

/// Adds a technician.
#[utoipa::path(post, path = "/v1/technicians", tag = "visits", request_body = NewTechnician, responses(
    (status = 201, body = TechnicianJson), (status = 400, body = problem::Json)))]
async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(new): Json<NewTechnician>,
) -> Result<(StatusCode, Answer<TechnicianJson>), Problem> {
    caller.require(&[Role::Admin])?;
    let NewTechnician { name, skills, home, time_zone, shifts, active } = new;
    let draft = Draft { name, skills, home, time_zone, shifts, active };
    let technician = store::create(&app.db, &caller.tenant, draft, app.clock.now()).await?;
    Ok((StatusCode::CREATED, Answer(technician.into())))
}

/// One technician.
#[utoipa::path(get, path = "/v1/technicians/{technician_id}", tag = "visits", params(("technician_id" = String, Path)),
    responses((status = 200, body = TechnicianJson), (status = 404, body = problem::Json)))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(technician_id): Path<String>,
) -> Result<Answer<TechnicianJson>, Problem> {
    caller.require(&[Role::Agent, Role::Admin])?;
    let mut connection = app.db.acquire().await?;
    let found = store::get(&mut connection, &caller.tenant, &technician_id).await?;
    Ok(Answer(found.ok_or_else(|| not_found(&technician_id))?.into()))
}

/// Changes a technician. Visits that are promised already stay.
#[utoipa::path(patch, path = "/v1/technicians/{technician_id}", tag = "visits",
    params(("technician_id" = String, Path)), request_body = TechnicianPatch, responses(
    (status = 200, body = TechnicianJson), (status = 400, body = problem::Json), (status = 404, body = problem::Json)))]
async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(technician_id): Path<String>,
    Json(patch): Json<TechnicianPatch>,
) -> Result<Answer<TechnicianJson>, Problem> {
    caller.require(&[Role::Admin])?;
    let apply = |draft: &mut Draft| {
        let TechnicianPatch { name, skills, home, time_zone, shifts, active } = patch;
        set(&mut draft.name, name);
        set(&mut draft.skills, skills);
        set(&mut draft.home, home);
        set(&mut draft.time_zone, time_zone);
        set(&mut draft.shifts, shifts);
        set(&mut draft.active, active);
    };
    let changed = store::change(&app.db, &caller.tenant, &technician_id, app.clock.now(), apply).await?;
    Ok(Answer(changed.ok_or_else(|| not_found(&technician_id))?.into()))
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
