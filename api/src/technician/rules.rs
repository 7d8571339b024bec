//! What makes a technician legal, and a week of shifts into instants. Pure.

use jiff::{Timestamp, ToSpan, civil::Date, tz::AmbiguousOffset};
use schemas::time::Instant;

use super::{Draft, Illegal, LocalTime, MAX_INTERVALS, MAX_SKILLS, MAX_TEXT, Stretch, Week, Zone};

/// Sorts and checks; the error names the field.
pub(crate) fn checked(mut draft: Draft) -> Result<Draft, Illegal> {
    if draft.name.trim().is_empty() || draft.name.chars().count() > MAX_TEXT {
        return Err(Illegal::new("name", &draft.name, "1 to 200 characters"));
    }
    draft.skills.sort();
    draft.skills.dedup();
    if draft.skills.len() > MAX_SKILLS {
        return Err(Illegal::new("skills", draft.skills.len(), "at most 64 skills"));
    }
    if let Some(skill) = draft.skills.iter().find(|skill| !legal_skill(skill)) {
        return Err(Illegal::new("skills", skill, "1 to 200 of a-z 0-9 _"));
    }
    use jiff::civil::Weekday::*;
    for (name, day) in [
        ("shifts.monday", Monday),
        ("shifts.tuesday", Tuesday),
        ("shifts.wednesday", Wednesday),
        ("shifts.thursday", Thursday),
        ("shifts.friday", Friday),
        ("shifts.saturday", Saturday),
        ("shifts.sunday", Sunday),
    ] {
        let intervals = draft.shifts.on(day);
        if intervals.len() > MAX_INTERVALS {
            return Err(Illegal::new(name, intervals.len(), "at most 8 intervals in a day"));
        }
        let mut free_from = LocalTime(0);
        for interval in intervals {
            let text = || format!("{} to {}", interval.start, interval.end);
            if interval.end <= interval.start {
                return Err(Illegal::new(name, text(), "an interval ends after it starts; split a night at 24:00"));
            }
            if interval.start < free_from {
                return Err(Illegal::new(name, text(), "intervals stand in order and do not overlap"));
            }
            free_from = interval.end;
        }
    }
    Ok(draft)
}

fn legal_skill(skill: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    !skill.is_empty() && skill.len() <= MAX_TEXT && skill.bytes().all(legal)
}

/// The stretches of work that touch the time between `from` and `until`, in order, whole (not cut at either end).
/// Intervals that touch are one stretch, over midnight too. A time that the clock shows twice counts as its later
/// showing at a start and its earlier one at an end; a time that it skips is the moment of the jump. So nobody is
/// asked for a minute outside the hours on the wall clock.
pub(crate) fn stretches(week: &Week, zone: &Zone, from: Instant, until: Instant) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let day_of = |at: Instant| at.timestamp().to_zoned(zone.time_zone().clone()).date();
    // One more day on each side: a stretch that touches the range may have begun the evening before.
    let (Ok(first), Ok(last)) = (day_of(from).checked_sub(1.day()), day_of(until).checked_add(1.day())) else {
        return found;
    };
    let mut day = Some(first);
    while let Some(date) = day.filter(|date| *date <= last) {
        for interval in week.on(date.weekday()) {
            let ends = (instant(zone, date, interval.start, true), instant(zone, date, interval.end, false));
            let (Some(start), Some(end)) = ends else { continue };
            match found.last_mut() {
                _ if end <= start => {}
                Some(before) if before.end >= start => before.end = before.end.max(end),
                _ => found.push(Stretch { start, end }),
            }
        }
        day = date.tomorrow().ok();
    }
    found.retain(|stretch| stretch.end > from && stretch.start < until);
    found
}

fn instant(zone: &Zone, date: Date, at: LocalTime, is_start: bool) -> Option<Instant> {
    let date = if at == LocalTime::END_OF_DAY { date.tomorrow().ok()? } else { date };
    let minutes = at.minutes() % LocalTime::END_OF_DAY.minutes();
    let wall = date.at(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0);
    let ambiguous = zone.time_zone().to_ambiguous_timestamp(wall);
    let at: Timestamp = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => ambiguous.compatible().ok()?,
        AmbiguousOffset::Fold { .. } if is_start => ambiguous.later().ok()?,
        AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
        AmbiguousOffset::Gap { .. } => {
            // The jump lies at or before the time that the skipped one would be after it; `preceding` leaves out its end.
            let after = ambiguous.later().ok()?;
            let past = after.checked_add(1.second()).ok()?;
            zone.time_zone().preceding(past).next().map_or(after, |jump| jump.timestamp())
        }
    };
    Some(at.into())
}
