//! [`EarliestInsertion`]: the earliest place between what stands. Pure.
//!
//! For each technician with the skills, each gap of each working stretch gives one start as early as it can be and one
//! on each later full hour; windows that begin with those hours are offered in order of time, each by the technician
//! to whom it costs least travel.

use std::time::Duration;

use jiff::{RoundMode, ToSpan, Unit, ZonedRound};
use schemas::time::Instant;

use super::{
    Candidate, MAX_OFFERS, Offer, OfferProblem, Offers, Place, Planner, Shortfall, WINDOW, Zone,
    rules::{Gap, gaps, travel},
};

/// Planned starts lie on such a grid: nobody plans to the second.
const START_GRID: Duration = Duration::from_secs(5 * 60);

/// Tries each gap between fixed visits and takes the earliest start in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EarliestInsertion;

/// One technician, one gap, one window.
struct Found<'a> {
    technician: &'a Candidate,
    gap: Gap,
    window_start: Instant,
    start: Instant,
}

impl Planner for EarliestInsertion {
    fn offers(&self, problem: &OfferProblem) -> Offers {
        let mut found = Vec::new();
        for technician in problem.technicians.iter().filter(|technician| able(technician, &problem.skills)) {
            for stretch in touching(technician, problem) {
                for gap in gaps(technician, stretch) {
                    search(problem, technician, gap, &mut found);
                }
            }
        }
        found.sort_by(|a, b| {
            let key = |found: &Found<'_>| (found.window_start, found.gap.travel_added(problem.site), found.start);
            key(a).cmp(&key(b)).then_with(|| a.technician.technician_id.cmp(&b.technician.technician_id))
        });
        let mut offers: Vec<Offer> = Vec::new();
        for candidate in &found {
            if offers.len() >= problem.count.min(MAX_OFFERS) {
                break;
            }
            if offers.last().is_none_or(|last| last.window_end <= candidate.window_start) {
                offers.push(offer(problem, candidate));
            }
        }
        let shortfall = if offers.is_empty() { Some(shortfall(problem)) } else { None };
        Offers { offers, shortfall }
    }

    fn fits(&self, technician: &Candidate, site: Place, start: Instant, duration: Duration) -> bool {
        let mut gaps = technician.stretches.iter().flat_map(|stretch| gaps(technician, *stretch));
        gaps.any(|gap| gap.earliest(site) <= start && start <= gap.latest(site, duration))
    }
}

fn able(technician: &Candidate, skills: &[String]) -> bool {
    skills.iter().all(|skill| technician.skills.contains(skill))
}

fn touching<'a>(technician: &'a Candidate, problem: &'a OfferProblem) -> impl Iterator<Item = super::Stretch> + 'a {
    let inside = |stretch: &super::Stretch| stretch.end > problem.from && stretch.start < problem.until;
    technician.stretches.iter().copied().filter(inside)
}

fn search<'a>(problem: &OfferProblem, technician: &'a Candidate, gap: Gap, found: &mut Vec<Found<'a>>) {
    let earliest = on_grid(gap.earliest(problem.site).max(problem.from));
    let latest = gap.latest(problem.site, problem.duration);
    let mut start = earliest;
    while start <= latest {
        let Some(hour) = full_hour(&problem.zone, start) else { return };
        if hour.plus(WINDOW) > problem.until {
            return;
        }
        if hour >= problem.from && shows_full_hour(&problem.zone, hour) {
            found.push(Found { technician, gap, window_start: hour, start });
        }
        let Some(next) = next_full_hour(&problem.zone, hour, start) else { return };
        start = next;
    }
}

fn on_grid(at: Instant) -> Instant {
    let grid = START_GRID.as_micros() as i64;
    let over = at.micros().rem_euclid(grid);
    if over == 0 { at } else { Instant::from_micros(at.micros() + grid - over) }
}

/// The start of the hour on the wall clock of `zone` in which `at` lies.
fn full_hour(zone: &Zone, at: Instant) -> Option<Instant> {
    let hour = ZonedRound::new().smallest(Unit::Hour).mode(RoundMode::Trunc);
    let local = at.timestamp().to_zoned(zone.time_zone().clone());
    let rounded: Instant = local.round(hour).ok()?.timestamp().into();
    // Where the clock jumped within this hour, rounding may land after `at`; then the jump itself starts the hour.
    Some(rounded.min(at))
}

/// Not so where the clock jumped into the middle of an hour.
fn shows_full_hour(zone: &Zone, at: Instant) -> bool {
    let local = at.timestamp().to_zoned(zone.time_zone().clone());
    local.minute() == 0 && local.second() == 0
}

/// The first full hour after `start`, which lies in the hour that began at `hour`. Where the clock was put back that is
/// up to two hours on.
fn next_full_hour(zone: &Zone, hour: Instant, start: Instant) -> Option<Instant> {
    let local = hour.timestamp().to_zoned(zone.time_zone().clone());
    let later = |hours: i64| full_hour(zone, local.checked_add(hours.hours()).ok()?.timestamp().into());
    (1..=3).filter_map(later).find(|next| *next > start)
}

fn offer(problem: &OfferProblem, found: &Found<'_>) -> Offer {
    let Found { technician, gap, window_start, start } = found;
    let minutes = |span: Duration| span.as_secs() / 60;
    let (way, added) = (minutes(travel(gap.from, problem.site)), minutes(gap.travel_added(problem.site)));
    let from = if gap.from_home { "home" } else { "the visit before" };
    let able = if problem.skills.is_empty() { "is free".into() } else { format!("has {}", problem.skills.join(", ")) };
    Offer {
        technician_id: technician.technician_id.clone(),
        window_start: *window_start,
        window_end: window_start.plus(WINDOW),
        start: *start,
        end: start.plus(problem.duration),
        travel_added: gap.travel_added(problem.site),
        why: format!("{} {able}, comes {way} minutes from {from}, {added} minutes of travel added.", technician.name),
    }
}

/// The first constraint, in the order of the loops above, that stops everybody.
fn shortfall(problem: &OfferProblem) -> Shortfall {
    if problem.technicians.is_empty() {
        return Shortfall::NoTechnician;
    }
    let skilled: Vec<&Candidate> =
        problem.technicians.iter().filter(|technician| able(technician, &problem.skills)).collect();
    if skilled.is_empty() {
        let nobody = |skill: &&String| !problem.technicians.iter().any(|t| t.skills.contains(skill));
        let missing: Vec<String> = problem.skills.iter().filter(nobody).cloned().collect();
        return Shortfall::Skill(if missing.is_empty() { problem.skills.clone() } else { missing });
    }
    let mut any_shift = false;
    for technician in &skilled {
        let needed = travel(technician.home, problem.site) * 2 + problem.duration;
        for stretch in touching(technician, problem) {
            any_shift = true;
            if stretch.end.since(stretch.start) >= needed {
                return Shortfall::Full;
            }
        }
    }
    if !any_shift {
        return Shortfall::NoShift;
    }
    let nearest = skilled.iter().map(|technician| travel(technician.home, problem.site)).min().unwrap_or_default();
    Shortfall::TooFar { minutes: nearest.as_secs() / 60 }
}
