//! Features that tell the day and not the device: what all devices of a day have in common (pure).
//!
//! In: rows of features and their landmarks. Out: the places of features to learn from. Promise: a feature by which devices of
//! one day differ more than days do is kept, however much it moves with time. Never: a look at what failed.
//!
//! Failures come in some order. A feature that moves with the season and is the same on every device, such as the outdoor temperature,
//! can tell early days from late ones, and so seems to tell failures that happened late; the next month it says of all devices
//! what was true of the last days only. What cannot tell two devices of one day apart cannot tell which of them fails. What it is good for, to
//! see another metric in its light, is what regimes are for ([`schemas::profile::Regime`]).
//!
//! Judged by the share of a feature's variance that lies between days, one-way analysis of variance, adjusted for the
//! number of days (Ezekiel's adjusted R², 1930).

use std::collections::BTreeMap;

use foresight::boost::Matrix;

/// Share of variance between days from which a feature tells the day more than the device.
const MOSTLY: f64 = 0.5;
/// Values beyond one a day without which nothing is judged.
const LEAST_VALUES: usize = 100;

/// Places of the features to learn from; all of them where none would be left.
pub fn apart(matrix: &Matrix, landmarks: &[i32]) -> Vec<usize> {
    let tells_devices = |place: &usize| between(matrix.column(*place), landmarks).is_none_or(|share| share < MOSTLY);
    let kept: Vec<usize> = (0..matrix.names().len()).filter(tells_devices).collect();
    if kept.is_empty() { (0..matrix.names().len()).collect() } else { kept }
}

/// Share of variance that lies between days; missing values are left out. None where there is too little to tell.
fn between(values: &[f64], landmarks: &[i32]) -> Option<f64> {
    let mut days: BTreeMap<i32, (f64, f64)> = BTreeMap::new();
    let there = || values.iter().zip(landmarks).filter(|(value, _)| value.is_finite());
    for (value, landmark) in there() {
        let day = days.entry(*landmark).or_default();
        (day.0, day.1) = (day.0 + 1.0, day.1 + value);
    }
    let (count, sum) = days.values().fold((0.0, 0.0), |(count, sum), day| (count + day.0, sum + day.1));
    let freedom = count - days.len() as f64;
    if freedom < LEAST_VALUES as f64 {
        return None;
    }
    let (mut within, mut whole) = (0.0, 0.0);
    for (value, landmark) in there() {
        let day = days.get(landmark)?;
        within += (value - day.1 / day.0).powi(2);
        whole += (value - sum / count).powi(2);
    }
    (whole > 0.0).then(|| 1.0 - (within / freedom) / (whole / (count - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty devices on sixty days; `of` tells a value of a device and a day.
    fn column(of: impl Fn(i32, i32) -> f64) -> Vec<f64> {
        (0..60).flat_map(|day| (0..40).map(move |device| (device, day))).map(|(device, day)| of(device, day)).collect()
    }

    fn landmarks() -> Vec<i32> {
        (0..60).flat_map(|day| [day; 40]).collect()
    }

    /// A number between 0 and 1 that looks like chance.
    fn noise(device: i32, day: i32) -> f64 {
        (f64::from(device * 7919 + day * 104_729) * 0.618_033_988_75).fract()
    }

    #[test]
    fn what_all_devices_of_a_day_share_is_left_out_and_wear_is_kept() {
        let matrix = Matrix::from_columns(vec![
            ("season".into(), column(|device, day| 27.0 - 0.05 * f64::from(day) + 0.2 * noise(device, day))),
            ("character".into(), column(|device, day| f64::from(device % 7) + 0.02 * f64::from(day))),
            // A new fleet: a third of it wears, and by the end all of these have gone far.
            (
                "wear".into(),
                column(|device, day| if device % 3 == 0 { 0.1 * f64::from(day) } else { noise(device, day) }),
            ),
            ("noise".into(), column(noise)),
            ("still".into(), column(|_, _| 4.0)),
            ("seldom".into(), column(|device, day| if device == 3 { f64::from(day) } else { f64::NAN })),
        ]);
        assert_eq!(apart(&matrix, &landmarks()), [1, 2, 3, 4, 5]);
        let only = Matrix::from_columns(vec![("season".into(), column(|_, day| f64::from(day)))]);
        assert_eq!(apart(&only, &landmarks()), [0], "nothing else is there");
    }

    #[test]
    fn the_share_is_that_of_the_analysis_of_variance() {
        // Two days, 0 and 1 in the mean, devices 1 apart: half of the variance about the mean is between them.
        let day = |mean: f64| [mean - 0.5, mean + 0.5].repeat(100);
        let values = [day(0.0), day(1.0)].concat();
        let landmarks = [[1; 200], [2; 200]].concat();
        let share = between(&values, &landmarks).unwrap();
        assert!((share - (1.0 - (100.0 / 398.0) / (200.0 / 399.0))).abs() < 1e-12, "{share}");
        assert_eq!(between(&values[..2], &landmarks[..2]), None);
        assert_eq!(between(&[4.0; 400], &landmarks), None, "what never varies");
    }
}
