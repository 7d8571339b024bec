//! `/v1/maintenance-windows`: planned outages, told by agents.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use schemas::{id::ProfileName, time::Instant};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{LONGEST, Object, Window, store};
use crate::{
    app::App,
    auth::Caller,
    body,
    problem::{self, Problem},
};

const REASON_MAX: usize = 200;

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, end))
}

/// A planned outage. Alarms raised in it have `planned_outage_indicator` and open no ticket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MaintenanceWindow)]
pub(crate) struct WindowJson {
    /// Its id.
    maintenance_window_id: String,
    /// The device, if it is of one.
    device_id: Option<String>,
    /// The model, if it is of all its devices.
    profile: Option<String>,
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Instant,
    /// After the last instant; the start where it was called off.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Instant,
    /// Why, for people.
    reason: String,
    /// Who told it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Instant,
}

impl From<Window> for WindowJson {
    fn from(window: Window) -> Self {
        let (device_id, profile) = match window.object {
            Object::Device(device_id) => (Some(device_id.into()), None),
            Object::Profile(profile) => (None, Some(profile.into())),
        };
        Self {
            maintenance_window_id: window.maintenance_window_id,
            device_id,
            profile,
            starts_at: window.starts_at,
            ends_at: window.ends_at,
            reason: window.reason,
            created_by: window.created_by,
            created_at: window.created_at,
            changed_at: window.changed_at,
        }
    }
}

/// A planned outage to be told: of `device_id`, or of all devices of `profile`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMaintenanceWindow {
    /// The device, heard of or not.
    device_id: Option<String>,
    /// The model.
    profile: Option<String>,
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Instant,
    /// After the last instant; at most 366 days later.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Instant,
    /// Why, for people; 1 to 200 characters.
    reason: String,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// One page of planned outages.
#[derive(Debug, Serialize, ToSchema)]
struct MaintenanceWindows {
    /// Told last first.
    maintenance_windows: Vec<WindowJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Lists planned outages, told last first.
#[utoipa::path(get, path = "/v1/maintenance-windows", tag = "alarms", params(Which), responses(
    (status = 200, description = "One page", body = MaintenanceWindows),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<Json<MaintenanceWindows>, Problem> {
    let after = which.after.map(|text| body::field("after", &text)).transpose()?;
    let limit = body::page_limit(which.limit)?;
    let page = store::list(&app.db, &caller.tenant, after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit as usize).map(|last| last.number.to_string());
    Ok(Json(MaintenanceWindows { maintenance_windows: page.into_iter().map(WindowJson::from).collect(), next }))
}

/// Tells of a planned outage. Tickets that are open already stay.
#[utoipa::path(post, path = "/v1/maintenance-windows", tag = "alarms", request_body = NewMaintenanceWindow, responses(
    (status = 201, description = "The window", body = WindowJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Json(new): body::Json<NewMaintenanceWindow>,
) -> Result<(StatusCode, Json<WindowJson>), Problem> {
    let object = match (&new.device_id, &new.profile) {
        (Some(device_id), None) => Object::Device(body::field("device_id", device_id)?),
        (None, Some(profile)) => {
            let name: ProfileName = body::field("profile", profile)?;
            if app.profiles.get(name.as_str()).is_none() {
                return Err(Problem::bad_request("profile", format!("no profile {profile:?} is loaded")));
            }
            Object::Profile(name)
        }
        _ => return Err(Problem::bad_request("device_id", "one of device_id and profile is given")),
    };
    if new.ends_at <= new.starts_at || new.ends_at.since(new.starts_at) > LONGEST {
        let detail =
            format!("ends_at is {}; legal is after starts_at, {}, at most 366 days", new.ends_at, new.starts_at);
        return Err(Problem::bad_request("ends_at", detail));
    }
    body::text("reason", &new.reason, REASON_MAX)?;
    let span = (new.starts_at, new.ends_at);
    let window =
        store::create(&app.db, &caller.tenant, object, span, new.reason, &caller.name, app.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(window.into())))
}

fn missing(maintenance_window_id: &str) -> Problem {
    Problem::not_found(format!("there is no maintenance window {maintenance_window_id:?}"))
}

/// Shows a planned outage.
#[utoipa::path(get, path = "/v1/maintenance-windows/{maintenance_window_id}", tag = "alarms",
    params(("maintenance_window_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The window", body = WindowJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(maintenance_window_id): Path<String>,
) -> Result<Json<WindowJson>, Problem> {
    let found = store::get(&app.db, &caller.tenant, &maintenance_window_id).await?;
    Ok(Json(found.ok_or_else(|| missing(&maintenance_window_id))?.into()))
}

/// Ends a planned outage now, or calls it off before it has begun. The window stays, for it explains alarms.
#[utoipa::path(delete, path = "/v1/maintenance-windows/{maintenance_window_id}", tag = "alarms",
    params(("maintenance_window_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The window as it is now", body = WindowJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn end(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(maintenance_window_id): Path<String>,
) -> Result<Json<WindowJson>, Problem> {
    let ended = store::end(&app.db, &caller.tenant, &maintenance_window_id, app.clock.now()).await?;
    Ok(Json(ended.ok_or_else(|| missing(&maintenance_window_id))?.into()))
}
