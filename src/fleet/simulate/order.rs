//! What an appliance does when it is told to: tests itself, or starts anew.
//!
//! In: a command as the gateway gives it out. Out: a reply. Promise: each command is obeyed once, however often it comes;
//! a self-test tells nothing but which of the tested components do not pass. Never: a hint of what is planted beyond that.
//!
//! A component passes as long as wear has not come half as far as where rules raise, give or take a fifth of that: the
//! device turns it once and measures, better than in daily use and not exactly. What disturbs it then looks like wear, half as
//! much as in daily use, and one test in fifty fails for no reason. These numbers were chosen, not measured, and before a
//! ticket depended on them.

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
/// How much of a disturbance a self-test takes for wear: it turns the component under conditions of its own.
const DISTURBED: f64 = 0.5;
/// Share of tests that fail whatever they test.
const FAILS_FOR_NOTHING: f64 = 0.02;
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
            let for_nothing = self.test_rng.random_bool(FAILS_FOR_NOTHING);
            let seen = match self.condition(component, at) {
                Condition::Failed(_) => f64::INFINITY,
                Condition::Worn { wear, .. } => wear.max(DISTURBED * self.disturbed(component, at)),
                Condition::Sound { .. } => DISTURBED * self.disturbed(component, at),
            };
            if seen >= limit || for_nothing {
                failed.push(*component);
            }
        }
        json!({ "passed": failed.is_empty(), "failed": failed })
    }

    /// How much a component seems to wear that does not.
    pub fn disturbed(&self, component: &str, at: Instant) -> f64 {
        let looks = self.kind.disturbed.iter().enumerate().filter(|(_, like)| **like == component);
        let strengths = looks.flat_map(|(which, _)| self.disturbances().iter().map(move |it| it.strength(which, at)));
        strengths.fold(0.0, f64::max)
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
    fn a_self_test_fails_from_half_of_the_wear_at_which_rules_raise_and_now_and_then_for_nothing() {
        // By what the component is: tests, and those that it did not pass.
        let (mut worn, mut near, mut sound, mut disturbed) = ([0_u32; 2], [0_u32; 2], [0_u32; 2], [0_u32; 2]);
        for mut appliance in fleet(3, 1200, start()) {
            let planted = appliance.planted()[0].clone();
            for step in 0..=40 {
                let at = planted.onset.plus(planted.failure.since(planted.onset) * step / 40);
                let (ok, result) = told(&mut appliance, &format!("t{step}"), "self_test", at).unwrap();
                let failed: Vec<&str> = result["failed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                assert!(
                    ok && result["passed"] == failed.is_empty()
                        && failed.iter().all(|it| appliance.kind.tested.contains(it))
                );
                for component in appliance.kind.tested {
                    let wears = planted.course == Course::Wear && planted.fault_key.component() == *component;
                    let kind = match if wears { planted.wear(at) } else { 0.0 } {
                        wear if wear >= TEST_FAILS * (1.0 + TEST_ERROR) => &mut worn,
                        wear if wear >= TEST_FAILS * (1.0 - TEST_ERROR) => &mut near,
                        _ if appliance.disturbed(component, at) > 0.4 => &mut disturbed,
                        _ => &mut sound,
                    };
                    kind[0] += 1;
                    kind[1] += u32::from(failed.contains(component));
                }
            }
        }
        let share = |[tests, failed]: [u32; 2]| {
            assert!(tests > 50, "{tests} tests");
            f64::from(failed) / f64::from(tests)
        };
        assert_eq!(share(worn), 1.0);
        assert!((0.2..0.8).contains(&share(near)), "{near:?}");
        assert!((0.01..0.03).contains(&share(sound)), "{sound:?}");
        assert!((0.2..0.95).contains(&share(disturbed)), "{disturbed:?}");
    }

    #[test]
    fn a_mended_component_passes() {
        let mut passed = 0;
        let mut fleet = fleet(3, 400, start());
        let worn = fleet.iter_mut().filter(|it| {
            let planted = &it.planted()[0];
            planted.course == Course::Wear && it.kind.tested.contains(&planted.fault_key.component())
        });
        let mut tests = 0;
        for appliance in worn {
            let planted = appliance.planted()[0].clone();
            let late = planted.failure.minus(Duration::from_secs(60));
            assert_eq!(told(appliance, "a", "self_test", late).unwrap().1["passed"], false);
            appliance.mend(planted.fault_key.component(), late);
            let after = late.plus(Duration::from_secs(1));
            passed += u32::from(told(appliance, "b", "self_test", after).unwrap().1["passed"] == true);
            tests += 1;
        }
        assert!(tests > 100 && passed * 100 >= tests * 90, "{passed} of {tests}");
    }
}
