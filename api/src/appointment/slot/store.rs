//! Slots' SQL, and what the planner is shown of a tenant's technicians.

use std::{collections::HashMap, time::Duration};

use schemas::{id::TenantId, time::Instant};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Hold, HoldState, Stretch, Window};
use crate::{
    plan::{Booking, Candidate},
    store::decode,
    technician::{self, Place, Technician},
};

/// A booking so long before or after the asked-for time can still matter through the way home from it.
const MARGIN: Duration = Duration::from_secs(86_400);

/// Marks what nobody took in time; returns how many.
pub(crate) async fn expire(tx: &mut SqliteConnection, tenant: &TenantId, now: Instant) -> Result<u64, sqlx::Error> {
    let update = "update slot_hold set state = 'expired' where tenant = ? and state = 'held' and expires_at <= ?";
    let done = sqlx::query(update).bind(tenant.as_str()).bind(now.micros()).execute(tx).await?;
    Ok(done.rows_affected())
}

/// Gives back what is held for a ticket.
pub(crate) async fn release(tx: &mut SqliteConnection, tenant: &TenantId, ticket_id: &str) -> Result<(), sqlx::Error> {
    let update = "update slot_hold set state = 'released' where tenant = ? and ticket_id = ? and state = 'held'";
    sqlx::query(update).bind(tenant.as_str()).bind(ticket_id).execute(tx).await.map(|_| ())
}

/// Moves one slot on.
pub(crate) async fn set_state(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    slot_id: &str,
    state: HoldState,
) -> Result<(), sqlx::Error> {
    let update = "update slot_hold set state = ? where tenant = ? and slot_id = ?";
    sqlx::query(update).bind(state.as_str()).bind(tenant.as_str()).bind(slot_id).execute(tx).await.map(|_| ())
}

/// Keeps a new hold.
pub(crate) async fn insert(tx: &mut SqliteConnection, tenant: &TenantId, hold: &Hold) -> Result<(), sqlx::Error> {
    let insert = "insert into slot_hold (tenant, slot_id, ticket_id, technician_id, state, window_start, window_end, \
                  visit_start, visit_end, lat, lon, travel_added_seconds, why, created_at, expires_at) \
                  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(tenant.as_str())
        .bind(&hold.slot_id)
        .bind(&hold.ticket_id)
        .bind(&hold.technician_id)
        .bind(hold.state.as_str())
        .bind(hold.window.start.micros())
        .bind(hold.window.end.micros())
        .bind(hold.visit.start.micros())
        .bind(hold.visit.end.micros())
        .bind(hold.place.lat())
        .bind(hold.place.lon())
        .bind(i64::try_from(hold.travel_added.as_secs()).unwrap_or(i64::MAX))
        .bind(&hold.why)
        .bind(hold.created_at.micros())
        .bind(hold.expires_at.micros())
        .execute(tx)
        .await
        .map(|_| ())
}

/// One slot, whatever became of it.
pub async fn get(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    slot_id: &str,
) -> Result<Option<Hold>, sqlx::Error> {
    let select = "select * from slot_hold where tenant = ? and slot_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(slot_id).fetch_optional(connection).await?;
    row.map(|row| hold(&row)).transpose()
}

fn hold(row: &SqliteRow) -> Result<Hold, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let at = |column: &str| row.try_get(column).map(Instant::from_micros);
    let seconds: i64 = row.try_get("travel_added_seconds")?;
    Ok(Hold {
        slot_id: text("slot_id")?,
        ticket_id: text("ticket_id")?,
        technician_id: text("technician_id")?,
        window: Window { start: at("window_start")?, end: at("window_end")? },
        visit: Stretch { start: at("visit_start")?, end: at("visit_end")? },
        place: place(row)?,
        travel_added: Duration::from_secs(u64::try_from(seconds).map_err(decode("travel_added_seconds"))?),
        why: text("why")?,
        state: text("state")?.parse().map_err(decode("state"))?,
        created_at: at("created_at")?,
        expires_at: at("expires_at")?,
    })
}

fn place(row: &SqliteRow) -> Result<Place, sqlx::Error> {
    Place::new(row.try_get("lat")?, row.try_get("lon")?).map_err(decode("lat"))
}

/// All active technicians as the planner sees them, over a time. Bookings and slots of `ticket_id` itself bind nobody:
/// they end when one of its slots is taken. Slots held for other tickets bind if they are live at `holds_at`; without it
/// only what is booked binds.
pub(crate) async fn candidates(
    tx: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
    over: Window,
    holds_at: Option<Instant>,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let technicians = technician::store::active(tx, tenant).await?;
    let mut bound: HashMap<String, Vec<Booking>> = HashMap::new();
    let select = "select technician_id, visit_start, visit_end, lat, lon from booking \
                  where tenant = ?1 and state = 'committed' and visit_end > ?3 and visit_start < ?4 \
                  and appointment_id not in (select appointment_id from appointment where tenant = ?1 and ticket_id = ?2) \
                  union all \
                  select technician_id, visit_start, visit_end, lat, lon from slot_hold \
                  where tenant = ?1 and state = 'held' and visit_end > ?3 and visit_start < ?4 \
                  and expires_at > ?5 and ticket_id <> ?2 \
                  order by visit_start";
    let rows = sqlx::query(select)
        .bind(tenant.as_str())
        .bind(ticket_id)
        .bind(over.start.minus(MARGIN).micros())
        .bind(over.end.plus(MARGIN).micros())
        .bind(holds_at.map(Instant::micros))
        .fetch_all(tx)
        .await?;
    for row in &rows {
        let booking = Booking {
            start: Instant::from_micros(row.try_get("visit_start")?),
            end: Instant::from_micros(row.try_get("visit_end")?),
            place: place(row)?,
        };
        bound.entry(row.try_get("technician_id")?).or_default().push(booking);
    }
    Ok(technicians
        .into_iter()
        .map(|technician| {
            let bookings = bound.remove(&technician.technician_id).unwrap_or_default();
            candidate(technician, bookings, over)
        })
        .collect())
}

fn candidate(technician: Technician, bookings: Vec<Booking>, over: Window) -> Candidate {
    let draft = technician.draft;
    Candidate {
        technician_id: technician.technician_id,
        name: draft.name,
        skills: draft.skills,
        home: draft.home,
        stretches: technician::rules::stretches(&draft.shifts, &draft.time_zone, over.start, over.end),
        bookings,
    }
}
