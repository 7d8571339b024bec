//! A self-test's way: wanted by a ticket or before one, ordered once, answered by the device, acted upon once.

use proptest::prelude::*;
use schemas::{advisory::Advisory, door::Principal, id::LogOffset, profile::Rule, time::EventClock};
use serde_json::json;

use super::{advisory::advisory, command::heard_of, *};
use crate::{
    command::store::{Once, Reply, Taken, answered, expire_all, taken},
    self_test::{order, store as wanted, verdict},
};

/// A time by which everything is due.
pub(super) fn later() -> Instant {
    at("2036-01-01T00:00:00Z")
}

const MINUTES_15: Duration = Duration::from_secs(900);
const DAY: Duration = Duration::from_secs(86_400);

fn device(id: &str) -> Principal {
    Principal { tenant: "dev".parse().unwrap(), device_id: id.parse().unwrap() }
}

async fn commands(world: &World) -> Vec<Value> {
    let page = world.json("analyst", "GET /v1/devices/wm-17/commands", "", StatusCode::OK).await;
    page["commands"].as_array().unwrap().clone()
}

fn texts(ticket: &Value) -> Vec<&str> {
    ticket["history"].as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_device_gets_it_once_and_its_reply_stays_with_the_ticket() {
    let world = World::new().await;
    heard_of(&world.app.db, &device("wm-17")).await;
    world.clock.advance(MINUTES_15);
    world.advise(&[advisory("wm-17", 0, 0.4)]).await;
    assert_eq!(world.ticket(0).await["self_tests"][0]["state"], "wanted");
    let first = wanted::waiting(&world.app.db, later(), 10).await.unwrap().remove(0);
    order::all(&world.app).await.unwrap();
    // A second advisory, and a relay that was killed before it noted what it did.
    world.advise(&[advisory("wm-17", 10, 0.6)]).await;
    order::all(&world.app).await.unwrap();
    let known = crate::command::rules::Order { name: first.name.clone(), args: "{}".into(), expires_in: DEADLINE };
    let again = wanted::order(&world.app.db, &first, Ok(known), world.clock.now()).await.unwrap();
    assert_eq!(again, Some(Once::Known));
    let ordered = commands(&world).await;
    assert_eq!(ordered.len(), 1, "{ordered:?}");
    assert_eq!((&ordered[0]["name"], &ordered[0]["ordered_by"]), (&json!("self_test"), &json!("triage")));
    assert_eq!(ordered[0]["command_id"], first.command_id.as_str());
    assert_eq!(world.ticket(0).await["self_tests"][0]["state"], "pending");

    let reply = |from: &str, passed: bool| Reply {
        from: device(from),
        command_id: first.command_id.clone(),
        ok: true,
        result: Some(json!({ "passed": passed, "vibration_mm_s": 9.1 }).to_string()),
        at: at("2026-11-21T10:20:00Z"),
    };
    // Somebody else's reply counts for nothing, and only the first one counts.
    let replies = [reply("wm-18", true), reply("wm-17", false), reply("wm-17", true)];
    answered(&world.app.db, &replies, LogOffset(9)).await.unwrap();
    let ticket = world.ticket(0).await;
    let test = &ticket["self_tests"][0];
    assert_eq!((&test["state"], &test["passed"]), (&json!("answered"), &json!(false)), "{test}");
    assert_eq!((&test["replied"], &test["result"]["vibration_mm_s"]), (&json!("2026-11-21T10:20:00Z"), &json!(9.1)));
    let said = texts(&ticket);
    assert!(said.last().unwrap().starts_with("self_test failed: {\"passed\":false"), "{said:?}");
    assert_eq!(said.iter().filter(|text| text.starts_with("self_test ")).count(), 1, "{said:?}");
    assert_eq!(ticket["status"], "acknowledged", "an agent decides");
}

#[tokio::test]
async fn what_cannot_be_ordered_is_said_on_the_ticket_and_holds_nobody_up() {
    let world = World::new().await;
    world.clock.advance(MINUTES_15);
    world.advise(&[advisory("wm-17", 0, 0.4), advisory("wm-18", 0, 0.4)]).await;
    heard_of(&world.app.db, &device("wm-18")).await;
    order::all(&world.app).await.unwrap();
    assert!(wanted::waiting(&world.app.db, later(), 10).await.unwrap().is_empty());
    let states = async |place: usize| {
        let ticket = world.ticket(place).await;
        let said = texts(&ticket).last().unwrap().to_string();
        (ticket["device_id"].as_str().unwrap().to_owned(), ticket["self_tests"][0]["state"].clone(), said)
    };
    let mut both = [states(0).await, states(1).await];
    both.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(both[0].1, "not_ordered");
    assert!(both[0].2.ends_with("self_test was not ordered: the device was never heard of"), "{both:?}");
    assert_eq!((both[1].0.as_str(), &both[1].1), ("wm-18", &json!("pending")));
}

/// An alarm of the rule `drain_slow`, which wants a self-test first, `minute` minutes after ten.
fn slow(minute: u64) -> Alarm {
    let alarm = alarm("wm-17", minute);
    Alarm {
        alarm_id: Alarm::id(&alarm.tenant, &alarm.device_id, "drain_slow", alarm.alarm_raised_time),
        specific_problem: "drain_slow".into(),
        source: AlarmSource::Rule,
        fault_key: "drain_pump/blocked".parse().unwrap(),
        perceived_severity: PerceivedSeverity::Minor,
        ..alarm
    }
}

fn over(alarm: Alarm, at: Instant) -> Alarm {
    Alarm { state: AlarmState::Cleared, alarm_cleared_time: Some(at), ..alarm }
}

/// That alarm has been raised, and the device has been asked.
async fn asked() -> World {
    let world = World::new().await;
    heard_of(&world.app.db, &device("wm-17")).await;
    world.clock.advance(MINUTES_15);
    world.alarms(&[slow(0)]).await;
    order::all(&world.app).await.unwrap();
    world
}

/// What the device says of the newest command, and what follows.
async fn answer(world: &World, ok: bool, result: Option<Value>) {
    let command = commands(world).await.remove(0);
    let reply = Reply {
        from: device("wm-17"),
        command_id: command["command_id"].as_str().unwrap().to_owned(),
        ok,
        result: result.map(|result| result.to_string()),
        at: world.clock.now(),
    };
    let answered = answered(&world.app.db, &[reply], LogOffset(9)).await.unwrap();
    assert_eq!((answered.commands, answered.self_tests.len()), (1, 1));
    verdict::all(&world.app).await.unwrap();
}

async fn shown(world: &World, of: &Alarm) -> Value {
    world.json("analyst", &format!("GET /v1/alarms/{}", of.alarm_id), "", StatusCode::OK).await
}

#[tokio::test]
async fn a_component_that_fails_its_test_gets_its_ticket() {
    let world = asked().await;
    assert!(world.tickets().await.is_empty(), "nobody is asked for anything yet");
    // Another alarm waits with the first.
    world.alarms(&[slow(5)]).await;
    order::all(&world.app).await.unwrap();
    assert_eq!(commands(&world).await.len(), 1);
    let before = shown(&world, &slow(0)).await;
    assert_eq!((&before["ticket_id"], &before["self_tests"][0]["state"]), (&json!(null), &json!("pending")));
    world.clock.advance(Duration::from_secs(3600));
    answer(&world, true, Some(json!({ "passed": false, "failed": ["drum_bearing", "drain_pump"] }))).await;
    let ticket = world.ticket(0).await;
    assert_eq!((&ticket["sub_status"], &ticket["alarm_count"]), (&json!("awaiting_owner"), &json!(2)));
    assert_eq!(ticket["creation_date"], "2026-11-21T11:15:00Z", "when the device had answered");
    assert_eq!(
        (ticket["self_tests"].as_array().unwrap().len(), &ticket["self_tests"][0]["passed"]),
        (1, &json!(false))
    );
    let said = texts(&ticket);
    assert!(said.last().unwrap().starts_with("self_test failed: {"), "{said:?}");
    assert_eq!(shown(&world, &slow(0)).await["ticket_id"], ticket["ticket_id"]);
    assert_eq!(world.metric("forewarn_tickets_opened_total").await, "1");
    // Whatever is looked at again: once.
    verdict::all(&world.app).await.unwrap();
    order::all(&world.app).await.unwrap();
    assert_eq!((world.tickets().await.len(), commands(&world).await.len()), (1, 1));
}

#[tokio::test]
async fn what_passes_is_asked_again_each_day_and_after_a_week_a_person_is() {
    let world = asked().await;
    let mut tests = 0;
    while world.tickets().await.is_empty() {
        order::all(&world.app).await.unwrap();
        tests += 1;
        assert_eq!(commands(&world).await.len(), tests);
        // Another component of the device failed: this one passed.
        answer(&world, true, Some(json!({ "passed": false, "failed": ["drum_bearing"] }))).await;
        order::all(&world.app).await.unwrap();
        assert_eq!(commands(&world).await.len(), tests, "not yet");
        world.clock.advance(DAY);
    }
    assert_eq!(tests, 7);
    let ticket = world.ticket(0).await;
    assert_eq!((&ticket["sub_status"], &ticket["alarm_count"]), (&json!("awaiting_confirmation"), &json!(1)));
    assert_eq!(ticket["self_tests"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn an_alarm_that_ends_while_it_waits_opens_nothing() {
    for when in ["before the order", "before the answer", "after it passed"] {
        let world = World::new().await;
        heard_of(&world.app.db, &device("wm-17")).await;
        world.clock.advance(MINUTES_15);
        world.alarms(&[slow(0)]).await;
        let end = over(slow(0), at("2026-11-21T10:14:00Z"));
        if when == "before the order" {
            world.alarms(std::slice::from_ref(&end)).await;
        }
        order::all(&world.app).await.unwrap();
        assert_eq!(commands(&world).await.len(), usize::from(when != "before the order"), "{when}");
        match when {
            "before the answer" => {
                world.alarms(&[end]).await;
                answer(&world, true, Some(json!({ "passed": false }))).await;
            }
            "after it passed" => {
                answer(&world, true, Some(json!({ "passed": true }))).await;
                world.alarms(&[end]).await;
            }
            _ => {}
        }
        world.clock.advance(DAY * 2);
        verdict::all(&world.app).await.unwrap();
        order::all(&world.app).await.unwrap();
        assert_eq!(commands(&world).await.len(), usize::from(when != "before the order"), "{when}: not asked again");
        assert!(world.tickets().await.is_empty(), "{when}");
        // What is raised anew is asked anew.
        world.alarms(&[slow(60 * 24 * 2)]).await;
        order::all(&world.app).await.unwrap();
        assert_eq!(commands(&world).await.len(), 1 + usize::from(when != "before the order"), "{when}");
    }
    // An end that came before its beginning: the alarm is over, and nothing is asked.
    let world = World::new().await;
    heard_of(&world.app.db, &device("wm-17")).await;
    world.clock.advance(MINUTES_15);
    world.alarms(&[over(slow(0), at("2026-11-21T10:14:00Z"))]).await;
    assert!(wanted::waiting(&world.app.db, later(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_nobody_tested_gets_its_ticket() {
    let fetched = async |world: &World, refused: Option<String>| {
        let number = sqlx::query_scalar("select max(number) from command").fetch_one(&world.app.db).await.unwrap();
        taken(&world.app.db, &[Taken { number, refused, at: world.clock.now() }]).await.unwrap();
    };
    for (why, text) in [
        ("cannot", "self_test could not be done: {\"error\":\"drum is full\"}"),
        ("refused", "self_test was not answered"),
        ("expired", "self_test was not answered"),
        ("silent", "self_test was not answered"),
        ("never heard of", "self_test could not be done: {\"error\":\"the device was never heard of\"}"),
    ] {
        let world = match why {
            "never heard of" => World::new().await,
            _ => asked().await,
        };
        match why {
            "cannot" => answer(&world, false, Some(json!({ "error": "drum is full" }))).await,
            "refused" => fetched(&world, Some("not authorized".into())).await,
            "expired" => {
                world.clock.advance(DAY);
                expire_all(&world.app.db, world.clock.now()).await.unwrap();
            }
            "silent" => {
                fetched(&world, None).await;
                world.clock.advance(DAY - Duration::from_secs(1));
                verdict::all(&world.app).await.unwrap();
                assert!(world.tickets().await.is_empty(), "it may still answer");
                world.clock.advance(Duration::from_secs(1));
            }
            _ => {
                world.clock.advance(MINUTES_15);
                world.alarms(&[slow(0)]).await;
                order::all(&world.app).await.unwrap();
            }
        }
        verdict::all(&world.app).await.unwrap();
        let ticket = world.ticket(0).await;
        assert_eq!(ticket["sub_status"], "awaiting_owner", "{why}");
        assert_eq!(texts(&ticket).last(), Some(&text), "{why}");
        let tests = ticket["self_tests"].as_array().unwrap();
        assert_eq!((tests.len(), &tests[0]["passed"]), (1, &json!(null)), "{why}");
    }
}

#[tokio::test]
async fn a_replay_waits_for_no_device() {
    let world = World::with(|app| app.clock = Arc::new(EventClock::at(at("2026-11-21T10:15:00Z")))).await;
    heard_of(&world.app.db, &device("wm-17")).await;
    world.alarms(&[slow(0)]).await;
    order::all(&world.app).await.unwrap();
    verdict::all(&world.app).await.unwrap();
    let ticket = world.ticket(0).await;
    assert_eq!(
        (&ticket["sub_status"], &ticket["creation_date"]),
        (&json!("awaiting_owner"), &json!("2026-11-21T10:15:00Z"))
    );
}

#[tokio::test]
async fn whoever_opens_the_ticket_meanwhile_takes_over_what_waits() {
    let pump = |probability| Advisory {
        fault_key: "drain_pump/blocked".parse().unwrap(),
        component: "drain_pump".into(),
        ..advisory("wm-17", 10, probability)
    };
    let code = Alarm {
        alarm_id: "1".repeat(32),
        specific_problem: "E21".into(),
        source: AlarmSource::Device,
        perceived_severity: PerceivedSeverity::Major,
        ..slow(10)
    };
    for who in ["auto", "assist", "code"] {
        let world = asked().await;
        match who {
            "auto" => world.advise(&[pump(0.6)]).await,
            "assist" => world.advise(&[pump(0.2)]).await,
            _ => world.alarms(std::slice::from_ref(&code)).await,
        }
        let ticket = world.ticket(0).await;
        let alarms = 1 + u8::from(who == "code");
        assert_eq!(
            (&ticket["sub_status"], &ticket["alarm_count"]),
            (&json!("awaiting_owner"), &json!(alarms)),
            "{who}"
        );
        answer(&world, true, Some(json!({ "passed": true }))).await;
        let ticket = world.ticket(0).await;
        assert_eq!(texts(&ticket).last(), Some(&"self_test passed: {\"passed\":true}"), "{who}");
        assert_eq!((&ticket["status"], world.tickets().await.len()), (&json!("acknowledged"), 1));
        world.clock.advance(DAY * 2);
        verdict::all(&world.app).await.unwrap();
        order::all(&world.app).await.unwrap();
        assert_eq!(commands(&world).await.len(), 1, "{who}: a ticket's test is done once");
    }
}

#[tokio::test]
async fn a_test_that_outlived_its_alarm_is_that_of_the_next_ticket() {
    let world = asked().await;
    world.alarms(&[over(slow(0), at("2026-11-21T10:14:00Z"))]).await;
    let said = advisory("wm-17", 10, 0.6);
    let fault_key = "drain_pump/blocked".parse().unwrap();
    world.advise(&[Advisory { fault_key, component: "drain_pump".into(), ..said }]).await;
    order::all(&world.app).await.unwrap();
    assert_eq!(commands(&world).await.len(), 1, "the device is asked once");
    answer(&world, true, Some(json!({ "passed": true }))).await;
    assert_eq!(texts(&world.ticket(0).await).last(), Some(&"self_test passed: {\"passed\":true}"));
}

#[test]
fn no_builtin_rule_of_critical_severity_waits_for_a_test() {
    let profiles = Profiles::builtin();
    let rules = profiles.iter().flat_map(|profile| &profile.rules);
    let first: Vec<&Rule> = rules.filter(|rule| rule.self_test_first).collect();
    assert!(first.len() >= 6, "{first:?}");
    assert!(first.iter().all(|rule| rule.severity < PerceivedSeverity::Critical), "{first:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Raise,
    End,
    Advise(f64),
    Relay,
    Answer(bool),
    Wait(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever comes in whatever order: one ticket and one test at a time, and no raised alarm waits for ever.
    #[test]
    fn an_alarm_that_waits_ends_or_gets_its_ticket(
        steps in proptest::collection::vec(
            prop_oneof![
                Just(Step::Raise),
                Just(Step::End),
                prop_oneof![Just(0.2), Just(0.6)].prop_map(Step::Advise),
                Just(Step::Relay),
                Just(Step::Relay),
                any::<bool>().prop_map(Step::Answer),
                (1u64..60).prop_map(Step::Wait),
            ],
            1..16,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            heard_of(&world.app.db, &device("wm-17")).await;
            world.clock.advance(MINUTES_15);
            let minutes = || world.clock.now().since(at("2026-11-21T10:15:00Z")).as_secs() / 60;
            let open = async || {
                commands(&world).await.into_iter().filter(|it| it["state"] == "pending").collect::<Vec<_>>()
            };
            let relay = async || {
                expire_all(&world.app.db, world.clock.now()).await.unwrap();
                verdict::all(&world.app).await.unwrap();
                order::all(&world.app).await.unwrap();
            };
            let mut raised: Option<Alarm> = None;
            for step in steps {
                match step {
                    Step::Raise if raised.is_none() => {
                        raised = Some(slow(minutes()));
                        world.alarms(raised.as_slice()).await;
                    }
                    Step::End => if let Some(alarm) = raised.take() {
                        world.alarms(&[over(alarm, world.clock.now())]).await;
                    },
                    Step::Advise(p) => {
                        let said = advisory("wm-17", minutes(), p);
                        let fault_key = "drain_pump/blocked".parse().unwrap();
                        world.advise(&[Advisory { fault_key, component: "drain_pump".into(), ..said }]).await;
                    }
                    Step::Relay => relay().await,
                    Step::Answer(passed) => if !open().await.is_empty() {
                        answer(&world, true, Some(json!({ "passed": passed }))).await;
                    },
                    Step::Wait(hours) => world.clock.advance(Duration::from_secs(hours * 3600)),
                    Step::Raise => {}
                }
                prop_assert!(world.tickets().await.len() <= 1);
                prop_assert!(open().await.len() <= 1);
            }
            // The device passes whatever it is asked, for ten days.
            for _ in 0..10 {
                relay().await;
                if !open().await.is_empty() {
                    answer(&world, true, Some(json!({ "passed": true }))).await;
                }
                world.clock.advance(DAY);
            }
            relay().await;
            prop_assert!(open().await.is_empty());
            let count = "select count(*) from alarm where awaits_self_test = 1 or (state = 'raised' and ticket_id is null)";
            let waiting: i64 = sqlx::query_scalar(count).fetch_one(&world.app.db).await.unwrap();
            prop_assert_eq!(waiting, 0);
            Ok(())
        })?;
    }
}
