//! `/v1/advisories`: to read. Advisories come from prognosis, not over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use schemas::{
    advisory::{Advisory, Decision},
    time::Instant,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Kept, store};
use crate::{app::App, auth::Caller, body, problem, problem::Problem, ticket::json::PartJson};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// How long the component has left, in hours from `event_time`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemainingUsefulLife)]
struct LifeJson {
    /// One in ten fails before.
    p10_hours: f64,
    /// Half fail before.
    p50_hours: f64,
    /// Nine in ten fail before.
    p90_hours: f64,
}

/// Which model spoke.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelVersion)]
struct ModelJson {
    /// Its name in the registry.
    name: String,
    /// Its version in the registry.
    version: String,
}

/// What acting and not acting cost, in any unit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Costs)]
struct CostsJson {
    /// A planned visit, with the part.
    visit: f64,
    /// A failure that comes unannounced.
    failure: f64,
    /// What a visit that finds nothing costs beyond the visit.
    false_alarm: f64,
}

/// One thing that speaks for or against a failure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contribution)]
struct ContributionJson {
    /// The condition indicator.
    indicator: String,
    /// The metric it is made of.
    metric: Option<String>,
    /// Unit of `value`.
    unit: String,
    /// What it is for this device.
    value: f64,
    /// How far it moves the answer: log-odds for a probability, cycles or hours for a trend.
    contribution: f64,
    /// One phrase for a person.
    words: String,
}

/// What prognosis expects of one component, and what was decided (ISO 13374 advisory generation).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Advisory)]
pub(crate) struct AdvisoryJson {
    /// Its id.
    advisory_id: String,
    /// The device.
    device_id: String,
    /// The device's kind.
    profile: String,
    /// The device's firmware at that time.
    firmware: Option<String>,
    /// Maintainable item and failure mode.
    #[schema(example = "drum_bearing/wear")]
    fault_key: String,
    /// The maintainable item alone.
    component: String,
    /// As of when: nothing later was looked at.
    #[schema(value_type = String, format = DateTime)]
    event_time: Instant,
    /// When Forewarn said so.
    #[schema(value_type = String, format = DateTime)]
    advisory_reporting_time: Instant,
    /// The probability is that of a failure within this time from `event_time`.
    horizon_hours: f64,
    /// Calibrated, 0 to 1.
    probability: f64,
    /// How long is left, where that was estimated.
    remaining_useful_life: Option<LifeJson>,
    /// Which model spoke.
    model: ModelJson,
    /// `model`, `rule_prior` or `trend`.
    method: &'static str,
    /// `auto`, `assist` or `watch`.
    decision: &'static str,
    /// The probability from which it is `auto`: from there on going costs less than waiting.
    threshold: f64,
    /// The costs behind the threshold.
    costs: CostsJson,
    /// What speaks for it and against it, strongest first.
    evidence: Vec<ContributionJson>,
    /// What a technician takes along.
    recommended_parts: Vec<PartJson>,
    /// What a technician must be able to do.
    required_skills: Vec<String>,
    /// The command by which the device tests the component itself.
    self_test: Option<String>,
    /// One sentence for a person.
    reason: String,
    /// The ticket it is attached to.
    ticket_id: Option<String>,
}

impl From<Kept> for AdvisoryJson {
    fn from(kept: Kept) -> Self {
        let Kept { number: _, advisory, ticket_id } = kept;
        let Advisory { model, costs, .. } = advisory;
        let evidence = advisory.evidence.into_iter().map(|part| ContributionJson {
            indicator: part.indicator,
            metric: part.metric,
            unit: part.unit,
            value: part.value,
            contribution: part.contribution,
            words: part.words,
        });
        Self {
            advisory_id: advisory.advisory_id,
            device_id: advisory.device_id.into(),
            profile: advisory.profile.into(),
            firmware: advisory.firmware,
            fault_key: advisory.fault_key.into(),
            component: advisory.component,
            event_time: advisory.event_time,
            advisory_reporting_time: advisory.advisory_reporting_time,
            horizon_hours: advisory.horizon_hours,
            probability: advisory.probability,
            remaining_useful_life: advisory.remaining_useful_life.map(|life| LifeJson {
                p10_hours: life.p10_hours,
                p50_hours: life.p50_hours,
                p90_hours: life.p90_hours,
            }),
            model: ModelJson { name: model.name, version: model.version },
            method: advisory.method.as_str(),
            decision: advisory.decision.as_str(),
            threshold: advisory.threshold,
            costs: CostsJson { visit: costs.visit, failure: costs.failure, false_alarm: costs.false_alarm },
            evidence: evidence.collect(),
            recommended_parts: advisory.parts.iter().map(PartJson::from).collect(),
            required_skills: advisory.skills,
            self_test: advisory.self_test,
            reason: advisory.reason,
            ticket_id,
        }
    }
}

/// Which advisories.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `auto`, `assist` or `watch`.
    #[param(value_type = Option<String>)]
    decision: Option<Decision>,
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

/// One page of advisories.
#[derive(Debug, Serialize, ToSchema)]
struct Advisories {
    /// Newest first.
    advisories: Vec<AdvisoryJson>,
    /// For `after`, where there are more.
    next: Option<String>,
}

/// Lists advisories, newest first. Of those without a ticket the latest 100,000 are here; the table `advisory` has all.
#[utoipa::path(get, path = "/v1/advisories", tag = "advisories", params(Which), responses(
    (status = 200, description = "One page", body = Advisories),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Query(which): body::Query<Which>,
) -> Result<Json<Advisories>, Problem> {
    let filter = store::Filter {
        decision: which.decision,
        device_id: which.device_id.map(|text| body::field("device_id", &text)).transpose()?,
        fault_key: which.fault_key.map(|text| body::field("fault_key", &text)).transpose()?,
        ticket_id: which.ticket_id,
        after: which.after.map(|text| body::field("after", &text)).transpose()?,
        limit: body::page_limit(which.limit)?,
    };
    let page = store::list(&app.db, &caller.tenant, &filter).await?;
    let full = page.len() == filter.limit as usize;
    let next = page.last().filter(|_| full).map(|last| last.number.to_string());
    Ok(Json(Advisories { advisories: page.into_iter().map(AdvisoryJson::from).collect(), next }))
}

/// Shows an advisory.
#[utoipa::path(get, path = "/v1/advisories/{advisory_id}", tag = "advisories",
    params(("advisory_id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The advisory", body = AdvisoryJson),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(advisory_id): Path<String>,
) -> Result<Json<AdvisoryJson>, Problem> {
    let kept = store::get(&app.db, &caller.tenant, &advisory_id).await?;
    let missing = || Problem::not_found(format!("there is no advisory {advisory_id:?}"));
    kept.map(|kept| Json(kept.into())).ok_or_else(missing)
}
