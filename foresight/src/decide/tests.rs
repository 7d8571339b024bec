use proptest::prelude::*;

use super::*;

const PUMP: Costs = Costs { visit: 80.0, failure: 400.0, false_alarm: 20.0, avoided: 0.9 };

#[test]
fn both_ways_cost_the_same_at_the_threshold() {
    let p = PUMP.threshold();
    assert!((PUMP.wait_cost(p) - PUMP.visit_cost(p)).abs() < 1e-9);
}

#[test]
fn a_reason_names_both_costs() {
    let decision = decide(0.5, PUMP).unwrap();
    assert_eq!(
        decision.reason,
        "probability 0.500 is at or above the threshold 0.263; waiting is expected to cost 200.00, a visit 110.00"
    );
    let cheap = Costs { failure: 50.0, ..PUMP };
    assert!(decide(0.5, cheap).unwrap().reason.starts_with("a visit never pays") || cheap.threshold() <= 1.0);
    let written = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&written).unwrap(), decision);
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    let check = |costs: Costs, field: &str| assert_eq!(decide(0.1, costs).unwrap_err().field, field);
    check(Costs { visit: -1.0, ..PUMP }, "visit");
    check(Costs { failure: f64::NAN, ..PUMP }, "failure");
    check(Costs { avoided: 1.1, ..PUMP }, "avoided");
    assert_eq!(decide(1.5, PUMP).unwrap_err().field, "probability");
    assert!(cheapest_threshold(&[], PUMP, 0.0..=1.0).is_err());
}

#[test]
fn where_nothing_can_be_avoided_nothing_is_done() {
    let hopeless = Costs { avoided: 0.0, false_alarm: 0.0, ..PUMP };
    assert_eq!(decide(1.0, hopeless).unwrap().action, Action::Watch);
}

proptest! {
    #[test]
    fn a_higher_probability_never_means_less(one in 0.0_f64..1.0, other in 0.0_f64..1.0, failure in 1.0_f64..1e4) {
        let costs = Costs { failure, ..PUMP };
        let (low, high) = (one.min(other), one.max(other));
        prop_assert!(decide(low, costs).unwrap().action <= decide(high, costs).unwrap().action);
    }

    #[test]
    fn dearer_failures_and_cheaper_visits_never_mean_less(p in 0.0_f64..1.0, by in 0.0_f64..500.0, avoided in 0.0_f64..1.0) {
        let costs = Costs { avoided, ..PUMP };
        let action = decide(p, costs).unwrap().action;
        let dearer_failure = decide(p, Costs { failure: costs.failure + by, ..costs }).unwrap();
        let dearer_visit = decide(p, Costs { visit: costs.visit + by, ..costs }).unwrap();
        prop_assert!(dearer_visit.action <= action && action <= dearer_failure.action);
    }

    #[test]
    fn auto_is_never_dearer_than_waiting(p in 0.0_f64..1.0, visit in 0.0_f64..500.0, failure in 0.0_f64..500.0) {
        let decision = decide(p, Costs { visit, failure, ..PUMP }).unwrap();
        let saves = decision.visit_cost <= decision.wait_cost + 1e-9;
        prop_assert_eq!(saves, decision.action == Action::Auto || (decision.visit_cost - decision.wait_cost).abs() < 1e-9);
    }

    #[test]
    fn no_threshold_within_the_bounds_was_cheaper(
        history in prop::collection::vec((0_u8..=20, any::<bool>()), 1..40), other in 2_u8..=18,
    ) {
        let history: Vec<Labelled> =
            history.iter().map(|(p, failed)| Labelled { probability: f64::from(*p) / 20.0, failed: *failed }).collect();
        let cost = |threshold: f64| {
            let cost = |case: &Labelled| {
                let outcome = f64::from(u8::from(case.failed));
                if case.probability >= threshold { PUMP.visit_cost(outcome) } else { PUMP.wait_cost(outcome) }
            };
            history.iter().map(cost).sum::<f64>() / history.len() as f64
        };
        let chosen = cheapest_threshold(&history, PUMP, 0.1..=0.9).unwrap();
        prop_assert!((0.1..=0.9).contains(&chosen.threshold));
        prop_assert!((cost(chosen.threshold) - chosen.cost).abs() < 1e-9);
        prop_assert!(chosen.cost <= cost(f64::from(other) / 20.0) + 1e-6);
    }
}
