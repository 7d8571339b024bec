//! README's first command, smaller.

use serde_json::Value;

use crate::process::forewarn;

#[test]
fn the_demo_gives_an_account_that_adds_up() {
    let output = forewarn()
        .args(["demo", "--devices", "80", "--for", "20s", "--speed", "57600", "--json"])
        .args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0", "--flight", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let account: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number = |key: &str| account[key].as_u64().unwrap_or_else(|| panic!("{key} in {account}"));
    assert_eq!(number("acknowledged"), number("stored") + number("duplicates") + number("dead_letters"));
    assert!(number("stored") > 1000, "{account}");
    assert!(number("duplicates") > 0 && number("dead_letters") > 0, "the network is bad: {account}");
    assert!(number("rows") > number("stored"), "a message holds some readings: {account}");
    assert_eq!(number("left_on_devices"), 0, "{account}");
    assert!(number("tickets") > 0, "{account}");
    assert!(number("alarms") + number("advisories") >= number("tickets"), "each has a cause: {account}");
    assert!(number("visits") > 0, "{account}");
    // What visits found came back as labels, each as a row.
    let (outcomes, confirmed) = (number("outcomes"), number("outcomes_confirmed"));
    assert!(confirmed > 0 && outcomes <= number("visits"), "{account}");
    assert_eq!(outcomes, confirmed + number("outcomes_no_fault_found") + number("outcomes_undecided"), "{account}");
    assert_eq!(outcomes, number("outcome_rows"), "{account}");
    assert!(number("self_tests_failed") <= number("self_tests"), "{account}");
    assert!(number("failures_averted") <= number("planted_wear_failures"), "{account}");
    let (failures, foreseen) = (number("planted_wear_failures"), number("ticketed_before_failure"));
    assert!(foreseen > 0 && foreseen <= failures && failures <= number("planted_failures"), "{account}");
    assert!(account["median_lead_hours"].as_f64().unwrap() > 0.0, "{account}");
    let spoken = number("true_tickets") + number("false_tickets") + number("late_tickets");
    assert_eq!(spoken, number("tickets"), "{account}");
    assert!(account["precision"].as_f64().unwrap() > 0.3, "{account}");
}

#[test]
fn a_past_is_in_the_tables_before_the_demo_begins_and_raises_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |history: &str| {
        forewarn()
            .args(["demo", "--devices", "30", "--for", "2s", "--speed", "10000", "--json", "--history", history])
            .args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0", "--flight", "127.0.0.1:0"])
            .arg("--data")
            .arg(folder.path())
            .output()
            .unwrap()
    };
    for (history, said) in [("1h", "from 24h to"), ("10", "no span")] {
        let output = demo(history);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{history}: {text}");
    }
    let output = demo("30d");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let account: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number = |key: &str| account[key].as_u64().unwrap_or_else(|| panic!("{key} in {account}"));
    assert_eq!(number("acknowledged"), number("stored") + number("duplicates") + number("dead_letters"));
    // 23 devices report every hour, 7 every six, for 30 days; some are silent for a while.
    assert!((12_000..18_000).contains(&number("rows")), "{account}");
    // Hours pass in the live part: what raises there is of now, and nothing of the month before is.
    assert!(number("alarms") < 15, "{account}");
    // The past is laid under everything else or not at all.
    let output = demo("30d");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("needs a new --data folder"), "{text}");
}
