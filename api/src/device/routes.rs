//! `/v1/devices`: to read, and to give a device its password.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use schemas::{
    id::{DeviceId, ProfileName},
    time::Instant,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Device, Nameplate, store};
use crate::{app::App, auth::Caller, body, problem, problem::Problem};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(set_nameplate))
        .routes(routes!(make_credential, drop_credential))
}

/// A device that was heard of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Device)]
struct DeviceJson {
    /// Its id.
    device_id: String,
    /// Its kind.
    profile: String,
    /// Its firmware, if told.
    firmware: Option<String>,
    /// Least event time heard.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Instant,
    /// Greatest event time heard, to the hour.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Instant,
    /// What was told of it.
    nameplate: NameplateJson,
}

/// What a device cannot tell of itself. What is left out is not known.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Nameplate)]
struct NameplateJson {
    /// The maker's model, finer than the profile; 1 to 100 characters.
    model: Option<String>,
    /// The production batch; 1 to 100 characters.
    batch: Option<String>,
    /// Where it stands, in the tenant's words; 1 to 100 characters.
    region: Option<String>,
    /// When it was put to use: its age counts from here.
    #[schema(value_type = Option<String>, format = DateTime)]
    installed_at: Option<Instant>,
}

/// The longest text on a nameplate, in characters: a name, not a description.
const NAME_MAX: usize = 100;

impl NameplateJson {
    fn checked(self) -> Result<Nameplate, Problem> {
        let Self { model, batch, region, installed_at } = self;
        for (field, text) in [("model", &model), ("batch", &batch), ("region", &region)] {
            let count = text.as_ref().map(|text| text.chars().count());
            if let Some(count) = count.filter(|count| !(1..=NAME_MAX).contains(count)) {
                return Err(Problem::bad_request(
                    field,
                    format!("{field} has {count} characters; legal is 1 to {NAME_MAX}"),
                ));
            }
        }
        Ok(Nameplate { model, batch, region, installed_at })
    }
}

impl From<Device> for DeviceJson {
    fn from(d: Device) -> Self {
        let Device { device_id, profile, firmware, first_seen, last_seen, nameplate } = d;
        let Nameplate { model, batch, region, installed_at } = nameplate;
        let nameplate = NameplateJson { model, batch, region, installed_at };
        Self { device_id: device_id.into(), profile: profile.into(), firmware, first_seen, last_seen, nameplate }
    }
}

/// A device with what is open about it.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceDetail {
    /// The device.
    #[serde(flatten)]
    device: DeviceJson,
    /// Ids of its open tickets, oldest first.
    open_tickets: Vec<String>,
}

/// One page of devices.
#[derive(Debug, Serialize, ToSchema)]
struct Devices {
    /// By id.
    devices: Vec<DeviceJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Of this kind.
    profile: Option<String>,
    /// 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A device's password, shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeviceCredential)]
struct CredentialJson {
    /// User name and client id at the gateway.
    device_id: String,
    /// The password.
    password: String,
}

fn id(text: &str) -> Result<DeviceId, Problem> {
    body::field("device_id", text)
}

/// Lists devices by id.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(Which), responses(
    (status = 200, description = "One page", body = Devices),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<Json<Devices>, Problem> {
    let profile: Option<ProfileName> = which.profile.map(|text| body::field("profile", &text)).transpose()?;
    let limit = body::page_limit(which.limit)?;
    let after = which.after.unwrap_or_default();
    let page = store::list(&app.db, &caller.tenant, profile.as_ref(), &after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit as usize).map(|last| last.device_id.to_string());
    Ok(Json(Devices { devices: page.into_iter().map(DeviceJson::from).collect(), next }))
}

/// Shows a device.
#[utoipa::path(get, path = "/v1/devices/{device_id}", tag = "devices",
    params(("device_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The device", body = DeviceDetail),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
) -> Result<Json<DeviceDetail>, Problem> {
    let device_id = id(&device_id)?;
    let device = store::get(&app.db, &caller.tenant, &device_id).await?;
    let device = device.ok_or_else(|| Problem::not_found(format!("device {device_id} was never heard of")))?;
    let open_tickets = store::open_tickets(&app.db, &caller.tenant, &device_id).await?;
    Ok(Json(DeviceDetail { device: device.into(), open_tickets }))
}

/// Tells a device's model, batch, region and day of installation, replacing what was told before. Trends go by them.
#[utoipa::path(put, path = "/v1/devices/{device_id}/nameplate", tag = "devices",
    params(("device_id" = String, Path, description = "Its id")), request_body = NameplateJson, responses(
    (status = 204, description = "Kept"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn set_nameplate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
    body::Json(told): body::Json<NameplateJson>,
) -> Result<StatusCode, Problem> {
    let device_id = id(&device_id)?;
    if !store::set_nameplate(&app.db, &caller.tenant, &device_id, &told.checked()?).await? {
        return Err(Problem::not_found(format!("device {device_id} was never heard of")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Makes or replaces a device's password. It is shown this once; connections made with the old one stay.
#[utoipa::path(post, path = "/v1/devices/{device_id}/credential", tag = "devices",
    params(("device_id" = String, Path, description = "Its id, heard of or not")), responses(
    (status = 201, description = "The password", body = CredentialJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn make_credential(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
) -> Result<(StatusCode, Json<CredentialJson>), Problem> {
    let device_id = id(&device_id)?;
    let made = store::make_credential(&app.db, &caller.tenant, &device_id, app.clock.arrival()).await?;
    let password = made.ok_or_else(|| Problem::conflict("this device id is taken; choose another"))?;
    app.credentials.refresh(&app.db).await?;
    tracing::info!(device_id = %device_id, by = caller.name, "made a device credential");
    Ok((StatusCode::CREATED, Json(CredentialJson { device_id: device_id.into(), password })))
}

/// Takes a device's password away.
#[utoipa::path(delete, path = "/v1/devices/{device_id}/credential", tag = "devices",
    params(("device_id" = String, Path, description = "Its id")), responses(
    (status = 204, description = "It has none any more"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn drop_credential(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let device_id = id(&device_id)?;
    if !store::drop_credential(&app.db, &caller.tenant, &device_id).await? {
        return Err(Problem::not_found(format!("device {device_id} has no credential")));
    }
    app.credentials.refresh(&app.db).await?;
    tracing::info!(device_id = %device_id, by = caller.name, "dropped a device credential");
    Ok(StatusCode::NO_CONTENT)
}
