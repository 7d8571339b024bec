//! What a visit, a phone call or an old maintenance record found: the label that teaches the next prediction.
//!
//! Failure mode, mechanism, cause and activity are separate fields, as ISO 14224 has them; no free text stands in
//! for them.

use serde::{Deserialize, Serialize};

use crate::{
    id::{DeviceId, FaultKey, ProfileName, TenantId},
    time::Instant,
};

words!(
    /// How a ticket ended.
    Disposition {
        /// Fixed without a visit.
        RemoteFixed = "remote_fixed",
        /// Went away by itself.
        SelfHealed = "self_healed",
        /// Fixed by new firmware.
        FirmwareFixed = "firmware_fixed",
        /// The user was told how.
        UserGuided = "user_guided",
        /// Repaired where it stands, no part replaced.
        OnSiteRepaired = "on_site_repaired",
        /// Repaired in a shop.
        InStoreRepaired = "in_store_repaired",
        /// A part was replaced.
        PartReplaced = "part_replaced",
        /// A part was replaced by plan, whatever its condition.
        ScheduledReplacement = "scheduled_replacement",
        /// The whole device was exchanged.
        UnitExchanged = "unit_exchanged",
        /// Money back.
        Refunded = "refunded",
        /// Looked for and not found: teaches detection that it erred.
        NoFaultFound = "no_fault_found",
        /// Told of, and could not be shown.
        NotReproducible = "not_reproducible",
        /// The customer did not want to pay.
        CustomerDeclinedQuote = "customer_declined_quote",
        /// Cannot be repaired.
        Unrepairable = "unrepairable",
        /// Another ticket is about the same.
        Duplicate = "duplicate",
        /// There never was a fault.
        FalseAlarm = "false_alarm",
    }
);

impl Disposition {
    /// Whether a real fault stood behind the ticket; none where it cannot be told.
    pub fn confirms_fault(self) -> Option<bool> {
        match self {
            Self::NoFaultFound | Self::FalseAlarm => Some(false),
            Self::ScheduledReplacement
            | Self::NotReproducible
            | Self::Duplicate
            | Self::Refunded
            | Self::CustomerDeclinedQuote => None,
            _ => Some(true),
        }
    }
}

/// One finding about one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Unique within the tenant; the same id again is the same finding.
    pub outcome_id: String,
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device_id: DeviceId,
    /// The device's kind, if known.
    pub profile: Option<ProfileName>,
    /// The ticket it ends, if there was one.
    pub ticket_id: Option<String>,
    /// What the finding is about.
    pub fault_key: FaultKey,
    /// The advisory that first spoke of it on the ticket, if one did: what the label answers.
    #[serde(default)]
    pub advisory_id: Option<String>,
    /// When it was found, or when the part was replaced.
    pub event_time: Instant,
    /// When the device failed, if it did before it was found and somebody knows: told by whoever looked, else by the
    /// first grave fault code of the ticket.
    #[serde(default)]
    pub failure_time: Option<Instant>,
    /// How it ended.
    pub disposition: Disposition,
    /// ISO 14224 failure mode: what was observed.
    pub failure_mode: Option<String>,
    /// ISO 14224 failure mechanism: the physical process.
    pub failure_mechanism: Option<String>,
    /// ISO 14224 failure cause: the circumstance.
    pub failure_cause: Option<String>,
    /// ISO 14224 detection method.
    pub detection_method: Option<String>,
    /// ISO 14224 maintenance activity.
    pub maintenance_activity: Option<String>,
    /// The part that went in.
    pub part_replaced: Option<String>,
}
