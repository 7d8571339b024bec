use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_day_ends_with_its_midnight() {
    assert_eq!((day_of(0), landmark_after(0)), (-1, 0));
    assert_eq!((day_of(1), landmark_after(1)), (0, 1));
    assert_eq!((day_of(DAY_MICROS), landmark_after(DAY_MICROS)), (0, 1));
    assert_eq!(landmark_micros(2), 2 * DAY_MICROS);
}

#[test]
fn what_arrived_after_the_landmark_is_in_no_window_that_ends_there() {
    let mut days = Days::default();
    days.push(10 * HOUR, 10 * HOUR, &[1.0]);
    // Of the same day, a week late.
    days.push(11 * HOUR, 7 * DAY_MICROS + HOUR, &[100.0]);
    let mean = |landmark| days.windows(landmark, i32::MIN, &[20], 1)[0].mean();
    assert_eq!(mean(1), 1.0);
    assert_eq!(mean(7), 1.0);
    assert_eq!(mean(8), 50.5);
    assert!(mean(0).is_nan(), "nothing had happened");
}

#[test]
fn a_repair_begins_the_windows_anew() {
    let mut days = Days::default();
    (0..10).for_each(|day| days.push(day * DAY_MICROS + HOUR, day * DAY_MICROS + HOUR, &[day as f64]));
    let count = |since| days.windows(10, since, &[1, 3, 28], 1).map_counts();
    assert_eq!(count(i32::MIN), [1, 3, 10]);
    assert_eq!(count(8), [1, 2, 2]);
    assert_eq!(count(10), [0, 0, 0]);
}

trait Counts {
    fn map_counts(&self) -> Vec<u64>;
}

impl Counts for Vec<Sum> {
    fn map_counts(&self) -> Vec<u64> {
        self.iter().map(|sum| sum.count).collect()
    }
}

proptest! {
    /// Any order of arrival, any gaps: the merged window is that of its points, computed in two passes.
    #[test]
    fn merged_days_are_what_their_points_are(
        points in prop::collection::vec((1i64..20 * 24, 0i64..72, -50.0..50.0f64), 1..200),
        landmark in 1i32..22,
        span in 1u32..21,
    ) {
        let mut days = Days::default();
        for (hour, delay, value) in &points {
            days.push(hour * HOUR, (hour + delay) * HOUR, &[*value]);
        }
        let window = days.windows(landmark, i32::MIN, &[span], 1)[0];
        let end = i64::from(landmark) * 24;
        let mut inside: Vec<(i64, f64)> = points
            .iter()
            .filter(|(hour, delay, _)| *hour > end - i64::from(span) * 24 && hour + delay <= end)
            .map(|(hour, _, value)| (*hour, *value))
            .collect();
        inside.sort_by(|left, right| left.partial_cmp(right).unwrap());
        prop_assert_eq!(window.count as usize, inside.len());
        if inside.is_empty() {
            return Ok(());
        }
        let n = inside.len() as f64;
        let mean = inside.iter().map(|(_, x)| x).sum::<f64>() / n;
        let time = inside.iter().map(|(t, _)| *t as f64).sum::<f64>() / n;
        let squares: f64 = inside.iter().map(|(_, x)| (x - mean).powi(2)).sum();
        let products: f64 = inside.iter().map(|(t, x)| (*t as f64 - time) * (x - mean)).sum();
        let times: f64 = inside.iter().map(|(t, _)| (*t as f64 - time).powi(2)).sum();
        prop_assert!((window.mean() - mean).abs() < 1e-9);
        prop_assert!((window.squares - squares).abs() < 1e-7);
        if times > 0.0 {
            prop_assert!((window.slope() - products / times).abs() < 1e-9);
        }
        prop_assert_eq!(window.first.0, inside[0].0 * HOUR);
    }
}
