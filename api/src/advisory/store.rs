//! The advisories' SQL, and what they do to tickets as part of the caller's transaction.

use schemas::{
    advisory::{Advisory, Decision},
    id::{DeviceId, FaultKey, TenantId},
    profile::Profiles,
};
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    KEPT_ALONE, Kept,
    rules::{self, Triage},
};
use crate::{
    alarm, event, self_test, service_problem,
    store::decode,
    ticket::{self, Status, TRIAGE, store::Opening},
};

/// What an advisory did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The advisory was not known.
    pub(crate) new: bool,
    /// A ticket was opened.
    pub(crate) opened: bool,
    /// The last ticket on the component was resolved or over only after what the advisory looked at.
    pub(crate) stale: bool,
    /// Alarms that waited for what it says of the component.
    pub(crate) awaited: u32,
    /// What became of those of them that got tickets of their own.
    pub(crate) alarms: Vec<alarm::store::Taken>,
}

/// Takes one advisory: row, ticket, wish for a self-test, event, and what of alarms waited for it. One that is known does
/// nothing.
pub(crate) async fn take(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    advisory: &Advisory,
) -> Result<Taken, sqlx::Error> {
    let Some(number) = insert(tx, advisory).await? else {
        return Ok(Taken::default());
    };
    let awaited = alarm::store::await_word(tx, advisory).await?;
    let Advisory { tenant, device_id, fault_key, .. } = advisory;
    let last = ticket::store::latest_on_component(tx, tenant, device_id, fault_key).await?;
    let triage = rules::triage(last.as_ref(), advisory);
    // What was looked at has been mended since: it says nothing of the component as it is.
    let stale = last.as_ref().is_some_and(|last| rules::is_stale(last, advisory));
    let at = advisory.advisory_reporting_time;
    let mut ticket = match (triage, last) {
        (Triage::Open { repeat, proposed }, last) => {
            let profile = profiles.get(advisory.profile.as_str());
            let subject = rules::subject(advisory, profile.map(|profile| profile.as_ref()));
            let opening = Opening {
                owner: None,
                proposed,
                repeat_of: last.filter(|_| repeat).map(|last| last.ticket_id),
                at,
                actor: TRIAGE,
            };
            Some(ticket::store::open(tx, &advisory.tenant, &subject, opening).await?)
        }
        (Triage::Attach { confirm }, Some(mut last)) => {
            if confirm {
                ticket::store::confirm(tx, &mut last, at, "an advisory needs no agent's yes").await?;
            }
            Some(last)
        }
        (Triage::Attach { .. } | Triage::Keep, _) => None,
    };
    if let Some(ticket) = &mut ticket {
        let update = "update advisory set ticket_id = ? where number = ?";
        sqlx::query(update).bind(&ticket.ticket_id).bind(number).execute(&mut *tx).await?;
        ticket::store::attach_advisory(tx, ticket, advisory).await?;
        if ticket.state.status().is_open() {
            let adopted = alarm::store::adopt(tx, ticket, None, at).await?;
            // On one that is resolved nobody works any more.
            let others = match ticket.state.status() {
                Status::Resolved => Vec::new(),
                _ => alarm::store::await_word(tx, advisory).await?,
            };
            alarm::store::join(tx, ticket, others.iter()).await?;
            if adopted || !others.is_empty() {
                let why = "an alarm that waited says the same: no agent's yes is needed";
                ticket::store::confirm(tx, ticket, at, why).await?;
            }
        }
        self_test::store::want(tx, ticket, at).await?;
    }
    tell(tx, advisory, ticket.as_ref().map(|ticket| ticket.ticket_id.as_str())).await?;
    let alarms = match advisory.decision {
        _ if stale => Vec::new(),
        Decision::Watch => {
            alarm::store::unlikely(tx, &awaited, at).await?;
            Vec::new()
        }
        Decision::Assist | Decision::Auto => alarm::store::likely(tx, profiles, storm, advisory, at).await?,
    };
    let awaited = if stale { 0 } else { awaited.len() as u32 };
    Ok(Taken { new: true, opened: matches!(triage, Triage::Open { .. }), stale, awaited, alarms })
}

/// The new advisory's number, or none if it is known.
async fn insert(tx: &mut SqliteConnection, advisory: &Advisory) -> Result<Option<i64>, sqlx::Error> {
    let insert = "insert into advisory (tenant, advisory_id, device_id, fault_key, event_time, decision, body) \
                  values (?, ?, ?, ?, ?, ?, ?) on conflict (tenant, advisory_id) do nothing returning number";
    let body = serde_json::to_string(advisory).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query_scalar(insert)
        .bind(advisory.tenant.as_str())
        .bind(&advisory.advisory_id)
        .bind(advisory.device_id.as_str())
        .bind(advisory.fault_key.as_str())
        .bind(advisory.event_time.micros())
        .bind(advisory.decision.as_str())
        .bind(body)
        .fetch_optional(tx)
        .await
}

async fn tell(tx: &mut SqliteConnection, advisory: &Advisory, ticket_id: Option<&str>) -> Result<(), sqlx::Error> {
    let data = json!({
        "advisory_id": advisory.advisory_id,
        "device_id": advisory.device_id,
        "profile": advisory.profile,
        "fault_key": advisory.fault_key,
        "event_time": advisory.event_time,
        "horizon_hours": advisory.horizon_hours,
        "probability": advisory.probability,
        "method": advisory.method,
        "decision": advisory.decision,
        "threshold": advisory.threshold,
        "reason": advisory.reason,
        "ticket_id": ticket_id,
    });
    let new = event::New {
        tenant: &advisory.tenant,
        kind: event::Kind::AdvisoryCreated,
        subject: &advisory.advisory_id,
        at: advisory.advisory_reporting_time,
        data,
    };
    event::store::append(tx, &new).await.map(|_| ())
}

/// The advisory of a ticket that came first: what a label of it answers.
pub(crate) async fn first_of(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
) -> Result<Option<String>, sqlx::Error> {
    let select =
        "select advisory_id from advisory where tenant = ? and ticket_id = ? order by event_time, advisory_id limit 1";
    sqlx::query_scalar(select).bind(tenant.as_str()).bind(ticket_id).fetch_optional(conn).await
}

/// Which advisories a page shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this decision.
    pub decision: Option<Decision>,
    /// Of this device.
    pub device_id: Option<DeviceId>,
    /// On this fault.
    pub fault_key: Option<FaultKey>,
    /// Attached to this ticket.
    pub ticket_id: Option<String>,
    /// That came before the advisory of this number.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A tenant's advisories, newest first.
pub async fn list(
    conn: impl sqlx::SqliteExecutor<'_>,
    tenant: &TenantId,
    filter: &Filter,
) -> Result<Vec<Kept>, sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new("select number, body, ticket_id from advisory where tenant = ");
    query.push_bind(tenant.as_str());
    if let Some(decision) = filter.decision {
        query.push(" and decision = ").push_bind(decision.as_str());
    }
    if let Some(device_id) = &filter.device_id {
        query.push(" and device_id = ").push_bind(device_id.as_str());
    }
    if let Some(fault_key) = &filter.fault_key {
        query.push(" and fault_key = ").push_bind(fault_key.as_str());
    }
    if let Some(ticket_id) = &filter.ticket_id {
        query.push(" and ticket_id = ").push_bind(ticket_id);
    }
    if let Some(after) = filter.after {
        query.push(" and number < ").push_bind(after);
    }
    query.push(" order by number desc limit ").push_bind(filter.limit);
    query.build().fetch_all(conn).await?.iter().map(read).collect()
}

/// An advisory of the tenant.
pub async fn get(pool: &SqlitePool, tenant: &TenantId, advisory_id: &str) -> Result<Option<Kept>, sqlx::Error> {
    let select = "select number, body, ticket_id from advisory where tenant = ? and advisory_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(advisory_id).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// Deletes those without a ticket that are not among the last [`KEPT_ALONE`]; returns how many.
pub(crate) async fn prune(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    let delete = "delete from advisory where ticket_id is null and number <= \
                  (select number from advisory where ticket_id is null order by number desc limit 1 offset ?)";
    sqlx::query(delete).bind(KEPT_ALONE).execute(pool).await.map(|done| done.rows_affected())
}

fn read(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    let body: String = row.try_get("body")?;
    Ok(Kept {
        number: row.try_get("number")?,
        advisory: serde_json::from_str(&body).map_err(decode("body"))?,
        ticket_id: row.try_get("ticket_id")?,
    })
}
