//! The alarms' SQL, and triage as part of the caller's transaction.

mod waiting;

use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState},
    id::{DeviceId, FaultKey, TenantId},
    profile::Profiles,
    time::Instant,
};
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Awaits, Kept,
    rules::{self, Triage},
};
use crate::{
    event, maintenance,
    self_test::{self, store::Fault},
    service_problem,
    store::decode,
    ticket::{self, TRIAGE, Ticket, store::Opening},
};

use waiting::ticket_or_wait;
pub(crate) use waiting::{adopt, await_word, awaited, awaiting, join, likely, overdue, tested, unlikely, unspoken};

/// What an alarm event did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The alarm was not known.
    pub(crate) raised: bool,
    /// The alarm was not known to have ended.
    pub(crate) cleared: bool,
    /// Tickets that were opened: in a storm also those of alarms that had waited.
    pub(crate) opened: u32,
    /// A resolved ticket was opened again.
    pub(crate) reopened: bool,
    /// The alarm was raised in a planned outage.
    pub(crate) planned: bool,
    /// A service problem was opened.
    pub(crate) storm: bool,
    /// Tickets that are held now and were not.
    pub(crate) held: u32,
}

/// Takes one alarm event: alarm, triage, ticket, events. An end that comes before its beginning counts as both, so the
/// order in which they come makes no difference.
pub(crate) async fn take(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    alarm: &Alarm,
) -> Result<Taken, sqlx::Error> {
    let mut taken = Taken::default();
    if let Some(number) = insert(tx, alarm).await? {
        taken.raised = true;
        taken.planned = maintenance::store::planned(tx, alarm).await?;
        let at = alarm.alarm_reporting_time;
        let ticket_id = match taken.planned {
            true => {
                let update = "update alarm set planned_outage_indicator = 1 where number = ?";
                sqlx::query(update).bind(number).execute(&mut *tx).await?;
                None
            }
            false => ticket_or_wait(tx, profiles, storm, alarm, number, false, at, &mut taken).await?,
        };
        tell(tx, alarm, event::Kind::AlarmRaised, at, ticket_id.as_deref(), taken.planned).await?;
        taken.cleared = alarm.state == AlarmState::Cleared;
    } else if alarm.state == AlarmState::Cleared {
        taken.cleared = clear(tx, alarm).await?;
    }
    if taken.cleared {
        let at = alarm.alarm_cleared_time.unwrap_or(alarm.alarm_reporting_time);
        tell(tx, alarm, event::Kind::AlarmCleared, at, None, taken.planned).await?;
    }
    Ok(taken)
}

/// Gives an alarm its ticket, new or not, and looks whether it is one of many. A new one may have to wait for an agent's yes.
#[allow(clippy::too_many_arguments, reason = "each is another thing that the transaction needs")]
async fn ticket(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    alarm: &Alarm,
    number: i64,
    proposed: bool,
    at: Instant,
    taken: &mut Taken,
) -> Result<String, sqlx::Error> {
    let mut ticket = triage(tx, profiles, alarm, proposed, at, taken).await?;
    if ticket.state.status().is_open() {
        adopt(tx, &mut ticket, Some(number), at).await?;
    }
    let ticket_id = ticket.ticket_id.clone();
    sqlx::query("update alarm set ticket_id = ?, awaits_self_test = 0, prognosis_due = null where number = ?")
        .bind(&ticket_id)
        .bind(number)
        .execute(&mut *tx)
        .await?;
    let gathered = service_problem::store::gather(tx, storm, alarm, ticket).await?;
    taken.storm |= gathered.opened;
    taken.held += gathered.held;
    Ok(ticket_id)
}

/// Alarms given their tickets in one transaction; the rest follows in the next round.
const OUTLASTED_BATCH: u32 = 200;

/// Gives those alarms of planned outages a ticket that are still raised though the outage is over for
/// [`maintenance::GRACE`].
pub(crate) async fn outlasted(
    pool: &SqlitePool,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    now: Instant,
) -> Result<Vec<Taken>, sqlx::Error> {
    let select = "select * from alarm a where planned_outage_indicator = 1 and state = 'raised' and ticket_id is null \
                  and not exists (select 1 from maintenance_window w where w.tenant = a.tenant \
                  and (w.device_id = a.device_id or w.profile = a.profile) and w.starts_at <= ?1 and w.ends_at > ?2) \
                  order by number limit ?3";
    let due =
        |limit: u32| sqlx::query(select).bind(now.micros()).bind(now.minus(maintenance::GRACE).micros()).bind(limit);
    if due(1).fetch_optional(pool).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = crate::store::write(pool).await?;
    let rows = due(OUTLASTED_BATCH).fetch_all(&mut *tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for kept in rows.iter().map(read) {
        let Kept { number, alarm, .. } = kept?;
        let mut taken = Taken::default();
        // It was waited for long enough.
        ticket(&mut tx, profiles, storm, &alarm, number, false, now, &mut taken).await?;
        all.push(taken);
    }
    tx.commit().await?;
    Ok(all)
}

/// What becomes of an alarm, and of which ticket.
async fn decide(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<(Triage, Option<Ticket>), sqlx::Error> {
    let Alarm { tenant, device_id, fault_key, .. } = alarm;
    let last = ticket::store::latest(tx, tenant, device_id, fault_key).await?;
    let decision = rules::triage(last.as_ref(), alarm);
    if matches!(decision, Triage::Open { .. }) {
        let other = ticket::store::latest_on_component(tx, tenant, device_id, fault_key).await?;
        if other.as_ref().is_some_and(|other| rules::mended_since(other, alarm)) {
            return Ok((Triage::AttachLate, other));
        }
    }
    Ok((decision, last))
}

async fn triage(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    alarm: &Alarm,
    proposed: bool,
    at: Instant,
    taken: &mut Taken,
) -> Result<Ticket, sqlx::Error> {
    let (decision, last) = decide(tx, alarm).await?;
    let mut ticket = match (decision, last) {
        (Triage::Attach { .. } | Triage::AttachLate, Some(last)) => last,
        (_, last) => {
            let repeat_of = match decision {
                Triage::Open { repeat: true } => last.map(|last| last.ticket_id),
                _ => None,
            };
            taken.opened += 1;
            let profile = profiles.get(alarm.profile.as_str());
            let subject = rules::subject(alarm, profile.map(|profile| profile.as_ref()));
            let opening = Opening { owner: None, proposed, repeat_of, at, actor: TRIAGE };
            ticket::store::open(tx, &alarm.tenant, &subject, opening).await?
        }
    };
    if decision == (Triage::Attach { reopen: true }) {
        taken.reopened = true;
        ticket::store::reopen(tx, &mut ticket, alarm).await?;
    }
    if matches!(ticket.state, ticket::State::Proposed { .. }) && !proposed {
        let why = format!("{} is raised: no agent's yes is needed", alarm.specific_problem);
        ticket::store::confirm(tx, &mut ticket, alarm.alarm_reporting_time, &why).await?;
        self_test::store::want(tx, &ticket, alarm.alarm_reporting_time).await?;
    }
    ticket::store::attach(tx, &mut ticket, alarm).await?;
    Ok(ticket)
}

/// The new alarm's number, or none if it is known.
async fn insert(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<Option<i64>, sqlx::Error> {
    let insert = "insert into alarm (alarm_id, tenant, device_id, profile, firmware, specific_problem, source, fault_key, \
                  perceived_severity, probable_cause, state, alarm_raised_time, alarm_reporting_time, alarm_cleared_time, \
                  evidence) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                  on conflict (tenant, alarm_id) do nothing returning number";
    let evidence = serde_json::to_string(&alarm.evidence).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query_scalar(insert)
        .bind(&alarm.alarm_id)
        .bind(alarm.tenant.as_str())
        .bind(alarm.device_id.as_str())
        .bind(alarm.profile.as_str())
        .bind(&alarm.firmware)
        .bind(&alarm.specific_problem)
        .bind(alarm.source.as_str())
        .bind(alarm.fault_key.as_str())
        .bind(alarm.perceived_severity.as_str())
        .bind(&alarm.probable_cause)
        .bind(alarm.state.as_str())
        .bind(alarm.alarm_raised_time.micros())
        .bind(alarm.alarm_reporting_time.micros())
        .bind(alarm.alarm_cleared_time.map(Instant::micros))
        .bind(evidence)
        .fetch_optional(tx)
        .await
}

async fn clear(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<bool, sqlx::Error> {
    let update = "update alarm set state = 'cleared', alarm_cleared_time = ?1, awaits_self_test = 0, \
                  prognosis_due = null where tenant = ?2 and alarm_id = ?3 and state = 'raised'";
    let at = alarm.alarm_cleared_time.unwrap_or(alarm.alarm_reporting_time);
    let query = sqlx::query(update).bind(at.micros()).bind(alarm.tenant.as_str()).bind(&alarm.alarm_id);
    let cleared = query.execute(&mut *tx).await?.rows_affected() > 0;
    let of = Fault::of(alarm);
    if cleared && awaiting(tx, &of).await?.is_empty() {
        self_test::store::give_up(tx, &of, at).await?;
    }
    Ok(cleared)
}

async fn tell(
    tx: &mut SqliteConnection,
    alarm: &Alarm,
    kind: event::Kind,
    at: Instant,
    ticket_id: Option<&str>,
    planned: bool,
) -> Result<(), sqlx::Error> {
    let data = json!({
        "alarm_id": alarm.alarm_id,
        "device_id": alarm.device_id,
        "profile": alarm.profile,
        "specific_problem": alarm.specific_problem,
        "fault_key": alarm.fault_key,
        "perceived_severity": alarm.perceived_severity,
        "probable_cause": alarm.probable_cause,
        "alarm_raised_time": alarm.alarm_raised_time,
        "alarm_cleared_time": alarm.alarm_cleared_time,
        "reason": alarm.evidence.reason,
        "planned_outage_indicator": planned,
        "ticket_id": ticket_id,
    });
    let new = event::New { tenant: &alarm.tenant, kind, subject: &alarm.alarm_id, at, data };
    event::store::append(tx, &new).await.map(|_| ())
}

/// When the device first reported a fault code on a ticket by which service is badly degraded or lost: it had failed.
pub(crate) async fn first_grave_code(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
) -> Result<Option<Instant>, sqlx::Error> {
    let select = "select min(alarm_raised_time) from alarm where tenant = ? and ticket_id = ? and source = 'device' \
                  and perceived_severity in ('major', 'critical')";
    let query = sqlx::query_scalar(select).bind(tenant.as_str()).bind(ticket_id);
    let micros: Option<i64> = query.fetch_one(conn).await?;
    Ok(micros.map(Instant::from_micros))
}

/// Which alarms a page shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<AlarmState>,
    /// Of this device.
    pub device_id: Option<DeviceId>,
    /// On this fault.
    pub fault_key: Option<FaultKey>,
    /// Attached to this ticket.
    pub ticket_id: Option<String>,
    /// That came before the alarm of this number.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A tenant's alarms, newest first.
pub async fn list(
    conn: impl sqlx::SqliteExecutor<'_>,
    tenant: &TenantId,
    filter: &Filter,
) -> Result<Vec<Kept>, sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new("select * from alarm where tenant = ");
    query.push_bind(tenant.as_str());
    if let Some(state) = filter.state {
        query.push(" and state = ").push_bind(state.as_str());
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

/// An alarm of the tenant.
pub async fn get(pool: &SqlitePool, tenant: &TenantId, alarm_id: &str) -> Result<Option<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and alarm_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(alarm_id).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    let at = |name| row.try_get::<Option<i64>, _>(name).map(|micros| micros.map(Instant::from_micros));
    let required = |name: &'static str| at(name)?.ok_or_else(|| decode(name)("no instant"));
    let severity = text("perceived_severity")?;
    let state = match text("state")?.as_str() {
        "cleared" => AlarmState::Cleared,
        _ => AlarmState::Raised,
    };
    let source = match text("source")?.as_str() {
        "device" => AlarmSource::Device,
        _ => AlarmSource::Rule,
    };
    let alarm = Alarm {
        alarm_id: text("alarm_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
        profile: text("profile")?.parse().map_err(decode("profile"))?,
        firmware: row.try_get("firmware")?,
        specific_problem: text("specific_problem")?,
        source,
        fault_key: text("fault_key")?.parse().map_err(decode("fault_key"))?,
        perceived_severity: super::severity(&severity).ok_or_else(|| decode("perceived_severity")(severity))?,
        probable_cause: text("probable_cause")?,
        state,
        alarm_raised_time: required("alarm_raised_time")?,
        alarm_reporting_time: required("alarm_reporting_time")?,
        alarm_cleared_time: at("alarm_cleared_time")?,
        evidence: serde_json::from_str(&text("evidence")?).map_err(decode("evidence"))?,
    };
    Ok(Kept {
        number: row.try_get("number")?,
        alarm,
        planned_outage: row.try_get("planned_outage_indicator")?,
        ticket_id: row.try_get("ticket_id")?,
        awaits: match (row.try_get::<Option<i64>, _>("prognosis_due")?, row.try_get("awaits_self_test")?) {
            (Some(_), _) => Some(Awaits::Prognosis),
            (None, true) => Some(Awaits::SelfTest),
            (None, false) => None,
        },
    })
}
