//! Appointments and bookings as rows, and back.

use schemas::{
    id::{DeviceId, TenantId},
    time::Instant,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::super::{Appointment, Refused, State, Stretch, Window, slot::Hold};
use crate::store::decode;

/// One appointment.
pub async fn get(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    appointment_id: &str,
) -> Result<Option<Appointment>, sqlx::Error> {
    let select = "select * from appointment where tenant = ? and appointment_id = ?";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(appointment_id).fetch_optional(connection).await?;
    row.map(|row| appointment(tenant, &row)).transpose()
}

/// All appointments of a ticket, oldest first.
pub async fn for_ticket(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
) -> Result<Vec<Appointment>, sqlx::Error> {
    let select = "select * from appointment where tenant = ? and ticket_id = ? order by appointment_id";
    let rows = sqlx::query(select).bind(tenant.as_str()).bind(ticket_id).fetch_all(connection).await?;
    rows.iter().map(|row| appointment(tenant, row)).collect()
}

/// Which appointments are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this ticket only.
    pub ticket_id: Option<String>,
    /// Of this technician only.
    pub technician_id: Option<String>,
    /// After this appointment; empty from the first on.
    pub after: String,
    /// At most so many.
    pub limit: u32,
}

/// A page of appointments, oldest first.
pub async fn list(db: &SqlitePool, tenant: &TenantId, filter: &Filter) -> Result<Vec<Appointment>, sqlx::Error> {
    let select = "select * from appointment where tenant = ?1 and appointment_id > ?2 \
                  and (?3 is null or ticket_id = ?3) and (?4 is null or technician_id = ?4) \
                  order by appointment_id limit ?5";
    let rows = sqlx::query(select)
        .bind(tenant.as_str())
        .bind(&filter.after)
        .bind(&filter.ticket_id)
        .bind(&filter.technician_id)
        .bind(filter.limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| appointment(tenant, row)).collect()
}

/// The promise that stands for a ticket, if one does.
pub(super) async fn standing(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    ticket_id: &str,
) -> Result<Option<Appointment>, sqlx::Error> {
    let select = "select * from appointment where tenant = ? and ticket_id = ? and state = 'confirmed'";
    let row = sqlx::query(select).bind(tenant.as_str()).bind(ticket_id).fetch_optional(connection).await?;
    row.map(|row| appointment(tenant, &row)).transpose()
}

/// Keeps a new one.
pub(super) async fn insert(tx: &mut SqliteConnection, appointment: &Appointment) -> Result<(), sqlx::Error> {
    let insert = "insert into appointment (tenant, appointment_id, ticket_id, device_id, slot_id, technician_id, sequence, \
                  state, reason, actor, window_start, window_end, visit_start, visit_end, created_at, changed_at) \
                  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(insert)
        .bind(appointment.tenant.as_str())
        .bind(&appointment.appointment_id)
        .bind(&appointment.ticket_id)
        .bind(appointment.device_id.as_str())
        .bind(&appointment.slot_id)
        .bind(&appointment.technician_id)
        .bind(appointment.sequence)
        .bind(appointment.state.as_str())
        .bind(appointment.state.reason())
        .bind(&appointment.actor)
        .bind(appointment.window.start.micros())
        .bind(appointment.window.end.micros())
        .bind(appointment.visit.start.micros())
        .bind(appointment.visit.end.micros())
        .bind(appointment.created_at.micros())
        .bind(appointment.changed_at.micros())
        .execute(tx)
        .await
        .map(|_| ())
}

/// Writes what may change.
pub(super) async fn update(tx: &mut SqliteConnection, appointment: &Appointment) -> Result<(), sqlx::Error> {
    let update = "update appointment set slot_id = ?, technician_id = ?, sequence = ?, state = ?, reason = ?, actor = ?, \
                  window_start = ?, window_end = ?, visit_start = ?, visit_end = ?, changed_at = ? \
                  where tenant = ? and appointment_id = ?";
    sqlx::query(update)
        .bind(&appointment.slot_id)
        .bind(&appointment.technician_id)
        .bind(appointment.sequence)
        .bind(appointment.state.as_str())
        .bind(appointment.state.reason())
        .bind(&appointment.actor)
        .bind(appointment.window.start.micros())
        .bind(appointment.window.end.micros())
        .bind(appointment.visit.start.micros())
        .bind(appointment.visit.end.micros())
        .bind(appointment.changed_at.micros())
        .bind(appointment.tenant.as_str())
        .bind(&appointment.appointment_id)
        .execute(tx)
        .await
        .map(|_| ())
}

/// Commits the technician's time; the schema refuses where it is taken.
pub(super) async fn book(tx: &mut SqliteConnection, appointment: &Appointment, hold: &Hold) -> Result<(), Refused> {
    let insert = "insert into booking (tenant, booking_id, appointment_id, technician_id, state, visit_start, visit_end, \
                  lat, lon) values (?, ?, ?, ?, 'committed', ?, ?, ?, ?)";
    let done = sqlx::query(insert)
        .bind(appointment.tenant.as_str())
        .bind(crate::id::new(appointment.changed_at))
        .bind(&appointment.appointment_id)
        .bind(&appointment.technician_id)
        .bind(appointment.visit.start.micros())
        .bind(appointment.visit.end.micros())
        .bind(hold.place.lat())
        .bind(hold.place.lon())
        .execute(tx)
        .await;
    match done {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.message().contains(BOOKED_ALREADY) => Err(super::taken()),
        Err(error) => Err(error.into()),
    }
}

/// What the trigger in the schema says.
const BOOKED_ALREADY: &str = "technician is booked already";

/// Ends the committed booking of an appointment.
pub(super) async fn set_booking(
    tx: &mut SqliteConnection,
    appointment: &Appointment,
    state: &str,
) -> Result<(), sqlx::Error> {
    let update = "update booking set state = ? where tenant = ? and appointment_id = ? and state = 'committed'";
    sqlx::query(update)
        .bind(state)
        .bind(appointment.tenant.as_str())
        .bind(&appointment.appointment_id)
        .execute(tx)
        .await
        .map(|_| ())
}

fn appointment(tenant: &TenantId, row: &SqliteRow) -> Result<Appointment, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let at = |column: &str| row.try_get(column).map(Instant::from_micros);
    let (state, reason) = (text("state")?, row.try_get::<Option<String>, _>("reason")?);
    Ok(Appointment {
        appointment_id: text("appointment_id")?,
        tenant: tenant.clone(),
        ticket_id: text("ticket_id")?,
        device_id: DeviceId::parse(&text("device_id")?).map_err(decode("device_id"))?,
        slot_id: text("slot_id")?,
        technician_id: text("technician_id")?,
        window: Window { start: at("window_start")?, end: at("window_end")? },
        visit: Stretch { start: at("visit_start")?, end: at("visit_end")? },
        sequence: row.try_get("sequence")?,
        state: State::parse(&state, reason.as_deref()).ok_or_else(|| decode("state")(state))?,
        actor: text("actor")?,
        created_at: at("created_at")?,
        changed_at: at("changed_at")?,
    })
}
