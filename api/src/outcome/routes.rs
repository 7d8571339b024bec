//! `POST /v1/outcomes`: findings without a ticket, such as old maintenance records.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use schemas::{
    outcome::{Disposition, Outcome},
    time::Instant,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::store::{self, Told};
use crate::{
    app::App,
    auth::Caller,
    body, id, problem,
    problem::Problem,
    ticket::iso14224::{Activity, Cause, DetectionMethod, Mechanism},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(tell))
}

/// A finding about a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOutcome {
    /// The same id again is the same finding; made if not given. 1 to 128 of A-Z a-z 0-9 . _ : -
    outcome_id: Option<String>,
    /// Which device.
    device_id: String,
    /// Its kind.
    profile: Option<String>,
    /// The ticket it belongs to.
    ticket_id: Option<String>,
    /// The advisory that it answers.
    advisory_id: Option<String>,
    /// What the finding is about.
    #[schema(example = "drum_bearing/wear")]
    fault_key: String,
    /// When it was found, or when the part was replaced; now if not given.
    #[schema(value_type = Option<String>, format = DateTime)]
    event_time: Option<Instant>,
    /// When the device failed, if it did and that is known; not after `event_time`.
    #[schema(value_type = Option<String>, format = DateTime)]
    failure_time: Option<Instant>,
    /// How it ended.
    #[schema(value_type = String, example = "part_replaced")]
    disposition: Disposition,
    /// ISO 14224 failure mode; one word a-z 0-9 _.
    failure_mode: Option<String>,
    /// ISO 14224 failure mechanism.
    failure_mechanism: Option<Mechanism>,
    /// ISO 14224 failure cause.
    failure_cause: Option<Cause>,
    /// ISO 14224 detection method.
    detection_method: Option<DetectionMethod>,
    /// ISO 14224 maintenance activity.
    maintenance_activity: Option<Activity>,
    /// The part that went in.
    part_replaced: Option<String>,
}

/// An outcome as it goes to the lake.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutcomeTaken)]
struct OutcomeJson {
    /// Its id.
    outcome_id: String,
    /// Whether it was told before.
    known: bool,
}

/// Takes a finding. It reaches the table `outcome` within seconds; the same id with other words is a conflict.
#[utoipa::path(post, path = "/v1/outcomes", tag = "outcomes", request_body = NewOutcome, responses(
    (status = 201, description = "Taken", body = OutcomeJson),
    (status = 200, description = "Told before", body = OutcomeJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn tell(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Json(new): body::Json<NewOutcome>,
) -> Result<(StatusCode, Json<OutcomeJson>), Problem> {
    let now = app.clock.now();
    let dated = new.event_time.is_some();
    let outcome = outcome(caller, new, now)?;
    let outcome_id = outcome.outcome_id.clone();
    match store::tell(&app.db, &outcome, now).await? {
        Told::Taken => {
            app.events.wake();
            Ok((StatusCode::CREATED, Json(OutcomeJson { outcome_id, known: false })))
        }
        Told::Known(known) => {
            let event_time = if dated { outcome.event_time } else { known.event_time };
            if *known != (Outcome { event_time, ..outcome }) {
                let detail = format!("outcome {outcome_id} was told with other words; take a new outcome_id");
                return Err(Problem::conflict(detail).at("outcome_id"));
            }
            Ok((StatusCode::OK, Json(OutcomeJson { outcome_id, known: true })))
        }
        Told::NoTicket => Err(Problem::unprocessable("there is no such ticket").at("ticket_id")),
    }
}

fn outcome(caller: Caller, new: NewOutcome, now: Instant) -> Result<Outcome, Problem> {
    let outcome_id = match new.outcome_id {
        // The grammar of a device id serves: a word without spaces and slashes.
        Some(text) => {
            let legal = text.parse::<schemas::id::DeviceId>().is_ok();
            let detail = || format!("outcome_id {text:?} is not legal: 1 to 128 of A-Z a-z 0-9 . _ : -");
            if !legal {
                return Err(Problem::bad_request("outcome_id", detail()));
            }
            text
        }
        None => id::new(now),
    };
    if new.disposition == Disposition::PartReplaced && new.part_replaced.is_none() {
        let detail = "part_replaced is missing: disposition part_replaced names the part";
        return Err(Problem::unprocessable(detail).at("part_replaced"));
    }
    body::optional_text("part_replaced", new.part_replaced.as_deref(), PART_MAX)?;
    body::optional_text("advisory_id", new.advisory_id.as_deref(), ID_MAX)?;
    let event_time = new.event_time.unwrap_or(now);
    failure_time(new.failure_time, event_time)?;
    failure_mode(new.failure_mode.as_deref())?;
    Ok(Outcome {
        outcome_id,
        tenant: caller.tenant,
        device_id: body::field("device_id", &new.device_id)?,
        profile: new.profile.map(|text| body::field("profile", &text)).transpose()?,
        ticket_id: new.ticket_id,
        advisory_id: new.advisory_id,
        fault_key: body::field("fault_key", &new.fault_key)?,
        event_time,
        failure_time: new.failure_time,
        disposition: new.disposition,
        failure_mode: new.failure_mode,
        failure_mechanism: new.failure_mechanism.map(|code| code.to_string()),
        failure_cause: new.failure_cause.map(|code| code.to_string()),
        detection_method: new.detection_method.map(|code| code.to_string()),
        maintenance_activity: new.maintenance_activity.map(|code| code.to_string()),
        part_replaced: new.part_replaced,
    })
}

/// The longest id of an advisory.
const ID_MAX: usize = 128;

/// A device fails before that is found, or at that moment.
pub(crate) fn failure_time(failed: Option<Instant>, found: Instant) -> Result<(), Problem> {
    match failed {
        Some(failed) if failed > found => {
            let detail = format!("failure_time is {failed}; legal is up to {found}, when it was found");
            Err(Problem::bad_request("failure_time", detail))
        }
        _ => Ok(()),
    }
}

/// The longest part number.
pub(crate) const PART_MAX: usize = 64;

/// A failure mode is the second half of a fault key.
pub(crate) fn failure_mode(text: Option<&str>) -> Result<(), Problem> {
    let legal = |text: &str| format!("a/{text}").parse::<schemas::id::FaultKey>().is_ok();
    match text {
        Some(text) if !legal(text) => {
            let detail = format!("failure_mode {text:?} is not legal: a-z 0-9 _, first a letter");
            Err(Problem::bad_request("failure_mode", detail))
        }
        _ => Ok(()),
    }
}
