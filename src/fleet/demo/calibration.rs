//! Every probability of the scored device-days, acted upon or not, held against what was planted.
//!
//! In: the demo's tables after its end, its models, the truth. Out: [`Calibrations`]. Promise: said by the versions in force
//! at the end, of the live midnights after all that they were learnt from, with what was known at each. Never: an
//! advisory's word only; those are the loudest.

use std::collections::BTreeMap;

use analytics::prognosis::{
    frame::Known,
    history::History,
    registry::Registry,
    said::{self, Said},
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
    /// Of these, those that a model said.
    by_models: Calibration,
    /// Of these, those that a trend said, where there was no model.
    by_trends: Calibration,
    /// By profile and component.
    components: BTreeMap<String, Calibration>,
}

/// A word, and what it belongs to.
struct Word {
    expected: Expected,
    name: String,
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
            let live = daily::landmark_after(begin.micros())..daily::landmark_after(end.micros());
            let said = said::said(&history, &registry, &tenant, live)?;
            // A version that came into force on the way was learnt from some of these midnights.
            let unseen = said.into_iter().filter(|said| said.learnt.is_none_or(|learnt| said.at > learnt));
            words.extend(unseen.map(Word::of));
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
            live: of(&|_| true),
            by_models: of(&|word| word.method == Method::Model),
            by_trends: of(&|word| word.method == Method::Trend),
            components,
        })
    }
}

impl Word {
    fn of(said: Said) -> Self {
        let Said { device, profile, component, at, horizon, probability, method, .. } = said;
        Self {
            name: format!("{profile}.{component}"),
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
        write!(f, "                said by models of these {}", of(&self.by_models))
    }
}
