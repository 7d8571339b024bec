//! What speaks for each component: its champion, where there is no reason to doubt it, and a challenger beside it.
//!
//! In: the registry, what versions looked at in the last run. Out: [`InForce`] per component. Promise: a model that is missing,
//! damaged, of other indicators or another horizon, or of another population is not believed; log and metrics say so. Never:
//! more versions in memory than a champion and a challenger per fault key.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use schemas::{id::TenantId, profile::Profile};
use tracing::warn;

use super::{
    drift::{self, Drift},
    feature::Features,
    history::{self, Target},
    metrics::Metrics,
    model::{Card, Model},
    prior::Found,
    registry::{Key, Registry, RegistryError, Standing},
    store::{FoundByComponent, KeyCounts},
    train,
};

/// What speaks for one component.
#[derive(Debug, Clone)]
pub struct InForce {
    /// Of what.
    pub target: Target,
    /// The model in force; none where there is none that can be believed, and then the trend speaks.
    pub champion: Option<Arc<(Model, Card)>>,
    /// Scored beside it, never acted upon.
    pub challenger: Option<Arc<(Model, Card)>>,
    /// What visits found of it in the fleet.
    pub found: Found,
}

/// A tenant's models, as the server believes them.
pub struct Models {
    tenant: TenantId,
    registry: Registry,
    metrics: Metrics,
    /// Versions in memory, by name and version.
    loaded: HashMap<(Key, String), Arc<(Model, Card)>>,
    /// Of the last run: models that other populations are scored with.
    drifted: HashSet<Key>,
}

impl Models {
    /// Those of a registry; nothing is read before it is asked for.
    pub fn new(tenant: TenantId, registry: Registry, metrics: Metrics) -> Self {
        Self { tenant, registry, metrics, loaded: HashMap::new(), drifted: HashSet::new() }
    }

    /// Where they are kept.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn key(&self, profile: &Profile, target: &Target) -> Key {
        Key { tenant: self.tenant.clone(), profile: profile.name.clone(), fault_key: target.fault_key.clone() }
    }

    /// Which model speaks for each component that can be spoken of.
    pub fn in_force(
        &mut self,
        profile: &Profile,
        features: &Features,
        keys: &KeyCounts,
        found: &FoundByComponent,
    ) -> Vec<InForce> {
        let mut all = Vec::new();
        for component in &profile.components {
            let Some(fault_key) = history::fault_key(profile, &component.name, keys) else { continue };
            let target = Target { component: component.name.clone(), fault_key, horizon: component.horizon };
            let key = self.key(profile, &target);
            let register = self.registry.register(&key).unwrap_or_else(|error| {
                warn!(error = &error as &dyn std::error::Error, "no model of {}: rules and trends speak", key.name());
                self.metrics.fell_back(&key.name(), "damaged");
                Default::default()
            });
            let standing = [register.champion(), register.challenger()];
            self.loaded.retain(|(of, version), _| *of != key || standing.contains(&Some(version.as_str())));
            let champion = register.champion().and_then(|version| self.believed(&key, version, features, &target));
            let challenger = register.challenger().and_then(|version| self.load(&key, version).ok());
            let challenger = challenger.filter(|model| model.0.answers(features, target.horizon));
            self.metrics.in_force(&key.name(), champion.as_ref().map(|model| model.1.version.as_str()));
            let found = found.get(&component.name).map_or(Found::default(), |found| Found::by(found, i64::MAX));
            all.push(InForce { target, champion, challenger, found });
        }
        all
    }

    /// A champion, unless there is a reason not to believe it.
    fn believed(
        &mut self,
        key: &Key,
        version: &str,
        features: &Features,
        target: &Target,
    ) -> Option<Arc<(Model, Card)>> {
        let (model, reason) = match self.load(key, version) {
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "{} {version} cannot be read", key.name());
                (None, "damaged")
            }
            Ok(model) if !model.0.answers(features, target.horizon) => (None, "profile_changed"),
            Ok(_) if self.drifted.contains(key) => (None, "drift"),
            Ok(model) => (Some(model), ""),
        };
        if model.is_none() {
            warn!("{} {version} is not believed ({reason}): rules and trends speak", key.name());
            self.metrics.fell_back(&key.name(), reason);
        }
        model
    }

    fn load(&mut self, key: &Key, version: &str) -> Result<Arc<(Model, Card)>, RegistryError> {
        let name = (key.clone(), version.to_owned());
        if let Some(model) = self.loaded.get(&name) {
            return Ok(model.clone());
        }
        let model = Arc::new(self.registry.model(key, version)?);
        self.loaded.insert(name, model.clone());
        Ok(model)
    }

    /// Takes note of how far what was scored is from what each champion learnt from.
    pub fn look_at_drift(&mut self, profile: &Profile, in_force: &[InForce], drifts: Vec<Option<Drift>>) {
        for (of, drift) in in_force.iter().zip(drifts) {
            let Some(drift) = drift else { continue };
            let key = self.key(profile, &of.target);
            self.metrics.drifted(&key.name(), drift.share);
            if drift.alarms() && self.drifted.insert(key.clone()) {
                warn!(
                    share = drift.share,
                    "{} looks at another population than it learnt from; from the next midnight on rules and trends speak \
                     until a new version is in force: {:?} (limit {})",
                    key.name(),
                    drift.most,
                    drift::ALARM_SHARE
                );
            }
        }
    }

    /// Takes note of what came of training: a new champion learnt from the population of today.
    pub fn learnt(&mut self, report: &train::Report) {
        if let Some(standing) = report.standing {
            self.metrics.trained(standing.as_str());
        }
        if report.standing == Some(Standing::Champion) {
            self.drifted.retain(|key| key.fault_key != report.fault_key || key.profile != report.profile);
        }
    }
}
