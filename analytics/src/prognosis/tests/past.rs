//! No feature sees the future.

use foresight::daily;
use schemas::time::Instant;

use super::{DAY, Fleet, begin, profile};
use crate::prognosis::{Settings, frame::Known, history::History};

async fn history(fleet: &Fleet, until: Option<Instant>) -> History {
    let gathered = History::gather(&fleet.tables(), &profile(), Known::Arrival, until, &Settings::default()).await;
    gathered.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_what_would_have_been_seen_at_its_midnight() {
    let mut fleet = Fleet::new(3, 6, 25);
    // A device that was off-line for a week and told everything at once.
    for row in fleet.readings.iter_mut().filter(|row| row.device == "wm-0001") {
        if row.at > begin().plus(DAY * 8) && row.at < begin().plus(DAY * 15) {
            row.arrived = begin().plus(DAY * 15);
        }
    }
    fleet.show(|_| true);
    let whole = history(&fleet, None).await;
    let places: Vec<usize> = (0..whole.places.len()).collect();
    let everything = whole.matrix(&places);
    for days in [9, 12, 15, 16, 20] {
        let landmark = begin().days() + days;
        let midnight = Instant::from_micros(daily::landmark_micros(landmark));
        // The world as it was: nothing of what happened or arrived later is there.
        fleet.show(|row| row.at <= midnight && row.arrived <= midnight);
        let then = history(&fleet, Some(midnight.plus(DAY))).await;
        let rows: Vec<usize> = (0..then.places.len()).filter(|row| then.places[*row].landmark == landmark).collect();
        assert!(!rows.is_empty() || days == 12, "somebody was heard");
        let seen = then.matrix(&rows);
        for (at, row) in rows.iter().enumerate() {
            let device = &then.devices[then.places[*row].device as usize];
            let same = |row: &&usize| {
                let place = whole.places[**row];
                place.landmark == landmark && whole.devices[place.device as usize] == *device
            };
            let later = *places.iter().find(same).unwrap_or_else(|| panic!("{device} at {days}"));
            for column in 0..seen.names().len() {
                let (then, now) = (seen.column(column)[at], everything.column(column)[later]);
                let name = &seen.names()[column];
                assert!(then == now || (then.is_nan() && now.is_nan()), "{name} of {device}, day {days}: {then} {now}");
            }
        }
        let silent = rows.iter().all(|row| then.devices[then.places[*row].device as usize] != "wm-0001");
        assert_eq!(silent, (12..15).contains(&days), "silent for three days: not looked at (day {days})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_repair_windows_begin_anew() {
    let fleet = Fleet::new(5, 20, 40);
    let history = history(&fleet, None).await;
    let (device, failure) = fleet.failures.iter().find(|(_, at)| *at < begin().plus(DAY * 25)).unwrap().clone();
    let place = history.devices.iter().position(|other| *other == device).unwrap();
    let mended = daily::landmark_after(failure.plus(DAY).micros());
    assert_eq!(history.since(place, mended + 3), mended);
    let column = history.features.names().iter().position(|name| name == "vibration_mm_s_max_3d").unwrap();
    let rows = |landmark: i32| -> Vec<usize> {
        let of =
            |row: &usize| history.places[*row].device as usize == place && history.places[*row].landmark == landmark;
        (0..history.places.len()).filter(of).collect()
    };
    assert!((mended..mended + 3).all(|landmark| rows(landmark).is_empty()), "a day or two are no week");
    let worst = history.matrix(&rows(mended + 3)).column(column)[0];
    assert!(worst < 3.5, "the new bearing is quiet: {worst}");
}
