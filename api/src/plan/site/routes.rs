//! Sites over HTTP: agents and administrators read and write.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use schemas::{id::DeviceId, time::Instant};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Place, Site, Zone, store};
use crate::{
    app::App,
    auth::{Caller, Role},
    body::{Json, field, text},
    problem::{self, Problem},
    technician::MAX_TEXT,
};

/// The routes of this noun.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// Where a device stands, in an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Site)]
pub(crate) struct SiteJson {
    #[schema(value_type = String)]
    device_id: DeviceId,
    #[serde(flatten)]
    place: Place,
    address: Option<String>,
    /// IANA.
    #[schema(value_type = String, example = "Europe/Madrid")]
    time_zone: Zone,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Instant,
}

impl From<Site> for SiteJson {
    fn from(site: Site) -> Self {
        let Site { device_id, place, address, time_zone, changed_at } = site;
        Self { device_id, place, address, time_zone, changed_at }
    }
}

/// Where a device stands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSite {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 40.3083)]
    lat: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = -3.7325)]
    lon: f64,
    /// For the technician and the calendar.
    address: Option<String>,
    /// IANA.
    #[schema(value_type = String, example = "Europe/Madrid")]
    time_zone: Zone,
}

/// Tells where a device stands. Appointments that stand are not moved.
#[utoipa::path(put, path = "/v1/devices/{device_id}/site", tag = "visits", params(("device_id" = String, Path)),
    request_body = NewSite, responses((status = 200, body = SiteJson), (status = 400, body = problem::Json)))]
async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
    Json(new): Json<NewSite>,
) -> Result<Answer<SiteJson>, Problem> {
    caller.require(&[Role::Agent, Role::Admin])?;
    if let Some(address) = &new.address {
        text("address", address, MAX_TEXT)?;
    }
    let site = Site {
        device_id: field("device_id", &device_id)?,
        place: Place::new(new.lat, new.lon)?,
        address: new.address,
        time_zone: new.time_zone,
        changed_at: app.clock.now(),
    };
    store::put(&app.db, &caller.tenant, &site).await?;
    Ok(Answer(site.into()))
}

/// Where a device stands.
#[utoipa::path(get, path = "/v1/devices/{device_id}/site", tag = "visits", params(("device_id" = String, Path)),
    responses((status = 200, body = SiteJson), (status = 404, body = problem::Json)))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
) -> Result<Answer<SiteJson>, Problem> {
    caller.require(&[Role::Agent, Role::Admin])?;
    let mut connection = app.db.acquire().await?;
    let site = store::get(&mut connection, &caller.tenant, &device_id).await?;
    let nobody = || Problem::not_found(format!("nobody has told where device {device_id:?} stands"));
    Ok(Answer(site.ok_or_else(nobody)?.into()))
}
