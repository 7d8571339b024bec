//! `POST /v1/dead-letters/replay`.

use std::{collections::HashSet, sync::Arc};

use axum::{Json, extract::State};
use schemas::{
    door::{DoorError, Letter, Reinject, SqlEngine},
    id::TenantId,
    reject::RejectReason,
    time::Instant,
    topic::Topic,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Filter, LetterId, Stored, rules, store};
use crate::{app::App, auth::Caller, body, device, problem, problem::Problem, sql::routes::problem as sql_problem};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(replay))
}

/// Rows looked at in one request. One message makes at most 100 of them, which repeat at most 1 MiB of its payload.
const ROWS: usize = 256;
/// Rows looked at where so many arrived in the same microsecond that [`ROWS`] does not get past it.
const ROWS_MAX: usize = 16_384;

/// Which dead letters to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterReplay)]
struct Asked {
    /// Reasons; `unknown_profile`, `wrong_type`, `out_of_range` and `future_timestamp` if not given.
    #[schema(value_type = Option<Vec<String>>)]
    reasons: Option<Vec<RejectReason>>,
    /// Only of devices of this kind: as the message names it, else as the device is known.
    profile: Option<String>,
    /// Only what arrived then or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Only what arrived before; now if not given.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterReplayed)]
struct Done {
    /// Messages sent into the log.
    replayed: u64,
    /// Messages that had been sent before.
    known: u64,
    /// Messages of devices of another kind.
    other_profile: u64,
    /// Letters in this time that are never sent: refused for topic, credential or size, and Sparkplug's.
    refused: u64,
    /// More may follow: ask again with this as `since`, and with `until`.
    #[schema(value_type = Option<String>, format = DateTime)]
    next: Option<Instant>,
    /// As asked for, or now.
    #[schema(value_type = String, format = DateTime)]
    until: Instant,
}

/// Sends the tenant's dead letters through the log once more, after a profile was mended. Each is sent once: what is
/// still refused is a new letter. Works through some hundred letters, oldest first, and tells where to go on.
#[utoipa::path(post, path = "/v1/dead-letters/replay", tag = "dead letters", request_body = Asked, responses(
    (status = 200, description = "Sent", body = Done),
    (status = 503, description = "Ingest or analytics does not run here", body = problem::Json,
        content_type = "application/problem+json"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    body::Json(asked): body::Json<Asked>,
) -> Result<Json<Done>, Problem> {
    let reasons = asked.reasons.unwrap_or_else(|| rules::MENDABLE.to_vec());
    if let Some(reason) = reasons.iter().find(|reason| rules::NEVER.contains(reason)) {
        let detail = format!("letters with reason {reason} are never sent again");
        return Err(Problem::bad_request("reasons", detail));
    }
    if reasons.is_empty() {
        return Err(Problem::bad_request("reasons", "reasons is empty; leave it out for those that can be mended"));
    }
    let profile = asked.profile.map(|text| body::field("profile", &text)).transpose()?;
    let until = asked.until.unwrap_or_else(|| app.clock.arrival());
    let filter = Filter { reasons, profile, since: asked.since, until };
    let engine = app.sql.as_ref().ok_or_else(|| Problem::unavailable("analytics does not run in this process"))?;
    let log = app.letters.as_ref().ok_or_else(|| Problem::unavailable("ingest does not run in this process"))?;

    let (letters, next) = page(engine.as_ref(), &caller.tenant, &filter).await?;
    let mut done = Done { replayed: 0, known: 0, other_profile: 0, refused: 0, next, until };
    // Of the time that this page covers: the counts of all pages add up.
    let covered = Filter { until: next.unwrap_or(until), ..filter.clone() };
    done.refused = store::refused(engine.as_ref(), &caller.tenant, &covered).await.map_err(sql_problem)?;
    let ids: Vec<LetterId> = letters.iter().map(rules::id).collect();
    let mut seen = store::known(&app.db, &caller.tenant, &ids).await?;
    let before: HashSet<LetterId> = seen.clone();
    let mut turn = Vec::new();
    for (letter, letter_id) in letters.into_iter().zip(ids) {
        let Some(topic) = rules::topic(&caller.tenant, &letter) else {
            done.refused += 1;
            continue;
        };
        if !seen.insert(letter_id) {
            continue;
        }
        if !is_wanted(&app, &filter, &topic, &letter).await? {
            done.other_profile += 1;
            continue;
        }
        turn.push((letter_id, Letter { topic, content_type: letter.content_type, payload: letter.payload }));
    }
    done.known = before.len() as u64;
    done.replayed = send(&app, log.as_ref(), &caller.tenant, turn).await?;
    tracing::info!(tenant = %caller.tenant, actor = caller.name, replayed = done.replayed, "sent dead letters again");
    Ok(Json(done))
}

/// Some letters, and the instant from which on more may follow. What arrived in that instant is left for then.
async fn page(
    engine: &dyn SqlEngine,
    tenant: &TenantId,
    filter: &Filter,
) -> Result<(Vec<Stored>, Option<Instant>), Problem> {
    let mut rows = ROWS;
    loop {
        let mut letters = store::page(engine, tenant, filter, rows).await.map_err(sql_problem)?;
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Ok((letters, None)) };
        let (first, last) = (first.arrival, last.arrival);
        if letters.len() < rows {
            return Ok((letters, None));
        }
        if first < last {
            letters.retain(|letter| letter.arrival < last);
            return Ok((letters, Some(last)));
        }
        if rows >= ROWS_MAX {
            let detail = format!("{rows} or more letters arrived at {first}: choose fewer by their reason");
            return Err(Problem::unprocessable(detail));
        }
        rows *= 4;
    }
}

/// Whether a letter is of the kind of device that was asked for.
async fn is_wanted(app: &App, filter: &Filter, topic: &Topic, letter: &Stored) -> Result<bool, Problem> {
    let Some(wanted) = &filter.profile else { return Ok(true) };
    if let Some(named) = rules::profile(topic, letter) {
        return Ok(named == wanted.as_str());
    }
    let device = device::store::get(&app.db, &topic.tenant, &topic.device).await?;
    Ok(device.is_some_and(|device| device.profile == *wanted))
}

/// Sends in order, and notes what the log took even where it did not take all.
async fn send(app: &App, log: &dyn Reinject, tenant: &TenantId, turn: Vec<(LetterId, Letter)>) -> Result<u64, Problem> {
    let (ids, letters): (Vec<LetterId>, Vec<Letter>) = turn.into_iter().unzip();
    // Polled first in their order, so they stand in the log in it; together, so one sync serves them.
    let results = futures::future::join_all(letters.into_iter().map(|letter| log.reinject(letter))).await;
    let (mut sent, mut failed): (Vec<LetterId>, Option<DoorError>) = (Vec::new(), None);
    for (letter_id, result) in ids.into_iter().zip(results) {
        match result {
            Ok(()) => sent.push(letter_id),
            Err(error) => failed = Some(error),
        }
    }
    if !sent.is_empty() {
        store::sent(&app.db, tenant, &sent, app.clock.arrival()).await?;
    }
    match failed {
        Some(error) => {
            tracing::warn!(cause = problem::chain(error.as_ref()), sent = sent.len(), "send dead letters again");
            Err(Problem::unavailable(format!("the log took {} letters and then no more", sent.len())))
        }
        None => Ok(sent.len() as u64),
    }
}
