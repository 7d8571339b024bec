//! What the versions in force say of every device and component at midnights that are over, acted upon or not: what
//! calibration is judged by, since advisories are only the loudest of it.
//!
//! In: a [`History`], the registry, midnights. Out: [`Said`]. Promise: features of a midnight are those that the server had
//! then (point in time), and the same model or, without one, the same trend speaks; a component that was told to stand
//! broken is not spoken of. Never: a decision; a drift alarm's fall-back to trends, which lasts only until a new version.

use std::{ops::Range, time::Duration};

use foresight::daily;
use schemas::{
    advisory::Method,
    id::{ProfileName, TenantId},
    time::Instant,
};

use super::{
    PrognosisError,
    history::{History, Target},
    label::Past,
    registry::{Key, Registry},
};

/// What is said of one device and component at one midnight.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Which device.
    pub device: String,
    /// Of which kind.
    pub profile: ProfileName,
    /// Which component.
    pub component: String,
    /// Which midnight.
    pub at: Instant,
    /// How far ahead.
    pub horizon: Duration,
    /// Of failing within it.
    pub probability: f64,
    /// How it was found.
    pub method: Method,
    /// Nothing after this was learnt from, where a model spoke.
    pub learnt: Option<Instant>,
}

impl History {
    /// Rows of landmarks in a range at which a component was not told to stand broken.
    pub fn working(&self, landmarks: Range<i32>, target: &Target) -> Vec<usize> {
        let untold = Past::default();
        let working = |row: &usize| {
            let at = self.places[*row];
            let past = self.past(at.device as usize, &target.component).unwrap_or(&untold);
            !past.broken(at.landmark, target.horizon)
        };
        self.rows(landmarks).into_iter().filter(working).collect()
    }
}

/// What is said of all components in a range of landmarks.
pub fn said(
    history: &History,
    registry: &Registry,
    tenant: &TenantId,
    landmarks: Range<i32>,
) -> Result<Vec<Said>, PrognosisError> {
    let mut all = Vec::new();
    for (target, _) in history.targets(i64::MAX) {
        let profile = history.profile.name.clone();
        let key = Key { tenant: tenant.clone(), profile: profile.clone(), fault_key: target.fault_key.clone() };
        let champion = registry.register(&key)?.champion().map(|version| registry.model(&key, version)).transpose();
        let champion = champion.ok().flatten().filter(|(model, _)| model.answers(&history.features, target.horizon));
        let rows = history.working(landmarks.clone(), &target);
        let (probabilities, method) = match &champion {
            Some((model, _)) => (model.probability(&history.matrix(&rows))?, Method::Model),
            None => (rows.iter().map(|row| history.prior(*row, &target.component)).collect(), Method::Trend),
        };
        let learnt = champion.map(|(_, card)| card.until);
        all.extend(rows.into_iter().zip(probabilities).map(|(row, probability)| {
            let place = history.places[row];
            Said {
                device: history.devices[place.device as usize].clone(),
                profile: profile.clone(),
                component: target.component.clone(),
                at: Instant::from_micros(daily::landmark_micros(place.landmark)),
                horizon: target.horizon,
                probability,
                method,
                learnt,
            }
        }));
    }
    Ok(all)
}
