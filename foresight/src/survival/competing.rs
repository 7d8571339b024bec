//! Competing causes: of several ways to fail, the first one ends the life.
//!
//! In: [`Ended`] lives, each with its cause or none (still running). Out: per cause the share that has failed by it at
//! each age ([`Incidence`], Aalen and Johansen 1978), and a law per cause in which the other causes count as survivals.
//! Promise: the incidences of all causes and the Kaplan-Meier share of survivors add up to one at every age.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{Fit, Law, Lifetime, Seen, SurvivalError, fit};

/// A life that ended, or was still running.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended<C> {
    /// Age at which it failed, or was seen last.
    pub age: f64,
    /// What it failed by; `None` is still running.
    pub cause: Option<C>,
    /// How many units.
    pub count: f64,
}

/// Per age with failures: the share that has failed by each cause, and the share of survivors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incidence<C: Ord> {
    /// In order: the ages.
    pub ages: Vec<f64>,
    /// Share of survivors after each age.
    pub survival: Vec<f64>,
    /// Share that has failed by each cause, up to and with each age.
    pub by_cause: BTreeMap<C, Vec<f64>>,
}

impl<C: Ord + Clone> Incidence<C> {
    /// The incidence of all causes that occur.
    pub fn new(lives: &[Ended<C>]) -> Self {
        let mut lives: Vec<&Ended<C>> = lives.iter().collect();
        lives.sort_by(|one, other| one.age.total_cmp(&other.age));
        let causes = lives.iter().filter_map(|life| life.cause.clone());
        let mut by_cause: BTreeMap<C, Vec<f64>> = causes.map(|cause| (cause, Vec::new())).collect();
        let mut reached: BTreeMap<C, f64> = by_cause.keys().map(|cause| (cause.clone(), 0.0)).collect();
        let (mut ages, mut survival) = (Vec::new(), Vec::new());
        let mut alive = 1.0;
        let mut at_risk: f64 = lives.iter().map(|life| life.count).sum();
        for same in lives.chunk_by(|one, other| one.age.total_cmp(&other.age) == Ordering::Equal) {
            let failures: f64 = same.iter().filter(|life| life.cause.is_some()).map(|life| life.count).sum();
            if failures > 0.0 {
                for life in same {
                    if let Some(share) = life.cause.as_ref().and_then(|cause| reached.get_mut(cause)) {
                        *share += alive * life.count / at_risk;
                    }
                }
                alive *= 1.0 - failures / at_risk;
                ages.push(same[0].age);
                survival.push(alive);
                for (cause, shares) in &mut by_cause {
                    shares.push(reached[cause]);
                }
            }
            at_risk -= same.iter().map(|life| life.count).sum::<f64>();
        }
        Self { ages, survival, by_cause }
    }

    /// Share that has failed by a cause up to and with an age.
    pub fn at(&self, cause: &C, age: f64) -> f64 {
        let after = self.ages.partition_point(|step| *step <= age);
        let shares = self.by_cause.get(cause);
        after.checked_sub(1).and_then(|last| Some(*shares?.get(last)?)).unwrap_or(0.0)
    }
}

/// A law per cause; lives that ended otherwise count as survivals at their age (independent causes).
pub fn cause_specific<C: Ord + Clone>(
    law: Law,
    lives: &[Ended<C>],
) -> Result<BTreeMap<C, Result<Fit, SurvivalError>>, SurvivalError> {
    let causes: BTreeMap<C, ()> = lives.iter().filter_map(|life| Some((life.cause.clone()?, ()))).collect();
    let mut fits = BTreeMap::new();
    for cause in causes.into_keys() {
        let lifetimes: Vec<Lifetime> = (lives.iter())
            .map(|life| {
                let failed = life.cause.as_ref() == Some(&cause);
                let seen = if failed { Seen::Failed(life.age) } else { Seen::Survived(life.age) };
                Lifetime::new(seen, life.count)
            })
            .collect::<Result<_, _>>()?;
        fits.insert(cause, fit(law, &lifetimes));
    }
    Ok(fits)
}
