//! Alarms that wait for what the device finds before they open a ticket.

use schemas::{alarm::Alarm, profile::Profiles, time::Instant};
use sqlx::SqliteConnection;

use super::{
    super::{
        Kept,
        rules::{self, Triage},
    },
    Taken, read,
};
use crate::{
    self_test::{self, store::Fault},
    service_problem,
    ticket::{self, Ticket},
};

/// Gives an alarm its ticket, unless a new one would be opened by a rule that wants the device to test itself first.
pub(super) async fn ticket_or_test(
    tx: &mut SqliteConnection,
    profiles: &Profiles,
    storm: &service_problem::Settings,
    alarm: &Alarm,
    number: i64,
    at: Instant,
    taken: &mut Taken,
) -> Result<Option<String>, sqlx::Error> {
    let profile = profiles.get(alarm.profile.as_str()).map(|profile| profile.as_ref());
    if let Some(name) = self_test::rules::first(alarm, profile) {
        let last = ticket::store::latest(tx, &alarm.tenant, &alarm.device_id, &alarm.fault_key).await?;
        if let Triage::Open { .. } = rules::triage(last.as_ref(), alarm) {
            sqlx::query("update alarm set awaits_self_test = 1 where number = ?")
                .bind(number)
                .execute(&mut *tx)
                .await?;
            self_test::store::want_first(tx, &Fault::of(alarm), name, at).await?;
            return Ok(None);
        }
    }
    super::ticket(tx, profiles, storm, alarm, number, false, at, taken).await.map(Some)
}

/// Alarms of the fault that wait for a self-test, in order.
pub(crate) async fn awaiting(tx: &mut SqliteConnection, of: &Fault<'_>) -> Result<Vec<Kept>, sqlx::Error> {
    let select = "select * from alarm where tenant = ? and device_id = ? and fault_key = ? and awaits_self_test = 1 \
                  order by number";
    let query = sqlx::query(select).bind(of.tenant.as_str()).bind(of.device_id.as_str()).bind(of.key.as_str());
    query.fetch_all(tx).await?.iter().map(read).collect()
}

/// Gives an open ticket what waits for a self-test of its fault: alarms, but for the one of this number, and tests. Whether
/// there was any.
pub(crate) async fn adopt(
    tx: &mut SqliteConnection,
    ticket: &mut Ticket,
    but: Option<i64>,
    at: Instant,
) -> Result<bool, sqlx::Error> {
    let subject = ticket.subject.clone();
    let tenant = ticket.tenant.clone();
    let of = Fault { tenant: &tenant, device_id: &subject.device_id, key: &subject.fault_key };
    let all = awaiting(tx, &of).await?;
    if all.is_empty() {
        return Ok(false);
    }
    for kept in all.iter().filter(|kept| Some(kept.number) != but) {
        let update = "update alarm set ticket_id = ?, awaits_self_test = 0 where number = ?";
        sqlx::query(update).bind(&ticket.ticket_id).bind(kept.number).execute(&mut *tx).await?;
        ticket::store::attach(tx, ticket, &kept.alarm).await?;
    }
    self_test::store::adopt(tx, ticket, at).await?;
    Ok(true)
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
