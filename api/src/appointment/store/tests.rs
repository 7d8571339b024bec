use std::{sync::Arc, time::Duration};

use schemas::{
    alarm::PerceivedSeverity,
    id::TenantId,
    time::{Clock, ManualClock},
};
use sqlx::SqlitePool;

use super::{
    super::{
        Appointment, CallOffReason, Change, FailReason, Refused, State,
        slot::{self, Ask, Hold, Offered},
    },
    *,
};
use crate::{
    plan::{EarliestInsertion, Place, site::Site},
    technician::{self, Draft},
    ticket::{Channel, Subject, TicketType},
};

/// A tenant in Madrid at nine on a Monday in November, with a real database.
pub(crate) struct World {
    pub(crate) db: SqlitePool,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tenant: TenantId,
    _folder: tempfile::TempDir,
}

pub(crate) const SITE: (f64, f64) = (40.3083, -3.7325);

/// Works from eight to twelve and one to five, Monday to Friday, and can do washing machines.
pub(crate) fn ana() -> Draft {
    let day = r#"[{"start":"08:00","end":"12:00"},{"start":"13:00","end":"17:00"}]"#;
    let week = format!(r#"{{"monday":{day},"tuesday":{day},"wednesday":{day},"thursday":{day},"friday":{day}}}"#);
    Draft {
        name: "Ana".into(),
        skills: vec!["appliance".into()],
        home: Place::new(40.4168, -3.7038).unwrap(),
        time_zone: "Europe/Madrid".parse().unwrap(),
        shifts: serde_json::from_str(&week).unwrap(),
        active: true,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = crate::store::open(&folder.path().join("service.db")).await.unwrap();
        let clock = Arc::new(ManualClock::at("2026-11-23T08:00:00Z".parse().unwrap()));
        Self { db, clock, tenant: "acme".parse().unwrap(), _folder: folder }
    }

    pub(crate) async fn technician(&self, draft: Draft) -> String {
        technician::store::create(&self.db, &self.tenant, draft, self.clock.now()).await.unwrap().technician_id
    }

    /// A ticket on a device that stands in Getafe; the repair takes 90 minutes.
    pub(crate) async fn ticket(&self, device: &str) -> String {
        let place = Place::new(SITE.0, SITE.1).unwrap();
        let site = Site {
            device_id: device.parse().unwrap(),
            place,
            address: Some("Calle Mayor 1, Getafe".into()),
            time_zone: "Europe/Madrid".parse().unwrap(),
            changed_at: self.clock.now(),
        };
        site::store::put(&self.db, &self.tenant, &site).await.unwrap();
        self.ticket_without_site(device).await
    }

    pub(crate) async fn ticket_without_site(&self, device: &str) -> String {
        let subject = Subject {
            ticket_type: TicketType::Incident,
            channel: Channel::Alarm,
            device_id: device.parse().unwrap(),
            profile: Some("washing_machine".parse().unwrap()),
            fault_key: "drum_bearing/wear".parse().unwrap(),
            severity: PerceivedSeverity::Major,
            title: "Drum bearing, worn".into(),
            description: "vibration".into(),
            customer_text: "The drum bearing wears.".into(),
            skills: vec!["appliance".into()],
            parts: vec![],
            repair: Duration::from_secs(90 * 60),
        };
        let mut tx = write(&self.db).await.unwrap();
        let now = self.clock.now();
        let ticket = ticket::store::insert(&mut tx, &self.tenant, &subject, None, None, now, "triage").await.unwrap();
        tx.commit().await.unwrap();
        ticket.ticket_id
    }

    async fn offered(&self, ticket_id: &str, count: usize) -> Result<Offered, Refused> {
        let ask = Ask { ticket_id: ticket_id.into(), count, earliest: None, latest: None, hold: HOLD_TTL };
        offer(&self.db, &EarliestInsertion, &self.tenant, &ask, self.clock.now()).await
    }

    pub(crate) async fn slots(&self, ticket_id: &str) -> Vec<Hold> {
        self.offered(ticket_id, 5).await.unwrap().slots
    }

    pub(crate) async fn confirm(&self, ticket_id: &str, slot_id: &str) -> Result<(Appointment, bool), Refused> {
        let (db, tenant, now) = (&self.db, &self.tenant, self.clock.now());
        confirm(db, &EarliestInsertion, tenant, "eva", ticket_id, slot_id, now).await
    }

    pub(crate) async fn change(&self, appointment: &Appointment, what: Change) -> Result<Appointment, Refused> {
        let (db, tenant, now) = (&self.db, &self.tenant, self.clock.now());
        change(db, &EarliestInsertion, tenant, "eva", &appointment.appointment_id, &what, now).await
    }

    async fn status(&self, ticket_id: &str) -> (String, String) {
        let mut connection = self.db.acquire().await.unwrap();
        let ticket = ticket::store::get(&mut connection, &self.tenant, ticket_id).await.unwrap().unwrap();
        (ticket.state.status().to_string(), ticket.sub_status)
    }

    async fn committed(&self) -> i64 {
        let select = "select count(*) from booking where state = 'committed'";
        sqlx::query_scalar(select).fetch_one(&self.db).await.unwrap()
    }
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: Result<T, Refused>) -> &'static str {
    match result.unwrap_err() {
        Refused::Conflict { code, .. } | Refused::Unprocessable { code, .. } => code,
        Refused::NotFound { what, .. } => what,
        Refused::Database(error) => panic!("{error}"),
    }
}

fn words(status: &str, sub_status: &str) -> (String, String) {
    (status.into(), sub_status.into())
}

#[tokio::test]
async fn an_offered_slot_becomes_an_appointment_that_the_ticket_shows() {
    let world = World::new().await;
    let ana = world.technician(ana()).await;
    let ticket = world.ticket("wm-17").await;
    let slots = world.slots(&ticket).await;
    assert_eq!(slots.len(), 5);
    let first = &slots[0];
    // At nine local time the lead ends at eleven, too late for work and way home before twelve.
    assert_eq!(first.window.start.to_string(), "2026-11-23T12:00:00Z");
    assert_eq!(first.technician_id, ana);
    assert_eq!(world.status(&ticket).await, words("acknowledged", "awaiting_owner"));

    let (appointment, is_new) = world.confirm(&ticket, &first.slot_id).await.unwrap();
    assert!(is_new);
    assert_eq!((appointment.state, appointment.sequence), (State::Confirmed, 0));
    assert_eq!(world.status(&ticket).await, words("inProgress", "visit_booked"));
    let mut connection = world.db.acquire().await.unwrap();
    let shown = for_ticket(&mut connection, &world.tenant, &ticket).await.unwrap();
    assert_eq!(shown, std::slice::from_ref(&appointment));
    let events = event::store::after(&world.db, &world.tenant, 0, 100).await.unwrap();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"forewarn.appointment.created"), "{kinds:?}");
    assert!(!events.iter().any(|event| event.data.to_string().contains("Calle")), "no address leaves in an event");

    assert_eq!(
        world.confirm(&ticket, &first.slot_id).await.unwrap(),
        (appointment, false),
        "the same again is the same"
    );
    assert_eq!(code(world.confirm(&ticket, &slots[1].slot_id).await), "slot_released");
    assert_eq!(code(world.confirm(&ticket, "nothing").await), "slot");
    assert_eq!(world.committed().await, 1);
}

#[tokio::test]
async fn a_hold_keeps_the_time_from_others_until_its_last_microsecond() {
    let world = World::new().await;
    world.technician(ana()).await;
    let (first, second) = (world.ticket("wm-1").await, world.ticket("wm-2").await);
    let held = world.slots(&first).await;
    let other = world.slots(&second).await;
    for (a, b) in held.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
        assert!(a.visit.end <= b.visit.start || b.visit.end <= a.visit.start, "{a:?} {b:?}");
    }
    world.clock.advance(HOLD_TTL - Duration::from_micros(1));
    assert!(world.confirm(&first, &held[0].slot_id).await.is_ok());
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(code(world.confirm(&second, &other[0].slot_id).await), "slot_expired");
    assert_eq!(code(world.confirm(&second, &other[0].slot_id).await), "slot_expired", "and stays so");
    // What the first ticket did not take is free again at once, without a sweeper.
    let third = world.ticket("wm-3").await;
    let given_back = held[1].visit;
    let overlaps = |slot: &Hold| slot.visit.start < given_back.end && given_back.start < slot.visit.end;
    assert!(world.slots(&third).await.iter().any(overlaps));
}

#[tokio::test]
async fn asking_again_gives_the_earlier_slots_back() {
    let world = World::new().await;
    world.technician(ana()).await;
    let ticket = world.ticket("wm-1").await;
    let before = world.slots(&ticket).await;
    let after = world.slots(&ticket).await;
    assert_eq!(before[0].window, after[0].window);
    assert_eq!(code(world.confirm(&ticket, &before[0].slot_id).await), "slot_released");
    assert!(world.confirm(&ticket, &after[0].slot_id).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_the_same_time_exactly_one_gets_it() {
    let world = Arc::new(World::new().await);
    world.technician(ana()).await;
    // The planner would not offer the same time twice; these holds are forged, so only the confirmation can refuse.
    let mut forged = Vec::new();
    for number in 0..8 {
        let ticket = world.ticket(&format!("wm-{number}")).await;
        let mut hold = world.slots(&ticket).await.swap_remove(0);
        let mut tx = write(&world.db).await.unwrap();
        slot::store::release(&mut tx, &world.tenant, &ticket).await.unwrap();
        tx.commit().await.unwrap();
        hold.slot_id = format!("forged-{number}");
        forged.push((ticket, hold));
    }
    let mut tx = write(&world.db).await.unwrap();
    for (_, hold) in &forged {
        assert_eq!(hold.visit, forged[0].1.visit);
        slot::store::insert(&mut tx, &world.tenant, hold).await.unwrap();
    }
    tx.commit().await.unwrap();
    let tasks: Vec<_> = forged
        .into_iter()
        .map(|(ticket, hold)| {
            let world = world.clone();
            tokio::spawn(async move { world.confirm(&ticket, &hold.slot_id).await.map(|_| ()) })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            refused => assert_eq!(code(refused), "slot_taken"),
        }
    }
    assert_eq!((won, world.committed().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_slots_of_one_ticket_taken_at_once_exactly_one_becomes_an_appointment() {
    let world = Arc::new(World::new().await);
    world.technician(ana()).await;
    for round in 0..5 {
        let ticket = world.ticket(&format!("wm-{round}")).await;
        let slots = world.slots(&ticket).await;
        let tasks: Vec<_> = slots
            .into_iter()
            .map(|slot| {
                let (world, ticket) = (world.clone(), ticket.clone());
                tokio::spawn(async move { world.confirm(&ticket, &slot.slot_id).await.is_ok() })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += u32::from(task.await.unwrap());
        }
        assert_eq!(won, 1);
    }
    assert_eq!(world.committed().await, 5);
}

#[tokio::test]
async fn the_schema_itself_refuses_a_second_booking_at_the_same_time() {
    let world = World::new().await;
    world.technician(ana()).await;
    let (first, second) = (world.ticket("wm-1").await, world.ticket("wm-2").await);
    let slots = world.slots(&first).await;
    let (taken, _) = world.confirm(&first, &slots[0].slot_id).await.unwrap();
    let other = world.slots(&second).await;
    let (appointment, _) = world.confirm(&second, &other[0].slot_id).await.unwrap();
    let mut tx = write(&world.db).await.unwrap();
    row::set_booking(&mut tx, &appointment, "cancelled").await.unwrap();
    let overlapping = Appointment { visit: taken.visit, ..appointment };
    assert_eq!(code(row::book(&mut tx, &overlapping, &other[0]).await), "slot_taken");
    let revive = "update booking set visit_start = ?, visit_end = ?, state = 'committed' where appointment_id = ?";
    let error = sqlx::query(revive)
        .bind(taken.visit.start.micros() + 1)
        .bind(taken.visit.end.micros())
        .bind(&overlapping.appointment_id)
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("technician is booked already"), "{error}");
}

#[tokio::test]
async fn a_promise_moves_only_to_a_held_slot_and_counts_its_changes() {
    let world = World::new().await;
    world.technician(ana()).await;
    let ticket = world.ticket("wm-1").await;
    let first = world.slots(&ticket).await.swap_remove(0);
    let (appointment, _) = world.confirm(&ticket, &first.slot_id).await.unwrap();
    // Its own time does not stand in its way: the first window is offered again, beside later ones.
    let slots = world.slots(&ticket).await;
    assert_eq!(slots[0].window, first.window);
    assert_eq!(code(world.confirm(&ticket, &slots[1].slot_id).await), "ticket_has_appointment");
    let to = Change::Reschedule { slot_id: slots[1].slot_id.clone() };
    let moved = world.change(&appointment, to.clone()).await.unwrap();
    assert_eq!((moved.sequence, moved.window), (1, slots[1].window));
    assert_eq!(moved.appointment_id, appointment.appointment_id);
    assert_eq!(world.change(&appointment, to).await.unwrap(), moved, "the same again is the same");
    assert_eq!(world.committed().await, 1);
    assert_eq!(
        code(world.change(&appointment, Change::Reschedule { slot_id: slots[0].slot_id.clone() }).await),
        "slot_released"
    );
    // The time that was given up is another ticket's now.
    let other = world.ticket("wm-2").await;
    assert_eq!(world.slots(&other).await[0].window, first.window);
}

#[tokio::test]
async fn what_ends_an_appointment_frees_its_time_and_happens_once() {
    let world = World::new().await;
    world.technician(ana()).await;
    let ticket = world.ticket("wm-1").await;
    let first = world.slots(&ticket).await.swap_remove(0);
    let (appointment, _) = world.confirm(&ticket, &first.slot_id).await.unwrap();
    assert_eq!(code(world.change(&appointment, Change::Complete).await), "not_yet");
    let cancel = Change::Cancel(CallOffReason::CustomerRequest);
    let cancelled = world.change(&appointment, cancel.clone()).await.unwrap();
    assert_eq!((cancelled.sequence, cancelled.state.reason()), (1, Some("customer_request")));
    assert_eq!(world.change(&appointment, cancel).await.unwrap(), cancelled);
    assert_eq!(code(world.change(&appointment, Change::Complete).await), "appointment_ended");
    assert_eq!(code(world.confirm(&ticket, &first.slot_id).await), "slot_used");
    assert_eq!(world.status(&ticket).await, words("inProgress", "in_work"));
    assert_eq!(world.committed().await, 0);

    let again = world.slots(&ticket).await.swap_remove(0);
    assert_eq!(again.window, first.window);
    let (second, _) = world.confirm(&ticket, &again.slot_id).await.unwrap();
    world.clock.advance(second.window.start.since(world.clock.now()));
    let failed = world.change(&second, Change::Fail(FailReason::NoAccess)).await.unwrap();
    assert_eq!((failed.state.as_str(), failed.state.reason()), ("failed", Some("no_access")));

    let third = world.slots(&ticket).await.swap_remove(0);
    let (third, _) = world.confirm(&ticket, &third.slot_id).await.unwrap();
    world.clock.advance(third.visit.end.since(world.clock.now()));
    assert_eq!(world.change(&third, Change::Complete).await.unwrap().state, State::Completed);
}

#[tokio::test]
async fn a_world_that_changed_since_the_offer_refuses_the_confirmation() {
    let world = World::new().await;
    let ana = world.technician(ana()).await;
    let ticket = world.ticket("wm-1").await;
    let slot = world.slots(&ticket).await.swap_remove(0);
    let change = async |change: fn(&mut Draft)| {
        technician::store::change(&world.db, &world.tenant, &ana, world.clock.now(), change).await.unwrap();
    };
    change(|draft| draft.active = false).await;
    assert_eq!(code(world.confirm(&ticket, &slot.slot_id).await), "slot_taken");
    change(|draft| (draft.active, draft.skills) = (true, vec![])).await;
    assert_eq!(code(world.confirm(&ticket, &slot.slot_id).await), "slot_taken");
    change(|draft| (draft.skills, draft.home) = (vec!["appliance".into()], Place::new(43.0, -8.0).unwrap())).await;
    assert_eq!(code(world.confirm(&ticket, &slot.slot_id).await), "slot_taken");
    change(|draft| draft.home = Place::new(40.4168, -3.7038).unwrap()).await;
    assert!(world.confirm(&ticket, &slot.slot_id).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_planned_says_why() {
    let world = World::new().await;
    let ticket = world.ticket("wm-1").await;
    let shortfall = async |ticket: &str| world.offered(ticket, 5).await.unwrap().shortfall.unwrap().code();
    assert_eq!(shortfall(&ticket).await, "no_technician");
    world.technician(Draft { skills: vec!["refrigeration".into()], ..ana() }).await;
    assert_eq!(shortfall(&ticket).await, "skill");
    world.technician(Draft { shifts: Default::default(), ..ana() }).await;
    assert_eq!(shortfall(&ticket).await, "no_shift");
    world.technician(Draft { home: Place::new(43.36, -8.41).unwrap(), ..ana() }).await;
    assert_eq!(shortfall(&ticket).await, "too_far");

    assert_eq!(code(world.offered("nothing", 5).await), "ticket");
    let nowhere = world.ticket_without_site("wm-2").await;
    assert_eq!(code(world.offered(&nowhere, 5).await), "no_site");
    let soon = Some(world.clock.now().plus(Duration::from_secs(3600)));
    let ask = Ask { ticket_id: ticket.clone(), count: 5, earliest: None, latest: soon, hold: HOLD_TTL };
    assert_eq!(code(offer(&world.db, &EarliestInsertion, &world.tenant, &ask, world.clock.now()).await), "no_window");
    let stranger: TenantId = "other".parse().unwrap();
    let ask = Ask { latest: None, ..ask };
    assert_eq!(code(offer(&world.db, &EarliestInsertion, &stranger, &ask, world.clock.now()).await), "ticket");
}

#[tokio::test]
async fn a_ticket_that_ends_gives_all_back() {
    let world = World::new().await;
    world.technician(ana()).await;
    let ticket = world.ticket("wm-1").await;
    let slot = world.slots(&ticket).await.swap_remove(0);
    let (appointment, _) = world.confirm(&ticket, &slot.slot_id).await.unwrap();
    let held = world.slots(&ticket).await;
    let step = Some(ticket::rules::Step::Cancel(ticket::CancelReason::CustomerWithdrew));
    let patch = ticket::store::Patch { step, ..Default::default() };
    let by = ticket::store::By { actor: "eva", now: world.clock.now(), verify_after: Duration::ZERO };
    ticket::store::patch(&world.db, &world.tenant, &ticket, patch, by).await.unwrap();
    let mut connection = world.db.acquire().await.unwrap();
    let ended = get(&mut connection, &world.tenant, &appointment.appointment_id).await.unwrap().unwrap();
    assert_eq!(ended.state, State::Cancelled(CallOffReason::TicketEnded));
    assert_eq!(world.committed().await, 0);
    assert_eq!(code(world.confirm(&ticket, &held[0].slot_id).await), "slot_released");
    assert_eq!(code(world.offered(&ticket, 5).await), "ticket_not_open");
}

#[tokio::test]
async fn whatever_is_booked_and_called_off_nobody_is_in_two_places() {
    let world = World::new().await;
    for _ in 0..2 {
        world.technician(ana()).await;
    }
    let mut dice = 0x2545_F491_4F6C_DD1D_u64;
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % sides
    };
    let mut standing: Vec<Appointment> = Vec::new();
    for number in 0..30 {
        world.clock.advance(Duration::from_secs(60 * roll(40) as u64));
        let ticket = world.ticket(&format!("wm-{number}")).await;
        let slots = world.slots(&ticket).await;
        if slots.is_empty() {
            continue;
        }
        let slot = &slots[roll(slots.len())];
        standing.push(world.confirm(&ticket, &slot.slot_id).await.unwrap().0);
        if roll(3) == 0 {
            let gone = standing.swap_remove(roll(standing.len()));
            world.change(&gone, Change::Cancel(CallOffReason::CustomerRequest)).await.unwrap();
        }
        let mut connection = world.db.acquire().await.unwrap();
        for (at, a) in standing.iter().enumerate() {
            let kept = get(&mut connection, &world.tenant, &a.appointment_id).await.unwrap().unwrap();
            assert_eq!((kept.window, kept.visit), (a.window, a.visit), "a promise moved by itself");
            for b in &standing[at + 1..] {
                let apart = a.visit.end <= b.visit.start || b.visit.end <= a.visit.start;
                assert!(apart || a.technician_id != b.technician_id, "{a:?} {b:?}");
            }
        }
    }
    assert!(standing.len() > 10);
    assert_eq!(world.committed().await, standing.len() as i64);
}

#[tokio::test]
async fn the_earliest_slot_is_booked_in_one_go() {
    let world = World::new().await;
    let ticket = world.ticket("wm-1").await;
    let book = async || {
        let (db, tenant, now) = (&world.db, &world.tenant, world.clock.now());
        book_earliest(db, &EarliestInsertion, tenant, "demo", &ticket, now).await.unwrap()
    };
    assert_eq!(book().await, None);
    world.technician(ana()).await;
    assert_eq!(book().await.unwrap().window.start.to_string(), "2026-11-23T12:00:00Z");
}

#[tokio::test]
async fn appointments_are_listed_by_page_ticket_and_technician() {
    let world = World::new().await;
    let ana = world.technician(ana()).await;
    let mut made = Vec::new();
    for number in 0..3 {
        let ticket = world.ticket(&format!("wm-{number}")).await;
        let slot = world.slots(&ticket).await.swap_remove(0);
        made.push(world.confirm(&ticket, &slot.slot_id).await.unwrap().0);
        world.clock.advance(Duration::from_millis(2));
    }
    let page = async |filter: Filter| {
        let found = list(&world.db, &world.tenant, &filter).await.unwrap();
        found.into_iter().map(|appointment| appointment.appointment_id).collect::<Vec<_>>()
    };
    let id = |n: usize| made[n].appointment_id.clone();
    assert_eq!(page(Filter { limit: 2, ..Default::default() }).await, [id(0), id(1)]);
    assert_eq!(page(Filter { limit: 2, after: id(1), ..Default::default() }).await, [id(2)]);
    assert_eq!(
        page(Filter { limit: 9, ticket_id: Some(made[1].ticket_id.clone()), ..Default::default() }).await,
        [id(1)]
    );
    assert_eq!(page(Filter { limit: 9, technician_id: Some(ana), ..Default::default() }).await.len(), 3);
    assert!(page(Filter { limit: 9, technician_id: Some("nobody".into()), ..Default::default() }).await.is_empty());
}
