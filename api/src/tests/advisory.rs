use std::collections::BTreeSet;

use proptest::prelude::*;
use schemas::{
    advisory::{Advisory, Contribution, Costs, Decision, Method, ModelVersion, RemainingUsefulLife},
    outcome::Disposition,
};
use serde_json::json;

use super::{self_test::later, *};

const COSTS: Costs = Costs { visit: 1.0, failure: 8.0, false_alarm: 0.0 };

/// The drum bearing again, `minute` minutes after ten, said five minutes later.
pub(super) fn advisory(device: &str, minute: u64, probability: f64) -> Advisory {
    let (tenant, device_id): (TenantId, schemas::id::DeviceId) = ("dev".parse().unwrap(), device.parse().unwrap());
    let fault_key: schemas::id::FaultKey = "drum_bearing/wear".parse().unwrap();
    let event_time = at("2026-11-21T10:00:00Z").plus(Duration::from_secs(60 * minute));
    let model = ModelVersion { name: "washing_machine.drum_bearing/wear".into(), version: "3".into() };
    let profiles = Profiles::builtin();
    let component = profiles.get("washing_machine").unwrap().component("drum_bearing").unwrap();
    Advisory {
        advisory_id: Advisory::id(&tenant, &device_id, &fault_key, event_time, &model),
        tenant,
        device_id,
        profile: "washing_machine".parse().unwrap(),
        firmware: Some("1.4.2".into()),
        component: fault_key.component().into(),
        fault_key,
        event_time,
        advisory_reporting_time: event_time.plus(Duration::from_secs(300)),
        horizon_hours: 336.0,
        probability,
        remaining_useful_life: Some(RemainingUsefulLife { p10_hours: 40.0, p50_hours: 150.0, p90_hours: 400.0 }),
        model,
        method: Method::Model,
        decision: COSTS.decide(probability),
        threshold: COSTS.threshold(),
        costs: COSTS,
        evidence: vec![Contribution {
            indicator: "vibration_mm_s_mean_1d".into(),
            metric: Some("vibration_mm_s".into()),
            unit: "mm/s".into(),
            value: 5.2,
            contribution: 1.7,
            words: "vibration has doubled in a week".into(),
        }],
        parts: component.parts.clone(),
        skills: component.skills.clone(),
        self_test: component.self_test.clone(),
        reason: "The drum bearing fails within two weeks, likely as not.".into(),
    }
}

impl World {
    pub(super) async fn advise(&self, advisories: &[Advisory]) {
        self.desk().advisories(advisories).await.unwrap();
    }

    pub(super) async fn ticket(&self, at: usize) -> Value {
        let ticket_id = self.tickets().await[at]["ticket_id"].as_str().unwrap().to_owned();
        self.json("agent", &format!("GET /v1/tickets/{ticket_id}"), "", StatusCode::OK).await
    }

    pub(super) async fn patch(&self, ticket: &Value, body: Value) -> Value {
        let line = format!("PATCH /v1/tickets/{}", ticket["ticket_id"].as_str().unwrap());
        self.json("agent", &line, body, StatusCode::OK).await
    }

    async fn event_types(&self) -> Vec<String> {
        let all = crate::event::store::after(&self.app.db, &self.tenant, 0, 1000).await.unwrap();
        all.into_iter().map(|event| event.kind).collect()
    }
}

#[tokio::test]
async fn ten_thousand_repeated_and_reordered_advisories_and_alarms_make_one_ticket() {
    let world = World::new().await;
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // 300 advisories of every decision and 200 alarms, each about twenty times, in any order.
    let mut sent = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..100 {
        let (mut advisories, mut alarms) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let nth = next(300);
            advisories.push(advisory("wm-17", nth, [0.05, 0.2, 0.4][(nth % 3) as usize]));
        }
        for _ in 0..40 {
            alarms.push(alarm("wm-17", next(200)));
        }
        sent.0.extend(advisories.iter().filter(|it| it.decision != Decision::Watch).map(|it| it.advisory_id.clone()));
        sent.1.extend(alarms.iter().map(|alarm| alarm.alarm_id.clone()));
        world.advise(&advisories).await;
        world.alarms(&alarms).await;
    }
    let tickets = world.tickets().await;
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0]["advisory_count"], sent.0.len());
    assert_eq!(tickets[0]["alarm_count"], sent.1.len());
    assert_eq!(world.metric("forewarn_tickets_opened_total").await, "1");
    let commands = crate::self_test::store::waiting(&world.app.db, later(), 10).await.unwrap();
    assert_eq!(commands.len(), 1, "the self-test is wanted once");
}

#[tokio::test]
async fn what_pays_for_sure_opens_a_ticket_that_says_why() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.4)]).await;
    let ticket = world.ticket(0).await;
    assert_eq!((&ticket["status"], &ticket["sub_status"]), (&json!("acknowledged"), &json!("awaiting_owner")));
    assert_eq!((&ticket["severity"], &ticket["advisory_count"]), (&json!("warning"), &json!(1)));
    assert_eq!(ticket["title"], "Drum bearing: wear, 40 % within 14 days");
    assert_eq!(ticket["creation_date"], "2026-11-21T10:05:00Z");
    assert_eq!(ticket["recommended_parts"][0]["number"], "WM-BRG-6205");
    let shown = &ticket["advisories"][0];
    assert_eq!((&shown["threshold"], &shown["costs"]["failure"]), (&json!(0.125), &json!(8.0)));
    assert_eq!(shown["evidence"][0]["words"], "vibration has doubled in a week");
    assert_eq!(shown["remaining_useful_life"]["p50_hours"], 150.0);
    let texts: Vec<&str> =
        ticket["history"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        [
            "opened",
            "advisory auto: 40 % within 336 h by washing_machine.drum_bearing/wear 3; acting pays from 12 % \
             (visit 1, failure 8, false alarm 0): The drum bearing fails within two weeks, likely as not.",
            "first step: self_test, by which the device tests the component itself, is asked for",
        ]
    );
    let types = world.event_types().await;
    for kind in ["forewarn.ticket.created", "forewarn.advisory.created", "forewarn.self_test.wanted"] {
        assert_eq!(types.iter().filter(|it| *it == kind).count(), 1, "{types:?}");
    }
}

#[tokio::test]
async fn what_may_pay_waits_for_an_agents_yes() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.2)]).await;
    let ticket = world.ticket(0).await;
    assert_eq!((&ticket["status"], &ticket["sub_status"]), (&json!("acknowledged"), &json!("awaiting_confirmation")));
    let commands = async || crate::self_test::store::waiting(&world.app.db, later(), 10).await.unwrap();
    assert!(commands().await.is_empty(), "nothing is done before the yes");
    let line = format!("POST /v1/tickets/{}/slots", ticket["ticket_id"].as_str().unwrap());
    let answer = world.ask("agent", &line, json!({"count": 1})).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("ticket_not_confirmed")));
    // The yes: somebody takes it. Saying it again changes nothing.
    let taken = world.patch(&ticket, json!({"owner": "ann"})).await;
    assert_eq!(taken["sub_status"], "awaiting_contact");
    let wanted = commands().await;
    assert_eq!((wanted.len(), wanted[0].name.as_str(), wanted[0].device_id.as_str()), (1, "self_test", "wm-17"));
    world.patch(&ticket, json!({"owner": "bob"})).await;
    assert_eq!(commands().await.len(), 1);
    world.clock.advance(Duration::from_secs(3600));
    crate::self_test::order::all(&world.app).await.unwrap();
    assert!(commands().await.is_empty());
}

#[tokio::test]
async fn an_agents_yes_is_not_needed_once_something_surer_is_said() {
    for surer in ["advisory", "alarm"] {
        let world = World::new().await;
        world.advise(&[advisory("wm-17", 0, 0.2)]).await;
        match surer {
            "alarm" => world.alarms(&[alarm("wm-17", 10)]).await,
            _ => world.advise(&[advisory("wm-17", 10, 0.6)]).await,
        }
        let ticket = world.ticket(0).await;
        assert_eq!(ticket["sub_status"], "awaiting_owner", "{surer}");
        assert_eq!(world.tickets().await.len(), 1);
        assert_eq!(crate::self_test::store::waiting(&world.app.db, later(), 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_is_watched_is_kept_and_opens_nothing() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.05)]).await;
    assert!(world.tickets().await.is_empty());
    world.alarms(&[alarm("wm-17", 0)]).await;
    world.advise(&[advisory("wm-17", 1, 0.05)]).await;
    assert_eq!(world.ticket(0).await["advisory_count"], 0);
    let page = world.json("analyst", "GET /v1/advisories?decision=watch", "", StatusCode::OK).await;
    assert_eq!(page["advisories"].as_array().unwrap().len(), 2);
    assert_eq!(page["advisories"][0]["ticket_id"], json!(null));
    assert_eq!(world.metric("forewarn_advisories_total{decision=\"watch\"}").await, "2");
}

#[tokio::test]
async fn an_advisory_raises_the_severity_of_an_alarms_ticket_and_never_lowers_it() {
    let world = World::new().await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    for (minute, probability, severity) in [(1, 0.3, "minor"), (2, 0.7, "major"), (3, 0.3, "major")] {
        world.advise(&[advisory("wm-17", minute, probability)]).await;
        assert_eq!(world.ticket(0).await["severity"], severity, "{probability}");
    }
    assert_eq!(world.tickets().await.len(), 1);
}

pub(super) async fn resolve(world: &World, ticket: &Value, done: Value) {
    world
        .patch(ticket, json!({"owner": "ann", "note": {"kind": "contact", "text": "called"}, "status": "inProgress"}))
        .await;
    world.patch(ticket, done).await;
}

#[tokio::test]
async fn a_probability_does_not_open_what_was_dealt_with() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.4)]).await;
    let ticket = world.ticket(0).await;
    world.clock.advance(Duration::from_secs(3600));
    resolve(&world, &ticket, json!({"status": "resolved", "disposition": "no_fault_found"})).await;
    // After the visit, before it is verified.
    world.advise(&[advisory("wm-17", 120, 0.9)]).await;
    assert_eq!(world.ticket(0).await["status"], "resolved");
    world.patch(&ticket, json!({"status": "closed", "status_change_reason": "customer_confirmed"})).await;
    // Nothing was found: within the horizon of two weeks it is the same evidence.
    let days = |days: u64| days * 24 * 60;
    world.advise(&[advisory("wm-17", days(13), 0.9)]).await;
    assert_eq!(world.tickets().await.len(), 1);
    world.advise(&[advisory("wm-17", days(15), 0.9)]).await;
    assert_eq!(world.tickets().await.len(), 2);
    let again = world.ticket(0).await;
    assert_eq!((&again["repeat_of"], &again["status"]), (&ticket["ticket_id"], &json!("acknowledged")));
}

#[tokio::test]
async fn a_repaired_fault_that_is_foretold_again_is_a_repeat() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.4)]).await;
    let ticket = world.ticket(0).await;
    world.clock.advance(Duration::from_secs(3600));
    let done = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
    resolve(&world, &ticket, done).await;
    world.patch(&ticket, json!({"status": "closed", "status_change_reason": "customer_confirmed"})).await;
    world.advise(&[advisory("wm-17", 59, 0.9)]).await;
    assert_eq!(world.tickets().await.len(), 1, "it was said of the time before the visit");
    world.advise(&[advisory("wm-17", 24 * 60, 0.9)]).await;
    assert_eq!(world.ticket(0).await["repeat_of"], ticket["ticket_id"]);
}

#[tokio::test]
async fn whoever_goes_for_one_failure_mode_goes_for_the_component() {
    let broken = |minute| Alarm { fault_key: "drum_bearing/breakdown".parse().unwrap(), ..alarm("wm-17", minute) };
    let pump = |minute| Alarm { fault_key: "drain_pump/blocked".parse().unwrap(), ..alarm("wm-17", minute) };
    let world = World::new().await;
    world.alarms(&[pump(0)]).await;
    world.alarms(&[broken(1)]).await;
    world.advise(&[advisory("wm-17", 2, 0.4)]).await;
    let ticket = world.ticket(0).await;
    assert_eq!((world.tickets().await.len(), &ticket["fault_key"]), (2, &json!("drum_bearing/breakdown")));
    assert_eq!((&ticket["advisory_count"], &ticket["severity"]), (&json!(1), &json!("minor")));
    assert_eq!(world.ticket(1).await["advisory_count"], 0, "another component");

    world.clock.advance(Duration::from_secs(3600));
    let done = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
    resolve(&world, &ticket, done).await;
    world.patch(&ticket, json!({"status": "closed", "status_change_reason": "customer_confirmed"})).await;
    world.advise(&[advisory("wm-17", 59, 0.9)]).await;
    assert_eq!(world.tickets().await.len(), 2, "it was said of the bearing that is gone");
    assert_eq!(world.metric("forewarn_advisories_stale_total").await, "1");
    world.advise(&[advisory("wm-17", 24 * 60, 0.9)]).await;
    let again = world.ticket(0).await;
    assert_eq!((&again["fault_key"], &again["repeat_of"]), (&json!("drum_bearing/wear"), &json!(null)));
    // Two open ones: that of the fault itself comes first.
    world.alarms(&[broken(25 * 60)]).await;
    world.advise(&[advisory("wm-17", 48 * 60, 0.9)]).await;
    let counts: Vec<Value> = world.tickets().await.iter().map(|it| it["advisory_count"].clone()).collect();
    assert_eq!(counts, [0, 2, 2, 0], "newest first");
}

#[tokio::test]
async fn a_label_tells_which_advisory_it_answers_and_when_the_device_failed() {
    let mut code = alarm("wm-17", 30);
    (code.source, code.perceived_severity) = (AlarmSource::Device, PerceivedSeverity::Major);
    let light = Alarm { perceived_severity: PerceivedSeverity::Minor, alarm_id: "1".repeat(32), ..code.clone() };
    let confirmed = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
    let told = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205",
        "failure_time": "2026-11-21T09:00:00Z"});
    let nothing = json!({"status": "resolved", "disposition": "no_fault_found"});
    for (alarms, done, failure_time) in [
        (vec![code.clone()], confirmed.clone(), Some(at("2026-11-21T10:30:00Z"))),
        (vec![light], confirmed.clone(), None),
        (vec![], confirmed, None),
        (vec![code.clone()], told, Some(at("2026-11-21T09:00:00Z"))),
        (vec![code], nothing, None),
    ] {
        let world = World::new().await;
        // The later one came first.
        world.advise(&[advisory("wm-17", 20, 0.4), advisory("wm-17", 0, 0.3)]).await;
        world.alarms(&alarms).await;
        world.clock.advance(Duration::from_secs(3600));
        let ticket = world.ticket(0).await;
        resolve(&world, &ticket, done.clone()).await;
        let mut conn = world.app.db.acquire().await.unwrap();
        let outcome_id = format!("{}.0", ticket["ticket_id"].as_str().unwrap());
        let label = crate::outcome::store::get(&mut conn, &world.tenant, &outcome_id).await.unwrap().unwrap();
        assert_eq!(label.failure_time, failure_time, "{done}");
        assert_eq!(label.advisory_id.as_ref(), Some(&advisory("wm-17", 0, 0.3).advisory_id));
        assert_eq!((label.fault_key.as_str(), label.ticket_id.is_some()), ("drum_bearing/wear", true));
        assert_eq!(label.disposition.confirms_fault(), Some(label.disposition != Disposition::NoFaultFound));
    }
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.3)]).await;
    let line = format!("PATCH /v1/tickets/{}", world.ticket(0).await["ticket_id"].as_str().unwrap());
    let ahead = json!({"status": "resolved", "disposition": "remote_fixed", "failure_time": "2026-12-01T00:00:00Z"});
    let answer = world.ask("agent", &line, ahead).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("failure_time")));
}

#[tokio::test]
async fn advisories_are_listed_by_page_and_found_by_filter() {
    let world = World::new().await;
    let all: Vec<Advisory> =
        (0..5).map(|minute| advisory(["wm-17", "wm-18"][minute % 2], minute as u64, 0.4)).collect();
    world.advise(&all).await;
    let first = world.json("analyst", "GET /v1/advisories?limit=3", "", StatusCode::OK).await;
    assert_eq!(first["advisories"].as_array().unwrap().len(), 3);
    let line = format!("GET /v1/advisories?limit=3&after={}", first["next"].as_str().unwrap());
    let second = world.json("analyst", &line, "", StatusCode::OK).await;
    assert_eq!((second["advisories"].as_array().unwrap().len(), &second["next"]), (2, &json!(null)));
    for (filter, count) in
        [("device_id=wm-17", 3), ("fault_key=drum_bearing/wear", 5), ("decision=assist", 0), ("ticket_id=none", 0)]
    {
        let page = world.json("analyst", &format!("GET /v1/advisories?{filter}"), "", StatusCode::OK).await;
        assert_eq!(page["advisories"].as_array().unwrap().len(), count, "{filter}");
    }
    let line = format!("GET /v1/advisories/{}", all[0].advisory_id);
    assert_eq!(world.json("analyst", &line, "", StatusCode::OK).await["probability"], 0.4);
    assert_eq!(world.ask("stranger", &line, "").await.status, 404);
    for wrong in ["decision=perhaps", "limit=0", "after=x", "colour=red"] {
        assert_eq!(world.ask("analyst", &format!("GET /v1/advisories?{wrong}"), "").await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_pruned_list_keeps_what_belongs_to_a_ticket() {
    let world = World::new().await;
    world.advise(&[advisory("wm-17", 0, 0.05), advisory("wm-17", 1, 0.4), advisory("wm-17", 2, 0.05)]).await;
    assert_eq!(crate::advisory::store::prune(&world.app.db).await.unwrap(), 0);
    let page = world.json("analyst", "GET /v1/advisories", "", StatusCode::OK).await;
    assert_eq!(page["advisories"].as_array().unwrap().len(), 3);
}

/// What a ticket is in the end, whatever the order in which it was told.
async fn state_of(world: &World) -> String {
    let mut lines = Vec::new();
    for ticket in world.tickets().await {
        lines.push(format!(
            "{} {} {} {} {}",
            ticket["device_id"],
            ticket["sub_status"],
            ticket["severity"],
            ticket["alarm_count"],
            ticket["advisory_count"]
        ));
    }
    lines.sort();
    let commands = crate::self_test::store::waiting(&world.app.db, later(), 100).await.unwrap();
    let mut wanted: Vec<String> = commands.iter().map(|it| format!("{} {}", it.device_id, it.name)).collect();
    wanted.sort();
    format!("{lines:?} {wanted:?}")
}

#[derive(Debug, Clone)]
enum Told {
    Alarm(usize, u64),
    Advisory(usize, u64, f64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_what_is_told_and_repeats_make_no_difference(
        told in proptest::collection::vec(
            prop_oneof![
                (0usize..2, 0u64..20).prop_map(|(device, minute)| Told::Alarm(device, minute)),
                (0usize..2, 0u64..20, prop_oneof![Just(0.05), Just(0.2), Just(0.4), Just(0.7)])
                    .prop_map(|(device, minute, probability)| Told::Advisory(device, minute, probability)),
            ],
            1..12,
        ),
        order in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tell = async |world: &World, told: &Told| {
            let device = |nth: usize| ["wm-17", "wm-18"][nth];
            match *told {
                Told::Alarm(nth, minute) => world.alarms(&[alarm(device(nth), minute)]).await,
                Told::Advisory(nth, minute, p) => {
                    // One model says one thing of one device at one time.
                    let mut said = advisory(device(nth), minute, p);
                    said.advisory_id = format!("{:032x}", (nth as u64 * 100 + minute) * 1000 + (p * 100.0) as u64);
                    world.advise(&[said]).await;
                }
            }
        };
        let (once, shuffled) = runtime.block_on(async {
            let (first, second) = (World::new().await, World::new().await);
            for it in &told {
                tell(&first, it).await;
            }
            let turn = order.index(told.len());
            for it in told[turn..].iter().rev().chain(told[..turn].iter().rev()).chain(&told) {
                tell(&second, it).await;
            }
            (state_of(&first).await, state_of(&second).await)
        });
        prop_assert_eq!(once, shuffled);
    }
}
