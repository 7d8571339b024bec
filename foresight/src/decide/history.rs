//! The threshold that would have cost least on history whose outcome is known.
//!
//! In: probabilities with outcomes, costs, bounds. Out: the threshold with the least realised cost. It serves where
//! probabilities are not quite calibrated; on few outcomes it chases chance, so it stays within the bounds given.

use serde::{Deserialize, Serialize};

use super::{Costs, DecideError};

/// A probability and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// As it was said.
    pub probability: f64,
    /// Whether the component failed within the horizon.
    pub failed: bool,
}

/// A threshold chosen on history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Act from here on.
    pub threshold: f64,
    /// Realised cost per case at it.
    pub cost: f64,
    /// The same without any visit.
    pub cost_without: f64,
    /// Visits at it.
    pub visits: usize,
    /// Cases.
    pub cases: usize,
}

/// The threshold within `bounds` whose realised cost is least; of equal ones the highest, which visits least.
pub fn cheapest_threshold(
    history: &[Labelled],
    costs: Costs,
    bounds: std::ops::RangeInclusive<f64>,
) -> Result<Chosen, DecideError> {
    let costs = costs.check()?;
    let (least, most) = (*bounds.start(), *bounds.end());
    if !(least >= 0.0 && least <= most) {
        return Err(DecideError { field: "bounds", value: least, legal: "from at least 0 up to no less than that" });
    }
    if history.is_empty() {
        return Err(DecideError { field: "history", value: 0.0, legal: "at least one case" });
    }
    if let Some(bad) = history.iter().find(|case| !(0.0..=1.0).contains(&case.probability)) {
        return Err(DecideError { field: "probability", value: bad.probability, legal: "a probability from 0 to 1" });
    }
    let mut order: Vec<&Labelled> = history.iter().collect();
    order.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    let wait: f64 = order.iter().map(|case| costs.wait_cost(f64::from(u8::from(case.failed)))).sum();
    // From the upper bound down: every distinct probability within the bounds, and both ends.
    let mut candidates: Vec<f64> = order.iter().map(|case| case.probability).filter(|p| bounds.contains(p)).collect();
    candidates.insert(0, most);
    candidates.push(least);
    candidates.dedup();
    let (mut visited, mut cost) = (0, wait);
    let mut best = None;
    for threshold in candidates {
        while let Some(case) = order.get(visited).filter(|case| case.probability >= threshold) {
            let outcome = f64::from(u8::from(case.failed));
            cost += costs.visit_cost(outcome) - costs.wait_cost(outcome);
            visited += 1;
        }
        // A billionth of the cost is rounding, not a gain.
        if best.is_none_or(|(_, least, _)| cost < least - 1e-9 * wait.abs()) {
            best = Some((threshold, cost, visited));
        }
    }
    let (threshold, cost, visits) = best.unwrap_or((most, wait, 0));
    let cases = history.len();
    Ok(Chosen { threshold, cost: cost / cases as f64, cost_without: wait / cases as f64, visits, cases })
}
