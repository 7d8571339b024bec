//! The demo's agent: follows the events and books a visit for every ticket, and another one when it is open again, through
//! the API like anybody else.

use std::{collections::BTreeSet, pin::pin};

use anyhow::Context;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    client::Client,
    fleet::simulate::network::{Shared, hold},
};

/// Where the fleet stands: around the middle of Madrid.
const MIDDLE: (f64, f64) = (40.4168, -3.7038);
/// Devices and technicians live within this many degrees of the middle.
const SPREAD: f64 = 0.12;
const ZONE: &str = "Europe/Madrid";

/// Who owns the tickets that waited for a yes.
const OWNER: &str = "demo";

/// Technicians: name and skills; together they can repair every simulated component.
const TECHNICIANS: [(&str, &[&str]); 7] = [
    ("Alba", &["appliance", "mechanical", "electrical"]),
    ("Bruno", &["appliance", "mechanical", "electrical"]),
    ("Carmen", &["appliance", "refrigeration", "electrical"]),
    ("Diego", &["hvac", "refrigeration", "electrical"]),
    ("Gema", &["hvac", "refrigeration", "electrical"]),
    ("Elena", &["phone", "board"]),
    ("Félix", &["phone", "board"]),
];

/// Books visits.
pub(super) struct Agent {
    client: Client,
    /// Tickets, each with how often it was opened again.
    booked: BTreeSet<(String, u64)>,
    visits: u64,
}

impl Agent {
    /// Tells the API of technicians and of where the devices stand.
    pub(super) async fn settle(client: Client, fleet: &[Shared]) -> anyhow::Result<Self> {
        let day = json!([{ "start": "08:00", "end": "13:00" }, { "start": "14:00", "end": "18:00" }]);
        for (index, (name, skills)) in TECHNICIANS.iter().enumerate() {
            let (lat, lon) = place(index * 7 + 3);
            let shifts = json!({
                "monday": day, "tuesday": day, "wednesday": day, "thursday": day, "friday": day, "saturday": day,
                "sunday": day,
            });
            let technician = json!({
                "name": name, "skills": skills, "home": { "lat": lat, "lon": lon }, "time_zone": ZONE,
                "shifts": shifts,
            });
            client.post("/v1/technicians", &technician).await?;
        }
        for (index, device) in fleet.iter().enumerate() {
            let ((lat, lon), path) = (place(index), format!("/v1/devices/{}/site", hold(device).device_id));
            let site = json!({ "lat": lat, "lon": lon, "time_zone": ZONE });
            client.put(&path, &site).await?;
        }
        Ok(Self { client, booked: BTreeSet::new(), visits: 0 })
    }

    /// Books visits as tickets come, until told to stop; then the rest. Returns how many were booked.
    pub(super) async fn work(mut self, stop: CancellationToken) -> anyhow::Result<u64> {
        let client = self.client.clone();
        let mut events = pin!(client.events(Some("0")).await?);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => break,
                event = events.next() => event.context("the event stream ended")??,
            };
            let ticket = &event["data"];
            if event["type"] == "forewarn.ticket.created" || ticket["sub_status"] == "reopened" {
                self.book(ticket).await;
            }
        }
        for ticket in self.client.all("/v1/tickets", "tickets").await? {
            if matches!(ticket["status"].as_str(), Some("acknowledged" | "inProgress" | "pending" | "held")) {
                self.book(&ticket).await;
            }
        }
        Ok(self.visits)
    }

    /// Takes the earliest slot. A ticket that cannot be booked now is for a person.
    async fn book(&mut self, ticket: &Value) {
        let Some(ticket_id) = ticket["ticket_id"].as_str() else { return };
        if !self.booked.insert((ticket_id.to_owned(), ticket["reopen_count"].as_u64().unwrap_or(0))) {
            return;
        }
        if let Err(error) = self.take(ticket_id).await {
            warn!(ticket_id, "ticket not taken: {error:#}");
        }
        match self.earliest(ticket_id).await {
            Ok(Ok(window)) => {
                self.visits += 1;
                info!(ticket_id, window, "visit booked");
            }
            Ok(Err(shortfall)) => warn!(ticket_id, "no slot for this ticket: {shortfall}"),
            Err(error) => warn!(ticket_id, "visit not booked: {error:#}"),
        }
    }

    /// Says yes where a ticket waits for it: the agent becomes its owner.
    async fn take(&self, ticket_id: &str) -> anyhow::Result<()> {
        let path = format!("/v1/tickets/{ticket_id}");
        let ticket = self.client.get(&path).await?;
        if ticket["sub_status"] == "awaiting_confirmation" {
            self.client.patch(&path, &json!({ "owner": OWNER })).await?;
        }
        Ok(())
    }

    /// The window of the visit booked, or why there is no slot.
    async fn earliest(&self, ticket_id: &str) -> anyhow::Result<Result<String, String>> {
        let slots = self.client.post(&format!("/v1/tickets/{ticket_id}/slots"), &json!({ "count": 1 })).await?;
        let Some(slot) = slots["slots"].as_array().and_then(|slots| slots.first()) else {
            return Ok(Err(slots["shortfall"]["detail"].as_str().unwrap_or("no reason given").to_owned()));
        };
        let appointment = json!({ "ticket_id": ticket_id, "slot_id": slot["slot_id"] });
        let confirmed: Value = self.client.post("/v1/appointments", &appointment).await?;
        Ok(Ok(confirmed["window_start"].as_str().context("window_start of an appointment")?.to_owned()))
    }
}

/// Scatters places evenly: the additive recurrence of the plastic number (a low-discrepancy sequence in two
/// dimensions, M. Roberts 2018).
fn place(index: usize) -> (f64, f64) {
    const PLASTIC: f64 = 1.324_717_957_244_746;
    let n = index as f64 + 1.0;
    let share = |step: f64| ((n * step).fract() - 0.5) * 2.0 * SPREAD;
    (MIDDLE.0 + share(1.0 / PLASTIC), MIDDLE.1 + share(1.0 / (PLASTIC * PLASTIC)))
}

#[cfg(test)]
mod tests {
    use schemas::profile::Profiles;

    use super::*;
    use crate::fleet::simulate::KINDS;

    #[test]
    fn some_technician_can_repair_every_simulated_component() {
        let profiles = Profiles::builtin();
        for kind in KINDS {
            for component in &profiles.get(kind.profile).unwrap().components {
                let able = TECHNICIANS
                    .iter()
                    .any(|(_, skills)| component.skills.iter().all(|skill| skills.contains(&skill.as_str())));
                assert!(able, "{} of {}", component.name, kind.profile);
            }
        }
    }
}
