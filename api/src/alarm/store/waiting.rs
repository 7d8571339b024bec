//! Alarms that wait before they open a ticket: for a model's word, or for what the device finds.

use schemas::{advisory::Advisory, alarm::Alarm, door::Awaited, id::TenantId, profile::Profiles, time::Instant};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{
    super::{Kept, rules::Triage},
    Taken, read,
};
use crate::{
    prognosis::{
        self,
        rules::{Word, due, may_wait, until},
    },
    self_test::{self, store::Fault},
    service_problem,
    store::decode,
    ticket::{self, Ticket},
};

/// Gives an alarm its ticket, unless a new one would be opened by a rule whose component a model speaks for and was not
/// waited for yet, or that wants the device to test itself first. A storm waits for nobody: what waits already and belongs
/// to it gets its ticket too.
#[allow(clippy::too_many_arguments, reason = "each is another thing that the transaction needs")]
pub(super) async fn ticket_or_wait(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    alarm: &Alarm,
    number: i64,
    waited: bool,
    at: Instant,
    taken: &mut Taken,
) -> Result<Option<String>, sqlx::Error> {
    let profile = profiles.get(alarm.profile.as_str()).map(|profile| profile.as_ref());
    let test = self_test::rules::first(alarm, profile);
    if (may_wait(alarm) || test.is_some()) && opens(tx, alarm).await? {
        if service_problem::store::stormy(tx, storm, alarm).await? {
            for kept in of_storm(tx, storm, alarm).await?.iter().filter(|kept| kept.number != number) {
                super::ticket(tx, profiles, storm, &kept.alarm, kept.number, false, at, taken).await?;
            }
        } else if !waited && may_wait(alarm) && prognosis::store::speaks_for(tx, alarm, at).await? {
            let update = "update alarm set prognosis_due = ?, prognosis_until = ? where number = ?";
            let query = sqlx::query(update).bind(due(at).micros()).bind(until(at).micros()).bind(number);
            query.execute(&mut *tx).await?;
            return Ok(None);
        } else if let Some(name) = test {
            let update = "update alarm set awaits_self_test = 1, prognosis_due = null where number = ?";
            sqlx::query(update).bind(number).execute(&mut *tx).await?;
            self_test::store::want_first(tx, &Fault::of(alarm), name, at).await?;
            return Ok(None);
        }
    }
    super::ticket(tx, profiles, storm, alarm, number, false, at, taken).await.map(Some)
}

/// Whether the alarm would open a new ticket.
async fn opens(tx: &mut SqliteConnection, alarm: &Alarm) -> Result<bool, sqlx::Error> {
    Ok(matches!(super::decide(tx, alarm).await?.0, Triage::Open { .. }))
}

/// Alarms that wait for whatever and belong to one storm with a new one, in order.
async fn of_storm(
    tx: &mut SqliteConnection,
    storm: &service_problem::Settings,
    alarm: &Alarm,
) -> Result<Vec<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and profile = ? and fault_key = ? and coalesce(firmware, '') = ? \
                  and alarm_raised_time between ? and ? and (awaits_self_test = 1 or prognosis_due is not null) \
                  order by number";
    let at = alarm.alarm_raised_time;
    let query = sqlx::query(select).bind(alarm.tenant.as_str()).bind(alarm.profile.as_str());
    let query = query.bind(alarm.fault_key.as_str()).bind(alarm.firmware.as_deref().unwrap_or_default());
    let query = query.bind(at.minus(storm.within).micros()).bind(at.plus(storm.within).micros());
    query.fetch_all(tx).await?.iter().map(read).collect()
}

/// Alarms of the fault that wait for a self-test, in order.
pub(crate) async fn awaiting(tx: &mut SqliteConnection, of: &Fault<'_>) -> Result<Vec<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and device_id = ? and fault_key = ? and awaits_self_test = 1 \
                  order by number";
    let query = sqlx::query(select).bind(of.tenant.as_str()).bind(of.device_id.as_str()).bind(of.key.as_str());
    query.fetch_all(tx).await?.iter().map(read).collect()
}

/// Alarms of the fault that wait for whatever, in order.
async fn waiting(tx: &mut SqliteConnection, of: &Fault<'_>) -> Result<Vec<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and device_id = ? and fault_key = ? \
                  and (awaits_self_test = 1 or prognosis_due is not null) order by number";
    let query = sqlx::query(select).bind(of.tenant.as_str()).bind(of.device_id.as_str()).bind(of.key.as_str());
    query.fetch_all(tx).await?.iter().map(read).collect()
}

/// Gives an open ticket what waits on its fault: alarms, but for the one of this number, and self-tests. Whether there was
/// any.
pub(crate) async fn adopt(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    but: Option<i64>,
    at: Instant,
) -> Result<bool, sqlx::Error> {
    let subject = ticket.subject.clone();
    let tenant = ticket.tenant.clone();
    let of = Fault { tenant: &tenant, device_id: &subject.device_id, key: &subject.fault_key };
    let all = waiting(tx, &of).await?;
    join(tx, ticket, all.iter().filter(|kept| Some(kept.number) != but)).await?;
    // One that is under way may have outlived its alarm: the device is not asked twice.
    self_test::store::adopt(tx, ticket, !all.is_empty(), at).await?;
    Ok(!all.is_empty())
}

/// Alarms that waited are a ticket's from now on.
pub(crate) async fn join(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    alarms: impl Iterator<Item = &Kept>,
) -> Result<(), sqlx::Error> {
    for kept in alarms {
        let update = "update alarm set ticket_id = ?, awaits_self_test = 0, prognosis_due = null where number = ?";
        sqlx::query(update).bind(&ticket.ticket_id).bind(kept.number).execute(&mut *tx).await?;
        ticket::store::attach(tx, ticket, &kept.alarm).await?;
    }
    Ok(())
}

/// A self-test came before a ticket and speaks for one: what waits for it gets it, with the text in its history. Where it
/// passed and is doubted all the same, the ticket waits for an agent's yes.
pub(crate) async fn tested(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    of: &Fault<'_>,
    doubted: bool,
    text: &str,
    at: Instant,
) -> Result<Taken, sqlx::Error> {
    let (mut taken, mut noted) = (Taken::default(), false);
    // The newest opens the ticket and that takes in the others; where it belongs to one that is over, they come by themselves.
    while let Some(Kept { number, alarm, .. }) = awaiting(tx, of).await?.pop() {
        let ticket_id = super::ticket(tx, profiles, storm, &alarm, number, doubted, at, &mut taken).await?;
        if !noted {
            self_test::store::note(tx, &ticket_id, at, text).await?;
            noted = true;
        }
    }
    Ok(taken)
}

/// Alarms that wait for a model's word on the component of an advisory, in order.
pub(crate) async fn await_word(tx: &mut SqliteConnection, of: &Advisory) -> Result<Vec<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and device_id = ? and component = ? \
                  and prognosis_due is not null order by number";
    let query = sqlx::query(select).bind(of.tenant.as_str()).bind(of.device_id.as_str());
    query.bind(of.fault_key.component()).fetch_all(tx).await?.iter().map(read).collect()
}

/// A model finds a failure unlikely: the alarms wait on.
pub(crate) async fn unlikely(tx: &mut SqliteConnection, of: &[Kept], at: Instant) -> Result<(), sqlx::Error> {
    for kept in of {
        let update = "update alarm set prognosis_due = ? where number = ?";
        sqlx::query(update).bind(due(at).micros()).bind(kept.number).execute(&mut *tx).await?;
    }
    Ok(())
}

/// A model finds a failure likely though its advisory opened nothing: the alarms that wait get tickets of their own.
pub(crate) async fn likely(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    of: &Advisory,
    at: Instant,
) -> Result<Vec<Taken>, sqlx::Error> {
    let mut all = Vec::new();
    while let Some(Kept { number, alarm, .. }) = await_word(tx, of).await?.pop() {
        let mut taken = Taken::default();
        let ticket_id = super::ticket(tx, profiles, storm, &alarm, number, false, at, &mut taken).await?;
        self_test::store::note(tx, &ticket_id, at, &Word::Likely.text(Some(&of.reason))).await?;
        all.push(taken);
    }
    Ok(all)
}

/// The alarm that waits for prognosis longest and no longer, and why.
pub(crate) async fn overdue(
    conn: impl sqlx::SqliteExecutor<'_>,
    now: Instant,
) -> Result<Option<(Kept, Word)>, sqlx::Error> {
    let select = "select * from alarm where prognosis_due is not null and min(prognosis_due, prognosis_until) <= ? \
                  order by min(prognosis_due, prognosis_until), number limit 1";
    let row = sqlx::query(select).bind(now.micros()).fetch_optional(conn).await?;
    let one = |row: &sqlx::sqlite::SqliteRow| {
        let due: i64 = row.try_get("prognosis_due")?;
        let until: i64 = row.try_get("prognosis_until")?;
        Ok((read(row)?, if until <= due { Word::Doubted } else { Word::Silent }))
    };
    row.as_ref().map(one).transpose()
}

/// Prognosis is waited for no longer: a ticket, which waits for an agent's yes where it said the contrary all the time; a
/// self-test first where it said nothing and the rule wants one.
pub(crate) async fn unspoken(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    of: &Kept,
    word: Word,
    at: Instant,
) -> Result<Taken, sqlx::Error> {
    let (alarm, mut taken, mut said) = (&of.alarm, Taken::default(), None::<String>);
    let ticket_id = if word == Word::Doubted {
        let select = "select body ->> 'reason' from advisory where tenant = ? and device_id = ? \
                      and body ->> 'component' = ? order by number desc limit 1";
        let query = sqlx::query_scalar(select).bind(alarm.tenant.as_str());
        let query = query.bind(alarm.device_id.as_str()).bind(alarm.fault_key.component());
        said = query.fetch_optional(&mut *tx).await?.flatten();
        Some(super::ticket(tx, profiles, storm, alarm, of.number, true, at, &mut taken).await?)
    } else {
        ticket_or_wait(tx, profiles, storm, alarm, of.number, true, at, &mut taken).await?
    };
    if let Some(ticket_id) = ticket_id {
        self_test::store::note(tx, &ticket_id, at, &word.text(said.as_deref())).await?;
    }
    Ok(taken)
}

/// Components on which alarms wait for a model's word, the longest first.
pub(crate) async fn awaited(pool: &SqlitePool, tenant: &TenantId, limit: u32) -> Result<Vec<Awaited>, sqlx::Error> {
    let select = "select device_id, component from alarm where tenant = ? and prognosis_due is not null \
                  group by device_id, component order by min(number) limit ?";
    let rows = sqlx::query(select).bind(tenant.as_str()).bind(limit).fetch_all(pool).await?;
    let one = |row: &sqlx::sqlite::SqliteRow| {
        let device_id = row.try_get::<String, _>("device_id")?.parse().map_err(decode("device_id"))?;
        Ok(Awaited { device_id, component: row.try_get("component")? })
    };
    rows.iter().map(one).collect()
}
