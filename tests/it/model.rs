//! Models as data: a fleet's past teaches a champion, which speaks; what a visit finds becomes a label.

use schemas::time::Instant;
use serde_json::{Value, json};

use crate::process::{Server, forewarn, free_address, until};

fn answer(arguments: &[&str]) -> Value {
    let output = forewarn().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Failures of washing machines that training was told of, by fault key.
fn told(data: &str) -> Vec<(String, u64)> {
    let trained = answer(&["model", "train", "--profile", "washing_machine", "--data", data, "--json"]);
    let reports = trained["trained"].as_array().unwrap().iter();
    reports.map(|it| (it["fault_key"].as_str().unwrap().to_owned(), it["told_failures"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_teaches_a_champion_that_speaks_and_a_visit_teaches_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let account = answer(&[
        "demo",
        "--history",
        "120d",
        "--devices",
        "160",
        "--for",
        "10s",
        "--speed",
        "43200",
        "--seed",
        "5",
        "--json",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--pg",
        "127.0.0.1:0",
        "--flight",
        "127.0.0.1:0",
        "--data",
        data,
    ]);
    assert!(account["advisories"].as_u64().unwrap() > 0, "{account}");

    let listed = answer(&["model", "list", "--data", data, "--json"]);
    let models = listed["models"].as_array().unwrap();
    let champion = models.iter().find(|model| model["entry"]["standing"] == "champion");
    let champion = champion.unwrap_or_else(|| panic!("no champion: {listed}"));
    let name = champion["name"].as_str().unwrap();
    let card = answer(&["model", "show", name, "--data", data, "--json"]);
    assert!(card["later"]["auroc"].as_f64().unwrap() > 0.7, "{card}");
    let at = |value: &Value| value.as_str().unwrap().parse::<Instant>().unwrap();
    assert!(at(&card["judged_from"]) <= at(&card["later"]["from"]), "judged on later data: {card}");
    assert!(at(&card["later"]["to"]) < at(&card["until"]), "and then learnt from it: {card}");

    let before = told(data);
    let (mut server, outcome) = {
        let server = Server::start_on(data.as_ref(), free_address(), &["--clock", "event"]).await;
        // An advisory opened a ticket, and the table says why.
        let opened = server.rows("select decision, method, reason from advisory where decision = 'auto'").await;
        assert!(!opened.is_empty() && opened[0]["reason"].as_str().unwrap().contains("probability"), "{opened:?}");
        let newest = "select device_id, event_time from telemetry_washing_machine order by event_time desc limit 1";
        let device = server.rows(newest).await;
        let outcome = json!({
            "device_id": device[0]["device_id"], "event_time": device[0]["event_time"], "profile": "washing_machine", "fault_key": "heater/scaling",
            "disposition": "part_replaced", "part_replaced": "WM-HTR-1950", "outcome_id": "found-by-hand",
        });
        server.client.post("/v1/outcomes", &outcome).await.unwrap();
        until("the outcome to be a row", async || {
            let rows = server.rows("select outcome_id from outcome where outcome_id = 'found-by-hand'").await;
            (!rows.is_empty()).then_some(())
        })
        .await;
        (server, "heater/scaling")
    };
    assert!(server.stop().await);
    let after = told(data);
    let count = |told: &[(String, u64)]| told.iter().find(|(key, _)| key == outcome).map_or(0, |(_, count)| *count);
    assert_eq!(count(&after), count(&before) + 1, "{before:?} {after:?}");
}
