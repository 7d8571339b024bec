use super::*;

fn effective(layers: &[Layer]) -> Result<Effective, String> {
    load(layers).map_err(|error| error.to_string())
}

#[test]
fn later_layers_win_and_are_named() {
    let file = Layer::toml("[lake]\ncommit_interval = \"2s\"\n[gateway]\nworkers = 3", "f.toml").unwrap();
    let environment = Layer::environment(
        [("FOREWARN_LAKE__COMMIT_INTERVAL", "1s"), ("FOREWARN_DATA", "/elsewhere"), ("PATH", "/bin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter(),
    );
    let arguments = Layer::arguments(vec![("data", "here".into())]);
    let effective = effective(&[file, environment, arguments]).unwrap();
    assert_eq!(effective.settings.lake.commit_interval, Duration::from_secs(1));
    assert_eq!(effective.settings.gateway.workers, 3);
    assert_eq!(effective.settings.data, PathBuf::from("here"));
    let origin = |key: &str| effective.origins[key].1.clone();
    assert_eq!(origin("lake.commit_interval"), "environment FOREWARN_LAKE__COMMIT_INTERVAL");
    assert_eq!(origin("gateway.workers"), "file f.toml");
    assert_eq!(origin("data"), "command line");
    assert_eq!(origin("stop_timeout"), "default");
}

#[test]
fn what_is_wrong_is_said_by_key_value_and_origin() {
    for (text, said) in [
        ("[lake]\ncommit_intervall = \"2s\"", "commit_intervall"),
        ("[lake]\ncommit_interval = \"soon\"", "lake.commit_interval = \"soon\" (file f.toml): \"soon\" is no span"),
        ("[lake]\ncommit_interval = \"1ms\"", "lake.commit_interval = \"1ms\": from \"100ms\" to \"1h\""),
        ("[gateway]\nworkers = 0", "gateway.workers = 0: from 1 to 256"),
        ("[gateway]\nlisten = \"here\"", "gateway.listen = \"here\" (file f.toml)"),
        ("roles = []", "at least one of"),
        ("roles = [\"cook\"]", "unknown variant `cook`"),
        ("dev = true\n[gateway]\nlisten = \"0.0.0.0:1883\"", "only loopback"),
        ("[postgres]\nlisten = \"0.0.0.0:5433\"", "postgres.listen = 0.0.0.0:5433: only loopback"),
        ("[postgres]\nmax_connections = 0", "postgres.max_connections = 0: from 1 to 65536"),
        ("[flight]\nlisten = \"0.0.0.0:8815\"", "flight.listen = 0.0.0.0:8815: only loopback"),
        ("[flight]\nmax_connections = 0", "flight.max_connections = 0: from 1 to 65536"),
        ("profiles = \"/no/such\"", "no such folder"),
    ] {
        let error = effective(&[Layer::toml(text, "f.toml").unwrap()]).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(Layer::toml("lake = [", "f.toml").is_err());
}

#[test]
fn a_password_is_never_printed() {
    let file = Layer::toml("[subscriber]\nbroker = \"mqtt://ann:secret@localhost:1883\"", "f.toml").unwrap();
    let effective = effective(&[file]).unwrap();
    assert_eq!(effective.settings.subscriber.as_ref().unwrap().broker, "mqtt://ann:secret@localhost:1883");
    for printed in [effective.to_string(), serde_json::to_string(&effective).unwrap()] {
        assert!(!printed.contains("secret") && printed.contains("ann:***@localhost"), "{printed}");
    }
}

#[test]
fn the_printed_settings_are_settings() {
    let first = effective(&[]).unwrap();
    let printed: String = first.to_string();
    let second = effective(&[Layer::toml(&printed, "printed").unwrap()]).unwrap();
    assert_eq!(toml::to_string(&first.settings).unwrap(), toml::to_string(&second.settings).unwrap());
}
