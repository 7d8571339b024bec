//! `/v1/alarms`: to read. Alarms are raised by detection, not over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use schemas::{
    alarm::{Alarm, AlarmState, Evidence},
    time::Instant,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Awaits, Kept, store};
use crate::{
    app::App,
    auth::Caller,
    body, problem,
    problem::Problem,
    self_test::{self, SelfTest},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Why an alarm was raised, in numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Evidence)]
pub(crate) struct EvidenceJson {
    /// The metric that crossed, or the fault code that came.
    indicator: String,
    /// Unit of `observed` and `threshold`.
    unit: String,
    /// The value that was crossed.
    threshold: Option<f64>,
    /// The most extreme value while the condition held.
    observed: Option<f64>,
    /// When the condition began to hold.
    #[schema(value_type = String, format = DateTime)]
    since: Instant,
    /// The last reading looked at.
    #[schema(value_type = String, format = DateTime)]
    until: Instant,
    /// How many readings held the condition.
    readings: u64,
    /// Whether it came and went so often that it stays raised until it was calm for a while.
    flapping: bool,
    /// One sentence for a person.
    reason: String,
}

/// An alarm in its latest state (TM Forum 642 names).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub(crate) struct AlarmJson {
    /// Its id.
    alarm_id: String,
    /// The device.
    device_id: String,
    /// The device's kind.
    profile: String,
    /// The device's firmware at that time.
    firmware: Option<String>,
    /// The rule's name, or the fault code.
    specific_problem: String,
    /// `rule` or `device`.
    source: &'static str,
    /// Maintainable item and failure mode.
    #[schema(example = "drum_bearing/wear")]
    fault_key: String,
    /// X.733: `indeterminate`, `warning`, `minor`, `major` or `critical`.
    perceived_severity: &'static str,
    /// In words of the profile.
    probable_cause: String,
    /// `raised` or `cleared`.
    state: &'static str,
    /// Event time of the reading that raised it.
    #[schema(value_type = String, format = DateTime)]
    alarm_raised_time: Instant,
    /// When Forewarn raised it.
    #[schema(value_type = String, format = DateTime)]
    alarm_reporting_time: Instant,
    /// Event time of the reading that cleared it.
    #[schema(value_type = Option<String>, format = DateTime)]
    alarm_cleared_time: Option<Instant>,
    /// The numbers behind it.
    evidence: EvidenceJson,
    /// Whether it was raised in a planned outage: then it has opened no ticket.
    planned_outage_indicator: bool,
    /// The ticket it is attached to.
    ticket_id: Option<String>,
    /// What it waits for before it opens one: `prognosis` or `self_test`.
    awaits: Option<&'static str>,
}

impl From<Kept> for AlarmJson {
    fn from(kept: Kept) -> Self {
        let Kept { number: _, alarm, planned_outage, ticket_id, awaits } = kept;
        let Alarm { evidence, .. } = alarm;
        let Evidence { indicator, unit, threshold, observed, since, until, readings, flapping, reason } = evidence;
        Self {
            alarm_id: alarm.alarm_id,
            device_id: alarm.device_id.into(),
            profile: alarm.profile.into(),
            firmware: alarm.firmware,
            specific_problem: alarm.specific_problem,
            source: alarm.source.as_str(),
            fault_key: alarm.fault_key.into(),
            perceived_severity: alarm.perceived_severity.as_str(),
            probable_cause: alarm.probable_cause,
            state: alarm.state.as_str(),
            alarm_raised_time: alarm.alarm_raised_time,
            alarm_reporting_time: alarm.alarm_reporting_time,
            alarm_cleared_time: alarm.alarm_cleared_time,
            evidence: EvidenceJson { indicator, unit, threshold, observed, since, until, readings, flapping, reason },
            planned_outage_indicator: planned_outage,
            ticket_id,
            awaits: awaits.map(Awaits::as_str),
        }
    }
}

/// An alarm with the self-tests that came before a ticket.
#[derive(Debug, Serialize, ToSchema)]
struct AlarmWhole {
    #[serde(flatten)]
    alarm: AlarmJson,
    /// Those of its fault while it was raised, oldest first.
    self_tests: Vec<SelfTest>,
}

/// Which alarms.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `raised` or `cleared`.
    #[param(value_type = Option<String>)]
    state: Option<AlarmState>,
    /// Of this device.
    device_id: Option<String>,
    /// On this fault.
    fault_key: Option<String>,
    /// Attached to this ticket.
    ticket_id: Option<String>,
    /// 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// One page of alarms.
#[derive(Debug, Serialize, ToSchema)]
struct Alarms {
    /// Newest first.
    alarms: Vec<AlarmJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Lists alarms, newest first.
#[utoipa::path(get, path = "/v1/alarms", tag = "alarms", params(Which), responses(
    (status = 200, description = "One page", body = Alarms),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<Json<Alarms>, Problem> {
    let filter = store::Filter {
        state: which.state,
        device_id: which.device_id.map(|text| body::field("device_id", &text)).transpose()?,
        fault_key: which.fault_key.map(|text| body::field("fault_key", &text)).transpose()?,
        ticket_id: which.ticket_id,
        after: which.after.map(|text| body::field("after", &text)).transpose()?,
        limit: body::page_limit(which.limit)?,
    };
    let page = store::list(&app.db, &caller.tenant, &filter).await?;
    let full = page.len() == filter.limit as usize;
    let next = page.last().filter(|_| full).map(|last| last.number.to_string());
    Ok(Json(Alarms { alarms: page.into_iter().map(AlarmJson::from).collect(), next }))
}

/// Shows an alarm.
#[utoipa::path(get, path = "/v1/alarms/{alarm_id}", tag = "alarms",
    params(("alarm_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The alarm", body = AlarmWhole),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(alarm_id): Path<String>,
) -> Result<Json<AlarmWhole>, Problem> {
    let kept = store::get(&app.db, &caller.tenant, &alarm_id).await?;
    let kept = kept.ok_or_else(|| Problem::not_found(format!("there is no alarm {alarm_id:?}")))?;
    let self_tests = self_test::store::of_alarm(&app.db, &kept.alarm).await?;
    Ok(Json(AlarmWhole { alarm: kept.into(), self_tests }))
}
