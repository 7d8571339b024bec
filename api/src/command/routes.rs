//! `/v1/devices/{device_id}/commands`: to order, and to see what became of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{door::Principal, id::DeviceId, time::Instant};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Command, State, rules, store, store::Ordered};
use crate::{
    app::App,
    auth::Caller,
    body,
    body::RawJson,
    device, idempotency,
    problem::{self, Problem},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, order))
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const STATES: [&str; 5] = ["pending", "delivered", "answered", "refused", "expired"];

/// What to tell a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCommand)]
struct New {
    /// A `[[command]]` of the device's profile.
    #[schema(example = "self_test")]
    name: String,
    /// As the device understands it; empty if not given.
    #[schema(value_type = Option<Object>)]
    args: Option<Map<String, Value>>,
    /// How long it is of use: a span such as `1h`, from `1s` to `90d`; a day if not given.
    #[schema(example = "1h")]
    expires_in: Option<String>,
}

/// A command and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Command)]
struct CommandJson {
    /// Its id; the device's reply names it.
    command_id: String,
    /// To which device.
    device_id: String,
    /// As in the device's profile.
    name: String,
    /// As the device understands it.
    #[schema(value_type = Object)]
    args: Value,
    /// Who ordered it.
    ordered_by: String,
    /// `pending`, `delivered`, `answered`, `refused` or `expired`.
    state: &'static str,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    created: Instant,
    /// When it is of no use any more.
    #[schema(value_type = String, format = DateTime)]
    expires: Instant,
    /// When the device acknowledged it.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered: Option<Instant>,
    /// When the reply came in, the device refused it, or its time was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended: Option<Instant>,
    /// Whether the device could do it.
    ok: Option<bool>,
    /// What the device replied.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Why the device refused it.
    reason: Option<String>,
}

impl From<&Command> for CommandJson {
    fn from(command: &Command) -> Self {
        // What was kept was JSON.
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut shown = Self {
            command_id: command.command_id.clone(),
            device_id: command.device_id.to_string(),
            name: command.name.clone(),
            args: json(&command.args),
            ordered_by: command.actor.clone(),
            state: command.state.as_str(),
            created: command.created,
            expires: command.expires,
            delivered: None,
            ended: None,
            ok: None,
            result: None,
            reason: None,
        };
        match &command.state {
            State::Pending => {}
            State::Delivered { at } => shown.delivered = Some(*at),
            State::Answered { delivered, at, ok, result } => {
                (shown.delivered, shown.ended, shown.ok) = (*delivered, Some(*at), Some(*ok));
                shown.result = result.as_deref().map(json);
            }
            State::Refused { at, reason } => (shown.ended, shown.reason) = (Some(*at), Some(reason.clone())),
            State::Expired { at } => shown.ended = Some(*at),
        }
        shown
    }
}

/// One page of commands.
#[derive(Debug, Serialize, ToSchema)]
struct Commands {
    /// Newest first.
    commands: Vec<CommandJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Which commands.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// In this state.
    state: Option<String>,
    /// 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Lists a device's commands, newest first.
#[utoipa::path(get, path = "/v1/devices/{device_id}/commands", tag = "devices",
    params(("device_id" = String, Path, description = "Its id"), Which), responses(
    (status = 200, description = "One page", body = Commands),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
    body::Query(which): body::Query<Which>,
) -> Result<Json<Commands>, Problem> {
    let device_id: DeviceId = body::field("device_id", &device_id)?;
    if let Some(state) = which.state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(Problem::bad_request(
            "state",
            format!("state is {state:?}; legal is one of {}", STATES.join(", ")),
        ));
    }
    let filter = store::Filter {
        state: which.state,
        before: which.after.map(|text| body::field("after", &text)).transpose()?,
        limit: body::page_limit(which.limit)?,
    };
    let page = store::list(&app.db, &caller.tenant, &device_id, &filter).await?;
    let next = page.last().filter(|_| page.len() == filter.limit as usize).map(|last| last.number.to_string());
    Ok(Json(Commands { commands: page.iter().map(CommandJson::from).collect(), next }))
}

/// Orders a command. It waits until the device has it or its time is over. `Idempotency-Key` makes a repeat harmless.
#[utoipa::path(post, path = "/v1/devices/{device_id}/commands", tag = "devices", request_body = New,
    params(("device_id" = String, Path, description = "A device that was heard of"),
        ("idempotency-key" = Option<String>, Header, description = "1 to 128 visible ASCII; kept for 24 hours")), responses(
    (status = 201, description = "It waits", body = CommandJson),
    (status = 422, description = "The profile has no such command, or the key was used with another body",
        body = problem::Json, content_type = "application/problem+json"),
    (status = 429, description = "As many wait as may; `command_id` names the oldest", body = problem::Json,
        content_type = "application/problem+json"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn order(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(device_id): Path<String>,
    headers: HeaderMap,
    raw: RawJson<New>,
) -> Result<Response, Problem> {
    // A key belongs to one device's orders: the device is part of what is compared.
    let asked = [device_id.as_bytes(), b"\n", &raw.bytes[..]].concat();
    let key = idempotency::key(headers.get("idempotency-key").map(HeaderValue::as_bytes), &asked)?;
    let device_id: DeviceId = body::field("device_id", &device_id)?;
    let device = device::store::get(&app.db, &caller.tenant, &device_id).await?;
    let device = device.ok_or_else(|| Problem::not_found(format!("device {device_id} was never heard of")))?;
    let profile = app.profiles.get(device.profile.as_str());
    let profile = profile.ok_or_else(|| Problem::unprocessable(format!("profile {} is not loaded", device.profile)))?;
    let New { name, args, expires_in } = raw.value;
    let order = rules::order(profile, name, args, expires_in.as_deref())?;
    let to = Principal { tenant: caller.tenant.clone(), device_id };
    let answer = |command: &Command| serde_json::to_string(&CommandJson::from(command));
    let ordered = store::order(&app.db, &to, order, key, &caller.name, app.clock.arrival(), answer).await?;
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match ordered {
        Ordered::Waiting(command, body) => {
            app.commands.came_to("pending", 1);
            if let Some(courier) = &app.courier {
                courier.ordered();
            }
            let (command_id, device_id) = (&command.command_id, &to.device_id);
            tracing::info!(command_id, %device_id, name = command.name, by = caller.name, "ordered a command");
            Ok((StatusCode::CREATED, [json], body).into_response())
        }
        Ordered::Answered(answer) => {
            let status = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
            Ok((status, [json, (REPLAYED, HeaderValue::from_static("true"))], answer.body).into_response())
        }
        Ordered::OtherBody => Err(idempotency::other_body()),
        Ordered::Full { command_id, expires } => {
            app.commands.queue_full.inc();
            let waiting = rules::QUEUE;
            let detail =
                format!("{waiting} commands wait for this device, and no more may; the oldest expires at {expires}");
            Err(Problem::too_many(detail).with("command_id", command_id))
        }
    }
}
