//! Tickets as JSON: the twins of the types in `mod.rs`.

use schemas::{alarm::PerceivedSeverity, outcome::Disposition, profile::Part, time::Instant};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Channel, Entry, EntryKind, Status, Ticket, TicketType,
    iso14224::{Activity, Cause, DetectionMethod, Mechanism},
    rules,
    store::Whole,
};
use crate::{
    advisory::routes::AdvisoryJson, alarm::routes::AlarmJson, appointment::AppointmentJson, self_test::SelfTest,
};

/// Which tickets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// One or more words with commas between them; `open` stands for all that are not over.
    #[param(example = "acknowledged,inProgress")]
    pub(super) status: Option<String>,
    /// Of this device.
    pub(super) device_id: Option<String>,
    /// On this fault.
    pub(super) fault_key: Option<String>,
    /// Of this service problem.
    pub(super) service_problem_id: Option<String>,
    /// 1 to 1000; 100 if not given.
    pub(super) limit: Option<u32>,
    /// `next` of the page before.
    pub(super) after: Option<String>,
}

/// One page of tickets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tickets)]
pub(super) struct Page {
    /// Newest first.
    pub(super) tickets: Vec<TicketJson>,
    /// For `after`, where there are more.
    pub(super) next: Option<String>,
}

/// A part to take along.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Part)]
pub(crate) struct PartJson {
    /// The maker's part number.
    number: String,
    /// What it is.
    title: String,
}

impl From<&Part> for PartJson {
    fn from(part: &Part) -> Self {
        Self { number: part.number.clone(), title: part.title.clone() }
    }
}

/// What was found and done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Resolution)]
pub(super) struct ResolutionJson {
    /// How it ended.
    disposition: &'static str,
    /// ISO 14224 failure mode.
    failure_mode: Option<String>,
    /// ISO 14224 failure mechanism.
    failure_mechanism: Option<Mechanism>,
    /// ISO 14224 failure cause.
    failure_cause: Option<Cause>,
    /// ISO 14224 detection method.
    detection_method: Option<DetectionMethod>,
    /// ISO 14224 maintenance activity.
    maintenance_activity: Option<Activity>,
    /// The part that went in.
    part_replaced: Option<String>,
    /// When the device failed, if it did and somebody told.
    #[schema(value_type = Option<String>, format = DateTime)]
    failure_time: Option<Instant>,
}

/// A ticket (TM Forum 621 names).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(super) struct TicketJson {
    /// Its id.
    ticket_id: String,
    /// In the order of opening; for people.
    number: i64,
    /// The kind of ticket.
    ticket_type: TicketType,
    /// How it came.
    channel: Channel,
    /// The device.
    device_id: String,
    /// The device's kind, if known.
    profile: Option<String>,
    /// Maintainable item and failure mode.
    #[schema(example = "drum_bearing/wear")]
    fault_key: String,
    /// Where it stands.
    status: Status,
    /// The same in finer words, such as `visit_booked`.
    sub_status: String,
    /// Since when it stands there.
    #[schema(value_type = String, format = DateTime)]
    status_change_date: Instant,
    /// Why it stands there, where the status has a reason.
    status_change_reason: Option<&'static str>,
    /// The customer's face.
    owner: Option<String>,
    /// X.733 severity; alarms and advisories only ever raise it.
    severity: &'static str,
    /// `critical`, `high`, `medium` or `low`.
    priority: &'static str,
    /// One line for the agent.
    title: String,
    /// The evidence in a sentence.
    description: String,
    /// What to tell the customer.
    customer_text: String,
    /// What a technician must be able to do.
    required_skills: Vec<String>,
    /// What a technician takes along.
    recommended_parts: Vec<PartJson>,
    /// Time on site.
    repair_minutes: u64,
    /// How often the fault came back after it was resolved.
    reopen_count: u32,
    /// The closed ticket whose fault came back (relationship `repeatOf`).
    repeat_of: Option<String>,
    /// The service problem that it has in common with other devices (relationship `parent`).
    service_problem_id: Option<String>,
    /// Alarms attached.
    alarm_count: u32,
    /// Advisories attached.
    advisory_count: u32,
    /// First contact with the customer, or first remote action.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_contact: Option<Instant>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    creation_date: Instant,
    /// Its last change.
    #[schema(value_type = String, format = DateTime)]
    last_update: Instant,
    /// When it was resolved last.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolution_date: Option<Instant>,
    /// What was found, once it was.
    resolution: Option<ResolutionJson>,
    /// Goes up with each change; the ETag.
    version: i64,
}

impl From<&Ticket> for TicketJson {
    fn from(ticket: &Ticket) -> Self {
        let (subject, state) = (&ticket.subject, &ticket.state);
        let resolution = state.resolution().map(|found| ResolutionJson {
            disposition: found.disposition.as_str(),
            failure_mode: found.failure_mode.clone(),
            failure_mechanism: found.failure_mechanism,
            failure_cause: found.failure_cause,
            detection_method: found.detection_method,
            maintenance_activity: found.maintenance_activity,
            part_replaced: found.part_replaced.clone(),
            failure_time: found.failure_time,
        });
        Self {
            ticket_id: ticket.ticket_id.clone(),
            number: ticket.number,
            ticket_type: subject.ticket_type,
            channel: subject.channel,
            device_id: subject.device_id.to_string(),
            profile: subject.profile.as_ref().map(|profile| profile.to_string()),
            fault_key: subject.fault_key.to_string(),
            status: state.status(),
            sub_status: ticket.sub_status.clone(),
            status_change_date: state.since(),
            status_change_reason: state.reason(),
            owner: state.owner().map(str::to_owned),
            severity: subject.severity.as_str(),
            priority: rules::priority(subject.severity),
            title: subject.title.clone(),
            description: subject.description.clone(),
            customer_text: subject.customer_text.clone(),
            required_skills: subject.skills.clone(),
            recommended_parts: subject.parts.iter().map(PartJson::from).collect(),
            repair_minutes: subject.repair.as_secs().div_ceil(60),
            reopen_count: ticket.reopen_count,
            repeat_of: ticket.repeat_of.clone(),
            service_problem_id: ticket.service_problem_id.clone(),
            alarm_count: ticket.alarm_count,
            advisory_count: ticket.advisory_count,
            first_contact: ticket.first_contact,
            creation_date: ticket.creation_date,
            last_update: ticket.last_update,
            resolution_date: ticket.resolution_date,
            resolution,
            version: ticket.version,
        }
    }
}

/// One entry of a history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEntry)]
pub(super) struct EntryJson {
    /// Its place, from 1.
    entry: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Instant,
    /// Who: a token's name, or `triage`.
    actor: String,
    /// What kind of thing.
    kind: EntryKind,
    /// The status before, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_status: Option<Status>,
    /// The status after, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_status: Option<Status>,
    /// In words.
    text: String,
}

impl From<Entry> for EntryJson {
    fn from(entry: Entry) -> Self {
        let Entry { entry, at, actor, kind, change, text } = entry;
        let (from_status, to_status) = change.unzip();
        Self { entry, at, actor, kind, from_status, to_status, text }
    }
}

/// A ticket with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TicketDetail)]
pub(super) struct Detail {
    /// The ticket.
    #[serde(flatten)]
    ticket: TicketJson,
    /// Its alarms, newest first; the latest 100.
    alarms: Vec<AlarmJson>,
    /// Its advisories, newest first; the latest 100.
    advisories: Vec<AdvisoryJson>,
    /// What happened to it, in order; the latest 1000 entries.
    history: Vec<EntryJson>,
    /// Visits promised for it, oldest first.
    appointments: Vec<AppointmentJson>,
    /// Tests that the device was asked to make of the component, oldest first.
    self_tests: Vec<SelfTest>,
}

impl From<Whole> for Detail {
    fn from(whole: Whole) -> Self {
        Self {
            ticket: TicketJson::from(&whole.ticket),
            alarms: whole.alarms.into_iter().map(AlarmJson::from).collect(),
            advisories: whole.advisories.into_iter().map(AdvisoryJson::from).collect(),
            history: whole.history.into_iter().map(EntryJson::from).collect(),
            appointments: whole.appointments.into_iter().map(AppointmentJson::from).collect(),
            self_tests: whole.self_tests,
        }
    }
}

fn incident() -> TicketType {
    TicketType::Incident
}

fn minor() -> PerceivedSeverity {
    PerceivedSeverity::Minor
}

/// A ticket opened by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTicket {
    /// The device, heard of or not.
    pub(super) device_id: String,
    /// Maintainable item and failure mode; the item is a component of the profile, where that is known.
    #[schema(example = "drum_bearing/wear")]
    pub(super) fault_key: String,
    /// The device's kind, needed where the device was never heard of.
    pub(super) profile: Option<String>,
    /// The kind of ticket; `incident` if not given.
    #[serde(default = "incident")]
    pub(super) ticket_type: TicketType,
    /// `indeterminate`, `warning`, `minor`, `major` or `critical`; `minor` if not given.
    #[serde(default = "minor")]
    #[schema(value_type = String, example = "minor")]
    pub(super) severity: PerceivedSeverity,
    /// One line; 1 to 200 characters.
    pub(super) title: String,
    /// More; 1 to 4000 characters.
    pub(super) description: Option<String>,
    /// What to tell the customer; 1 to 4000 characters.
    pub(super) customer_text: Option<String>,
    /// The customer's face; 1 to 60 characters.
    pub(super) owner: Option<String>,
}

/// What kind of note.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoteKind {
    /// Something to know.
    Note,
    /// The customer was contacted, or it was tried.
    Contact,
    /// Something was done from afar.
    RemoteAction,
}

fn plain() -> NoteKind {
    NoteKind::Note
}

/// A note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewNote)]
pub(super) struct NoteJson {
    /// `note` if not given; `contact` and `remote_action` allow work to begin.
    #[serde(default = "plain")]
    pub(super) kind: NoteKind,
    /// 1 to 4000 characters.
    pub(super) text: String,
}

/// A change of a ticket; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketPatch {
    /// The new owner; 1 to 60 characters.
    pub(super) owner: Option<String>,
    /// Something to note.
    pub(super) note: Option<NoteJson>,
    /// Where it goes.
    pub(super) status: Option<Status>,
    /// Why; each of `pending`, `held`, `closed`, `cancelled` and `rejected` has its own words.
    pub(super) status_change_reason: Option<String>,
    /// How it ended; needed for `resolved`.
    #[schema(value_type = Option<String>, example = "part_replaced")]
    pub(super) disposition: Option<Disposition>,
    /// ISO 14224 failure mode; one word a-z 0-9 _.
    pub(super) failure_mode: Option<String>,
    /// ISO 14224 failure mechanism.
    pub(super) failure_mechanism: Option<Mechanism>,
    /// ISO 14224 failure cause.
    pub(super) failure_cause: Option<Cause>,
    /// ISO 14224 detection method.
    pub(super) detection_method: Option<DetectionMethod>,
    /// ISO 14224 maintenance activity.
    pub(super) maintenance_activity: Option<Activity>,
    /// The part that went in; 1 to 64 characters.
    pub(super) part_replaced: Option<String>,
    /// When the device failed, if it did and that is known; not in the future. Without it the first fault code of
    /// severity major or critical on the ticket tells.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) failure_time: Option<Instant>,
}
