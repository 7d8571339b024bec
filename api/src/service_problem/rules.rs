//! When alarms are a storm, and the steps of a problem. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{id::DeviceId, time::Instant};

use super::{ProblemStatus, Settings};

/// An alarm of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Which device.
    pub device_id: DeviceId,
    /// Event time.
    pub at: Instant,
}

/// The alarms of the span that holds most devices, the first of equals; none if no span holds enough. Most and not just
/// enough, because a large fleet asks for more than the least. The order of `raised` makes no difference.
pub fn storm(mut raised: Vec<Raised>, settings: &Settings) -> Option<Vec<Raised>> {
    raised.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.device_id.cmp(&b.device_id)));
    let mut inside: BTreeMap<&DeviceId, usize> = BTreeMap::new();
    let mut begin = 0;
    let (mut most, mut span) = (0, 0..0);
    for (end, last) in raised.iter().enumerate() {
        *inside.entry(&last.device_id).or_default() += 1;
        while last.at.since(raised[begin].at) > settings.within {
            let left = &raised[begin].device_id;
            if let Some(count) = inside.get_mut(left) {
                *count -= 1;
                if *count == 0 {
                    inside.remove(left);
                }
            }
            begin += 1;
        }
        if inside.len() > most {
            (most, span) = (inside.len(), begin..end + 1);
        }
    }
    (most >= settings.devices.max(1) as usize).then(|| raised[span].to_vec())
}

/// The devices that raised, each once.
pub fn devices(raised: &[Raised]) -> BTreeSet<&DeviceId> {
    raised.iter().map(|raised| &raised.device_id).collect()
}

/// The largest fleet of which so many devices are the share that makes a storm.
pub fn fleet(devices: usize, settings: &Settings) -> i64 {
    let fleet = devices as f64 / settings.share.max(f64::MIN_POSITIVE);
    // Saturates: a share of zero asks for no share.
    fleet.floor() as i64
}

/// The statuses to which a problem may go.
pub fn next(from: ProblemStatus) -> &'static [ProblemStatus] {
    use ProblemStatus::*;
    match from {
        Acknowledged => &[InProgress, Resolved, Cancelled],
        InProgress => &[Resolved, Cancelled],
        Resolved | Cancelled => &[],
    }
}
