//! A value against the devices of the same model under the same operating condition.
//!
//! The caller chooses the peers: same model, same regime, same hour. The answer needs no assumption on their distribution:
//! if the device is one of them, a p of 0.05 or less comes at most once in twenty times (conformal: Vovk 2005).

use serde::Serialize;

/// Fewer peers say nothing: p could not fall to 0.1.
pub const LEAST_PEERS: usize = 9;
/// Median absolute deviation to standard deviation of a Gaussian.
const GAUSSIAN: f64 = 1.4826;

/// How a value stands among its peers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Standing {
    /// Distance from the peers' median in robust standard deviations; infinite where all peers agree and the value does not.
    pub z: f64,
    /// Share of devices, this one included, at least as far from the median.
    pub p: f64,
    /// Peers with a number.
    pub peers: usize,
}

/// Where `value` stands among `peers`, itself not among them; nothing if there are too few, or without a number.
pub fn standing(value: f64, peers: &[f64]) -> Option<Standing> {
    let mut sorted: Vec<f64> = peers.iter().copied().filter(|peer| peer.is_finite()).collect();
    if sorted.len() < LEAST_PEERS || !value.is_finite() {
        return None;
    }
    // The median is taken with the value itself, so that it is treated as any other device.
    sorted.push(value);
    let middle = median(&mut sorted);
    let mut distances: Vec<f64> = sorted.iter().map(|peer| (peer - middle).abs()).collect();
    let own = (value - middle).abs();
    let at_least = distances.iter().filter(|distance| **distance >= own).count();
    let spread = GAUSSIAN * median(&mut distances);
    let z = if own == 0.0 { 0.0 } else { (value - middle) / spread };
    Some(Standing { z, p: at_least as f64 / sorted.len() as f64, peers: sorted.len() - 1 })
}

/// The middle one; the mean of the two in the middle. Sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}
