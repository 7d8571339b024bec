//! A self-test's way: wanted by a ticket, ordered once, answered by the device, kept with the ticket.

use schemas::{door::Principal, id::LogOffset};
use serde_json::json;

use super::{advisory::advisory, command::heard_of, *};
use crate::{
    command::store::{Once, Reply, answered},
    self_test::{order, store as wanted},
};

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
    world.advise(&[advisory("wm-17", 0, 0.4)]).await;
    assert_eq!(world.ticket(0).await["self_tests"][0]["state"], "wanted");
    let first = wanted::waiting(&world.app.db, 10).await.unwrap().remove(0);
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
    world.advise(&[advisory("wm-17", 0, 0.4), advisory("wm-18", 0, 0.4)]).await;
    heard_of(&world.app.db, &device("wm-18")).await;
    order::all(&world.app).await.unwrap();
    assert!(wanted::waiting(&world.app.db, 10).await.unwrap().is_empty());
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
