//! Slots and appointments over HTTP, for agents.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State as Shared},
    http::{StatusCode, header},
    response::IntoResponse,
};
use schemas::time::Instant;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Appointment, CallOffReason, Change, FailReason, Refused, State, calendar,
    slot::{Ask, Hold, Offered},
    store::{self, Filter},
};
use crate::{
    app::App,
    auth::{Caller, Role},
    body::{Json, Query, page_limit},
    plan::{self, DEFAULT_OFFERS, MAX_OFFERS},
    problem::{self, Problem},
};

/// The routes of this noun, and of the site that it needs.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(offer))
        .routes(routes!(list, confirm))
        .routes(routes!(get, change))
        .routes(routes!(calendar_file))
        .merge(plan::router())
}

/// Which slots are wanted; `{}` asks for the five earliest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotRequest {
    /// 1 to 20; 5 if left out.
    #[schema(minimum = 1, maximum = 20)]
    count: Option<usize>,
    /// No window begins before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    earliest: Option<Instant>,
    /// No window ends after this.
    #[schema(value_type = Option<String>, format = DateTime)]
    latest: Option<Instant>,
}

/// A slot: an offered arrival window that keeps a technician's time until `expires_at`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slot)]
pub(crate) struct SlotJson {
    slot_id: String,
    /// TM Forum 646: always `initialized`.
    state: &'static str,
    technician_id: String,
    /// The customer is told: the technician arrives between here
    #[schema(value_type = String, format = DateTime)]
    window_start: Instant,
    /// and here.
    #[schema(value_type = String, format = DateTime)]
    window_end: Instant,
    /// When work is planned to start.
    #[schema(value_type = String, format = DateTime)]
    planned_start: Instant,
    /// When work is planned to end.
    #[schema(value_type = String, format = DateTime)]
    planned_end: Instant,
    /// Travel that it adds to the technician's day.
    travel_minutes_added: u64,
    /// One sentence for the agent.
    why: String,
    /// From here on others may have the time.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
}

impl From<Hold> for SlotJson {
    fn from(hold: Hold) -> Self {
        Self {
            slot_id: hold.slot_id,
            state: State::Initialized.as_str(),
            technician_id: hold.technician_id,
            window_start: hold.window.start,
            window_end: hold.window.end,
            planned_start: hold.visit.start,
            planned_end: hold.visit.end,
            travel_minutes_added: hold.travel_added.as_secs() / 60,
            why: hold.why,
            expires_at: hold.expires_at,
        }
    }
}

/// Why there is no slot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shortfall)]
pub(crate) struct ShortfallJson {
    /// `no_technician`, `skill`, `no_shift`, `too_far` or `full`.
    code: &'static str,
    /// In words.
    detail: String,
}

/// Slots, earliest first; their windows do not overlap.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Slots {
    ticket_id: String,
    slots: Vec<SlotJson>,
    /// The constraint that leaves none; absent where there are slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    shortfall: Option<ShortfallJson>,
}

/// An appointment in an answer; states are those of TM Forum 646.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Appointment)]
pub struct AppointmentJson {
    appointment_id: String,
    ticket_id: String,
    device_id: String,
    technician_id: String,
    slot_id: String,
    /// `confirmed`, `cancelled`, `completed` or `failed`.
    state: &'static str,
    /// Why it was called off or failed.
    reason: Option<&'static str>,
    /// One up with each change; iCalendar's SEQUENCE.
    sequence: u32,
    /// The customer was told: the technician arrives between here
    #[schema(value_type = String, format = DateTime)]
    window_start: Instant,
    /// and here.
    #[schema(value_type = String, format = DateTime)]
    window_end: Instant,
    /// When work is planned to start.
    #[schema(value_type = String, format = DateTime)]
    planned_start: Instant,
    /// When work is planned to end.
    #[schema(value_type = String, format = DateTime)]
    planned_end: Instant,
    /// Who changed it last.
    actor: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Instant,
}

impl From<Appointment> for AppointmentJson {
    fn from(appointment: Appointment) -> Self {
        Self {
            appointment_id: appointment.appointment_id,
            ticket_id: appointment.ticket_id,
            device_id: appointment.device_id.to_string(),
            technician_id: appointment.technician_id,
            slot_id: appointment.slot_id,
            state: appointment.state.as_str(),
            reason: appointment.state.reason(),
            sequence: appointment.sequence,
            window_start: appointment.window.start,
            window_end: appointment.window.end,
            planned_start: appointment.visit.start,
            planned_end: appointment.visit.end,
            actor: appointment.actor,
            created_at: appointment.created_at,
            changed_at: appointment.changed_at,
        }
    }
}

/// A page of appointments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppointmentPage {
    appointments: Vec<AppointmentJson>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which slot is taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAppointment {
    ticket_id: String,
    slot_id: String,
}

/// What becomes of an appointment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AppointmentPatch {
    /// Moves it to another held slot of its ticket, with the customer's consent.
    Confirmed {
        /// Which slot.
        slot_id: String,
        /// True: the customer has agreed. Nothing moves without.
        consent: bool,
    },
    /// Calls it off.
    Cancelled {
        /// Why.
        reason: CallOffReason,
    },
    /// The visit is done.
    Completed {},
    /// The visit came to nothing.
    Failed {
        /// Why.
        reason: FailReason,
    },
}

/// Which appointments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AppointmentQuery {
    /// Of this ticket only.
    ticket_id: Option<String>,
    /// Of this technician only.
    technician_id: Option<String>,
    /// 1 to 1000; 100 if left out.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NotFound { .. } => Self::not_found(text),
            Refused::Conflict { code, .. } => Self::conflict(text).with("code", code),
            Refused::Unprocessable { code, .. } => Self::unprocessable(text).with("code", code),
            Refused::Database(error) => error.into(),
        }
    }
}

const AGENTS: &[Role] = &[Role::Agent, Role::Admin];

/// Offers arrival windows and holds them for `api.slot_hold`, 15 minutes unless set. Slots offered for the ticket before are given back.
#[utoipa::path(post, path = "/v1/tickets/{ticket_id}/slots", tag = "visits", params(("ticket_id" = String, Path)),
    request_body = SlotRequest, responses((status = 200, body = Slots), (status = 400, body = problem::Json),
    (status = 404, body = problem::Json), (status = 409, body = problem::Json), (status = 422, body = problem::Json)))]
async fn offer(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(ticket_id): Path<String>,
    Json(request): Json<SlotRequest>,
) -> Result<Answer<Slots>, Problem> {
    caller.require(AGENTS)?;
    let SlotRequest { count, earliest, latest } = request;
    let count = count.unwrap_or(DEFAULT_OFFERS);
    if !(1..=MAX_OFFERS).contains(&count) {
        return Err(Problem::bad_request("count", format!("count is {count}; legal is 1 to {MAX_OFFERS}")));
    }
    let ask = Ask { ticket_id, count, earliest, latest, hold: app.settings.slot_hold };
    let Offered { slots, shortfall } =
        store::offer(&app.db, plan::planner(), &caller.tenant, &ask, app.clock.now()).await?;
    let shortfall = shortfall.map(|why| ShortfallJson { code: why.code(), detail: why.to_string() });
    Ok(Answer(Slots { ticket_id: ask.ticket_id, slots: slots.into_iter().map(SlotJson::from).collect(), shortfall }))
}

/// Confirms a held slot. The same again answers 200 with the same appointment.
#[utoipa::path(post, path = "/v1/appointments", tag = "visits", request_body = NewAppointment, responses(
    (status = 201, body = AppointmentJson), (status = 200, body = AppointmentJson),
    (status = 404, body = problem::Json), (status = 409, body = problem::Json)))]
async fn confirm(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Json(new): Json<NewAppointment>,
) -> Result<(StatusCode, Answer<AppointmentJson>), Problem> {
    caller.require(AGENTS)?;
    let (planner, now) = (plan::planner(), app.clock.now());
    let (tenant, actor) = (&caller.tenant, &caller.name);
    let done = store::confirm(&app.db, planner, tenant, actor, &new.ticket_id, &new.slot_id, now).await?;
    let (appointment, is_new) = done;
    if is_new {
        app.events.wake();
    }
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(appointment.into())))
}

/// Appointments, oldest first.
#[utoipa::path(get, path = "/v1/appointments", tag = "visits", params(AppointmentQuery), responses(
    (status = 200, body = AppointmentPage), (status = 400, body = problem::Json)))]
async fn list(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Query(query): Query<AppointmentQuery>,
) -> Result<Answer<AppointmentPage>, Problem> {
    caller.require(AGENTS)?;
    let limit = page_limit(query.limit)?;
    let AppointmentQuery { ticket_id, technician_id, after, limit: _ } = query;
    let filter = Filter { ticket_id, technician_id, after: after.unwrap_or_default(), limit: limit + 1 };
    let mut found = store::list(&app.db, &caller.tenant, &filter).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.appointment_id.clone());
    Ok(Answer(AppointmentPage { appointments: found.into_iter().map(AppointmentJson::from).collect(), next }))
}

async fn found(app: &App, caller: &Caller, appointment_id: &str) -> Result<Appointment, Problem> {
    let mut connection = app.db.acquire().await?;
    let found = store::get(&mut connection, &caller.tenant, appointment_id).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no appointment {appointment_id:?}")))
}

/// One appointment.
#[utoipa::path(get, path = "/v1/appointments/{appointment_id}", tag = "visits",
    params(("appointment_id" = String, Path)),
    responses((status = 200, body = AppointmentJson), (status = 404, body = problem::Json)))]
async fn get(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(appointment_id): Path<String>,
) -> Result<Answer<AppointmentJson>, Problem> {
    caller.require(AGENTS)?;
    Ok(Answer(found(&app, &caller, &appointment_id).await?.into()))
}

/// Calls off, completes, fails or, with consent, moves a confirmed appointment.
#[utoipa::path(patch, path = "/v1/appointments/{appointment_id}", tag = "visits",
    params(("appointment_id" = String, Path)), request_body = AppointmentPatch, responses(
    (status = 200, body = AppointmentJson), (status = 400, body = problem::Json),
    (status = 404, body = problem::Json), (status = 409, body = problem::Json), (status = 422, body = problem::Json)))]
async fn change(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(appointment_id): Path<String>,
    Json(patch): Json<AppointmentPatch>,
) -> Result<Answer<AppointmentJson>, Problem> {
    caller.require(AGENTS)?;
    let change = match patch {
        AppointmentPatch::Confirmed { consent: false, .. } => {
            let detail = "consent is false: an appointment moves only when the customer has agreed";
            return Err(Problem::unprocessable(detail).at("consent"));
        }
        AppointmentPatch::Confirmed { slot_id, consent: true } => Change::Reschedule { slot_id },
        AppointmentPatch::Cancelled { reason } => Change::Cancel(reason),
        AppointmentPatch::Completed {} => Change::Complete,
        AppointmentPatch::Failed { reason } => Change::Fail(reason),
    };
    let (planner, now) = (plan::planner(), app.clock.now());
    let (tenant, actor) = (&caller.tenant, &caller.name);
    let appointment = store::change(&app.db, planner, tenant, actor, &appointment_id, &change, now).await?;
    app.events.wake();
    Ok(Answer(appointment.into()))
}

/// The appointment as an iCalendar file: its arrival window, to import or send.
#[utoipa::path(get, path = "/v1/appointments/{appointment_id}/calendar.ics", tag = "visits",
    params(("appointment_id" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/calendar"), (status = 404, body = problem::Json)))]
async fn calendar_file(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(appointment_id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.require(AGENTS)?;
    let appointment = found(&app, &caller, &appointment_id).await?;
    let mut connection = app.db.acquire().await?;
    let (title, address) = store::calendar_texts(&mut connection, &appointment).await?;
    let method = calendar::method(&appointment);
    let content_type = format!("text/calendar; charset=utf-8; method={method}");
    Ok(([(header::CONTENT_TYPE, content_type)], calendar::calendar(&appointment, &title, address.as_deref())))
}
