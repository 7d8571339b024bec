use std::time::Duration;

use schemas::profile::Profile;

use super::*;
use crate::detect::tests::PUMP;

/// Steps code E1 over `(minute, event)` and prints what comes out. An event is `on`, `off`, or `row` for another row of
/// the device, with `late` behind it where it came late.
fn check(series: &[(u64, &str)], expected: &[&str]) {
    let pump = Profile::parse(PUMP).unwrap();
    let fault = pump.fault("E1").unwrap();
    let (tenant, device_id) = ("acme".parse().unwrap(), "p-1".parse().unwrap());
    let (mut state, mut events) = (State::default(), Vec::new());
    for (minute, event) in series {
        let at = Instant::EPOCH.plus(Duration::from_secs(minute * 60));
        let (event, late) = event.split_once(' ').map_or((*event, false), |(event, _)| (event, true));
        let subject =
            Subject { tenant: &tenant, device_id: &device_id, profile: &pump.name, firmware: None, reported: at };
        let found;
        (state, found) = match event {
            "row" if late => continue,
            "row" => state.release(fault, at, &subject),
            _ => state.step(fault, &Report { at, active: event == "on", late }, &subject),
        };
        events.extend(found.map(|alarm| format!("{minute}: {}: {}", alarm.state.as_str(), alarm.evidence.reason)));
    }
    assert_eq!(events, expected, "{series:?}");
}

#[test]
fn a_code_is_raised_once_while_active_and_cleared_once() {
    check(
        &[(0, "on"), (1, "on"), (2, "row"), (5, "off"), (6, "off"), (9, "on")],
        &[
            "0: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:00:00Z",
            "5: cleared: the device reported the end of E1 after 5 min (since 1970-01-01T00:00:00Z)",
            "9: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:09:00Z",
        ],
    );
}

#[test]
fn older_reports_are_passed_over_and_the_end_wins_at_the_same_time() {
    check(&[(5, "off"), (3, "on"), (5, "on")], &[]);
    check(&[(5, "on"), (3, "off")], &["5: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:05:00Z"]);
    check(
        &[(5, "on"), (5, "off")],
        &[
            "5: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:05:00Z",
            "5: cleared: the device reported the end of E1 after 0 ms (since 1970-01-01T00:05:00Z)",
        ],
    );
}

#[test]
fn a_late_report_is_raised_when_the_device_has_caught_up_and_it_still_holds() {
    check(&[(0, "on late"), (1, "on late"), (2, "row late")], &[]);
    check(&[(0, "on late"), (2, "off late"), (9, "row")], &[]);
    check(
        &[(0, "on late"), (9, "row"), (10, "row")],
        &["9: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:00:00Z"],
    );
    check(
        &[(0, "on late"), (9, "on")],
        &["9: raised: the device reported E1 (Bearing is hot) 2 times since 1970-01-01T00:00:00Z"],
    );
}

#[test]
fn a_late_end_clears() {
    check(
        &[(0, "on"), (1, "off late")],
        &[
            "0: raised: the device reported E1 (Bearing is hot) at 1970-01-01T00:00:00Z",
            "1: cleared: the device reported the end of E1 after 1 min (since 1970-01-01T00:00:00Z)",
        ],
    );
}
