use std::{fs, path::PathBuf};

use schemas::{
    payload::{self, Form},
    topic::Channel,
};

use super::{recording::Recording, *};

fn tenant() -> TenantId {
    "dev".parse().unwrap()
}

fn data(set: &str) -> Option<PathBuf> {
    let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../shared/data".into());
    let folder = PathBuf::from(root).join(set);
    if !folder.is_dir() {
        println!("skipped: no recorded data in {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Reads every message as the server would; gives (messages, readings, rejects, devices).
fn read(recording: &dyn Recording) -> (u64, u64, u64, usize) {
    let (mut messages, mut readings, mut rejects) = (0, 0, 0);
    let mut devices = std::collections::BTreeSet::new();
    let mut last = None;
    for step in recording.steps().unwrap() {
        let step = step.unwrap();
        assert!(last.is_none_or(|last| last < step.at), "steps go forward");
        last = Some(step.at);
        for turn in step.turns {
            for message in &turn.messages {
                assert_eq!(message.topic.device, turn.device_id);
                messages += 1;
                if message.topic.channel == Channel::Telemetry {
                    let told = payload::telemetry(Form::Json, &message.payload);
                    readings += told.readings.len() as u64;
                    rejects += told.rejects.len() as u64;
                } else {
                    payload::fault(Form::Json, &message.payload).unwrap();
                }
            }
            devices.insert(turn.device_id);
        }
    }
    (messages, readings, rejects, devices.len())
}

#[test]
fn a_day_of_drives_is_a_message_each_and_the_last_day_of_a_drive_is_its_failure() {
    let folder = tempfile::tempdir().unwrap();
    let head = "date,serial_number,model,capacity_bytes,failure,smart_5_raw,smart_197_raw,smart_240_raw\n";
    fs::write(
        folder.path().join("2013-04-10.csv"),
        format!("{head}2013-04-10,S1,M,100,0,3,,7\n2013-04-10,S2,M,-1,0,,,\n"),
    )
    .unwrap();
    fs::write(folder.path().join("2013-04-11.csv"), format!("{head}2013-04-11,S1,M,100,1,3,8,7\n")).unwrap();
    let recording = open(Set::Backblaze, folder.path(), &tenant()).unwrap();
    assert_eq!(read(&*recording), (3, 3, 0, 2));
    let failure = &recording.failures()[0];
    assert_eq!((failure.device_id.as_str(), failure.at.to_string().as_str()), ("S1", "2013-04-12T00:00:00Z"));
    let step = recording.steps().unwrap().next().unwrap().unwrap();
    let text = String::from_utf8(step.turns[0].messages[0].payload.clone()).unwrap();
    assert!(!text.contains("failure"), "the truth is not sent: {text}");
    assert!(text.contains(r#""smart_240_raw":7"#), "{text}");
}

#[test]
fn a_folder_without_recordings_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    for (set, said) in [
        (Set::Backblaze, "YYYY-MM-DD.csv"),
        (Set::AppliancePower, "dayN.csv"),
        (Set::AzurePdm, "telemetry_hourly_20machines_90days.csv"),
    ] {
        let error = format!("{:#}", open(set, folder.path(), &tenant()).err().unwrap());
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_recorded_sets_are_read_whole() {
    for (set, name) in [(Set::AzurePdm, "azure_pdm"), (Set::AppliancePower, "appliance_power")] {
        let Some(folder) = data(name) else { continue };
        let recording = open(set, &folder, &tenant()).unwrap();
        let (messages, readings, rejects, devices) = read(&*recording);
        assert_eq!(Some(messages), recording.messages(), "{name}");
        assert_eq!(rejects, 0, "{name}");
        assert!(readings > 0 && devices > 1 && !recording.failures().is_empty(), "{name}");
    }
}
