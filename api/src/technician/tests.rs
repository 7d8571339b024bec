use std::time::Duration;

use jiff::{civil::Weekday, tz::TimeZone};
use proptest::prelude::*;
use schemas::time::Instant;

use super::{
    rules::{checked, stretches},
    *,
};

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn interval(start: &str, end: &str) -> Interval {
    Interval { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

fn every_day(intervals: &[(&str, &str)]) -> Week {
    let day: Vec<Interval> = intervals.iter().map(|(start, end)| interval(start, end)).collect();
    let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] = std::array::from_fn(|_| day.clone());
    Week { monday, tuesday, wednesday, thursday, friday, saturday, sunday }
}

fn draft() -> Draft {
    Draft {
        name: "Ana Ruiz".into(),
        skills: vec!["refrigeration".into(), "appliance".into(), "appliance".into()],
        home: Place::new(40.4168, -3.7038).unwrap(),
        time_zone: "Europe/Madrid".parse().unwrap(),
        shifts: every_day(&[("08:00", "12:00"), ("13:00", "17:00")]),
        active: true,
    }
}

#[test]
fn a_local_time_prints_what_it_parsed() {
    for text in ["00:00", "08:05", "23:59", "24:00"] {
        assert_eq!(text.parse::<LocalTime>().unwrap().to_string(), text);
    }
    for text in ["8:00", "24:01", "12:60", "12", "ab:cd", "-1:00", "+1:00", ""] {
        assert!(text.parse::<LocalTime>().is_err(), "{text:?}");
    }
}

#[test]
fn a_place_and_a_zone_are_on_this_earth() {
    for (lat, lon, legal) in [(90.0, 180.0, true), (90.1, 0.0, false), (0.0, -180.1, false), (f64::NAN, 0.0, false)] {
        assert_eq!(Place::new(lat, lon).is_ok(), legal, "{lat} {lon}");
    }
    for (name, legal) in
        [("Europe/Madrid", true), ("UTC", true), ("Mars/Olympus", false), ("", false), ("+02:00", false)]
    {
        assert_eq!(name.parse::<Zone>().is_ok(), legal, "{name:?}");
    }
}

#[test]
fn a_draft_is_sorted_and_says_what_is_wrong() {
    assert_eq!(checked(draft()).unwrap().skills, ["appliance", "refrigeration"]);
    let wrong = |change: fn(&mut Draft)| {
        let mut draft = draft();
        change(&mut draft);
        checked(draft).unwrap_err().field
    };
    assert_eq!(wrong(|d| d.name = " ".into()), "name");
    assert_eq!(wrong(|d| d.skills.push("Gas fitting".into())), "skills");
    assert_eq!(wrong(|d| d.shifts.friday[0].end = "08:00".parse().unwrap()), "shifts.friday");
    assert_eq!(wrong(|d| d.shifts.sunday.reverse()), "shifts.sunday");
}

#[track_caller]
fn check(zone: &str, intervals: &[(&str, &str)], from: &str, until: &str, expected: &[(&str, &str)]) {
    let found = stretches(&every_day(intervals), &zone.parse().unwrap(), at(from), at(until));
    let found: Vec<(String, String)> = found.iter().map(|s| (s.start.to_string(), s.end.to_string())).collect();
    let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    assert_eq!(found, expected);
}

#[test]
fn shifts_keep_their_wall_clock_hours() {
    let day = [("08:00", "12:00")];
    // The last Saturday of winter time and the first Sunday of summer time in Madrid.
    check(
        "Europe/Madrid",
        &day,
        "2026-03-28T00:00:00Z",
        "2026-03-29T22:00:00Z",
        &[("2026-03-28T07:00:00Z", "2026-03-28T11:00:00Z"), ("2026-03-29T06:00:00Z", "2026-03-29T10:00:00Z")],
    );
    // A stretch that has begun is given whole; one that ends where the range begins is not given.
    check(
        "UTC",
        &day,
        "2026-03-28T09:00:00Z",
        "2026-03-29T08:00:00Z",
        &[("2026-03-28T08:00:00Z", "2026-03-28T12:00:00Z")],
    );
    check("UTC", &day, "2026-03-28T12:00:00Z", "2026-03-29T08:00:00Z", &[]);
}

#[test]
fn a_night_is_one_stretch_and_loses_or_gains_the_hour_of_the_clock() {
    let night = [("00:00", "06:00"), ("22:00", "24:00")];
    let check = |from: &str, until: &str, start: &str, end: &str, hours: u64| {
        super::tests::check("Europe/Madrid", &night, from, until, &[(start, end)]);
        assert_eq!(at(end).since(at(start)), Duration::from_secs(hours * 3600));
    };
    check("2026-03-28T22:00:00Z", "2026-03-29T01:00:00Z", "2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z", 7);
    check("2026-10-24T22:00:00Z", "2026-10-25T01:00:00Z", "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z", 9);
}

#[test]
fn times_that_the_clock_skips_or_repeats_ask_for_less_never_for_more() {
    let over = ("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z");
    check("Europe/Madrid", &[("02:30", "05:00")], over.0, over.1, &[("2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z")]);
    check("Europe/Madrid", &[("01:30", "02:30")], over.0, over.1, &[("2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z")]);
    let over = ("2026-10-25T00:00:00Z", "2026-10-25T04:00:00Z");
    check("Europe/Madrid", &[("02:30", "05:00")], over.0, over.1, &[("2026-10-25T01:30:00Z", "2026-10-25T04:00:00Z")]);
    check("Europe/Madrid", &[("01:30", "02:30")], over.0, over.1, &[("2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z")]);
    // Midnight itself does not exist in Beirut on this day; the day begins at 01:00.
    check(
        "Asia/Beirut",
        &[("00:00", "03:00")],
        "2024-03-30T22:00:00Z",
        "2024-03-31T01:00:00Z",
        &[("2024-03-30T22:00:00Z", "2024-03-31T00:00:00Z")],
    );
}

fn on_the_dial(week: &Week, zone: &TimeZone, at: Instant) -> bool {
    let local = at.timestamp().to_zoned(zone.clone());
    let minute = local.hour() as u16 * 60 + local.minute() as u16;
    week.on(local.weekday()).iter().any(|i| i.start.minutes() <= minute && minute < i.end.minutes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Looks the other way round: every minute of a stretch shows a working time on the technician's clock, and away
    /// from the two hours a year that repeat or vanish every working minute lies in a stretch.
    #[test]
    fn every_minute_of_a_stretch_is_a_working_minute(
        zone in prop::sample::select(vec!["Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
        day in 0_i64..900,
        mut cuts in prop::collection::vec(0_u16..=1440, 2..=6),
    ) {
        cuts.sort_unstable();
        cuts.dedup();
        let text = |minute: u16| LocalTime(minute).to_string();
        let pairs: Vec<(String, String)> = cuts.chunks_exact(2).map(|c| (text(c[0]), text(c[1]))).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let week = every_day(&pairs);
        let zone: Zone = zone.parse().unwrap();
        let from = at("2026-01-01T00:00:00Z").plus(Duration::from_secs(day as u64 * 86_400));
        let until = from.plus(Duration::from_secs(2 * 86_400));
        let found = stretches(&week, &zone, from, until);
        for pair in found.windows(2) {
            prop_assert!(pair[0].end < pair[1].start);
        }
        let offset = |at: Instant| zone.time_zone().to_offset(at.timestamp());
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let mut minute = from;
        while minute < until {
            let inside = found.iter().any(|s| s.start <= minute && minute < s.end);
            let working = on_the_dial(&week, zone.time_zone(), minute);
            prop_assert!(!inside || working, "{minute} is no working minute");
            let calm = offset(minute.minus(hours(3))) == offset(minute.plus(hours(3)));
            prop_assert!(inside || !working || !calm, "{minute} is missing");
            minute = minute.plus(Duration::from_secs(60));
        }
    }
}

#[test]
fn a_week_names_its_days() {
    let week: Week = serde_json::from_str(r#"{"monday":[{"start":"08:00","end":"12:00"}]}"#).unwrap();
    assert_eq!(week.on(Weekday::Monday), [interval("08:00", "12:00")]);
    assert!(week.on(Weekday::Sunday).is_empty());
    assert!(serde_json::from_str::<Week>(r#"{"someday":[]}"#).is_err());
}
