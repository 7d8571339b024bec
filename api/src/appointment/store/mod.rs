//! Appointments' transactions: offer, confirm, change. Each takes the write lock first, so what the planner saw is what
//! is kept; a trigger in the schema refuses an overlap all the same.

mod row;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Appointment, CallOffReason, Change, HOLD_TTL, Refused, State, Stretch, Window,
    metrics::COUNTERS,
    rules,
    slot::{self, Ask, Hold, HoldState, Offered},
};
use crate::{
    event,
    plan::{OfferProblem, Planner, site},
    store::write,
    ticket,
};

pub use row::{Filter, for_ticket, get, list};

/// What a visit needs to know of its ticket.
struct Work {
    device_id: DeviceId,
    skills: Vec<String>,
    repair: Duration,
}

/// Offers slots and holds them; what was held for the ticket before is given back.
pub async fn offer(
    db: &SqlitePool,
    planner: &dyn Planner,
    tenant: &TenantId,
    ask: &Ask,
    now: Instant,
) -> Result<Offered, Refused> {
    let over = rules::range(now, ask.earliest, ask.latest)?;
    let mut tx = write(db).await?;
    let expired = slot::store::expire(&mut tx, tenant, now).await?;
    let work = work(&mut tx, tenant, &ask.ticket_id).await?;
    let site = site_of(&mut tx, tenant, &work.device_id).await?;
    slot::store::release(&mut tx, tenant, &ask.ticket_id).await?;
    let problem = OfferProblem {
        site: site.place,
        zone: site.time_zone,
        skills: work.skills,
        duration: work.repair,
        from: over.start,
        until: over.end,
        count: ask.count,
        technicians: slot::store::candidates(&mut tx, tenant, &ask.ticket_id, over, Some(now)).await?,
    };
    let answer = planner.offers(&problem);
    let mut slots = Vec::new();
    for offer in answer.offers {
        let hold = Hold {
            slot_id: crate::id::new(now),
            ticket_id: ask.ticket_id.clone(),
            technician_id: offer.technician_id,
            window: Window { start: offer.window_start, end: offer.window_end },
            visit: Stretch { start: offer.start, end: offer.end },
            place: problem.site,
            travel_added: offer.travel_added,
            why: offer.why,
            state: HoldState::Held,
            created_at: now,
            expires_at: now.plus(ask.hold),
        };
        slot::store::insert(&mut tx, tenant, &hold).await?;
        slots.push(hold);
    }
    tx.commit().await?;
    COUNTERS.expired.inc_by(expired);
    COUNTERS.offers.inc_by(slots.len() as u64);
    if slots.is_empty() {
        COUNTERS.without_offer.inc();
    }
    Ok(Offered { slots, shortfall: answer.shortfall })
}

/// Makes an appointment of a held slot; true if it is new, false if this slot was confirmed for this ticket before.
pub async fn confirm(
    db: &SqlitePool,
    planner: &dyn Planner,
    tenant: &TenantId,
    actor: &str,
    ticket_id: &str,
    slot_id: &str,
    now: Instant,
) -> Result<(Appointment, bool), Refused> {
    let mut tx = write(db).await?;
    let hold = held(&mut tx, tenant, slot_id).await?;
    let standing = row::standing(&mut tx, tenant, ticket_id).await?;
    if hold.state == HoldState::Confirmed
        && let Some(same) = standing.as_ref().filter(|standing| standing.slot_id == slot_id)
    {
        return Ok((same.clone(), false));
    }
    rules::takeable(&hold, ticket_id, now)?;
    if let Some(standing) = standing {
        let detail = format!("the ticket has appointment {} already; reschedule it instead", standing.appointment_id);
        return Err(Refused::conflict("ticket_has_appointment", detail));
    }
    let work = work(&mut tx, tenant, ticket_id).await?;
    still_fits(&mut tx, planner, tenant, &hold, &work).await?;
    let appointment = Appointment {
        appointment_id: crate::id::new(now),
        tenant: tenant.clone(),
        ticket_id: ticket_id.to_owned(),
        device_id: work.device_id,
        slot_id: slot_id.to_owned(),
        technician_id: hold.technician_id.clone(),
        window: hold.window,
        visit: hold.visit,
        sequence: 0,
        state: State::Confirmed,
        actor: actor.to_owned(),
        created_at: now,
        changed_at: now,
    };
    row::insert(&mut tx, &appointment).await?;
    take(&mut tx, &appointment, &hold).await?;
    tell(&mut tx, &appointment, event::Kind::AppointmentCreated).await?;
    let text = format!("visit confirmed: {}", told(&appointment));
    ticket::store::booked(&mut tx, tenant, ticket_id, now, actor, &text).await?;
    tx.commit().await?;
    COUNTERS.booked.inc();
    Ok((appointment, true))
}

/// Calls off, completes, fails or moves a confirmed appointment. Asked twice, it is done once.
pub async fn change(
    db: &SqlitePool,
    planner: &dyn Planner,
    tenant: &TenantId,
    actor: &str,
    appointment_id: &str,
    change: &Change,
    now: Instant,
) -> Result<Appointment, Refused> {
    let mut tx = write(db).await?;
    let missing = || Refused::NotFound { what: "appointment", id: appointment_id.to_owned() };
    let mut appointment = get(&mut tx, tenant, appointment_id).await?.ok_or_else(missing)?;
    let Some(state) = rules::next(&appointment, change, now)? else { return Ok(appointment) };
    appointment.state = state;
    appointment.sequence += 1;
    appointment.actor = actor.to_owned();
    appointment.changed_at = now;
    let booking = if state == State::Completed { "completed" } else { "cancelled" };
    row::set_booking(&mut tx, &appointment, booking).await?;
    if let Change::Reschedule { slot_id } = change {
        let hold = held(&mut tx, tenant, slot_id).await?;
        rules::takeable(&hold, &appointment.ticket_id, now)?;
        let work = work(&mut tx, tenant, &appointment.ticket_id).await?;
        still_fits(&mut tx, planner, tenant, &hold, &work).await?;
        slot::store::set_state(&mut tx, tenant, &appointment.slot_id, HoldState::Released).await?;
        appointment.slot_id = hold.slot_id.clone();
        appointment.technician_id = hold.technician_id.clone();
        (appointment.window, appointment.visit) = (hold.window, hold.visit);
        take(&mut tx, &appointment, &hold).await?;
    }
    row::update(&mut tx, &appointment).await?;
    tell(&mut tx, &appointment, event::Kind::AppointmentChanged).await?;
    let ticket_id = &appointment.ticket_id;
    if state == State::Confirmed {
        let text = format!("visit moved with the customer's consent: {}", told(&appointment));
        ticket::store::booked(&mut tx, tenant, ticket_id, now, actor, &text).await?;
    } else {
        let reason = state.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("visit {}{reason}", state.as_str());
        ticket::store::unbooked(&mut tx, tenant, ticket_id, now, actor, &text).await?;
    }
    tx.commit().await?;
    if state == State::Confirmed {
        COUNTERS.rescheduled.inc();
    }
    Ok(appointment)
}

/// Gives back all that a ticket holds and calls off what it was promised, for the transaction that ends the ticket.
/// It is noted in the ticket's history; the ticket's own row is the caller's.
pub async fn release_for_ticket(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    actor: &str,
    ticket_id: &str,
    now: Instant,
) -> Result<Option<Appointment>, sqlx::Error> {
    slot::store::release(tx, tenant, ticket_id).await?;
    let Some(mut appointment) = row::standing(tx, tenant, ticket_id).await? else { return Ok(None) };
    appointment.state = State::Cancelled(CallOffReason::TicketEnded);
    appointment.sequence += 1;
    appointment.actor = actor.to_owned();
    appointment.changed_at = now;
    row::set_booking(tx, &appointment, "cancelled").await?;
    row::update(tx, &appointment).await?;
    tell(tx, &appointment, event::Kind::AppointmentChanged).await?;
    let text = format!("visit cancelled: {}", CallOffReason::TicketEnded);
    let kind = ticket::EntryKind::Appointment;
    let entry = ticket::NewEntry { at: now, actor, kind, change: None, text: &text };
    ticket::store::note(tx, ticket_id, &entry).await?;
    Ok(Some(appointment))
}

/// Books the earliest slot for a ticket, as an agent would who takes the first offer; none where there is no offer.
pub async fn book_earliest(
    db: &SqlitePool,
    planner: &dyn Planner,
    tenant: &TenantId,
    actor: &str,
    ticket_id: &str,
    now: Instant,
) -> Result<Option<Appointment>, Refused> {
    let ask = Ask { ticket_id: ticket_id.to_owned(), count: 1, earliest: None, latest: None, hold: HOLD_TTL };
    let offered = offer(db, planner, tenant, &ask, now).await?;
    let Some(slot) = offered.slots.first() else { return Ok(None) };
    let (appointment, _) = confirm(db, planner, tenant, actor, ticket_id, &slot.slot_id, now).await?;
    Ok(Some(appointment))
}

/// What the calendar file needs beside the appointment: the ticket's title and the site's address.
pub(crate) async fn calendar_texts(
    connection: &mut SqliteConnection,
    appointment: &Appointment,
) -> Result<(String, Option<String>), sqlx::Error> {
    let (tenant, device_id) = (&appointment.tenant, appointment.device_id.as_str());
    let ticket = ticket::store::get(connection, tenant, &appointment.ticket_id).await?;
    let site = site::store::get(connection, tenant, device_id).await?;
    Ok((ticket.map(|ticket| ticket.subject.title).unwrap_or_default(), site.and_then(|site| site.address)))
}

async fn work(tx: &mut SqliteConnection, tenant: &TenantId, ticket_id: &str) -> Result<Work, Refused> {
    let missing = || Refused::NotFound { what: "ticket", id: ticket_id.to_owned() };
    let ticket = ticket::store::get(tx, tenant, ticket_id).await?.ok_or_else(missing)?;
    rules::visitable(&ticket.state)?;
    let ticket::Subject { device_id, skills, repair, .. } = ticket.subject;
    // A visit takes a while even where the profile knows no repair time.
    Ok(Work { device_id, skills, repair: repair.max(MIN_VISIT) })
}

/// Shortest time on site: ringing, looking, writing the report.
const MIN_VISIT: Duration = Duration::from_secs(15 * 60);

async fn site_of(tx: &mut SqliteConnection, tenant: &TenantId, device_id: &DeviceId) -> Result<site::Site, Refused> {
    let site = site::store::get(tx, tenant, device_id.as_str()).await?;
    let detail = || format!("nobody has told where the device stands: PUT /v1/devices/{device_id}/site first");
    site.ok_or_else(|| Refused::unprocessable("no_site", detail()))
}

async fn held(tx: &mut SqliteConnection, tenant: &TenantId, slot_id: &str) -> Result<Hold, Refused> {
    let hold = slot::store::get(tx, tenant, slot_id).await?;
    hold.ok_or_else(|| Refused::NotFound { what: "slot", id: slot_id.to_owned() })
}

/// The technician, the shift, the site or the ticket may have changed since the slot was offered. Others' slots are not
/// in the way: whoever was offered one after this saw this one as taken.
async fn still_fits(
    tx: &mut SqliteConnection,
    planner: &dyn Planner,
    tenant: &TenantId,
    hold: &Hold,
    work: &Work,
) -> Result<(), Refused> {
    let site = site_of(tx, tenant, &work.device_id).await?;
    let over = Window { start: hold.visit.start, end: hold.visit.end };
    let candidates = slot::store::candidates(tx, tenant, &hold.ticket_id, over, None).await?;
    let technician = candidates.iter().find(|candidate| candidate.technician_id == hold.technician_id);
    let duration = hold.visit.end.since(hold.visit.start);
    let fits = technician.is_some_and(|technician| {
        work.skills.iter().all(|skill| technician.skills.contains(skill))
            && work.repair <= duration
            && planner.fits(technician, site.place, hold.visit.start, duration)
    });
    if fits { Ok(()) } else { Err(taken()) }
}

fn taken() -> Refused {
    Refused::conflict("slot_taken", "the technician can no longer come then; ask for new slots")
}

/// The slot becomes the technician's booking; the ticket's other slots go back.
async fn take(tx: &mut SqliteConnection, appointment: &Appointment, hold: &Hold) -> Result<(), Refused> {
    let tenant = &appointment.tenant;
    slot::store::set_state(tx, tenant, &hold.slot_id, HoldState::Confirmed).await?;
    slot::store::release(tx, tenant, &hold.ticket_id).await?;
    row::book(tx, appointment, hold).await
}

/// The window in words, for a ticket's history.
fn told(appointment: &Appointment) -> String {
    let Window { start, end } = appointment.window;
    format!("technician {} arrives between {start} and {end}", appointment.technician_id)
}

/// The event, in the same transaction.
async fn tell(tx: &mut SqliteConnection, appointment: &Appointment, kind: event::Kind) -> Result<(), sqlx::Error> {
    let data = serde_json::json!({
        "appointment_id": appointment.appointment_id,
        "ticket_id": appointment.ticket_id,
        "device_id": appointment.device_id,
        "technician_id": appointment.technician_id,
        "state": appointment.state.as_str(),
        "reason": appointment.state.reason(),
        "sequence": appointment.sequence,
        "window_start": appointment.window.start,
        "window_end": appointment.window.end,
    });
    let (tenant, at) = (&appointment.tenant, appointment.changed_at);
    let event = event::New { tenant, kind, subject: &appointment.appointment_id, at, data };
    event::store::append(tx, &event).await.map(|_| ())
}
