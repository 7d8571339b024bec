//! Opening a ticket by hand, and showing one whole.

use std::time::Duration;

use schemas::{
    alarm::PerceivedSeverity,
    id::{DeviceId, FaultKey, ProfileName, TenantId},
    profile::Profiles,
    time::Instant,
};
use sqlx::SqlitePool;

use super::super::{Channel, Entry, Subject, Ticket, TicketType};
use crate::{
    advisory, alarm, appointment, device,
    idempotency::{self, Answer, Key, Known},
    self_test,
    store::write,
};

/// What an agent opens a ticket about.
#[derive(Debug, Clone)]
pub struct Create {
    /// Which device.
    pub device_id: DeviceId,
    /// On which fault.
    pub fault_key: FaultKey,
    /// The device's kind; the device's own is taken where it was heard of.
    pub profile: Option<ProfileName>,
    /// The kind of ticket.
    pub ticket_type: TicketType,
    /// How bad.
    pub severity: PerceivedSeverity,
    /// One line.
    pub title: String,
    /// More.
    pub description: Option<String>,
    /// For the customer.
    pub customer_text: Option<String>,
    /// The customer's face.
    pub owner: Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub enum Created {
    /// Opened; with the answer that was kept for its key.
    Opened(Box<Ticket>, String),
    /// The key is known: the first answer.
    Answered(Answer),
    /// The key came with another body.
    OtherBody,
    /// This ticket is open on the same fault.
    Blocked(String),
    /// The profile has no such component, but these.
    NoComponent(Vec<String>),
    /// No profile of this name is loaded.
    NoProfile,
}

const ROUTE: &str = "POST /v1/tickets";
/// Time on site where no profile tells one.
const REPAIR_UNKNOWN: Duration = Duration::from_secs(3600);

/// Opens a ticket by hand in one transaction: key, check, ticket, history, event, kept answer.
#[allow(clippy::too_many_arguments, reason = "each is another thing that the transaction needs")]
pub async fn create(
    pool: &SqlitePool,
    profiles: &Profiles,
    tenant: &TenantId,
    asked: Create,
    key: Option<Key>,
    actor: &str,
    now: Instant,
    arrival: Instant,
    answer: impl FnOnce(&Ticket) -> Result<String, serde_json::Error>,
) -> Result<Created, sqlx::Error> {
    let mut tx = write(pool).await?;
    if let Some(key) = &key {
        match idempotency::store::look(&mut tx, tenant, ROUTE, key, arrival).await? {
            Known::Fresh => {}
            Known::Answered(answer) => return Ok(Created::Answered(answer)),
            Known::OtherBody => return Ok(Created::OtherBody),
        }
    }
    let last = super::latest(&mut tx, tenant, &asked.device_id, &asked.fault_key).await?;
    if let Some(open) = last.as_ref().filter(|last| last.state.status().is_open()) {
        return Ok(Created::Blocked(open.ticket_id.clone()));
    }
    let heard = device::store::get(&mut *tx, tenant, &asked.device_id).await?.map(|device| device.profile);
    let name = heard.or(asked.profile);
    let profile = name.as_ref().and_then(|name| profiles.get(name.as_str()));
    if name.is_some() && profile.is_none() {
        return Ok(Created::NoProfile);
    }
    let component = profile.and_then(|profile| profile.component(asked.fault_key.component()));
    if let Some(profile) = profile.filter(|_| component.is_none()) {
        return Ok(Created::NoComponent(profile.components.iter().map(|component| component.name.clone()).collect()));
    }
    let repeat_of = last.filter(|last| alarm::rules::repeats(last, now)).map(|last| last.ticket_id);
    let subject = Subject {
        ticket_type: asked.ticket_type,
        channel: Channel::Agent,
        device_id: asked.device_id,
        profile: name,
        fault_key: asked.fault_key,
        severity: asked.severity,
        description: asked.description.unwrap_or_default(),
        customer_text: asked.customer_text.unwrap_or_else(|| asked.title.clone()),
        title: asked.title,
        skills: component.map(|component| component.skills.clone()).unwrap_or_default(),
        parts: component.map(|component| component.parts.clone()).unwrap_or_default(),
        repair: component.map_or(REPAIR_UNKNOWN, |component| component.repair),
    };
    let ticket = super::insert(&mut tx, tenant, &subject, asked.owner, repeat_of, now, actor).await?;
    let body = answer(&ticket).map_err(|error| sqlx::Error::Encode(error.into()))?;
    if let Some(key) = &key {
        let answer = Answer { status: 201, body: body.clone() };
        idempotency::store::keep(&mut tx, tenant, ROUTE, key, &answer, arrival).await?;
    }
    tx.commit().await?;
    Ok(Created::Opened(Box::new(ticket), body))
}

/// A ticket with all that belongs to it.
#[derive(Debug)]
pub struct Whole {
    /// The ticket.
    pub ticket: Ticket,
    /// Newest first; the latest [`ALARMS_MAX`].
    pub alarms: Vec<alarm::Kept>,
    /// Newest first; the latest [`ALARMS_MAX`].
    pub advisories: Vec<advisory::Kept>,
    /// In order.
    pub history: Vec<Entry>,
    /// Oldest first.
    pub appointments: Vec<appointment::Appointment>,
    /// Oldest first.
    pub self_tests: Vec<self_test::SelfTest>,
}

/// The most alarms and the most advisories shown with a ticket; `/v1/alarms?ticket_id=` and `/v1/advisories?ticket_id=`
/// have all.
pub const ALARMS_MAX: u32 = 100;

/// A ticket with all that belongs to it, read at one moment.
pub async fn whole(pool: &SqlitePool, tenant: &TenantId, ticket_id: &str) -> Result<Option<Whole>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some(ticket) = super::get(&mut tx, tenant, ticket_id).await? else {
        return Ok(None);
    };
    let filter =
        alarm::store::Filter { ticket_id: Some(ticket_id.to_owned()), limit: ALARMS_MAX, ..Default::default() };
    let advisories =
        advisory::store::Filter { ticket_id: Some(ticket_id.to_owned()), limit: ALARMS_MAX, ..Default::default() };
    let self_tests = self_test::store::of_ticket(&mut tx, ticket_id).await?;
    Ok(Some(Whole {
        ticket,
        self_tests,
        alarms: alarm::store::list(&mut *tx, tenant, &filter).await?,
        advisories: advisory::store::list(&mut *tx, tenant, &advisories).await?,
        history: super::history(&mut tx, ticket_id).await?,
        appointments: appointment::store::for_ticket(&mut tx, tenant, ticket_id).await?,
    }))
}
