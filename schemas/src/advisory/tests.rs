use super::*;

fn model() -> ModelVersion {
    ModelVersion { name: "washing_machine.drum_bearing".into(), version: "3".into() }
}

fn id(tenant: &str, device: &str, fault_key: &str, event_time: &str, model: &ModelVersion) -> String {
    let (tenant, device) = (tenant.parse().unwrap(), device.parse().unwrap());
    Advisory::id(&tenant, &device, &fault_key.parse().unwrap(), event_time.parse().unwrap(), model)
}

#[test]
fn an_id_follows_from_what_the_advisory_is_about() {
    let (bearing, noon) = ("drum_bearing/wear", "2026-11-21T12:00:00Z");
    let first = id("acme", "wm-1", bearing, noon, &model());
    assert_eq!(first.len(), 32);
    assert_eq!(first, id("acme", "wm-1", bearing, noon, &model()));
    let later = ModelVersion { version: "4".into(), ..model() };
    // Where one part ends and the next begins is told, too.
    let moved = ModelVersion { name: "washing_machine.drum_bearing3".into(), version: "".into() };
    for other in [
        id("acme2", "wm-1", bearing, noon, &model()),
        id("acme", "wm-2", bearing, noon, &model()),
        id("acme", "wm-1", "drain_pump/blocked", noon, &model()),
        id("acme", "wm-1", bearing, "2026-11-21T12:00:01Z", &model()),
        id("acme", "wm-1", bearing, noon, &later),
        id("acme", "wm-1", bearing, noon, &moved),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn words_are_the_same_in_json_and_columns() {
    for decision in Decision::ALL {
        assert_eq!(serde_json::to_string(decision).unwrap(), format!("{:?}", decision.as_str()));
        assert_eq!(Decision::parse(decision.as_str()), Some(*decision));
    }
    for method in Method::ALL {
        assert_eq!(serde_json::to_string(method).unwrap(), format!("{:?}", method.as_str()));
    }
}

#[test]
fn what_costs_more_is_avoided() {
    let costs = |visit, failure, false_alarm| Costs { visit, failure, false_alarm };
    for (costs, threshold) in [
        (costs(1.0, 4.0, 0.0), 0.25),
        (costs(1.0, 4.0, 1.0), 0.4),
        (costs(1.0, 10.0, 0.0), 0.1),
        // A visit as dear as the failure never pays before it is certain.
        (costs(1.0, 1.0, 0.5), 1.0),
        (costs(2.0, 1.0, 0.5), 1.0),
    ] {
        assert!((costs.threshold() - threshold).abs() < 1e-12, "{costs:?}: {}", costs.threshold());
    }
    let cheap = costs(1.0, 4.0, 0.0);
    for (probability, decision) in [
        (1.0, Decision::Auto),
        (0.5, Decision::Auto),
        (0.4999, Decision::Assist),
        (0.25, Decision::Assist),
        (0.2499, Decision::Watch),
        (0.0, Decision::Watch),
        (f64::NAN, Decision::Watch),
    ] {
        assert_eq!(cheap.decide(probability), decision, "{probability}");
    }
}
