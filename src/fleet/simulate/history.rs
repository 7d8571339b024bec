//! A fleet's past, read off at full speed: the same messages as over the network, without network and without waiting.
//!
//! In: a seed, a number of devices, a time. Out: messages in the order in which they were sent, and what each repair found
//! as an outcome. Promise: the same arguments give the same messages; at the end the same devices go on living. Never: a
//! message that was sent after the end.
//!
//! Births come first, at the start. A report carries readings up to the instant at which it is sent. An outcome comes
//! when the device was repaired, some days after it failed.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use schemas::{
    id::TenantId,
    outcome::{Disposition, Outcome},
    time::Instant,
    topic::{Channel, Topic},
};

use super::{Planted, appliance::Appliance};
use crate::fleet::device::Message;

/// The past of a fleet that begins at `start`, over so many days.
pub fn history(seed: u64, devices: usize, tenant: &TenantId, start: Instant, days: u32) -> History {
    History::new(super::fleet(seed, devices, start), tenant, start, start.plus(super::DAY * days))
}

/// Messages with the instants at which they were sent, in order.
#[derive(Debug)]
pub struct History {
    fleet: Vec<Appliance>,
    tenant: TenantId,
    end: Instant,
    /// The next report of each device, the earliest on top.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// What is said before the next report.
    said: VecDeque<(Instant, Message)>,
}

impl History {
    /// The past of these devices, which begin at `start`.
    pub fn new(fleet: Vec<Appliance>, tenant: &TenantId, start: Instant, end: Instant) -> Self {
        let said = fleet.iter().map(|appliance| (start, appliance.birth(tenant, start))).collect();
        let due =
            fleet.iter().enumerate().map(|(place, appliance)| Reverse((appliance.next_report(), place))).collect();
        Self { fleet, tenant: tenant.clone(), end, due, said }
    }

    /// The devices as they are now, to live on: every report before the end was taken if the iterator was used up.
    pub fn into_fleet(self) -> Vec<Appliance> {
        self.fleet
    }

    fn say(&mut self) {
        let Some(Reverse((at, place))) = self.due.pop() else { return };
        if at > self.end {
            self.due.push(Reverse((at, place)));
            return;
        }
        let appliance = &mut self.fleet[place];
        self.said.extend(appliance.report(&self.tenant).into_iter().map(|message| (at, message)));
        for (repaired, planted) in appliance.take_repaired() {
            self.said.push_back((at, found(&self.tenant, appliance, repaired, &planted)));
        }
        self.due.push(Reverse((appliance.next_report(), place)));
    }
}

impl Iterator for History {
    type Item = (Instant, Message);

    fn next(&mut self) -> Option<Self::Item> {
        if self.said.is_empty() {
            self.say();
        }
        self.said.pop_front()
    }
}

/// What the repair found: the label. It stands on Forewarn's own channel, as if told over `POST /v1/outcomes`.
fn found(tenant: &TenantId, appliance: &Appliance, repaired: Instant, planted: &Planted) -> Message {
    let outcome = Outcome {
        outcome_id: format!("{}.repair-{}", planted.device_id, planted.failure.micros() / 1_000_000),
        tenant: tenant.clone(),
        device_id: planted.device_id.clone(),
        profile: Some(appliance.profile.clone()),
        ticket_id: None,
        advisory_id: None,
        fault_key: planted.fault_key.clone(),
        event_time: repaired,
        failure_time: Some(planted.failure),
        disposition: Disposition::PartReplaced,
        failure_mode: Some(planted.fault_key.failure_mode().to_owned()),
        failure_mechanism: None,
        failure_cause: None,
        detection_method: Some("production_interference".into()),
        maintenance_activity: Some("replace".into()),
        part_replaced: Some(planted.fault_key.component().to_owned()),
    };
    let topic = Topic::new(tenant.clone(), planted.device_id.clone(), Channel::Outcome);
    // Words, names and instants always make JSON.
    let payload = serde_json::to_vec(&outcome).unwrap_or_default();
    Message { topic, payload, retain: false }
}
