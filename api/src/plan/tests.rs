use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use schemas::time::Instant;

use super::{rules::travel, *};
use crate::technician::{Interval, Week, rules::stretches};

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// So many kilometres (a hair less) north of a village.
fn km(north: f64) -> Place {
    Place::new(40.0 + north / 111.25, -3.7).unwrap()
}

fn stretch(start: &str, end: &str) -> Stretch {
    Stretch { start: at(start), end: at(end) }
}

fn booking(start: &str, end: &str, place: Place) -> Booking {
    Booking { start: at(start), end: at(end), place }
}

fn ana() -> Candidate {
    Candidate {
        technician_id: "ana".into(),
        name: "Ana".into(),
        skills: vec!["appliance".into(), "bearing".into()],
        home: km(0.0),
        // Monday 8 to 12 and 13 to 17 in Madrid's winter.
        stretches: vec![
            stretch("2026-11-23T07:00:00Z", "2026-11-23T11:00:00Z"),
            stretch("2026-11-23T12:00:00Z", "2026-11-23T16:00:00Z"),
        ],
        bookings: Vec::new(),
    }
}

fn problem(technicians: Vec<Candidate>) -> OfferProblem {
    OfferProblem {
        site: km(20.0),
        zone: "Europe/Madrid".parse().unwrap(),
        skills: vec!["appliance".into()],
        duration: minutes(60),
        from: at("2026-11-23T06:00:00Z"),
        until: at("2026-11-24T00:00:00Z"),
        count: 5,
        technicians,
    }
}

fn lines(problem: &OfferProblem) -> Vec<String> {
    let answer = EarliestInsertion.offers(problem);
    let clock = |at: Instant| at.to_string()[11..16].to_owned();
    let mut lines: Vec<String> = answer
        .offers
        .iter()
        .map(|o| {
            let (id, added) = (&o.technician_id, o.travel_added.as_secs() / 60);
            format!("{id} {}-{} start {} +{added}", clock(o.window_start), clock(o.window_end), clock(o.start))
        })
        .collect();
    lines.extend(answer.shortfall.map(|why| why.to_string()));
    lines
}

#[test]
fn travel_follows_the_earth() {
    assert_eq!(travel(km(0.0), km(0.0)), Duration::ZERO);
    // 20 km north, 26 km of road, 39 minutes at 40 km/h, rounded up.
    assert_eq!(travel(km(0.0), km(20.0)), minutes(39));
    assert_eq!(travel(km(20.0), km(0.0)), minutes(39));
    let (a, b) = (Place::new(0.0, 179.9).unwrap(), Place::new(0.0, -179.9).unwrap());
    assert!(travel(a, b) < minutes(60), "the date line is no wall");
}

#[test]
fn the_earliest_start_waits_for_the_way_and_windows_do_not_overlap() {
    assert_eq!(
        lines(&problem(vec![ana()])),
        [
            "ana 07:00-09:00 start 07:40 +78",
            "ana 09:00-11:00 start 09:00 +78",
            "ana 12:00-14:00 start 12:40 +78",
            "ana 14:00-16:00 start 14:00 +78",
        ]
    );
}

#[test]
fn a_visit_fits_between_fixed_ones_or_not_at_all() {
    let mut busy = ana();
    busy.bookings = vec![
        booking("2026-11-23T09:00:00Z", "2026-11-23T10:15:00Z", km(20.0)),
        booking("2026-11-23T13:00:00Z", "2026-11-23T15:00:00Z", km(0.0)),
    ];
    // Before 09:00 there is time for the way and the work, and travel is free: Ana goes there anyway.
    assert_eq!(lines(&problem(vec![busy.clone()])), ["ana 07:00-09:00 start 07:40 +0"]);
    // Ninety minutes no longer fit before nine o'clock, nor anywhere else that day.
    let longer = OfferProblem { duration: minutes(90), ..problem(vec![busy]) };
    assert_eq!(lines(&longer), ["every technician with the skills is taken in this time"]);
}

#[test]
fn the_way_home_ends_with_the_shift() {
    let until = |end: &str| {
        let technician = Candidate { stretches: vec![stretch("2026-11-23T07:00:00Z", end)], ..ana() };
        lines(&problem(vec![technician]))
    };
    // 39 minutes there (07:40 on the grid), 60 of work, 39 home: 09:19.
    assert_eq!(until("2026-11-23T09:18:00Z"), ["every technician with the skills is taken in this time"]);
    assert_eq!(until("2026-11-23T09:19:00Z"), ["ana 07:00-09:00 start 07:40 +78"]);
}

#[test]
fn the_cheaper_technician_gets_the_window() {
    let near = Candidate { technician_id: "ben".into(), name: "Ben".into(), home: km(10.0), ..ana() };
    let answer = EarliestInsertion.offers(&problem(vec![ana(), near]));
    assert!(answer.offers.iter().all(|offer| offer.technician_id == "ben"));
    assert_eq!(answer.offers[0].why, "Ben has appliance, comes 20 minutes from home, 40 minutes of travel added.");
}

#[test]
fn an_empty_answer_names_the_constraint() {
    #[track_caller]
    fn check(change: fn(&mut OfferProblem), expected: &str) {
        let mut problem = problem(vec![ana()]);
        change(&mut problem);
        assert_eq!(lines(&problem), [expected]);
    }
    check(|p| p.technicians.clear(), "there is no active technician");
    check(|p| p.skills.push("gas".into()), "no technician has the skill gas");
    check(
        |p| {
            let gas = Candidate { technician_id: "ben".into(), skills: vec!["gas".into()], ..ana() };
            p.technicians.push(gas);
            p.skills.push("gas".into());
        },
        "no technician has all of the skills appliance, gas",
    );
    check(|p| p.technicians[0].stretches.clear(), "no technician with the skills has a shift in this time");
    check(
        |p| p.site = km(200.0),
        "too far: the nearest technician with the skills travels 390 minutes each way, and no shift is long enough for \
         that and the work",
    );
    check(|p| p.from = at("2026-11-23T15:00:00Z"), "every technician with the skills is taken in this time");
}

#[test]
fn windows_stand_on_the_hour_of_the_site() {
    let indian = OfferProblem { zone: "Asia/Kolkata".parse().unwrap(), ..problem(vec![ana()]) };
    assert_eq!(lines(&indian)[..2], ["ana 07:30-09:30 start 07:40 +78", "ana 12:30-14:30 start 12:40 +78"]);
}

#[test]
fn the_repeated_hour_has_windows_of_its_own() {
    // On 25 October 2026 the clock of Madrid shows 02:00 to 03:00 twice, from 00:00Z and from 01:00Z.
    let mut night = ana();
    night.stretches = vec![stretch("2026-10-24T22:00:00Z", "2026-10-25T06:00:00Z")];
    let (from, until) = (at("2026-10-24T22:00:00Z"), at("2026-10-25T12:00:00Z"));
    let problem = OfferProblem { from, until, ..problem(vec![night]) };
    assert_eq!(
        lines(&problem),
        [
            "ana 22:00-00:00 start 22:40 +78",
            "ana 00:00-02:00 start 00:00 +78",
            "ana 02:00-04:00 start 02:00 +78",
            "ana 04:00-06:00 start 04:00 +78",
        ]
    );
}

#[test]
fn a_clock_that_jumps_by_half_an_hour_loses_no_more_than_that_hour() {
    // Lord Howe: on 3 October 2027 02:00 becomes 02:30, at 15:30Z; on 4 April 2027 02:00 becomes 01:30, at 15:00Z.
    let starts = |from: &str, until: &str| {
        let mut night = ana();
        night.stretches = vec![stretch(from, until)];
        let zone = "Australia/Lord_Howe".parse().unwrap();
        let until = at(until).plus(WINDOW);
        let problem = OfferProblem { site: km(0.0), zone, from: at(from), until, ..problem(vec![night]) };
        lines(&problem)
    };
    assert_eq!(
        starts("2027-10-02T15:30:00Z", "2027-10-02T20:00:00Z"),
        ["ana 16:00-18:00 start 16:00 +0", "ana 18:00-20:00 start 18:00 +0",]
    );
    assert_eq!(
        starts("2027-04-03T14:00:00Z", "2027-04-03T20:00:00Z"),
        ["ana 14:00-16:00 start 14:00 +0", "ana 16:30-18:30 start 16:30 +0", "ana 18:30-20:30 start 18:30 +0",]
    );
}

// ---- an independent checker: it knows the contract, and shares no code with the planner but the travel table

fn inside_shift(week: &Week, zone: &TimeZone, from: Instant, until: Instant) -> bool {
    let mut minute = from;
    while minute < until {
        let local = minute.timestamp().to_zoned(zone.clone());
        let dial = local.hour() as u16 * 60 + local.minute() as u16;
        if !week.on(local.weekday()).iter().any(|i| i.start.minutes() <= dial && dial < i.end.minutes()) {
            return false;
        }
        minute = minute.plus(minutes(1));
    }
    true
}

struct Person {
    candidate: Candidate,
    week: Week,
    zone: Zone,
}

/// What is wrong with an offer, in words.
fn faults(problem: &OfferProblem, people: &[Person], offer: &Offer) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    let person = people.iter().find(|p| p.candidate.technician_id == offer.technician_id).unwrap();
    let technician = &person.candidate;
    must(problem.skills.iter().all(|skill| technician.skills.contains(skill)), "skills");
    must(offer.end.since(offer.start) == problem.duration, "duration");
    must(offer.window_start <= offer.start && offer.start < offer.window_end, "start in window");
    must(offer.window_end.since(offer.window_start) == WINDOW, "window length");
    must(problem.from <= offer.window_start && offer.window_end <= problem.until, "window in range");
    let local = offer.window_start.timestamp().to_zoned(problem.zone.time_zone().clone());
    must(local.minute() == 0 && local.second() == 0, "window on the hour");
    for booking in &technician.bookings {
        must(offer.end <= booking.start || booking.end <= offer.start, "overlap");
        if booking.end <= offer.start {
            must(booking.end.plus(travel(booking.place, problem.site)) <= offer.start, "way from the visit before");
        } else if offer.end <= booking.start {
            must(offer.end.plus(travel(problem.site, booking.place)) <= booking.start, "way to the visit after");
        }
    }
    // From home to the last visit home again the technician is at work: walk back and forth while visits touch the shift.
    let before = technician.bookings.iter().filter(|b| b.end <= offer.start).max_by_key(|b| b.end);
    let after = technician.bookings.iter().filter(|b| b.start >= offer.end).min_by_key(|b| b.start);
    let leaves = match before {
        Some(b) if inside_shift(&person.week, person.zone.time_zone(), b.end, offer.start) => b.end,
        _ => offer.start.minus(travel(technician.home, problem.site)),
    };
    let returns = match after {
        Some(b) if inside_shift(&person.week, person.zone.time_zone(), offer.end, b.start) => b.start,
        _ => offer.end.plus(travel(problem.site, technician.home)),
    };
    must(inside_shift(&person.week, person.zone.time_zone(), leaves, returns), "shift, the way home included");
    faults
}

const ZONES: [&str; 5] = ["Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];
const SKILLS: [&str; 3] = ["appliance", "bearing", "gas"];

fn place() -> impl Strategy<Value = Place> {
    (39.5_f64..40.5, -4.2_f64..-3.2).prop_map(|(lat, lon)| Place::new(lat, lon).unwrap())
}

fn week() -> impl Strategy<Value = Week> {
    prop::collection::vec(prop::collection::vec(0_u16..=96, 0..=6), 7).prop_map(|days| {
        let mut days = days.into_iter().map(|mut quarters| {
            quarters.sort_unstable();
            quarters.dedup();
            let time = |quarter: u16| format!("{:02}:{:02}", quarter / 4, quarter % 4 * 15).parse().unwrap();
            quarters.chunks_exact(2).map(|c| Interval { start: time(c[0]), end: time(c[1]) }).collect::<Vec<_>>()
        });
        let mut day = || days.next().unwrap();
        Week {
            monday: day(),
            tuesday: day(),
            wednesday: day(),
            thursday: day(),
            friday: day(),
            saturday: day(),
            sunday: day(),
        }
    })
}

type Request = (Place, u64, Vec<&'static str>);

fn request() -> impl Strategy<Value = Request> {
    (place(), 1_u64..=12, prop::sample::subsequence(SKILLS.to_vec(), 0..=2))
        .prop_map(|(place, quarters, skills)| (place, quarters * 15, skills))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Books offer after offer, each a random one of those made, and checks every offer against all that stood before.
    #[test]
    fn every_offer_keeps_every_promise(
        start_day in 0_u64..730,
        zone in prop::sample::select(ZONES.to_vec()),
        people in prop::collection::vec(
            (place(), week(), prop::sample::select(ZONES.to_vec()), prop::sample::subsequence(SKILLS.to_vec(), 1..=3)), 1..=4),
        requests in prop::collection::vec((request(), 0_usize..5), 1..=10),
    ) {
        let now = at("2026-01-01T05:13:00Z").plus(Duration::from_secs(start_day * 86_400));
        let (from, until) = (now.plus(LEAD), now.plus(Duration::from_secs(4 * 86_400)));
        let mut people: Vec<Person> = people.into_iter().enumerate().map(|(number, (home, week, zone, skills))| {
            let zone: Zone = zone.parse().unwrap();
            let candidate = Candidate {
                technician_id: format!("t{number}"),
                name: format!("Technician {number}"),
                skills: skills.into_iter().map(str::to_owned).collect(),
                home,
                stretches: stretches(&week, &zone, from, until),
                bookings: Vec::new(),
            };
            Person { candidate, week, zone }
        }).collect();
        for ((site, duration, skills), choice) in requests {
            let problem = OfferProblem {
                site,
                zone: zone.parse().unwrap(),
                skills: skills.into_iter().map(str::to_owned).collect(),
                duration: minutes(duration),
                from,
                until,
                count: DEFAULT_OFFERS,
                technicians: people.iter().map(|person| person.candidate.clone()).collect(),
            };
            let answer = EarliestInsertion.offers(&problem);
            prop_assert_eq!(answer.offers.is_empty(), answer.shortfall.is_some());
            prop_assert!(answer.offers.len() <= DEFAULT_OFFERS);
            prop_assert_eq!(&EarliestInsertion.offers(&problem), &answer, "the same problem, the same offers");
            for pair in answer.offers.windows(2) {
                prop_assert!(pair[0].window_end <= pair[1].window_start, "windows overlap");
            }
            for offer in &answer.offers {
                let found = faults(&problem, &people, offer);
                prop_assert!(found.is_empty(), "{:?}: {:?}", found, offer);
                let technician = &people.iter().find(|p| p.candidate.technician_id == offer.technician_id).unwrap().candidate;
                prop_assert!(EarliestInsertion.fits(technician, site, offer.start, problem.duration));
            }
            if let Some(taken) = answer.offers.get(choice % DEFAULT_OFFERS.min(answer.offers.len().max(1))) {
                let person = people.iter_mut().find(|p| p.candidate.technician_id == taken.technician_id).unwrap();
                person.candidate.bookings.push(Booking { start: taken.start, end: taken.end, place: site });
                person.candidate.bookings.sort_by_key(|booking| booking.start);
                prop_assert!(!EarliestInsertion.fits(&person.candidate, site, taken.start, problem.duration), "double booked");
            }
        }
    }
}
