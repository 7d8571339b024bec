//! Every probability of the scored device-days, acted upon or not, held against what was planted.
//!
//! In: the demo's tables after its end, its models, the truth. Out: [`Calibrations`]. Promise: said by the versions that
//! spoke in the demo, of the midnights from the cut that they learnt to, with what was known at each. Never: an advisory's
//! word only; those are the loudest.

use std::collections::BTreeMap;

use analytics::prognosis::{
    frame::Known,
    history::History,
    registry::Registry,
    said::{self, Said},
    train,
};
use anyhow::Context;
use foresight::daily;
use schemas::{advisory::Method, time::Instant};
use serde::Serialize;

use super::score::{self, Calibration, Expected};
use crate::{
    dev,
    fleet::simulate::{KINDS, Planted},
    settings::Settings,
};

/// Probabilities by when they were said, and by what.
#[derive(Debug, Serialize)]
pub(super) struct Calibrations {
    /// Of the midnights of the live part.
    live: Calibration,
    /// Of all midnights after those that the models learnt from: the later part of the history, and the live part.
    later: Calibration,
    /// Of the latter those that a model said.
    by_models: Calibration,
    /// Of the latter those that a trend said, where there was no model.
    by_trends: Calibration,
    /// The later ones by profile and component.
    components: BTreeMap<String, Calibration>,
}

/// A word, and what it belongs to.
struct Word {
    expected: Expected,
    name: String,
    live: bool,
    method: Method,
}

impl Calibrations {
    /// Of a demo whose live part went from `begin` to `end`; `settings` name its data folder, which no server uses any more.
    pub(super) async fn judge(
        settings: &Settings,
        planted: &[Planted],
        begin: Instant,
        end: Instant,
    ) -> anyhow::Result<Self> {
        let tenant = dev::TENANT.parse()?;
        let (tables, profiles) = crate::cli::model::open(settings, &tenant).await?;
        let registry = Registry::new(&settings.data);
        let mut words = Vec::new();
        for kind in KINDS {
            let profile = profiles.get(kind.profile).context("a profile of the simulated kinds")?;
            let gathered = History::gather(&tables, profile, Known::Arrival, Some(end), &settings.prognosis).await?;
            let Some(history) = gathered else { continue };
            let all = i32::MIN..daily::landmark_after(end.micros());
            let said = said::said(&history, &registry, &tenant, all)?;
            words.extend(said.into_iter().filter_map(|said| {
                // A trend learns nothing; it is judged on the days on which a model of its component would be.
                let learnt = said.learnt.unwrap_or_else(|| train::cut(history.begin, begin, said.horizon));
                (said.at > learnt).then(|| Word::of(said, begin))
            }));
        }
        let of = |wanted: &dyn Fn(&Word) -> bool| {
            let wanted = words.iter().filter(|word| wanted(word)).map(|word| &word.expected);
            score::calibration(wanted, planted, end)
        };
        let mut names: Vec<&String> = words.iter().map(|word| &word.name).collect();
        names.sort_unstable();
        names.dedup();
        let components = names.into_iter().map(|name| (name.clone(), of(&|word| word.name == *name))).collect();
        Ok(Self {
            live: of(&|word| word.live),
            later: of(&|_| true),
            by_models: of(&|word| word.method == Method::Model),
            by_trends: of(&|word| word.method == Method::Trend),
            components,
        })
    }
}

impl Word {
    fn of(said: Said, begin: Instant) -> Self {
        let Said { device, profile, component, at, horizon, probability, method, .. } = said;
        Self {
            name: format!("{profile}.{component}"),
            live: at >= begin,
            method,
            expected: Expected { device_id: device, component, at, horizon, probability },
        }
    }
}

impl std::fmt::Display for Calibrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |it: &Calibration| {
            let error = it.error.map_or("none".into(), |error| format!("{error:.3}"));
            format!("{error} over {} device-days, {} failing and {:.1} expected", it.cases, it.failing, it.expected)
        };
        writeln!(f, "calibration error of the live part {}", of(&self.live))?;
        write!(f, "           since the models learnt {}", of(&self.later))
    }
}
