//! Training: from the tables to versions in the registry.
//!
//! In: tables, a profile, an instant. Out: one report per component of which a failure was told: the version and where it
//! stands, or why there is none. Promise: the same tables, instant, settings and seed give the same models; a version is
//! judged by what the same settings, learnt from the earlier part of the history, say of the later part, and then learnt
//! from all of it. Never: a version in force that the rule of [`super::promotion`] did not put there; a champion judged on
//! what it was learnt from.
//!
//! ```text
//! begin                        cut          end
//!   |----- teaches the judge's ----|-- judges --|
//!   |------------- teaches the version ---------|
//! ```

use std::{sync::Arc, time::Duration};

use foresight::{daily, drift::Verdict};
use schemas::{
    id::{FaultKey, ProfileName},
    profile::Profile,
    time::Instant,
};
use serde::Serialize;
use tracing::{info, warn};

use super::{
    PrognosisError, Settings,
    frame::Known,
    history::{History, Target},
    model::{self, Card, Figures, Model, NoModel},
    promotion,
    registry::{Key, Registry, Standing},
    store::Tables,
};

/// Share of the history that what is judged learns from; the rest judges. Two thirds: with the default horizon of two weeks a history
/// of 90 days leaves 16 days of landmarks whose horizon is known.
const LEARN_SHARE: f64 = 2.0 / 3.0;
/// Horizons that judge at least: with fewer than one no landmark's horizon is known, with one and a half half a horizon of
/// landmarks is.
const JUDGING_HORIZONS: f64 = 1.5;
/// Share of the history that it learns from in any case.
const LEAST_SHARE: f64 = 0.5;

/// What came of training one fault key.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of which kind of device.
    pub profile: ProfileName,
    /// What fails.
    pub fault_key: FaultKey,
    /// The new version; none where there is none.
    pub version: Option<String>,
    /// Where it stands; none where there is no version.
    pub standing: Option<Standing>,
    /// Why it stands there, or why there is none.
    pub reason: String,
    /// Failures that were told, in the whole history.
    pub told_failures: u64,
    /// Of these, those learnt from: all of them, where there is a version.
    pub failures: u64,
    /// Landmarks learnt from.
    pub rows: u64,
    /// On later data.
    pub later: Option<Figures>,
    /// The champion of before, on the same data.
    pub champion_later: Option<Figures>,
}

/// Where a history from `begin` to `end` is cut into what teaches first and what judges. A component that is looked at far ahead
/// is judged on more of it: what follows after the last landmarks is not known yet.
pub(super) fn cut(begin: Instant, end: Instant, horizon: Duration) -> Instant {
    let span = end.since(begin);
    let judging = span.mul_f64(1.0 - LEARN_SHARE).max(horizon.mul_f64(JUDGING_HORIZONS));
    let learning = span.saturating_sub(judging).max(span.mul_f64(LEAST_SHARE));
    Instant::from_micros(daily::landmark_micros(daily::day_of(begin.plus(learning).micros())))
}

/// Trains all components of a profile; `made` is when.
pub async fn profile(
    tables: &Tables,
    registry: &Registry,
    profile: &Arc<Profile>,
    known: Known,
    until: Option<Instant>,
    made: Instant,
    settings: &Settings,
) -> Result<Vec<Report>, PrognosisError> {
    let Some(history) = History::gather(tables, profile, known, until, settings).await? else { return Ok(Vec::new()) };
    let (registry, settings, tenant) = (registry.clone(), settings.clone(), tables.tenant().clone());
    // Learning takes a thread of its own; it must not hold the runtime's.
    let learning = tokio::task::spawn_blocking(move || {
        let mut reports = Vec::new();
        for (target, failures) in history.targets(history.end.micros()) {
            // A component of which no failure was ever told has nothing to learn from, and nothing to report.
            if failures > 0 {
                let key = Key {
                    tenant: tenant.clone(),
                    profile: history.profile.name.clone(),
                    fault_key: target.fault_key.clone(),
                };
                let mut report = one(&history, &target, &registry, &key, made, &settings)?;
                report.told_failures = failures;
                reports.push(report);
            }
        }
        Ok(reports)
    });
    learning.await.map_err(PrognosisError::Interrupted)?
}

fn one(
    history: &History,
    target: &Target,
    registry: &Registry,
    key: &Key,
    made: Instant,
    settings: &Settings,
) -> Result<Report, PrognosisError> {
    let end = history.end.micros();
    let waits = confirm(history, target, registry, key, made, settings)?;
    let cut = cut(history.begin, history.end, target.horizon);
    distrust(history, target, registry, key, cut, made)?;
    let champion = champion(history, target, registry, key)?;
    // What the champion was learnt from cannot judge it; where too little came after that, nothing is better than it yet.
    let cut = champion.as_ref().map_or(cut, |(_, card)| cut.max(card.until));
    let mut report = Report {
        profile: key.profile.clone(),
        fault_key: key.fault_key.clone(),
        version: None,
        standing: None,
        reason: String::new(),
        told_failures: 0,
        failures: 0,
        rows: 0,
        later: None,
        champion_later: None,
    };
    let (judged, model, mut card) = match twice(history, target, cut, made, settings) {
        Ok(fitted) => fitted,
        Err(none) => {
            report.reason = whole_text(&none);
            return Ok(report);
        }
    };
    let later = daily::landmark_after(cut.micros())..i32::MAX;
    let rate = model::rate(history, target, cut.micros());
    card.later = judged.judge(history, target, later.clone(), rate, end)?;
    let theirs = champion.map(|(champion, _)| champion.judge(history, target, later, rate, end)).transpose();
    // A champion whose features or horizon the profile no longer has cannot be compared: the new one stands for itself.
    let theirs = theirs.ok().flatten().flatten();
    let verdict = promotion::judge(card.later.as_ref(), theirs.as_ref(), settings);
    let promotion::Verdict { standing, reason } = promotion::after(verdict, waits.as_deref());
    let card = registry.add(key, &model, card)?;
    registry.stand(key, &card.version, standing, made, &reason)?;
    let (name, version, stands) = (key.name(), &card.version, standing.as_str());
    info!(model = name, version, standing = stands, judged_from = %cut, until = %card.until, "trained: {reason}");
    report.fill(card, standing, reason, theirs);
    Ok(report)
}

/// What is judged after `cut`, and the version, which comes into force if that passes or by hand: the same settings, learnt
/// from everything.
fn twice(
    history: &History,
    target: &Target,
    cut: Instant,
    made: Instant,
    settings: &Settings,
) -> Result<(Model, Model, Card), NoModel> {
    let (judged, _) = Model::fit(history, target, cut, made, settings)?;
    let (model, card) = Model::fit(history, target, history.end, made, settings)?;
    Ok((judged, model, Card { judged_from: Some(cut), ..card }))
}

/// The challenger comes into force, or leaves, by what followed after both it and the champion were learnt. Tells which one
/// still waits for enough of that.
fn confirm(
    history: &History,
    target: &Target,
    registry: &Registry,
    key: &Key,
    now: Instant,
    settings: &Settings,
) -> Result<Option<String>, PrognosisError> {
    let register = registry.register(key)?;
    let (Some(version), Some((champion, of))) = (register.challenger(), champion(history, target, registry, key)?)
    else {
        return Ok(None);
    };
    let Ok((challenger, card)) = registry.model(key, version) else { return Ok(None) };
    if !challenger.answers(&history.features, target.horizon) {
        return Ok(None);
    }
    // Cards from before 2026-11-28 were judged on landmarks after `until`; those cannot judge again.
    let seen = card.until.max(of.until).max(card.later.as_ref().map_or(card.until, |later| later.to));
    let new = daily::landmark_after(seen.micros() + 1)..i32::MAX;
    let (rate, end) = (model::rate(history, target, card.until.micros()), history.end.micros());
    let mine = challenger.judge(history, target, new.clone(), rate, end)?;
    let (Some(mine), Some(theirs)) = (mine, champion.judge(history, target, new, rate, end)?) else {
        return Ok(Some(version.to_owned()));
    };
    if let Some(promotion::Verdict { standing, reason }) = promotion::confirm(&mine, &theirs, settings) {
        registry.stand(key, version, standing, now, &reason)?;
    }
    Ok((mine.failures < settings.min_later_failures).then(|| version.to_owned()))
}

/// A champion whose probabilities do not come true after `cut`, and after what it was learnt from, leaves; without another
/// one trends speak.
fn distrust(
    history: &History,
    target: &Target,
    registry: &Registry,
    key: &Key,
    cut: Instant,
    now: Instant,
) -> Result<(), PrognosisError> {
    let Some((champion, card)) = champion(history, target, registry, key)? else { return Ok(()) };
    let later = daily::landmark_after(cut.max(card.until).micros())..i32::MAX;
    let Ok(judged) = model::calibrated(&champion, history, target, later, history.end.micros()) else { return Ok(()) };
    if judged.verdict == Verdict::Drifted {
        let reason = format!(
            "its probabilities do not come true: {} failures where it said {:.1}, in {} cases",
            judged.observed, judged.expected, judged.cases
        );
        warn!(model = key.name(), version = card.version, "retired: {reason}");
        registry.stand(key, &card.version, Standing::Retired, now, &reason)?;
    }
    Ok(())
}

/// The champion, if its file can be read and it tells what the profile asks for; one that cannot or does not is as good as
/// none, and scoring says so.
fn champion(
    history: &History,
    target: &Target,
    registry: &Registry,
    key: &Key,
) -> Result<Option<(Model, Card)>, PrognosisError> {
    let register = registry.register(key)?;
    let champion = register.champion().and_then(|version| registry.model(key, version).ok());
    Ok(champion.filter(|(model, _)| model.answers(&history.features, target.horizon)))
}

impl Report {
    fn fill(&mut self, card: Card, standing: Standing, reason: String, theirs: Option<Figures>) {
        self.version = Some(card.version);
        self.standing = Some(standing);
        self.reason = reason;
        (self.failures, self.rows) = (card.failures, card.rows);
        (self.later, self.champion_later) = (card.later, theirs);
    }
}

/// An error and its causes in one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
