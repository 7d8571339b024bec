use super::*;

fn instant(text: &str) -> Instant {
    let (day, hour) = text.split_once('h').unwrap();
    Instant::EPOCH.plus(Duration::from_secs(day.parse::<u64>().unwrap() * 86_400 + hour.parse::<u64>().unwrap() * 3600))
}

/// `"p1 bearing/wear 4h0"` is pump 1's bearing on day 4 at hour 0; `-` for an unknown fault key.
fn event(text: &str) -> (String, Option<String>, Instant) {
    let [device, key, at] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    (device.to_owned(), (key != "-").then(|| key.to_owned()), instant(at))
}

fn report(tickets: &[&str], failures: &[&str], horizon: Option<u64>) -> LeadReport {
    let raised: Vec<Raised> = tickets
        .iter()
        .map(|t| event(t))
        .map(|(device_id, fault_key, at)| Raised { device_id, fault_key, at })
        .collect();
    let failures: Vec<Failure> = failures
        .iter()
        .map(|t| event(t))
        .map(|(device_id, fault_key, at)| Failure { device_id, fault_key, at })
        .collect();
    lead(&raised, &failures, horizon.map(|days| Duration::from_secs(days * 86_400))).unwrap()
}

/// Checks `true/false/late tickets, predicted/failures, lead hours`.
fn check(tickets: &[&str], failures: &[&str], horizon: Option<u64>, expected: &str) {
    let r = report(tickets, failures, horizon);
    let said = format!(
        "{}/{}/{} tickets, {}/{} failures, {:?} h",
        r.true_tickets, r.false_tickets, r.late_tickets, r.predicted, r.failures, r.lead_hours
    );
    assert_eq!(said, expected, "{tickets:?} {failures:?}");
    assert_eq!(r.tickets, r.true_tickets + r.false_tickets + r.late_tickets);
}

#[test]
fn nothing_gives_nothing() {
    assert_eq!(report(&[], &[], None), LeadReport::default());
    check(&["p1 a/b 1h0"], &[], None, "0/1/0 tickets, 0/0 failures, [] h");
    check(&[], &["p1 a/b 1h0"], Some(7), "0/0/0 tickets, 0/1 failures, [] h");
    assert_eq!(report(&[], &["p1 a/b 1h0"], None).recall, Some(0.0));
    assert_eq!(report(&["p1 a/b 1h0"], &[], None).precision, Some(0.0));
}

#[test]
fn the_table_of_the_page() {
    let fails = ["p1 - 10h0"];
    check(&["p1 - 4h0"], &fails, Some(7), "1/0/0 tickets, 1/1 failures, [144.0] h");
    check(&["p1 - 1h0"], &fails, Some(7), "0/1/0 tickets, 0/1 failures, [] h");
    check(&["p1 - 1h0"], &fails, None, "1/0/0 tickets, 1/1 failures, [216.0] h");
    check(&["p1 - 11h0"], &fails, Some(7), "0/0/1 tickets, 0/1 failures, [] h");
    check(&["p2 - 4h0"], &fails, Some(7), "0/1/0 tickets, 0/1 failures, [] h");
}

#[test]
fn both_ends_of_the_horizon_count() {
    check(&["p1 - 3h0"], &["p1 - 10h0"], Some(7), "1/0/0 tickets, 1/1 failures, [168.0] h");
    check(&["p1 - 2h23"], &["p1 - 10h0"], Some(7), "0/1/0 tickets, 0/1 failures, [] h");
    check(&["p1 - 10h0"], &["p1 - 10h0"], Some(7), "1/0/0 tickets, 1/1 failures, [0.0] h");
}

#[test]
fn a_failure_with_a_key_wants_a_ticket_with_that_key() {
    let fails = ["p1 bearing/wear 10h0"];
    check(&["p1 bearing/wear 9h0"], &fails, None, "1/0/0 tickets, 1/1 failures, [24.0] h");
    check(&["p1 seal/leak 9h0"], &fails, None, "0/1/0 tickets, 0/1 failures, [] h");
    check(&["p1 - 9h0"], &fails, None, "0/1/0 tickets, 0/1 failures, [] h");
    check(&["p1 seal/leak 11h0"], &fails, None, "0/1/0 tickets, 0/1 failures, [] h");
    check(&["p1 seal/leak 9h0"], &["p1 - 10h0"], None, "1/0/0 tickets, 1/1 failures, [24.0] h");
}

#[test]
fn the_first_ticket_that_counts_gives_the_lead() {
    let tickets = ["p1 - 9h0", "p1 - 4h0", "p1 - 1h0"];
    check(&tickets, &["p1 - 10h0"], Some(7), "2/1/0 tickets, 1/1 failures, [144.0] h");
}

#[test]
fn a_ticket_after_one_failure_and_before_the_next_is_true() {
    let fails = ["p1 - 10h0", "p1 - 20h0"];
    check(&["p1 - 15h0"], &fails, Some(7), "1/0/0 tickets, 1/2 failures, [120.0] h");
    check(&["p1 - 11h0"], &fails, Some(7), "0/0/1 tickets, 0/2 failures, [] h");
    check(&["p1 - 9h0"], &fails, None, "1/0/0 tickets, 2/2 failures, [24.0, 264.0] h");
}

#[test]
fn shares_and_median_have_their_denominators() {
    let tickets = ["p1 - 9h0", "p2 - 8h0", "p3 - 1h0", "p4 - 12h0", "p9 - 3h0"];
    let fails = ["p1 - 10h0", "p2 - 10h0", "p3 - 10h0", "p4 - 10h0"];
    let r = report(&tickets, &fails, Some(7));
    assert_eq!((r.true_tickets, r.false_tickets, r.late_tickets), (2, 2, 1));
    assert_eq!((r.precision, r.recall, r.median_lead_hours), (Some(0.5), Some(0.5), Some(36.0)));
    assert_eq!(
        serde_json::to_value(&r).unwrap()["lead_hours"],
        serde_json::json!([24.0, 48.0]),
        "the report is JSON as it stands"
    );
}
