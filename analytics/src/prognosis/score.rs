//! A block of devices at one landmark: what each component's probability is, and why (pure).
//!
//! In: devices' days, what was told of them, what is in force. Out: findings. Promise: one finding per device and
//! component that has something to say; a component that stands broken has none. Never: a decision.

use std::collections::{BTreeMap, HashMap};

use foresight::{
    boost::{BoostError, Matrix},
    daily::Days,
    degrade,
    hazard::Explanation,
};
use schemas::{advisory::Method, profile::Profile};

use super::{
    feature::Features,
    history::{self, Target},
    in_force::InForce,
    label::Past,
    prior::{self, Way},
};

/// Reasons kept with a finding.
const REASONS: usize = 5;
/// Findings below it are not explained: nothing will be said of them, and explaining costs as much as scoring.
const WORTH_EXPLAINING: f64 = 0.05;

/// What is expected of one component of one device.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which device.
    pub device: String,
    /// Place in the list of what is in force.
    pub place: usize,
    /// Calibrated, within the horizon.
    pub probability: f64,
    /// How it was found.
    pub method: Method,
    /// Of a challenger: written down, never acted upon.
    pub shadow: bool,
    /// The first day after the device's last repair.
    pub renewed: i32,
    /// Why, where a model spoke and it is worth explaining.
    pub explanation: Option<Explanation>,
    /// The trend, and the place of its rule in the profile, where there is one.
    pub way: Option<(usize, Way)>,
}

/// The rows of a block, and what was found.
#[derive(Debug)]
pub struct Block {
    /// One row per device that was heard.
    pub matrix: Matrix,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Scores the devices of a block. `told` is by device and component.
pub fn block(
    profile: &Profile,
    features: &Features,
    days: &BTreeMap<String, Days>,
    told: &HashMap<String, BTreeMap<String, Past>>,
    in_force: &[InForce],
    landmark: i32,
) -> Result<Block, BoostError> {
    let nothing = BTreeMap::new();
    let mut devices: Vec<(&String, &Days, i32)> = Vec::new();
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for (device, days) in days {
        let since = history::since(told.get(device).unwrap_or(&nothing), landmark);
        if history::settled(days, landmark, since) {
            rows.push(features.row(days, landmark, since));
            devices.push((device, days, since));
        }
    }
    let matrix = Matrix::from_rows(features.names(), rows.iter().map(Vec::as_slice));
    let mut findings = Vec::new();
    for (place, in_force) in in_force.iter().enumerate() {
        let target = &in_force.target;
        let horizon_days = target.horizon.as_secs_f64() / 86_400.0;
        let working: Vec<usize> = (0..devices.len())
            .filter(|row| {
                let past = told.get(devices[*row].0).and_then(|pasts| pasts.get(&target.component));
                past.is_none_or(|past| !past.broken(landmark, target.horizon))
            })
            .collect();
        let ways: Vec<Option<(usize, Way)>> =
            working.iter().map(|row| way(profile, features, target, devices[*row], landmark, horizon_days)).collect();
        let found = |row: usize, probability: f64, method, shadow, way: &Option<(usize, Way)>| Finding {
            device: devices[row].0.clone(),
            place,
            probability,
            method,
            shadow,
            renewed: devices[row].2,
            explanation: None,
            way: way.clone(),
        };
        let models = [(&in_force.champion, false), (&in_force.challenger, true)];
        for (model, shadow) in models.into_iter().filter_map(|(model, shadow)| Some((model.as_ref()?, shadow))) {
            let asked = matrix.select(&working);
            let said = model.0.probability(&asked)?;
            let first = findings.len();
            for ((row, probability), way) in working.iter().zip(&said).zip(&ways) {
                findings.push(found(*row, *probability, Method::Model, shadow, way));
            }
            let worth: Vec<usize> = (0..said.len()).filter(|row| said[*row] >= WORTH_EXPLAINING).collect();
            let why = model.0.explain(&asked.select(&worth), REASONS)?;
            for (row, why) in worth.into_iter().zip(why) {
                findings[first + row].explanation = Some(why);
            }
        }
        if in_force.champion.is_none() {
            let trust = in_force.found.trust();
            for (row, way) in working.iter().zip(&ways) {
                // A device that goes nowhere is heard too: its episode may be over.
                let probability = way.as_ref().map_or(0.0, |(_, way)| way.probability) * trust;
                findings.push(found(*row, probability, Method::Trend, false, way));
            }
        }
    }
    Ok(Block { matrix, findings })
}

/// The way that leads to a threshold soonest.
fn way(
    profile: &Profile,
    features: &Features,
    target: &Target,
    (_, days, since): (&String, &Days, i32),
    landmark: i32,
    horizon_days: f64,
) -> Option<(usize, Way)> {
    let ways = prior::rules(profile, features, &target.component).filter_map(|(rule, limit, channel)| {
        let place = profile.rules.iter().position(|other| other.name == rule.name)?;
        Some((place, prior::way(limit, channel, days, landmark, since, horizon_days)?))
    });
    ways.max_by(|(_, left), (_, right)| left.probability.total_cmp(&right.probability))
}

/// A trend's life in hours, where it ends at all.
pub fn hours(life: degrade::Life) -> Option<[f64; 3]> {
    let days = [life.p10, life.p50, life.p90];
    days.iter().all(|days| days.is_finite()).then(|| days.map(|days| days * 24.0))
}
