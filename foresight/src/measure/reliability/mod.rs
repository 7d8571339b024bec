//! Probabilities: what was told against how often the event came.
//!
//! Bins hold equally many cases (equal mass), not equally wide slices: failures are rare, and nearly all probabilities
//! would fall into the first of ten equal slices. Guo and others, "On calibration of modern neural networks", 2017, for
//! the error; Nixon and others, "Measuring calibration in deep learning", 2019, for equal mass.

#[cfg(test)]
mod tests;

use serde::Serialize;

/// Cases that were told similar probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub cases: usize,
    /// Mean of what was told.
    pub said: f64,
    /// Share to which the event came.
    pub came: f64,
}

/// The mean square of told minus happened; nothing without cases.
///
/// # Panics
/// If the two differ in length.
pub fn brier(said: &[f64], events: &[bool]) -> Option<f64> {
    assert_eq!(said.len(), events.len(), "one event per probability");
    let sum: f64 = said.iter().zip(events).map(|(said, event)| (said - f64::from(*event)).powi(2)).sum();
    (!said.is_empty()).then(|| sum / said.len() as f64)
}

/// Cases in order of what was told, cut into at most `bins` of equal size (the sizes differ by one at most). Equal
/// probabilities may stand on both sides of a cut; among them the order is that of the input.
///
/// # Panics
/// If the two differ in length.
pub fn reliability(said: &[f64], events: &[bool], bins: usize) -> Vec<Bin> {
    assert_eq!(said.len(), events.len(), "one event per probability");
    let mut order: Vec<usize> = (0..said.len()).collect();
    order.sort_by(|one, other| said[*one].total_cmp(&said[*other]));
    let bins = bins.min(order.len());
    let cut = |bin: usize| bin * order.len() / bins;
    let bin = |rows: &[usize]| {
        let cases = rows.len();
        let came = rows.iter().filter(|row| events[**row]).count();
        let told: f64 = rows.iter().map(|row| said[*row]).sum();
        Bin { cases, said: told / cases as f64, came: came as f64 / cases as f64 }
    };
    (0..bins).map(|place| bin(&order[cut(place)..cut(place + 1)])).collect()
}

/// Expected calibration error over equal-mass bins: the mean distance between told and happened, weighted by cases.
///
/// # Panics
/// If the two differ in length.
pub fn calibration_error(said: &[f64], events: &[bool], bins: usize) -> Option<f64> {
    let table = reliability(said, events, bins);
    let sum: f64 = table.iter().map(|bin| bin.cases as f64 * (bin.said - bin.came).abs()).sum();
    (!table.is_empty()).then(|| sum / said.len() as f64)
}

/// The calibration error that chance alone gives to probabilities that are right, where only one in `alike` cases is
/// independent of the others (the days of one horizon of one device speak of the same failure): per bin the mean
/// distance of a share of so many draws from its expectation, `sqrt(2 p (1 - p) / (pi n))`. Nothing without cases.
pub fn chance_error(said: &[f64], bins: usize, alike: f64) -> Option<f64> {
    let table = reliability(said, &vec![false; said.len()], bins);
    let one = |bin: &Bin| {
        let independent = (bin.cases as f64 / alike.max(1.0)).max(1.0);
        bin.cases as f64 * (2.0 * bin.said * (1.0 - bin.said) / (std::f64::consts::PI * independent)).sqrt()
    };
    (!table.is_empty()).then(|| table.iter().map(one).sum::<f64>() / said.len() as f64)
}
