//! Service problems' SQL. What takes a connection runs inside the caller's transaction.

use schemas::{alarm::Alarm, id::TenantId, time::Instant};
use serde_json::json;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Common, ProblemStatus, ServiceProblem, Settings,
    rules::{self, Raised},
};
use crate::{
    event, id,
    store::{decode, write},
    ticket::{self, Ticket},
};

/// Tickets given back in one transaction; the rest follows in the next round.
const RELEASE_BATCH: u32 = 200;

/// What gathering did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// A problem was opened.
    pub(crate) opened: bool,
    /// Tickets that are held now and were not.
    pub(crate) held: u32,
}

/// Looks whether a new alarm belongs to a storm, and gathers its ticket, or all tickets of the storm it makes.
pub(crate) async fn gather(
    tx: &mut SqliteConnection,
    settings: &Settings,
    alarm: &Alarm,
    ticket: Ticket,
) -> Result<Gathered, sqlx::Error> {
    let mut gathered = Gathered::default();
    if !ticket.state.status().is_open() {
        return Ok(gathered);
    }
    let (raised, storm) = match weather(tx, settings, alarm).await? {
        Weather::Calm => return Ok(gathered),
        Weather::Raging(mut problem) => {
            gathered.held += u32::from(adopt(tx, &mut problem, ticket, alarm.alarm_raised_time).await?);
            return Ok(gathered);
        }
        Weather::Breaking { raised, storm } => (raised, storm),
    };
    gathered.opened = true;
    let mut problem = open(tx, alarm, settings, &storm).await?;
    // Those beside the span belong to it too: had they come after it, they would have joined.
    for device_id in rules::devices(&raised) {
        let ticket = ticket::store::latest(tx, &alarm.tenant, device_id, &alarm.fault_key).await?;
        let Some(ticket) = ticket.filter(|ticket| ticket.state.status().is_open()) else { continue };
        gathered.held += u32::from(adopt(tx, &mut problem, ticket, alarm.alarm_raised_time).await?);
    }
    tell(tx, &problem, event::Kind::ServiceProblemCreated).await?;
    Ok(gathered)
}

/// What an alarm belongs to.
enum Weather {
    /// To nothing else.
    Calm,
    /// To a problem that is open.
    Raging(Box<ServiceProblem>),
    /// To a storm of which there is no problem yet.
    Breaking {
        /// Alarms of its kind around it.
        raised: Vec<Raised>,
        /// Of these, those of the storm.
        storm: Vec<Raised>,
    },
}

async fn weather(tx: &mut SqliteConnection, settings: &Settings, alarm: &Alarm) -> Result<Weather, sqlx::Error> {
    let latest = latest(tx, alarm).await?;
    if let Some(problem) = latest.as_ref().filter(|problem| problem.status.is_open()) {
        // What happened long before the storm is another story, also if it is told only now.
        let belongs = alarm.alarm_raised_time >= problem.first_alert.minus(settings.within);
        return Ok(if belongs { Weather::Raging(Box::new(problem.clone())) } else { Weather::Calm });
    }
    let ended = latest.and_then(|problem| problem.resolution_date);
    let raised = around(tx, alarm, settings, ended).await?;
    let Some(storm) = rules::storm(raised.clone(), settings) else { return Ok(Weather::Calm) };
    let many = known_beyond(tx, alarm, rules::fleet(rules::devices(&storm).len(), settings)).await?;
    Ok(if many { Weather::Calm } else { Weather::Breaking { raised, storm } })
}

/// Whether an alarm, which is known already, belongs to a storm.
pub(crate) async fn stormy(tx: &mut SqliteConnection, settings: &Settings, alarm: &Alarm) -> Result<bool, sqlx::Error> {
    Ok(!matches!(weather(tx, settings, alarm).await?, Weather::Calm))
}

/// The latest problem of what the alarm has in common with others: the open one, if any is.
async fn latest(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<Option<ServiceProblem>, sqlx::Error> {
    let select = "select * from service_problem where tenant = ? and profile = ? and firmware = ? and fault_key = ? \
                  order by number desc limit 1";
    let row = sqlx::query(select)
        .bind(alarm.tenant.as_str())
        .bind(alarm.profile.as_str())
        .bind(alarm.firmware.as_deref().unwrap_or_default())
        .bind(alarm.fault_key.as_str())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Alarms of the same kind that can lie in one span with this one, later than the end of the problem before.
async fn around(
    tx: &mut SqliteConnection,
    alarm: &Alarm,
    settings: &Settings,
    ended: Option<Instant>,
) -> Result<Vec<Raised>, sqlx::Error> {
    let select = "select device_id, alarm_raised_time from alarm where tenant = ? and profile = ? and fault_key = ? \
                  and alarm_raised_time between ? and ? and coalesce(firmware, '') = ? \
                  and planned_outage_indicator = 0 and alarm_raised_time > ?";
    let at = alarm.alarm_raised_time;
    let rows = sqlx::query(select)
        .bind(alarm.tenant.as_str())
        .bind(alarm.profile.as_str())
        .bind(alarm.fault_key.as_str())
        .bind(at.minus(settings.within).micros())
        .bind(at.plus(settings.within).micros())
        .bind(alarm.firmware.as_deref().unwrap_or_default())
        .bind(ended.map_or(i64::MIN, Instant::micros))
        .fetch_all(tx)
        .await?;
    let raised = rows.iter().map(|row| {
        let device_id = row.try_get::<String, _>("device_id")?.parse().map_err(decode("device_id"))?;
        Ok(Raised { device_id, at: Instant::from_micros(row.try_get("alarm_raised_time")?) })
    });
    raised.collect()
}

/// Whether more devices of the alarm's model and firmware are known than `fleet`; looks at no more than that.
async fn known_beyond(tx: &mut SqliteConnection, alarm: &Alarm, fleet: i64) -> Result<bool, sqlx::Error> {
    let select = "select count(*) from (select 1 from device where tenant = ? and profile = ? \
                  and coalesce(firmware, '') = ? limit ?)";
    let known: i64 = sqlx::query_scalar(select)
        .bind(alarm.tenant.as_str())
        .bind(alarm.profile.as_str())
        .bind(alarm.firmware.as_deref().unwrap_or_default())
        .bind(fleet.saturating_add(1))
        .fetch_one(tx)
        .await?;
    Ok(known > fleet)
}

async fn open(
    tx: &mut SqliteConnection,
    alarm: &Alarm,
    settings: &Settings,
    storm: &[Raised],
) -> Result<ServiceProblem, sqlx::Error> {
    let at = alarm.alarm_reporting_time;
    let common =
        Common { profile: alarm.profile.clone(), firmware: alarm.firmware.clone(), fault_key: alarm.fault_key.clone() };
    let firmware = common.firmware.as_deref().map_or(String::new(), |firmware| format!(" with firmware {firmware}"));
    let first_alert = storm.first().map_or(alarm.alarm_raised_time, |raised| raised.at);
    let mut problem = ServiceProblem {
        number: 0,
        service_problem_id: id::new(at),
        tenant: alarm.tenant.clone(),
        status: ProblemStatus::Acknowledged,
        owner: None,
        severity: alarm.perceived_severity,
        title: format!("{} on many {}{firmware}", common.fault_key, common.profile),
        description: format!(
            "{} devices of {}{firmware} raised {} within {} from {first_alert} on; the latest says: {}",
            rules::devices(storm).len(),
            common.profile,
            common.fault_key,
            schemas::time::span::text(settings.within),
            alarm.probable_cause
        ),
        note: None,
        affected: 0,
        first_alert,
        creation_date: at,
        last_update: at,
        resolution_date: None,
        version: 1,
        common,
    };
    let insert = "insert into service_problem (service_problem_id, tenant, profile, firmware, fault_key, status, \
                  severity, title, description, first_alert, creation_date, last_update) \
                  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning number";
    problem.number = sqlx::query_scalar(insert)
        .bind(&problem.service_problem_id)
        .bind(problem.tenant.as_str())
        .bind(problem.common.profile.as_str())
        .bind(problem.common.firmware.as_deref().unwrap_or_default())
        .bind(problem.common.fault_key.as_str())
        .bind(problem.status.as_str())
        .bind(problem.severity.as_str())
        .bind(&problem.title)
        .bind(&problem.description)
        .bind(problem.first_alert.micros())
        .bind(problem.creation_date.micros())
        .bind(problem.last_update.micros())
        .fetch_one(tx)
        .await?;
    Ok(problem)
}

/// Puts a ticket under a problem; tells whether it is held now and was not.
async fn adopt(
    tx: &mut SqliteConnection,
    problem: &mut ServiceProblem,
    mut ticket: Ticket,
    raised: Instant,
) -> Result<bool, sqlx::Error> {
    if ticket.service_problem_id.as_ref() == Some(&problem.service_problem_id) {
        return Ok(false);
    }
    problem.affected += 1;
    problem.first_alert = problem.first_alert.min(raised);
    let update = "update service_problem set affected = ?, first_alert = ? where service_problem_id = ?";
    sqlx::query(update)
        .bind(problem.affected)
        .bind(problem.first_alert.micros())
        .bind(&problem.service_problem_id)
        .execute(&mut *tx)
        .await?;
    ticket::store::hold(tx, &mut ticket, &problem.service_problem_id).await
}

/// What is changed of a problem.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// Who works on it.
    pub owner: Option<String>,
    /// What was found.
    pub note: Option<String>,
    /// Where it goes.
    pub status: Option<ProblemStatus>,
}

/// Why a problem cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The tenant has none of that id.
    #[error("there is no such service problem")]
    NotFound,
    /// Its status has no such step.
    #[error("a service problem that is {from} cannot become {to}")]
    NotInTable {
        /// Where it stands.
        from: ProblemStatus,
        /// Where it was to go.
        to: ProblemStatus,
    },
    /// The database.
    #[error("change a service problem")]
    Db(#[from] sqlx::Error),
}

/// Changes a problem. The tickets of one that ends are given back by `release`.
pub async fn patch(
    pool: &SqlitePool,
    tenant: &TenantId,
    service_problem_id: &str,
    patch: Patch,
    now: Instant,
) -> Result<ServiceProblem, PatchError> {
    let mut tx = write(pool).await?;
    let mut problem = get(&mut *tx, tenant, service_problem_id).await?.ok_or(PatchError::NotFound)?;
    if let Some(to) = patch.status.filter(|to| *to != problem.status) {
        if !rules::next(problem.status).contains(&to) {
            return Err(PatchError::NotInTable { from: problem.status, to });
        }
        problem.status = to;
    }
    problem.last_update = now.max(problem.last_update);
    if !problem.status.is_open() {
        problem.resolution_date.get_or_insert(problem.last_update);
    }
    problem.owner = patch.owner.or(problem.owner);
    problem.note = patch.note.or(problem.note);
    problem.version += 1;
    let update = "update service_problem set status = ?, owner = ?, note = ?, last_update = ?, resolution_date = ?, \
                  version = ? where service_problem_id = ?";
    sqlx::query(update)
        .bind(problem.status.as_str())
        .bind(&problem.owner)
        .bind(&problem.note)
        .bind(problem.last_update.micros())
        .bind(problem.resolution_date.map(Instant::micros))
        .bind(problem.version)
        .bind(service_problem_id)
        .execute(&mut *tx)
        .await?;
    tell(&mut tx, &problem, event::Kind::ServiceProblemChanged).await?;
    tx.commit().await?;
    Ok(problem)
}

/// Gives back tickets that are held for problems that have ended; returns how many. Zero says that none is left.
pub(crate) async fn release(pool: &SqlitePool, now: Instant) -> Result<usize, sqlx::Error> {
    let select = "select t.tenant, t.ticket_id, p.status from service_problem p join ticket t using (service_problem_id) \
                  where p.status in ('resolved', 'cancelled') and t.status = 'held' and t.reason = 'service_problem' \
                  order by t.number limit ?";
    let due: Vec<(String, String, String)> = sqlx::query_as(select).bind(RELEASE_BATCH).fetch_all(pool).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut tx = write(pool).await?;
    for (tenant, ticket_id, status) in &due {
        let tenant = tenant.parse().map_err(decode("tenant"))?;
        if let Some(mut ticket) = ticket::store::get(&mut tx, &tenant, ticket_id).await? {
            ticket::store::release(&mut tx, &mut ticket, &format!("the service problem is {status}"), now).await?;
        }
    }
    tx.commit().await?;
    Ok(due.len())
}

/// A problem of the tenant.
pub async fn get(
    conn: impl sqlx::SqliteExecutor<'_>,
    tenant: &TenantId,
    service_problem_id: &str,
) -> Result<Option<ServiceProblem>, sqlx::Error> {
    let select = "select * from service_problem where tenant = ? and service_problem_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(service_problem_id).fetch_optional(conn).await?;
    row.as_ref().map(read).transpose()
}

/// A tenant's problems, newest first: opened before the one of number `after`; only open ones if asked.
pub async fn list(
    pool: &SqlitePool,
    tenant: &TenantId,
    open: bool,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<ServiceProblem>, sqlx::Error> {
    let select = "select * from service_problem where tenant = ? and number < ? \
                  and (not ? or status in ('acknowledged', 'inProgress')) order by number desc limit ?";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(after.unwrap_or(i64::MAX)).bind(open).bind(limit);
    query.fetch_all(pool).await?.iter().map(read).collect()
}

async fn tell(tx: &mut SqliteConnection, problem: &ServiceProblem, kind: event::Kind) -> Result<(), sqlx::Error> {
    let data = json!({
        "service_problem_id": problem.service_problem_id,
        "number": problem.number,
        "profile": problem.common.profile,
        "firmware": problem.common.firmware,
        "fault_key": problem.common.fault_key,
        "status": problem.status,
        "severity": problem.severity,
        "title": problem.title,
        "affected": problem.affected,
        "owner": problem.owner,
        "version": problem.version,
    });
    let (tenant, at) = (&problem.tenant, problem.last_update);
    let new = event::New { tenant, kind, subject: &problem.service_problem_id, at, data };
    event::store::append(tx, &new).await.map(|_| ())
}

fn read(row: &SqliteRow) -> Result<ServiceProblem, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    let at = |name| row.try_get::<i64, _>(name).map(Instant::from_micros);
    let severity = text("severity")?;
    let common = Common {
        profile: text("profile")?.parse().map_err(decode("profile"))?,
        firmware: Some(text("firmware")?).filter(|firmware| !firmware.is_empty()),
        fault_key: text("fault_key")?.parse().map_err(decode("fault_key"))?,
    };
    Ok(ServiceProblem {
        number: row.try_get("number")?,
        service_problem_id: text("service_problem_id")?,
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        common,
        status: text("status")?.parse().map_err(decode("status"))?,
        owner: row.try_get("owner")?,
        severity: crate::alarm::severity(&severity).ok_or_else(|| decode("severity")(severity))?,
        title: text("title")?,
        description: text("description")?,
        note: row.try_get("note")?,
        affected: row.try_get("affected")?,
        first_alert: at("first_alert")?,
        creation_date: at("creation_date")?,
        last_update: at("last_update")?,
        resolution_date: row.try_get::<Option<i64>, _>("resolution_date")?.map(Instant::from_micros),
        version: row.try_get("version")?,
    })
}
