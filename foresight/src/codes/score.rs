//! How good a said set of codes is: precision, recall and F1 over all windows together (micro), and the threshold that
//! makes the F1 greatest.
//!
//! Of all sets over calibrated probabilities the micro F1 is greatest for "all above one threshold", the same for every
//! window and code, namely half of that F1 (Lipton, Elkan and Naryanaswamy 2014, theorem 1). It is looked for on
//! held-out windows, which serves when the probabilities are not quite calibrated too.

use serde::{Deserialize, Serialize};

use super::Code;

/// Counts over many windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetScore {
    /// Codes that were said and came.
    pub hits: u64,
    /// Codes that were said and did not come.
    pub false_alarms: u64,
    /// Codes that came and were not said.
    pub misses: u64,
}

impl SetScore {
    /// Takes in one window; both sets are in order and hold each code once.
    pub fn add(&mut self, said: &[Code], came: &[Code]) {
        let hits = said.iter().filter(|code| came.binary_search(code).is_ok()).count();
        self.hits += hits as u64;
        self.false_alarms += (said.len() - hits) as u64;
        self.misses += (came.len() - hits) as u64;
    }

    /// Share of what was said that came.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.hits + self.false_alarms)
    }

    /// Share of what came that was said.
    pub fn recall(&self) -> f64 {
        share(self.hits, self.hits + self.misses)
    }

    /// Harmonic mean of both.
    pub fn f1(&self) -> f64 {
        share(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The threshold with the greatest micro F1 over pairs (probability, whether it came), and that F1; `unasked` codes came
/// that are in no pair.
pub fn best_threshold(pairs: &[(f64, bool)], unasked: u64) -> (f64, f64) {
    let mut order: Vec<&(f64, bool)> = pairs.iter().collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0));
    let came = order.iter().filter(|pair| pair.1).count() as u64 + unasked;
    let (mut hits, mut said, mut best) = (0, 0, (0.5, 0.0));
    for (place, (probability, came_true)) in order.iter().copied().enumerate() {
        hits += u64::from(*came_true);
        said += 1;
        let last_of_its_value = order.get(place + 1).is_none_or(|next| next.0 < *probability);
        let f1 = share(2 * hits, said + came);
        if last_of_its_value && f1 > best.1 {
            best = (*probability, f1);
        }
    }
    best
}
