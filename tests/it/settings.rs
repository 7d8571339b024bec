//! Settings as a person meets them: checked before a port opens, printed with their origin.

use std::fs;

use crate::process::forewarn;

#[test]
fn check_config_prints_what_is_in_force_and_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forewarn.toml");
    fs::write(&file, "[lake]\ncommit_interval = \"2s\"\n").unwrap();
    let output =
        forewarn().arg("check-config").arg(&file).env("FOREWARN_GATEWAY__RECEIVE_MAXIMUM", "77").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {text}"));
    assert!(line("lake.commit_interval").contains("\"2s\"") && line("lake.commit_interval").contains("forewarn.toml"));
    assert!(line("gateway.receive_maximum").contains("77"));
    assert!(line("gateway.receive_maximum").contains("environment FOREWARN_GATEWAY__RECEIVE_MAXIMUM"));
    assert!(line("log.segment_bytes").ends_with("# default"));
}

#[test]
fn a_wrong_setting_is_refused_by_name_before_anything_opens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forewarn.toml");
    let data = folder.path().join("data");
    for (text, said) in [
        ("[gateway]\nworkers = 0", "gateway.workers = 0: from 1 to 256"),
        ("[gatway]\nworkers = 1", "gatway"),
        ("[query]\ntimeout = \"long\"", "query.timeout"),
    ] {
        fs::write(&file, text).unwrap();
        let output = forewarn().args(["serve", "--config"]).arg(&file).arg("--data").arg(&data).output().unwrap();
        assert!(!output.status.success(), "{text}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(said), "{text}: {error}");
        assert!(!data.exists(), "{text}: something was opened");
    }
}
