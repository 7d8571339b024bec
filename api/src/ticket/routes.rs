//! `/v1/tickets`: what agents see and do.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    EntryKind, Resolution, Status, Ticket,
    json::{Detail, NewTicket, NoteKind, Page, TicketJson, TicketPatch, Which},
    rules::Step,
    store::{self, By, Create, Created, Patch, PatchError},
};
use crate::{
    app::App,
    auth::Caller,
    body,
    body::RawJson,
    idempotency, outcome,
    problem::{self, Problem},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, patch))
}

const TITLE_MAX: usize = 200;
const TEXT_MAX: usize = 4000;
const OWNER_MAX: usize = 60;

/// Lists tickets, newest first.
#[utoipa::path(get, path = "/v1/tickets", tag = "tickets", params(Which), responses(
    (status = 200, description = "One page", body = Page),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<axum::Json<Page>, Problem> {
    let mut status = Vec::new();
    for word in which.status.iter().flat_map(|words| words.split(',')) {
        match word {
            "open" => status.extend(Status::ALL.iter().filter(|status| status.is_open())),
            word => status.push(body::field("status", word)?),
        }
    }
    let filter = store::Filter {
        status,
        device_id: which.device_id.map(|text| body::field("device_id", &text)).transpose()?,
        fault_key: which.fault_key.map(|text| body::field("fault_key", &text)).transpose()?,
        service_problem_id: which.service_problem_id,
        after: which.after.map(|text| body::field("after", &text)).transpose()?,
        limit: body::page_limit(which.limit)?,
    };
    let page = store::list(&app.db, &caller.tenant, &filter).await?;
    let full = page.len() == filter.limit as usize;
    let next = page.last().filter(|_| full).map(|last| last.number.to_string());
    Ok(axum::Json(Page { tickets: page.iter().map(TicketJson::from).collect(), next }))
}

/// Shows a ticket with its alarms and advisories (the latest 100 of each), its history and its appointments.
#[utoipa::path(get, path = "/v1/tickets/{ticket_id}", tag = "tickets",
    params(("ticket_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The ticket; its version as ETag", body = Detail),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(State(app): State<Arc<App>>, caller: Caller, Path(ticket_id): Path<String>) -> Result<Response, Problem> {
    let whole = store::whole(&app.db, &caller.tenant, &ticket_id).await?;
    let whole = whole.ok_or_else(|| missing(&ticket_id))?;
    let etag = etag(&whole.ticket);
    Ok(([(header::ETAG, etag)], axum::Json(Detail::from(whole))).into_response())
}

fn missing(ticket_id: &str) -> Problem {
    Problem::not_found(format!("there is no ticket {ticket_id:?}"))
}

fn etag(ticket: &Ticket) -> HeaderValue {
    // Digits and quotes are always a legal header.
    HeaderValue::from_str(&format!("\"{}\"", ticket.version)).unwrap_or(HeaderValue::from_static("\"0\""))
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Opens a ticket by hand. `Idempotency-Key` makes a repeat harmless; an open ticket on the same fault is a conflict.
#[utoipa::path(post, path = "/v1/tickets", tag = "tickets", request_body = NewTicket,
    params(("idempotency-key" = Option<String>, Header, description = "1 to 128 visible ASCII; kept for 24 hours")), responses(
    (status = 201, description = "The ticket", body = TicketJson),
    (status = 409, description = "The fault has an open ticket; `ticket_id` names it", body = problem::Json, content_type = "application/problem+json"),
    (status = 422, description = "The key was used with another body", body = problem::Json, content_type = "application/problem+json"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    raw: RawJson<NewTicket>,
) -> Result<Response, Problem> {
    let key = idempotency::key(headers.get("idempotency-key").map(HeaderValue::as_bytes), &raw.bytes)?;
    let new = raw.value;
    body::text("title", &new.title, TITLE_MAX)?;
    body::optional_text("description", new.description.as_deref(), TEXT_MAX)?;
    body::optional_text("customer_text", new.customer_text.as_deref(), TEXT_MAX)?;
    body::optional_text("owner", new.owner.as_deref(), OWNER_MAX)?;
    let device_id = body::field("device_id", &new.device_id)?;
    let profile = new.profile.as_deref().map(|text| body::field("profile", text)).transpose()?;
    let create = Create {
        device_id,
        fault_key: body::field("fault_key", &new.fault_key)?,
        profile,
        ticket_type: new.ticket_type,
        severity: new.severity,
        title: new.title,
        description: new.description,
        customer_text: new.customer_text,
        owner: new.owner,
    };
    let answer = |ticket: &Ticket| serde_json::to_string(&TicketJson::from(ticket));
    let (now, actor) = (app.clock.now(), &caller.name);
    let arrival = app.clock.arrival();
    let created =
        store::create(&app.db, &app.profiles, &caller.tenant, create, key, actor, now, arrival, answer).await?;
    match created {
        Created::Opened(ticket, body) => {
            app.metrics.tickets_opened.inc();
            app.events.wake();
            let headers =
                [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::ETAG, etag(&ticket))];
            Ok((StatusCode::CREATED, headers, body).into_response())
        }
        Created::Answered(answer) => {
            let status = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
            let json = HeaderValue::from_static("application/json");
            let headers = [(header::CONTENT_TYPE, json), (REPLAYED, HeaderValue::from_static("true"))];
            Ok((status, headers, answer.body).into_response())
        }
        Created::OtherBody => Err(idempotency::other_body()),
        Created::Blocked(ticket_id) => {
            let detail = format!("ticket {ticket_id} is open on this fault of this device");
            Err(Problem::conflict(detail).with("ticket_id", ticket_id))
        }
        Created::NoComponent(components) => {
            let detail = format!("the profile has no such component; legal are {}", components.join(", "));
            Err(Problem::unprocessable(detail).at("fault_key"))
        }
        Created::NoProfile => Err(Problem::unprocessable("no profile of this name is loaded").at("profile")),
    }
}

/// Changes a ticket: owner, note, status, all at once or not at all. `If-Match` refuses a change of something that has
/// changed meanwhile.
#[utoipa::path(patch, path = "/v1/tickets/{ticket_id}", tag = "tickets", request_body = TicketPatch, params(
    ("ticket_id" = String, Path, description = "Its id"),
    ("if-match" = Option<String>, Header, description = "ETag of the ticket as the caller knows it")), responses(
    (status = 200, description = "The ticket; its version as ETag", body = TicketJson),
    (status = 409, description = "The status cannot be left for that one", body = problem::Json, content_type = "application/problem+json"),
    (status = 412, description = "It has changed; `version` is the present one", body = problem::Json, content_type = "application/problem+json"),
    (status = 422, description = "Something is missing for that status", body = problem::Json, content_type = "application/problem+json"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(ticket_id): Path<String>,
    headers: HeaderMap,
    body::Json(asked): body::Json<TicketPatch>,
) -> Result<Response, Problem> {
    outcome::routes::failure_time(asked.failure_time, app.clock.now())?;
    let patch = Patch {
        if_match: if_match(&headers)?,
        step: step(&asked)?,
        note: note(&asked)?,
        owner: match asked.owner {
            Some(owner) => body::text("owner", &owner, OWNER_MAX).map(|()| Some(owner))?,
            None => None,
        },
    };
    if patch.step.is_none() && patch.note.is_none() && patch.owner.is_none() {
        return Err(Problem::bad_request("", "the change is empty; legal are owner, note and status"));
    }
    let by = By { actor: &caller.name, now: app.clock.now(), verify_after: app.settings.verify_after };
    let ticket = match store::patch(&app.db, &caller.tenant, &ticket_id, patch, by).await {
        Ok(ticket) => ticket,
        Err(PatchError::NotFound) => return Err(missing(&ticket_id)),
        Err(PatchError::Stale(version)) => {
            return Err(
                Problem::precondition_failed(format!("the ticket's version is {version}")).with("version", version)
            );
        }
        Err(PatchError::Refused(refusal)) => return Err(refused(&refusal)),
        Err(error @ PatchError::Over(_)) => return Err(Problem::conflict(error.to_string()).at("owner")),
        Err(PatchError::Db(error)) => return Err(error.into()),
    };
    app.events.wake();
    let etag = etag(&ticket);
    Ok(([(header::ETAG, etag)], axum::Json(TicketJson::from(&ticket))).into_response())
}

fn refused(refusal: &super::rules::Refusal) -> Problem {
    use super::rules::Refusal;
    let detail = refusal.to_string();
    match refusal {
        Refusal::NotInTable { from, .. } => {
            let legal: Vec<&str> = super::rules::next(*from).iter().map(|status| status.as_str()).collect();
            Problem::conflict(detail).at("status").with("status_legal", legal)
        }
        Refusal::NoOwner => Problem::unprocessable(detail).at("owner"),
        Refusal::NoContact => Problem::unprocessable(detail).at("note"),
        Refusal::NoPart => Problem::unprocessable(detail).at("part_replaced"),
        Refusal::TooEarly { .. } | Refusal::AlarmActive => Problem::unprocessable(detail).at("status_change_reason"),
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<Vec<i64>>, Problem> {
    let Some(header) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = header.to_str().unwrap_or("not ASCII").trim();
    if text == "*" {
        return Ok(None);
    }
    let version = |etag: &str| etag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    let versions: Option<Vec<i64>> = text.split(',').map(version).collect();
    let wrong =
        || Problem::bad_request("if-match", format!("if-match is {text:?}; legal is an ETag such as \"3\", or *"));
    versions.map(Some).ok_or_else(wrong)
}

fn note(asked: &TicketPatch) -> Result<Option<(EntryKind, String)>, Problem> {
    let Some(note) = &asked.note else {
        return Ok(None);
    };
    body::text("note.text", &note.text, TEXT_MAX)?;
    let kind = match note.kind {
        NoteKind::Note => EntryKind::Note,
        NoteKind::Contact => EntryKind::Contact,
        NoteKind::RemoteAction => EntryKind::RemoteAction,
    };
    Ok(Some((kind, note.text.clone())))
}

/// The step that the fields of a change speak of. A field that the step has no use for is refused.
fn step(asked: &TicketPatch) -> Result<Option<Step>, Problem> {
    let found = resolution(asked)?;
    let Some(status) = asked.status else {
        if found.is_some() || asked.status_change_reason.is_some() {
            return Err(Problem::bad_request("status", "status is missing: a reason or a disposition goes with one"));
        }
        return Ok(None);
    };
    if found.is_some() && status != Status::Resolved {
        return Err(Problem::bad_request("disposition", "a disposition goes with status resolved only"));
    }
    let reason = asked.status_change_reason.as_deref();
    let needed = || reason.ok_or_else(|| missing_reason(status));
    const FIELD: &str = "status_change_reason";
    let step = match status {
        Status::Pending => Step::Wait(body::field(FIELD, needed()?)?),
        Status::Held => Step::Hold(body::field(FIELD, needed()?)?),
        Status::Closed => Step::Close(body::field(FIELD, needed()?)?),
        Status::Cancelled => Step::Cancel(body::field(FIELD, needed()?)?),
        Status::Rejected => Step::Reject(body::field(FIELD, needed()?)?),
        Status::InProgress => {
            if let Some(reason) = reason {
                body::field::<super::ReopenReason>(FIELD, reason)?;
            }
            Step::Work
        }
        Status::Resolved => Step::Resolve(found.ok_or_else(|| {
            Problem::unprocessable("disposition is missing: a resolved ticket tells how it ended").at("disposition")
        })?),
        Status::Acknowledged => {
            return Err(Problem::conflict("no ticket becomes acknowledged again; open a new one").at("status"));
        }
    };
    if status == Status::Resolved && reason.is_some() {
        return Err(Problem::bad_request(FIELD, "status resolved takes a disposition, no status_change_reason"));
    }
    Ok(Some(step))
}

fn missing_reason(status: Status) -> Problem {
    fn list<T: Copy + std::fmt::Display>(words: &[T]) -> String {
        words.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
    }
    let legal = match status {
        Status::Pending => list(super::PendingReason::ALL),
        Status::Held => list(super::HeldReason::ALL),
        Status::Closed => list(super::CloseReason::ALL),
        Status::Cancelled => list(super::CancelReason::ALL),
        Status::Rejected => list(super::RejectReason::ALL),
        Status::Acknowledged | Status::InProgress | Status::Resolved => String::new(),
    };
    let detail = format!("status_change_reason is missing; legal for {status} is {legal}");
    Problem::unprocessable(detail).at("status_change_reason")
}

fn resolution(asked: &TicketPatch) -> Result<Option<Resolution>, Problem> {
    outcome::routes::failure_mode(asked.failure_mode.as_deref())?;
    body::optional_text("part_replaced", asked.part_replaced.as_deref(), outcome::routes::PART_MAX)?;
    let codes = asked.failure_mode.is_some()
        || asked.failure_mechanism.is_some()
        || asked.failure_cause.is_some()
        || asked.detection_method.is_some()
        || asked.maintenance_activity.is_some()
        || asked.part_replaced.is_some()
        || asked.failure_time.is_some();
    let Some(disposition) = asked.disposition else {
        if codes {
            return Err(Problem::unprocessable("disposition is missing: the codes go with one").at("disposition"));
        }
        return Ok(None);
    };
    Ok(Some(Resolution {
        disposition,
        failure_mode: asked.failure_mode.clone(),
        failure_mechanism: asked.failure_mechanism,
        failure_cause: asked.failure_cause,
        detection_method: asked.detection_method,
        maintenance_activity: asked.maintenance_activity,
        part_replaced: asked.part_replaced.clone(),
        failure_time: asked.failure_time,
    }))
}
