//! README's first command, smaller.

use serde_json::Value;

use crate::process::forewarn;

#[test]
fn the_demo_gives_an_account_that_adds_up() {
    let output = forewarn()
        .args(["demo", "--devices", "80", "--for", "20s", "--speed", "57600", "--json"])
        .args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
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
    assert!(number("tickets") > 0 && number("alarms") >= number("tickets"), "{account}");
    assert!(number("visits") > 0, "{account}");
    let (failures, foreseen) = (number("planted_failures"), number("ticketed_before_failure"));
    assert!(foreseen > 0 && foreseen <= failures, "{account}");
    assert!(account["median_lead_hours"].as_f64().unwrap() > 0.0, "{account}");
    assert!(number("false_tickets") <= number("tickets") / 10, "{account}");
}
