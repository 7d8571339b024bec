//! The rules of the house, checked: layers, one door per library, the size of files, what we may ship.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file of ours: path from the root, and its text without comments.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    for folder in ["src", "schemas/src", "foresight/src", "ingest/src", "analytics/src", "api/src", "tests"] {
        walk(&root.join(folder), &mut found);
    }
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        (path.strip_prefix(&root).unwrap().display().to_string(), code.join("\n"))
    };
    found.into_iter().map(read).collect()
}

fn says(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + name.len()..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !word(before) && !word(after)
    })
}

#[test]
fn tiers_never_import_one_another() {
    let manifest = |folder: &str| -> toml::Table {
        fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
    };
    for (tier, others) in [
        ("schemas", &["foresight", "ingest", "analytics", "api", "forewarn"][..]),
        ("foresight", &["ingest", "analytics", "api", "forewarn"]),
        ("ingest", &["foresight", "analytics", "api", "forewarn"]),
        ("analytics", &["ingest", "api", "forewarn"]),
        ("api", &["foresight", "ingest", "analytics", "forewarn"]),
    ] {
        let manifest = manifest(tier);
        for section in ["dependencies", "dev-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for other in others {
                assert!(!dependencies.contains_key(*other), "{tier} depends on {other}");
            }
        }
    }
}

/// Library as it stands in code, and the paths that may say its name.
const DOORS: [(&str, &[&str]); 24] = [
    ("rumqttc", &["ingest/src/subscriber", "ingest/src/gateway/tests", "src/fleet/device.rs", "tests/it/"]),
    ("ntex", &["ingest/src/gateway/"]),
    ("ntex_mqtt", &["ingest/src/gateway/"]),
    ("ntex_tls", &["ingest/src/gateway/tls"]),
    ("x509_cert", &["ingest/src/gateway/tls/certificate.rs"]),
    ("rcgen", &["ingest/src/gateway/tests/"]),
    ("deltalake_core", &["ingest/src/lake/", "analytics/src/query/lake.rs", "analytics/src/query/tests"]),
    ("datafusion", &["analytics/src/query/", "ingest/src/lake/tests/"]),
    ("polars", &["analytics/src/evaluate/", "analytics/src/prognosis/frame.rs"]),
    ("polars_arrow", &["analytics/src/prognosis/frame.rs"]),
    ("forust_ml", &["foresight/src/boost/"]),
    ("plotters", &["foresight/src/plot"]),
    ("sqlx", &["api/src/"]),
    ("axum", &["api/src/"]),
    ("icalendar", &["api/src/appointment/"]),
    ("indicatif", &["src/fleet/"]),
    ("quick_xml", &["tests/it/"]),
    ("reqwest", &["src/client.rs", "tests/it/"]),
    ("pgwire", &["analytics/src/postgres/"]),
    ("arrow_pg", &["analytics/src/postgres/"]),
    ("datafusion_pg_catalog", &["analytics/src/query/postgres/"]),
    ("arrow_flight", &["analytics/src/flight/"]),
    ("tonic", &["analytics/src/flight/"]),
    ("prost", &["schemas/src/payload/sparkplug", "analytics/src/flight/"]),
];

#[test]
fn each_library_has_one_door() {
    for (path, code) in sources() {
        for (library, doors) in DOORS {
            let allowed = path.ends_with("tidy.rs") || doors.iter().any(|door| path.starts_with(door));
            assert!(allowed || !says(&code, library), "{path} says {library}: only {doors:?} may");
        }
    }
}

#[test]
fn http_stands_in_routes_and_sql_in_stores() {
    // What every route shares: the router, connections, problem documents, extractors of callers, bodies and keys.
    const HTTP: [&str; 6] = [
        "api/src/app.rs",
        "api/src/auth/",
        "api/src/body.rs",
        "api/src/connection.rs",
        "api/src/idempotency/",
        "api/src/problem.rs",
    ];
    for (path, code) in sources().into_iter().filter(|(path, _)| path.starts_with("api/src/")) {
        let file = path.rsplit('/').next().unwrap();
        let tests = path.contains("tests");
        let http =
            HTTP.iter().any(|prefix| path.starts_with(prefix)) || file == "routes.rs" || path.contains("/routes/");
        assert!(http || tests || !says(&code, "axum"), "{path} says axum: only routes.rs files may");
        // The SQL route's documentation shows what an analyst may ask.
        let store = file == "store.rs" || path.contains("/store/") || path == "api/src/sql/routes.rs";
        for verb in ["\"select ", "\"insert ", "\"update ", "\"delete "] {
            assert!(store || tests || !code.to_lowercase().contains(verb), "{path} has SQL: only store.rs files may");
        }
    }
}

#[test]
fn time_and_chance_are_arguments() {
    // The clock itself, and the seams where a duration is measured or a secret is drawn, each with its reason beside it.
    for (path, code) in sources() {
        for call in ["SystemTime::now", "Timestamp::now", "Zoned::now"] {
            assert!(
                path == "schemas/src/time.rs" || path.ends_with("tidy.rs") || !code.contains(call),
                "{path}: {call}"
            );
        }
        for call in ["thread_rng", "rand::rng()", "from_os_rng"] {
            assert!(path.ends_with("tidy.rs") || !code.contains(call), "{path}: {call}");
        }
    }
}

#[test]
fn a_file_is_one_noun() {
    for (path, _) in sources() {
        let lines = fs::read_to_string(root().join(&path)).unwrap().lines().count();
        assert!(lines <= 600, "{path} has {lines} lines: at most 600, rarely over 400");
    }
}

#[test]
fn versions_stand_only_in_the_root_manifest() {
    for folder in ["schemas", "foresight", "ingest", "analytics", "api"] {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, value) in dependencies {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherited && value.as_table().is_some_and(|t| t.len() == 1), "{folder}: {name} = {value}");
            }
        }
    }
}

#[test]
fn dependencies_are_licensed_trusted_and_single_where_types_would_split() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<String> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
    // For crates that name no licence but have its text.
    let clarified: BTreeMap<&str, &str> = deny["licenses"]["clarify"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["crate"].as_str().unwrap(), one["expression"].as_str().unwrap()))
        .collect();
    let banned: BTreeSet<String> =
        deny["bans"]["deny"].as_array().unwrap().iter().map(|b| b["crate"].as_str().unwrap().to_owned()).collect();

    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let license = package["license"].as_str().or(clarified.get(name).copied()).unwrap_or("");
        // Of alternatives one must be allowed; of a conjunction all.
        let legal = license
            .replace('/', " OR ")
            .replace(['(', ')'], "")
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|one| allowed.contains(one.trim())));
        assert!(legal, "{name}: licence {license:?} is not in deny.toml");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        if let Some(source) = package["source"].as_str() {
            assert!(source.starts_with("registry+"), "{name} comes from {source}");
        }
        versions.entry(name.to_owned()).or_default().push(package["version"].as_str().unwrap().to_owned());
    }
    for name in ["arrow", "arrow-array", "parquet", "datafusion", "object_store", "deltalake-core", "polars"] {
        assert_eq!(versions.get(name).map(Vec::len), Some(1), "{name}: {:?}", versions.get(name));
    }
}

#[test]
fn pages_name_only_what_exists() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for text in [&readme, &architecture] {
        for word in text.split(|c: char| c.is_whitespace() || "`()[],".contains(c)) {
            let is_path = [
                "src/",
                "schemas/",
                "foresight/",
                "ingest/",
                "analytics/",
                "api/",
                "tests/",
                "docs/",
                "scripts/",
                "bench/",
            ]
            .iter()
            .any(|folder| word.starts_with(folder));
            if is_path && !word.contains(['*', '{', '<', '…', '|']) {
                let path = word.trim_end_matches(['.', ':', ';']);
                assert!(root().join(path).exists(), "a page names {path}, which is not there");
            }
        }
    }
}
