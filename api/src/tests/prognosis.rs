//! Alarms that wait for a model's word before they open a ticket.

use proptest::prelude::*;
use schemas::{
    advisory::{Advisory, Decision},
    door::{Awaited, SpokenFor},
};
use serde_json::json;

use super::{
    advisory::{advisory, resolve},
    *,
};
use crate::{prognosis::verdict, service_problem};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl World {
    /// Models speak for these components of washing machines from now on, for two days.
    async fn speak_for(&self, components: &[&str]) {
        let profile: schemas::id::ProfileName = "washing_machine".parse().unwrap();
        let components = components.iter().map(|component| (profile.clone(), component.to_string())).collect();
        let at = self.clock.now();
        let spoken_for = SpokenFor { tenant: self.tenant.clone(), at, until: at.plus(DAY * 2), components };
        self.desk().spoken_for(&spoken_for).await.unwrap();
    }

    async fn awaited(&self) -> Vec<Awaited> {
        self.desk().awaited(&self.tenant).await.unwrap()
    }

    async fn awaits(&self, of: &Alarm) -> Value {
        self.json("agent", &format!("GET /v1/alarms/{}", of.alarm_id), "", StatusCode::OK).await["awaits"].clone()
    }

    /// The model's word on the bearing, said now.
    async fn say(&self, device: &str, probability: f64) {
        let minute = self.clock.now().since(at("2026-11-21T10:00:00Z")).as_secs() / 60;
        let said = advisory(device, minute, probability);
        self.advise(&[Advisory { advisory_reporting_time: self.clock.now(), ..said }]).await;
    }
}

fn history(ticket: &Value) -> String {
    let texts = ticket["history"].as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_rule_waits_for_the_model_that_speaks_for_its_component() {
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    world.alarms(&[alarm("wm-17", 0), alarm("wm-17", 3), alarm("wm-18", 1)]).await;
    assert!(world.tickets().await.is_empty());
    let bearing = |device: &str| Awaited { device_id: device.parse().unwrap(), component: "drum_bearing".into() };
    assert_eq!(world.awaited().await, [bearing("wm-17"), bearing("wm-18")], "each once, the longest first");
    assert_eq!(world.awaits(&alarm("wm-17", 0)).await, "prognosis");

    world.clock.advance(HOUR * 14);
    world.say("wm-17", 0.03).await;
    world.say("wm-18", 0.4).await;
    let ticket = world.ticket(0).await;
    assert_eq!((world.tickets().await.len(), &ticket["device_id"]), (1, &json!("wm-18")));
    assert_eq!(ticket["alarm_count"], 1, "{ticket}");
    assert_eq!(world.awaits(&alarm("wm-18", 1)).await, json!(null));
    assert_eq!(world.awaited().await, [bearing("wm-17")], "it waits on");

    // The next midnight sees more of it.
    world.clock.advance(DAY);
    world.say("wm-17", 0.4).await;
    let tickets = world.tickets().await;
    let ticket = tickets.iter().find(|ticket| ticket["device_id"] == "wm-17").unwrap();
    assert_eq!((tickets.len(), &ticket["alarm_count"]), (2, &json!(2)), "{ticket}");
    assert_eq!(ticket["creation_date"], "2026-11-23T00:00:00Z", "nobody heard of it before");
    assert!(world.awaited().await.is_empty());
    for (word, count) in [("likely", "3"), ("unlikely", "2"), ("silent", "0"), ("doubted", "0")] {
        assert_eq!(world.metric(&format!("forewarn_prognosis_first_total{{word=\"{word}\"}}")).await, count, "{word}");
    }
}

#[tokio::test]
async fn what_is_likely_by_assist_needs_no_yes_where_an_alarm_says_the_same() {
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    world.clock.advance(HOUR);
    world.say("wm-17", 0.15).await;
    let ticket = world.ticket(0).await;
    assert_eq!(ticket["sub_status"], "awaiting_owner", "{ticket}");
    assert_eq!((world.tickets().await.len(), &ticket["alarm_count"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_word_on_a_component_is_one_on_all_its_faults() {
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    let loose = Alarm { fault_key: "drum_bearing/loose".parse().unwrap(), ..alarm("wm-17", 0) };
    world.alarms(std::slice::from_ref(&loose)).await;
    world.clock.advance(HOUR);
    world.say("wm-17", 0.4).await;
    let ticket = world.ticket(0).await;
    assert_eq!((world.tickets().await.len(), &ticket["fault_key"]), (1, &json!("drum_bearing/wear")), "one visit");
    assert_eq!((&ticket["alarm_count"], &ticket["advisory_count"]), (&json!(1), &json!(1)), "{ticket}");
    assert_eq!(world.awaits(&loose).await, json!(null));
}

#[tokio::test]
async fn a_stale_word_leaves_an_alarm_waiting() {
    for closed in [false, true] {
        let world = World::new().await;
        let worn = Alarm { perceived_severity: PerceivedSeverity::Critical, ..alarm("wm-17", 0) };
        world.alarms(&[worn]).await;
        let ticket = world.ticket(0).await;
        world.clock.advance(HOUR * 20);
        let done = json!({"status": "resolved", "disposition": "part_replaced", "part_replaced": "WM-BRG-6205"});
        resolve(&world, &ticket, done).await;
        if closed {
            world.patch(&ticket, json!({"status": "closed", "status_change_reason": "customer_confirmed"})).await;
        }
        world.speak_for(&["drum_bearing"]).await;
        let loose = Alarm { fault_key: "drum_bearing/loose".parse().unwrap(), ..alarm("wm-17", 21 * 60) };
        world.alarms(std::slice::from_ref(&loose)).await;
        // As of fourteen hours after ten, said now.
        for probability in [0.9, 0.03] {
            let said = advisory("wm-17", 14 * 60 + (probability * 100.0) as u64, probability);
            world.advise(&[Advisory { advisory_reporting_time: world.clock.now(), ..said }]).await;
        }
        assert_eq!((world.tickets().await.len(), world.awaits(&loose).await), (1, json!("prognosis")), "{closed}");
        assert_eq!(world.metric("forewarn_advisories_stale_total").await, "2");
        for word in ["likely", "unlikely"] {
            let metric = format!("forewarn_prognosis_first_total{{word=\"{word}\"}}");
            assert_eq!(world.metric(&metric).await, "0", "{word}");
        }
        // Nobody works on a ticket that is resolved: what waits gets one of its own.
        world.clock.advance(DAY);
        world.say("wm-17", 0.9).await;
        assert_eq!((world.tickets().await.len(), world.awaits(&loose).await), (2, json!(null)), "{closed}");
        assert_eq!(world.ticket(0).await["alarm_count"], 1);
    }
}

#[tokio::test]
async fn who_waits_for_nobody() {
    let rule = |alarm: Alarm| alarm;
    let critical = |alarm: Alarm| Alarm { perceived_severity: PerceivedSeverity::Critical, ..alarm };
    let code = |alarm: Alarm| Alarm { source: AlarmSource::Device, specific_problem: "E21".into(), ..alarm };
    let other = |alarm: Alarm| Alarm { fault_key: "heater/scaling".parse().unwrap(), ..alarm };
    let phone = |alarm: Alarm| Alarm { profile: "smartphone".parse().unwrap(), ..alarm };
    /// Who, what is different, what models speak for, the minute, tickets.
    type Case<'a> = (&'a str, fn(Alarm) -> Alarm, &'a [&'a str], u64, usize);
    let cases: [Case<'_>; 7] = [
        ("a rule", rule, &["drum_bearing"], 0, 0),
        ("no model in force", rule, &["drain_pump"], 0, 1),
        ("prognosis stands still", rule, &["drum_bearing"], 49 * 60, 1),
        ("critical", critical, &["drum_bearing"], 0, 1),
        ("the device's own code", code, &["drum_bearing"], 0, 1),
        ("another component", other, &["drum_bearing"], 0, 1),
        ("another profile", phone, &["drum_bearing"], 0, 1),
    ];
    for (who, change, spoken_for, minute, tickets) in cases {
        let world = World::new().await;
        world.speak_for(spoken_for).await;
        world.alarms(&[change(alarm("wm-17", minute))]).await;
        assert_eq!(world.tickets().await.len(), tickets, "{who}");
    }
    // What joins an open ticket.
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    world.alarms(&[critical(alarm("wm-17", 0)), alarm("wm-17", 5)]).await;
    assert_eq!(world.ticket(0).await["alarm_count"], 2);
}

#[tokio::test]
async fn an_alarm_that_ends_while_it_waits_opens_nothing() {
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    world.alarms(&[alarm("wm-17", 0), cleared(&alarm("wm-17", 0))]).await;
    assert!(world.awaited().await.is_empty());
    world.clock.advance(HOUR);
    world.say("wm-17", 0.03).await;
    world.clock.advance(DAY * 30);
    verdict::all(&world.app).await.unwrap();
    assert!(world.tickets().await.is_empty());
    assert_eq!(world.awaits(&alarm("wm-17", 0)).await, json!(null));
}

#[tokio::test]
async fn a_model_that_says_nothing_is_not_waited_for() {
    // Stands still; or does not speak for it any more, which is known at once.
    for (how, days) in [("still", 2), ("not believed", 0)] {
        let world = World::new().await;
        world.speak_for(&["drum_bearing", "drain_pump"]).await;
        let slow = Alarm {
            alarm_id: "2".repeat(32),
            specific_problem: "drain_slow".into(),
            fault_key: "drain_pump/blocked".parse().unwrap(),
            ..alarm("wm-17", 0)
        };
        world.alarms(&[alarm("wm-17", 0), slow.clone()]).await;
        world.clock.advance(Duration::from_secs(5));
        if days == 0 {
            world.speak_for(&["heater"]).await;
        } else {
            world.clock.advance(DAY * days - Duration::from_secs(1));
            verdict::all(&world.app).await.unwrap();
            assert!(world.tickets().await.is_empty(), "{how}");
            world.clock.advance(Duration::from_secs(1));
        }
        verdict::all(&world.app).await.unwrap();
        let ticket = world.ticket(0).await;
        assert_eq!(ticket["sub_status"], "awaiting_owner", "{how}");
        assert!(history(&ticket).ends_with("prognosis was waited for and says nothing of it"), "{ticket}");
        // The other rule asks the device, as it would have where no model speaks.
        assert_eq!((world.tickets().await.len(), world.awaits(&slow).await), (1, json!("self_test")), "{how}");
        assert_eq!(world.metric("forewarn_prognosis_first_total{word=\"silent\"}").await, "2", "{how}");
        verdict::all(&world.app).await.unwrap();
        assert_eq!(world.tickets().await.len(), 1, "{how}: once");
    }
}

#[tokio::test]
async fn after_a_week_of_unlikely_words_a_person_judges() {
    let world = World::new().await;
    world.speak_for(&["drum_bearing"]).await;
    world.alarms(&[alarm("wm-17", 0)]).await;
    for day in 0..7 {
        world.clock.advance(DAY);
        verdict::all(&world.app).await.unwrap();
        assert!(world.tickets().await.is_empty(), "day {day}");
        world.say("wm-17", 0.03).await;
    }
    world.clock.advance(Duration::from_secs(5));
    verdict::all(&world.app).await.unwrap();
    let ticket = world.ticket(0).await;
    assert_eq!((&ticket["sub_status"], &ticket["alarm_count"]), (&json!("awaiting_confirmation"), &json!(1)));
    assert!(history(&ticket).contains("still raised after 168h, though prognosis says: The drum bearing"), "{ticket}");
    assert_eq!(world.metric("forewarn_prognosis_first_total{word=\"doubted\"}").await, "1");
}

#[tokio::test]
async fn a_storm_waits_for_nobody() {
    let storm = service_problem::Settings { devices: 5, within: HOUR, share: 0.1 };
    // Whether they wait for a model or for a self-test.
    for (rule, key) in [("drum_bearing_vibration", "drum_bearing/wear"), ("drain_slow", "drain_pump/blocked")] {
        let world = World::with(|app| app.settings.storm = storm).await;
        if key.starts_with("drum_bearing") {
            world.speak_for(&["drum_bearing"]).await;
        }
        let raised = |nth: u64| Alarm {
            alarm_id: format!("{nth:032}"),
            specific_problem: rule.into(),
            fault_key: key.parse().unwrap(),
            ..alarm(&format!("wm-{nth}"), nth * 4)
        };
        for nth in 0..4 {
            world.alarms(&[raised(nth)]).await;
        }
        assert!(world.tickets().await.is_empty(), "{rule}");
        world.alarms(&[raised(4), raised(5)]).await;
        let held = world.tickets().await.iter().filter(|ticket| ticket["status"] == "held").count();
        assert_eq!((held, world.tickets().await.len()), (6, 6), "{rule}");
        assert_eq!(world.metric("forewarn_tickets_opened_total").await, "6", "{rule}");
        assert_eq!(world.metric("forewarn_tickets_held_total").await, "6", "{rule}");
        assert_eq!(world.metric("forewarn_service_problems_total").await, "1", "{rule}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Raise(PerceivedSeverity),
    End,
    Say(f64),
    SpeakFor(bool),
    Relay,
    Wait(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever comes in whatever order: one ticket at a time, none that a model finds unlikely within the week, and no
    /// raised alarm waits for ever.
    #[test]
    fn an_alarm_that_waits_ends_or_gets_its_ticket(
        steps in proptest::collection::vec(
            prop_oneof![
                prop_oneof![Just(PerceivedSeverity::Minor), Just(PerceivedSeverity::Critical)].prop_map(Step::Raise),
                Just(Step::Raise(PerceivedSeverity::Minor)),
                Just(Step::End),
                prop_oneof![Just(0.03), Just(0.03), Just(0.15), Just(0.6)].prop_map(Step::Say),
                any::<bool>().prop_map(Step::SpeakFor),
                Just(Step::Relay),
                (1u64..60).prop_map(Step::Wait),
            ],
            1..16,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            world.speak_for(&["drum_bearing"]).await;
            let minutes = || world.clock.now().since(at("2026-11-21T10:00:00Z")).as_secs() / 60;
            let mut raised: Option<Alarm> = None;
            // Whether a ticket can have been opened.
            let mut may_open = false;
            for step in steps {
                match step {
                    Step::Raise(perceived_severity) => if raised.is_none() {
                        raised = Some(Alarm { perceived_severity, ..alarm("wm-17", minutes()) });
                        world.alarms(raised.as_slice()).await;
                        may_open |= perceived_severity == PerceivedSeverity::Critical;
                    },
                    Step::End => if let Some(alarm) = raised.take() {
                        let end = Some(world.clock.now());
                        world.alarms(&[Alarm { state: AlarmState::Cleared, alarm_cleared_time: end, ..alarm }]).await;
                    },
                    Step::Say(probability) => {
                        may_open |= advisory("wm-17", 0, probability).decision != Decision::Watch;
                        world.say("wm-17", probability).await;
                    }
                    Step::SpeakFor(all) => {
                        may_open |= !all;
                        world.speak_for(if all { &["drum_bearing"] } else { &[] }).await;
                    }
                    Step::Relay => verdict::all(&world.app).await.unwrap(),
                    Step::Wait(hours) => {
                        // Long enough for prognosis to be given up, in the sum.
                        may_open |= minutes() / 60 + hours >= 48;
                        world.clock.advance(HOUR * hours as u32);
                    }
                }
                let tickets = world.tickets().await.len();
                prop_assert!(tickets <= usize::from(may_open), "{}", tickets);
            }
            // The model finds it unlikely, for ten days.
            for _ in 0..10 {
                world.say("wm-17", 0.03).await;
                world.clock.advance(DAY);
                verdict::all(&world.app).await.unwrap();
            }
            let count = "select count(*) from alarm where prognosis_due is not null or (state = 'raised' and ticket_id is null)";
            let waiting: i64 = sqlx::query_scalar(count).fetch_one(&world.app.db).await.unwrap();
            prop_assert_eq!(waiting, 0);
            Ok(())
        })?;
    }
}
