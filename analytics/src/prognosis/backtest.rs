//! History replayed, month by month: what would have been said, and what it would have cost.
//!
//! In: a [`History`]. Out: per month precision, recall, lead time and cost, beside those of rules alone. Promise: a month is
//! scored with what was learnt before it began; hysteresis and decisions are the server's own ([`Memory`],
//! [`schemas::advisory::Costs`]). Never: a version in the registry.
//!
//! A ticket is an advisory decided `auto`. It is **true** where a failure of that component follows within its horizon,
//! **open** where the horizon reaches beyond the data and nothing followed yet, and **late** where the device stood broken.
//! Cost, in the profile's unit: a visit per ticket, the false alarm's on top where it was false, and a failure per failure
//! that no ticket foretold. Rules alone are the alarms of the table `alarm`, as recorded; a rule's alarm is a ticket too.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    ops::Range,
    time::Duration,
};

use foresight::{daily, measure};
use rayon::prelude::*;
use schemas::{
    advisory::{Costs, Decision},
    profile::Component,
    time::Instant,
};
use serde::Serialize;

use super::{
    PrognosisError, Settings,
    history::{History, Target},
    memory::Memory,
    model::Model,
};
use crate::evaluate::{self, Failure, LeadReport, Raised};

/// Bins of the calibration error.
const BINS: usize = 10;

/// What would have been said, and with what certainty.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// Tickets: of each fault the first advisory decided `auto` or `assist`, to which an agent is taken to say yes.
    pub tickets: Vec<Ticket>,
    /// Per row and component scored by a model: probability, and whether the failure came; only where it is known.
    pub said: Vec<(f64, bool)>,
    /// Of these, those that an agent would have been asked about.
    pub assists: u64,
    /// Months and components that a model spoke for.
    pub by_model: u64,
    /// Months and components that the trend spoke for.
    pub by_trend: u64,
}

/// One ticket that would have been opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// Which device.
    pub device: String,
    /// For what.
    pub component: String,
    /// When.
    pub at: Instant,
    /// How far ahead it looks; a rule looks as far as its component's advisories.
    pub horizon: Duration,
}

/// One month, or the whole.
#[derive(Debug, Clone, Serialize)]
pub struct Month {
    /// Such as `2026-09`; `all` for the whole; a component's name where it is one component's whole.
    pub month: String,
    /// Failures that happened.
    pub failures: u64,
    /// Of these, those that a ticket foretold.
    pub predicted: u64,
    /// Tickets.
    pub tickets: u64,
    /// Of these, true ones.
    pub true_tickets: u64,
    /// Of these, false ones.
    pub false_tickets: u64,
    /// `true / (true + false)`.
    pub precision: Option<f64>,
    /// `predicted / failures`.
    pub recall: Option<f64>,
    /// Median of the time from ticket to failure.
    pub median_lead_days: Option<f64>,
    /// Visits, false alarms and failures, in the profile's unit.
    pub cost: f64,
}

/// What the backtest found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// With models, and trends where there was none.
    pub months: Vec<Month>,
    /// The whole of it.
    pub all: Month,
    /// By component: wear can be foretold, what comes at once cannot.
    pub components: Vec<Month>,
    /// Rules alone.
    pub rules_months: Vec<Month>,
    /// The whole of them.
    pub rules_all: Month,
    /// What it would have cost to wait for every failure.
    pub cost_of_waiting: f64,
    /// Of the models' probabilities against what happened; none where no model spoke.
    pub calibration_error: Option<f64>,
    /// Probabilities behind it.
    pub probabilities: u64,
    /// Tickets that wait for an agent's yes.
    pub assists: u64,
    /// Months and components a model spoke for.
    pub by_model: u64,
    /// Months and components a trend spoke for.
    pub by_trend: u64,
}

/// What one component's spokesman, model or trend, says in one month.
struct Spoken {
    by_model: bool,
    /// Rows at which the component worked, and the probability of each.
    said: Vec<(usize, f64)>,
    /// Of a model: probability, and whether the failure came, where that is known.
    judged: Vec<(f64, bool)>,
}

/// Replays a profile's history from `from` on, training anew at each month's beginning. Months and components do not wait
/// for one another: `threads` of them learn at once, and what they say is the same whatever their number.
pub fn replay(
    history: &History,
    from: Instant,
    threads: NonZeroUsize,
    settings: &Settings,
) -> Result<Replay, PrognosisError> {
    let first = daily::landmark_after(from.micros());
    let last = history.places.iter().map(|place| place.landmark).max().unwrap_or(first);
    let months: Vec<Range<i32>> = std::iter::successors(Some(first), |begin| Some(month_after(*begin)))
        .take_while(|begin| *begin <= last)
        .map(|begin| begin..month_after(begin).min(last + 1))
        .collect();
    let targets: Vec<Target> = speakable(history);
    let jobs: Vec<(&Range<i32>, &Target)> =
        months.iter().flat_map(|month| targets.iter().map(move |target| (month, target))).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build()?;
    let speak = |(month, target): &(&Range<i32>, &Target)| speak(history, target, month, settings);
    let spoken: Vec<Result<Spoken, PrognosisError>> = pool.install(|| jobs.par_iter().map(speak).collect());
    let (mut replay, mut memory) = (Replay::default(), Memory::default());
    let mut spoken = spoken.into_iter();
    for _ in &months {
        let mut by_landmark: BTreeMap<i32, Vec<(usize, usize, f64)>> = BTreeMap::new();
        for (place, spoken) in spoken.by_ref().take(targets.len()).enumerate() {
            let spoken = spoken?;
            *(if spoken.by_model { &mut replay.by_model } else { &mut replay.by_trend }) += 1;
            replay.said.extend(spoken.judged);
            for (row, said) in spoken.said {
                by_landmark.entry(history.places[row].landmark).or_default().push((row, place, said));
            }
        }
        for (landmark, findings) in by_landmark {
            for (row, place, probability) in findings {
                let (target, device) = (&targets[place], history.places[row].device as usize);
                let Some(component) = history.profile.component(&target.component) else { continue };
                let renewed = history.since(device, landmark);
                let device = &history.devices[device];
                let word = memory.hear(device, &target.fault_key, probability, &component.costs, landmark, renewed);
                let Some(word) = word.filter(|word| word.first) else { continue };
                replay.assists += u64::from(word.decision == Decision::Assist);
                replay.tickets.push(Ticket {
                    device: device.clone(),
                    component: target.component.clone(),
                    at: Instant::from_micros(daily::landmark_micros(landmark)),
                    horizon: target.horizon,
                });
            }
        }
    }
    Ok(replay)
}

/// What is said of a component in the landmarks of a month: as the server would, be judged on the later part of what lies
/// before it, learn from all of it, and only then speak.
fn speak(
    history: &History,
    target: &Target,
    month: &Range<i32>,
    settings: &Settings,
) -> Result<Spoken, PrognosisError> {
    let working = history.working(month.clone(), target);
    let cut = Instant::from_micros(daily::landmark_micros(month.start));
    let model = in_force(history, target, cut, settings);
    let said: Vec<f64> = match &model {
        Some(model) => model.probability(&history.matrix(&working))?,
        None => working.iter().map(|row| history.prior(*row, &target.component)).collect(),
    };
    let mut judged = Vec::new();
    if model.is_some() {
        let (known, came) = history.labels(&working, target, history.end.micros());
        // Both lists ascend by row, and every known row is a working one.
        let mut places = working.iter().zip(&said);
        judged.extend(known.iter().zip(came).filter_map(|(row, came)| {
            let (_, said) = places.by_ref().find(|(place, _)| *place == row)?;
            Some((*said, came))
        }));
    }
    Ok(Spoken { by_model: model.is_some(), said: working.into_iter().zip(said).collect(), judged })
}

/// The version that would be in force at a cut: judged by what the earlier part of what lies before it tells of the rest,
/// learnt from all of it.
fn in_force(history: &History, target: &Target, cut: Instant, settings: &Settings) -> Option<Model> {
    let learnt = super::train::cut(history.begin, cut, target.horizon);
    let (judged, _) = Model::fit(history, target, learnt, cut, settings).ok()?;
    let rate = super::model::rate(history, target, learnt.micros());
    let later = daily::landmark_after(learnt.micros())..daily::landmark_after(cut.micros());
    let figures = judged.judge(history, target, later, rate, cut.micros()).ok()?;
    let verdict = super::promotion::judge(figures.as_ref(), None, settings);
    if verdict.standing != super::registry::Standing::Champion {
        return None;
    }
    Model::fit(history, target, cut, cut, settings).ok().map(|(model, _)| model)
}

/// Components that can be spoken of.
fn speakable(history: &History) -> Vec<Target> {
    history.targets(i64::MAX).into_iter().map(|(target, _)| target).collect()
}

/// The first midnight of the next month.
fn month_after(landmark: i32) -> i32 {
    let at = Instant::from_micros(daily::landmark_micros(landmark)).timestamp().to_zoned(jiff::tz::TimeZone::UTC);
    let next = at.date().first_of_month().saturating_add(jiff::Span::new().months(1));
    next.to_zoned(jiff::tz::TimeZone::UTC).map_or(i32::MAX, |next| Instant::from(next.timestamp()).days())
}

/// The figures of a replay and of rules against failures, months by their beginning. `components` tell costs by name.
pub fn report(
    replay: &Replay,
    rules: &[Ticket],
    failures: &[Failure],
    components: &BTreeMap<String, Component>,
    from: Instant,
    end: Instant,
) -> Result<Report, PrognosisError> {
    let failures: Vec<Failure> =
        failures.iter().filter(|failure| failure.at > from && failure.at <= end).cloned().collect();
    let rules: Vec<Ticket> = rules.iter().filter(|ticket| ticket.at > from && ticket.at <= end).cloned().collect();
    let months = |tickets: &[Ticket]| -> Result<Vec<Month>, PrognosisError> {
        let mut names: BTreeSet<String> = failures.iter().map(|failure| month(failure.at)).collect();
        names.extend(tickets.iter().map(|ticket| month(ticket.at)));
        let of = |name: String| figures(&name, tickets, &failures, components, end, |at| month(at) == name);
        names.into_iter().map(of).collect()
    };
    let by_component = |name: &String| {
        let own: Vec<Ticket> = replay.tickets.iter().filter(|ticket| ticket.component == *name).cloned().collect();
        let happened: Vec<Failure> =
            failures.iter().filter(|failure| failure.fault_key.as_deref() == Some(name)).cloned().collect();
        figures(name, &own, &happened, components, end, |_| true)
    };
    let (said, came): (Vec<f64>, Vec<bool>) = replay.said.iter().copied().unzip();
    let cost = |failure: &Failure| costs(components, failure.fault_key.as_deref().unwrap_or_default()).failure;
    Ok(Report {
        months: months(&replay.tickets)?,
        all: figures("all", &replay.tickets, &failures, components, end, |_| true)?,
        components: components.keys().map(by_component).collect::<Result<_, _>>()?,
        rules_months: months(&rules)?,
        rules_all: figures("all", &rules, &failures, components, end, |_| true)?,
        cost_of_waiting: failures.iter().map(cost).sum(),
        calibration_error: measure::calibration_error(&said, &came, BINS),
        probabilities: said.len() as u64,
        assists: replay.assists,
        by_model: replay.by_model,
        by_trend: replay.by_trend,
    })
}

fn month(at: Instant) -> String {
    at.to_string().chars().take(7).collect()
}

fn costs(components: &BTreeMap<String, Component>, component: &str) -> Costs {
    components.get(component).map_or(schemas::profile::COSTS, |component| component.costs)
}

/// Tickets raised and failures that happened in a stretch: a failure counts where it happened, a ticket where it was
/// raised, each against all of the other.
fn figures(
    name: &str,
    tickets: &[Ticket],
    failures: &[Failure],
    components: &BTreeMap<String, Component>,
    end: Instant,
    within: impl Fn(Instant) -> bool,
) -> Result<Month, PrognosisError> {
    let mut month = Month {
        month: name.to_owned(),
        failures: 0,
        predicted: 0,
        tickets: 0,
        true_tickets: 0,
        false_tickets: 0,
        precision: None,
        recall: None,
        median_lead_days: None,
        cost: 0.0,
    };
    let mut leads: Vec<f64> = Vec::new();
    let names: BTreeSet<&str> = tickets
        .iter()
        .map(|ticket| ticket.component.as_str())
        .chain(failures.iter().filter_map(|failure| failure.fault_key.as_deref()))
        .collect();
    for component in names {
        let costs = costs(components, component);
        let own: Vec<&Ticket> = tickets.iter().filter(|ticket| ticket.component == component).collect();
        let happened: Vec<Failure> =
            failures.iter().filter(|it| it.fault_key.as_deref() == Some(component)).cloned().collect();
        let horizon = own.first().map(|ticket| ticket.horizon);
        let raised = |tickets: &[&&Ticket]| -> Vec<Raised> {
            let raised = |ticket: &&&Ticket| Raised {
                device_id: ticket.device.clone(),
                fault_key: Some(component.to_owned()),
                at: ticket.at,
            };
            tickets.iter().map(raised).collect()
        };
        let here: Vec<&&Ticket> = own.iter().filter(|ticket| within(ticket.at)).collect();
        let spoken: LeadReport = evaluate::lead(&raised(&here), &happened, horizon)?;
        // A ticket whose horizon reaches beyond the data may still come true.
        let judged: Vec<&&Ticket> =
            here.iter().copied().filter(|ticket| ticket.at.plus(ticket.horizon) <= end).collect();
        let judged_false = evaluate::lead(&raised(&judged), &happened, horizon)?.false_tickets;
        month.tickets += here.len() as u64;
        month.true_tickets += spoken.true_tickets;
        month.false_tickets += judged_false;
        let came: Vec<Failure> = happened.iter().filter(|failure| within(failure.at)).cloned().collect();
        let all: Vec<&&Ticket> = own.iter().collect();
        let foretold = evaluate::lead(&raised(&all), &came, horizon)?;
        month.failures += foretold.failures;
        month.predicted += foretold.predicted;
        leads.extend(foretold.lead_hours.iter().map(|hours| hours / 24.0));
        month.cost += here.len() as f64 * costs.visit
            + judged_false as f64 * costs.false_alarm
            + (foretold.failures - foretold.predicted) as f64 * costs.failure;
    }
    leads.sort_by(f64::total_cmp);
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    month.precision = share(month.true_tickets, month.true_tickets + month.false_tickets);
    month.recall = share(month.predicted, month.failures);
    month.median_lead_days = evaluate::median(&leads);
    Ok(month)
}
