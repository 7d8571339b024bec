//! `forewarn model backtest` over a simulated past: its table adds up, and its picture can be read.

use std::{collections::BTreeMap, path::Path};

use forewarn::{
    dev,
    fleet::{past, simulate},
    settings::Settings,
};
use quick_xml::{Reader, events::Event};
use schemas::{profile::Profiles, time::Instant};
use serde_json::Value;

use crate::process::forewarn;

const PROFILE: &str = "washing_machine";
const DAYS: u32 = 91;

/// What `forewarn model backtest` says.
fn backtest(data: &Path, more: &[&str]) -> String {
    let mut command = forewarn();
    command.args(["model", "backtest", "--profile", PROFILE]).arg("--data").arg(data).args(more);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{more:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn count(month: &Value, name: &str) -> u64 {
    month[name].as_u64().unwrap_or_else(|| panic!("{name} in {month}"))
}

/// What must hold of any line: parts are parts, and shares are those of the counts beside them.
fn adds_up(month: &Value) {
    let of = |name| count(month, name);
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let judged = of("true_tickets") + of("false_tickets");
    assert!(judged <= of("tickets") && of("predicted") <= of("failures"), "{month}");
    assert_eq!(month["precision"].as_f64(), share(of("true_tickets"), judged), "{month}");
    assert_eq!(month["recall"].as_f64(), share(of("predicted"), of("failures")), "{month}");
    let lead = month["median_lead_days"].as_f64();
    assert_eq!(lead.is_some(), of("predicted") > 0, "{month}");
    assert!(lead.is_none_or(|days| days > 0.0 && days <= 30.0), "{month}");
    assert!(month["cost"].as_f64().unwrap() >= 0.0, "{month}");
}

/// Months or components, and the whole of them.
fn are_the_whole(parts: &[Value], all: &Value) {
    parts.iter().chain([all]).for_each(adds_up);
    for name in ["failures", "predicted", "tickets", "true_tickets", "false_tickets"] {
        assert_eq!(parts.iter().map(|month| count(month, name)).sum::<u64>(), count(all, name), "{name}");
    }
    let cost: f64 = parts.iter().map(|month| month["cost"].as_f64().unwrap()).sum();
    assert!((cost - all["cost"].as_f64().unwrap()).abs() < 1e-9, "{parts:?} {all}");
}

/// Texts of an SVG whose every element is closed.
fn texts(svg: &str) -> Vec<String> {
    let (mut reader, mut texts, mut first, mut depth) = (Reader::from_str(svg), Vec::new(), None, 0_i32);
    reader.config_mut().check_end_names = true;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) => {
                first.get_or_insert_with(|| element.name().as_ref().to_vec());
                depth += 1;
            }
            Event::End(_) => depth -= 1,
            Event::Text(text) => texts.push(text.decode().unwrap().trim().to_owned()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!((first.as_deref(), depth), (Some(&b"svg"[..]), 0));
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_over_a_past_adds_up_month_by_month_and_its_picture_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { data: folder.path().join("data"), dev: true, ..Settings::default() };
    let start: Instant = "2026-01-01T00:00:00Z".parse().unwrap();
    let end = start.plus(std::time::Duration::from_secs(86_400 * u64::from(DAYS)));
    let history = simulate::history(5, 96, &dev::TENANT.parse().unwrap(), start, DAYS);
    let laid = past::lay(&settings, history, end).await.unwrap();
    let machines: Vec<_> = laid.fleet.iter().filter(|device| device.profile.as_str() == PROFILE).collect();
    assert_eq!(machines.len(), 24);

    let svg = folder.path().join("backtest.svg");
    let told: BTreeMap<String, Value> =
        serde_json::from_str(backtest(&settings.data, &["--json", "--svg", svg.to_str().unwrap()]).trim()).unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), [PROFILE]);
    let report = &told[PROFILE];
    let list = |name: &str| report[name].as_array().unwrap().clone();
    let (months, all) = (list("months"), &report["all"]);
    are_the_whole(&months, all);
    are_the_whole(&list("components"), all);
    are_the_whole(&list("rules_months"), &report["rules_all"]);

    // The first third only teaches; failures of the rest that somebody was told of are those that the simulator planted.
    let from = start.plus(end.since(start) / 3);
    let planted = machines.iter().flat_map(|device| device.planted());
    let planted = planted.filter(|fault| fault.failure > from && fault.failure <= end).count() as u64;
    let failures = count(all, "failures");
    assert!(failures > 0 && failures <= planted, "{failures} of {planted}: {report}");
    assert!(count(all, "tickets") > 0 && count(all, "predicted") > 0, "{report}");
    // No server watched these days: there are failures and no rule has spoken.
    assert_eq!((count(&report["rules_all"], "failures"), count(&report["rules_all"], "tickets")), (failures, 0));
    // Tickets of months that were over a horizon before the end are true or false; nobody was sent to what stood broken.
    for month in &months[..months.len() - 1] {
        assert_eq!(count(month, "true_tickets") + count(month, "false_tickets"), count(month, "tickets"), "{month}");
    }
    let profile = Profiles::builtin().get(PROFILE).unwrap().clone();
    for line in list("components") {
        let costs = &profile.component(line["month"].as_str().unwrap()).unwrap().costs;
        let is = count(&line, "tickets") as f64 * costs.visit
            + count(&line, "false_tickets") as f64 * costs.false_alarm
            + (count(&line, "failures") - count(&line, "predicted")) as f64 * costs.failure;
        assert!((line["cost"].as_f64().unwrap() - is).abs() < 1e-9, "{line}");
    }

    // The same as a table: month, by whom, failures, foretold, tickets, false, and shares.
    let table = backtest(&settings.data, &[]);
    assert!(
        table.lines().any(|line| line
            .split_whitespace()
            .eq("month by failures foretold tickets false precision recall lead cost".split(' '))),
        "{table}"
    );
    for (by, lines) in
        [("models", [&months[..], std::slice::from_ref(all)].concat()), ("rules", vec![report["rules_all"].clone()])]
    {
        for month in lines {
            let counts =
                ["failures", "predicted", "tickets", "false_tickets"].map(|name| count(&month, name).to_string());
            let row = [&[month["month"].as_str().unwrap().to_owned(), by.to_owned()][..], &counts].concat();
            let is =
                |line: &&str| line.split_whitespace().zip(&row).filter(|(said, is)| said == is).count() == row.len();
            let line = table.lines().find(is).unwrap_or_else(|| panic!("{row:?} in\n{table}"));
            assert!(line.ends_with(&format!("{:.1}", month["cost"].as_f64().unwrap())), "{line}: {month}");
        }
    }

    let texts = texts(&std::fs::read_to_string(&svg).unwrap());
    for said in ["Backtest", months[0]["month"].as_str().unwrap()] {
        assert!(texts.iter().any(|text| text == said), "{said} is not in the picture: {texts:?}");
    }
    for said in ["precision", "recall", "cost"] {
        assert!(texts.iter().any(|text| text == &format!("{PROFILE} models: {said}")), "{said}: {texts:?}");
    }
}
