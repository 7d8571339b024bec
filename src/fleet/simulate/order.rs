//! What an appliance does when it is told to: tests itself, or starts anew.
//!
//! In: a command as the gateway gives it out. Out: a reply. Promise: each command is obeyed once, however often it comes;
//! a self-test tells nothing but which of the tested components do not pass. Never: a hint of what is planted beyond that.
//!
//! A component passes as long as wear has not come half as far as where rules raise, give or take a fifth of that: the
//! device turns it once and measures, better than in daily use and not exactly.

use rand::RngExt;
use schemas::{
    id::TenantId,
    time::Instant,
    topic::{Channel, Topic},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Condition, appliance::Appliance};
use crate::fleet::device::Message;

/// Where rules raise: at about half of the wear that they were written for.
const RULES_RAISE: f64 = 0.5;
/// Where a self-test fails.
const TEST_FAILS: f64 = RULES_RAISE / 2.0;
/// Its error: a fifth of that at most, to either side.
const TEST_ERROR: f64 = 0.2;
/// Ids of commands that are remembered: as many as can wait for one device.
const REMEMBERED: usize = 100;

#[derive(Debug, Deserialize)]
struct Order {
    id: String,
    name: String,
}

impl Appliance {
    /// Obeys a command; no reply where it was obeyed before or is none.
    pub fn obey(&mut self, tenant: &TenantId, command: &[u8], at: Instant) -> Option<Message> {
        let Order { id, name } = serde_json::from_slice(command).ok()?;
        if self.obeyed.contains(&id) {
            return None;
        }
        let reply = match name.as_str() {
            known if !self.kind.commands.contains(&known) => {
                json!({ "id": id, "ok": false, "result": { "error": format!("no command {known:?} is known") } })
            }
            "self_test" => json!({ "id": id, "ok": true, "result": self.test(at) }),
            _ => json!({ "id": id, "ok": true }),
        };
        if self.obeyed.len() == REMEMBERED {
            self.obeyed.pop_front();
        }
        self.obeyed.push_back(id);
        let topic: Topic = self.topic(tenant, Channel::Reply);
        Some(Message { topic, payload: reply.to_string().into(), retain: false })
    }

    fn test(&mut self, at: Instant) -> Value {
        let mut failed = Vec::new();
        for component in self.kind.tested {
            let limit = TEST_FAILS * self.test_rng.random_range(1.0 - TEST_ERROR..1.0 + TEST_ERROR);
            match self.condition(component, at) {
                Condition::Failed(_) => failed.push(*component),
                Condition::Worn { wear, .. } if wear >= limit => failed.push(*component),
                Condition::Worn { .. } | Condition::Sound { .. } => {}
            }
        }
        json!({ "passed": failed.is_empty(), "failed": failed })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemas::{payload, profile::Profiles};

    use super::{
        super::{Course, KINDS, fleet},
        *,
    };

    fn start() -> Instant {
        "2026-07-01T00:00:00Z".parse().unwrap()
    }

    fn told(appliance: &mut Appliance, id: &str, name: &str, at: Instant) -> Option<(bool, Value)> {
        let command = json!({ "id": id, "name": name, "args": {}, "expires": at.plus(Duration::from_secs(60)) });
        let message = appliance.obey(&"dev".parse().unwrap(), command.to_string().as_bytes(), at)?;
        assert_eq!(message.topic.channel, Channel::Reply);
        let reply = payload::reply(payload::Form::Json, &message.payload).unwrap();
        assert_eq!(reply.id, id);
        let result = reply.result.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        Some((reply.ok, result))
    }

    #[test]
    fn kinds_know_the_commands_and_the_tested_components_of_their_profiles() {
        let profiles = Profiles::builtin();
        for kind in KINDS {
            let profile = profiles.get(kind.profile).unwrap();
            let commands: Vec<&str> = profile.commands.iter().map(|command| command.name.as_str()).collect();
            assert_eq!(kind.commands, commands, "{}", kind.profile);
            let tested = profile.components.iter().filter(|it| it.self_test.is_some());
            let tested: Vec<&str> = tested.map(|it| it.name.as_str()).collect();
            assert_eq!(kind.tested, tested, "{}", kind.profile);
        }
    }

    #[test]
    fn a_command_is_obeyed_once_and_one_that_is_not_known_is_answered_with_a_reason() {
        let mut machine = fleet(3, 1, start()).remove(0);
        assert_eq!(told(&mut machine, "a", "restart", start()), Some((true, Value::Null)));
        assert_eq!(told(&mut machine, "a", "restart", start()), None);
        let (ok, result) = told(&mut machine, "b", "explode", start()).unwrap();
        assert!(!ok && result["error"].as_str().unwrap().contains("\"explode\""), "{result}");
        for id in 0..REMEMBERED {
            assert!(told(&mut machine, &id.to_string(), "restart", start()).is_some());
        }
        assert!(told(&mut machine, "a", "restart", start()).is_some(), "that is forgotten by now");
        assert!(machine.obey(&"dev".parse().unwrap(), b"no command", start()).is_none());
    }

    #[test]
    fn a_self_test_fails_from_half_of_the_wear_at_which_rules_raise_give_or_take_a_fifth() {
        let (mut passed_near, mut failed_near, mut tests) = (0, 0, 0);
        for mut appliance in fleet(3, 400, start()) {
            let planted = appliance.planted()[0].clone();
            let component = planted.fault_key.component().to_owned();
            let known = appliance.kind.tested.contains(&component.as_str());
            let span = planted.failure.since(planted.onset);
            for step in 0..=20 {
                let at = planted.onset.plus(span * step / 20);
                let (ok, result) = told(&mut appliance, &format!("t{step}"), "self_test", at).unwrap();
                let passed = result["passed"].as_bool().unwrap();
                assert!(ok);
                tests += 1;
                let wear = planted.wear(at);
                match (known && planted.course == Course::Wear, wear) {
                    (false, _) => assert!(passed, "{component} is not tested"),
                    (true, wear) if wear < TEST_FAILS * (1.0 - TEST_ERROR) => assert!(passed, "{component} at {wear}"),
                    (true, wear) if wear >= TEST_FAILS * (1.0 + TEST_ERROR) => {
                        assert_eq!(result, json!({ "passed": false, "failed": [component] }), "at {wear}");
                    }
                    (true, _) if passed => passed_near += 1,
                    (true, _) => failed_near += 1,
                }
            }
        }
        assert!(tests > 8000 && passed_near > 50 && failed_near > 50, "{tests}: {passed_near} {failed_near}");
    }

    #[test]
    fn a_mended_component_passes() {
        let mut fleet = fleet(3, 400, start());
        let worn = fleet.iter_mut().find(|it| {
            let planted = &it.planted()[0];
            planted.course == Course::Wear && it.kind.tested.contains(&planted.fault_key.component())
        });
        let appliance = worn.unwrap();
        let planted = appliance.planted()[0].clone();
        let late = planted.failure.minus(Duration::from_secs(60));
        assert_eq!(told(appliance, "a", "self_test", late).unwrap().1["passed"], false);
        appliance.mend(planted.fault_key.component(), late);
        let after = late.plus(Duration::from_secs(1));
        assert_eq!(told(appliance, "b", "self_test", after).unwrap().1["passed"], true);
    }
}
