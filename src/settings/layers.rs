//! Layers of settings, each with an origin, merged key by key.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;
use toml::{Table, Value};

use super::Settings;

/// Variables that set something begin with this; two underscores part section and key.
const VARIABLE: &str = "FOREWARN_";
/// Variables of that prefix that mean something else.
const OTHER_VARIABLES: [&str; 3] = ["FOREWARN_DATA", "FOREWARN_CONFIG", "FOREWARN_PYTHON"];

/// Values with an origin, such as those of a file.
#[derive(Debug, Clone)]
pub struct Layer {
    values: Vec<(String, Value, String)>,
}

/// Settings in force, and where each value came from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    /// Key path, value as TOML, origin: every leaf.
    pub origins: BTreeMap<String, (Value, String)>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("read settings {path}")]
    File {
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("read settings {path}: {source}")]
    Toml {
        /// Which file.
        path: String,
        /// Where and why not.
        source: Box<toml::de::Error>,
    },
    /// A value of the wrong kind, or a key nobody knows.
    #[error("setting {key}{origin}: {problem}")]
    Value {
        /// Path of the key.
        key: String,
        /// Where it was set, in brackets.
        origin: String,
        /// What is legal.
        problem: String,
    },
    /// Values out of range or that do not fit together.
    #[error("settings do not fit:\n  {}", .0.join("\n  "))]
    Range(Vec<String>),
}

impl Layer {
    /// The layer of a TOML text.
    pub fn toml(text: &str, path: &str) -> Result<Self, SettingsError> {
        let table: Table =
            text.parse().map_err(|source| SettingsError::Toml { path: path.into(), source: Box::new(source) })?;
        Ok(Self::table(table, &format!("file {path}")))
    }

    fn table(table: Table, origin: &str) -> Self {
        let mut values = Vec::new();
        leaves(String::new(), table, &mut |key, value| values.push((key, value, origin.to_owned())));
        Self { values }
    }

    /// The layer of a file.
    pub fn file(path: &Path) -> Result<Self, SettingsError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| SettingsError::File { path: shown.clone(), source })?;
        Self::toml(&text, &shown)
    }

    /// The layer of environment variables: `FOREWARN_GATEWAY__LISTEN=127.0.0.1:1883` sets `gateway.listen`.
    pub fn environment(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut values: Vec<_> = variables
            .filter(|(name, _)| name.starts_with(VARIABLE) && !OTHER_VARIABLES.contains(&name.as_str()))
            .map(|(name, text)| {
                let key = name[VARIABLE.len()..].to_lowercase().replace("__", ".");
                (key, guess(&text), format!("environment {name}"))
            })
            .collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        Self { values }
    }

    /// The layer of the command line: key path and value.
    pub fn arguments(values: Vec<(&str, Value)>) -> Self {
        let origin = "command line".to_owned();
        Self { values: values.into_iter().map(|(key, value)| (key.to_owned(), value, origin.clone())).collect() }
    }
}

/// A TOML value where the text is one, else the text itself.
fn guess(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn leaves(path: String, table: Table, found: &mut impl FnMut(String, Value)) {
    for (key, value) in table {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => leaves(path, inner, found),
            leaf => found(path, leaf),
        }
    }
}

fn put(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let Some((head, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return Ok(());
    };
    match table.entry(head).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => put(inner, rest, value),
        _ => Err(format!("{head} is no section")),
    }
}

/// Merges the layers over the defaults, later ones winning, and checks everything.
pub fn load(layers: &[Layer]) -> Result<Effective, SettingsError> {
    let illegal =
        |key: &str, origin: String, problem: String| SettingsError::Value { key: key.into(), origin, problem };
    let defaults =
        Table::try_from(Settings::default()).map_err(|error| illegal("defaults", String::new(), error.to_string()))?;
    let mut origins = BTreeMap::new();
    leaves(String::new(), defaults.clone(), &mut |key, value| {
        origins.insert(key, (value, "default".to_owned()));
    });
    let mut merged = defaults;
    for (key, value, origin) in layers.iter().flat_map(|layer| &layer.values) {
        let set = || format!(" = {} ({origin})", shown(value));
        put(&mut merged, key, value.clone()).map_err(|problem| illegal(key, set(), problem))?;
        origins.insert(key.clone(), (value.clone(), origin.clone()));
    }
    let settings: Settings = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let key = error.path().to_string();
        let origin = origins.iter().find(|(known, _)| **known == key || known.starts_with(&format!("{key}.")));
        let origin = origin.map_or(String::new(), |(_, (value, origin))| format!(" = {} ({origin})", shown(value)));
        illegal(&key, origin, error.into_inner().to_string().trim().to_owned())
    })?;
    let problems = settings.problems();
    if !problems.is_empty() {
        return Err(SettingsError::Range(problems));
    }
    Ok(Effective { settings, origins })
}

/// A value as it may be shown: a password in a URL is not.
fn shown(value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let Some((scheme, rest)) = text.split_once("://") else { return value.clone() };
    match rest.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?.0, host))) {
        Some((user, host)) => Value::String(format!("{scheme}://{user}:***@{host}")),
        None => value.clone(),
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.origins.iter().map(|(key, (value, _))| key.len() + shown(value).to_string().len() + 3).max();
        for (key, (value, origin)) in &self.origins {
            let line = format!("{key} = {}", shown(value));
            writeln!(f, "{line:<width$}  # {origin}", width = width.unwrap_or(0))?;
        }
        Ok(())
    }
}

impl Serialize for Effective {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Leaf<'a> {
            value: Value,
            origin: &'a str,
        }
        to.collect_map(self.origins.iter().map(|(key, (value, origin))| (key, Leaf { value: shown(value), origin })))
    }
}
