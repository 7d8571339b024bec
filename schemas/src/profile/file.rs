//! The TOML of a profile, and the checks that make a [`Profile`] of it.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::{
    COSTS, Command, Component, Fault, HORIZON, Metric, MetricType, Part, Profile, ProfileError, Rule,
    indicator::{self, IndicatorFile},
    rule::{AnomalyFile, Parts, RuleFile},
};
use crate::{
    advisory::Costs,
    alarm::PerceivedSeverity,
    id::{FaultKey, ProfileName},
    table,
    time::span,
};

/// Costs beyond it are a slip of the pen.
const COST_MAX: f64 = 1e9;
/// Horizons that mean something: at least what it takes to react, at most what a year of data can teach.
const HORIZONS: std::ops::RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(366 * 86_400);
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: ProfileName,
    title: String,
    version: u32,
    #[serde(with = "span")]
    cadence: Duration,
    #[serde(with = "span")]
    late_after: Duration,
    #[serde(default, rename = "metric")]
    metrics: Vec<MetricFile>,
    #[serde(default, rename = "component")]
    components: Vec<ComponentFile>,
    #[serde(default, rename = "fault")]
    faults: Vec<FaultFile>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleFile>,
    #[serde(default, rename = "indicator")]
    indicators: Vec<IndicatorFile>,
    #[serde(default, rename = "anomaly")]
    anomalies: Vec<AnomalyFile>,
    #[serde(default, rename = "command")]
    commands: Vec<Command>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricFile {
    name: String,
    #[serde(default)]
    unit: String,
    r#type: MetricType,
    min: Option<f64>,
    max: Option<f64>,
    description: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentFile {
    name: String,
    title: String,
    skills: Vec<String>,
    #[serde(default)]
    parts: Vec<Part>,
    #[serde(with = "span")]
    repair: Duration,
    cost: Option<Costs>,
    horizon: Option<String>,
    self_test: Option<String>,
}

impl ComponentFile {
    /// Costs and horizon, or the key that is illegal and why.
    fn check(&self) -> Result<(Costs, Duration), (&'static str, String)> {
        let costs = self.cost.unwrap_or(COSTS);
        for (key, value, legal) in [
            ("cost.visit", costs.visit, costs.visit > 0.0 && costs.visit <= COST_MAX),
            ("cost.failure", costs.failure, costs.failure > costs.visit && costs.failure <= COST_MAX),
            ("cost.false_alarm", costs.false_alarm, (0.0..=COST_MAX).contains(&costs.false_alarm)),
        ] {
            let range = match key {
                "cost.visit" => "above 0".to_owned(),
                "cost.failure" => format!("above cost.visit, {}", costs.visit),
                _ => "from 0".to_owned(),
            };
            if !legal {
                return Err((key, format!("is {value}: {range}, and at most {COST_MAX}")));
            }
        }
        let horizon =
            self.horizon.as_deref().map_or(Ok(HORIZON), span::parse).map_err(|problem| ("horizon", problem))?;
        if !HORIZONS.contains(&horizon) {
            let (least, most) = (span::text(*HORIZONS.start()), span::text(*HORIZONS.end()));
            return Err(("horizon", format!("is {:?}: from {least:?} to {most:?}", span::text(horizon))));
        }
        match &self.self_test {
            Some(name) if !snake(name) => {
                Err(("self_test", format!("{name:?}: a command's name is 1 to 64 of a-z 0-9 _, first a letter")))
            }
            _ => Ok((costs, horizon)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFile {
    code: String,
    severity: PerceivedSeverity,
    fault_key: FaultKey,
    title: String,
    customer_text: String,
}

pub(super) fn parse(text: &str) -> Result<Profile, ProfileError> {
    let file: File = toml::from_str(text)?;
    let profile = file.name.to_string();
    let illegal =
        |key: &str, problem: String| ProfileError::Illegal { profile: profile.clone(), key: key.to_owned(), problem };

    if file.cadence.is_zero() {
        return Err(illegal("cadence", "is 0: at least \"1s\"".into()));
    }
    let mut seen = BTreeSet::new();
    for metric in &file.metrics {
        let key = format!("metric {}", metric.name);
        if !snake(&metric.name) {
            return Err(illegal(&key, "the name is 1 to 64 of a-z 0-9 _, first a letter".into()));
        }
        if table::TELEMETRY_COLUMNS.contains(&metric.name.as_str()) {
            return Err(illegal(&key, "the name is a column that every telemetry table has".into()));
        }
        if !seen.insert(&metric.name) {
            return Err(illegal(&key, "the name stands twice".into()));
        }
        let numeric = matches!(metric.r#type, MetricType::Float | MetricType::Integer);
        if numeric != (metric.min.is_some() && metric.max.is_some()) {
            return Err(illegal(&key, "numbers have min and max, other types have neither".into()));
        }
        if metric.min.zip(metric.max).is_some_and(|(min, max)| min >= max || !min.is_finite() || !max.is_finite()) {
            return Err(illegal(&key, "min must be below max, both finite".into()));
        }
    }
    let mut seen = BTreeSet::new();
    let mut components = Vec::with_capacity(file.components.len());
    for component in &file.components {
        if !snake(&component.name) || !seen.insert(&component.name) {
            return Err(illegal(
                &format!("component {}", component.name),
                "the name is of a-z 0-9 _, first a letter, and stands once".into(),
            ));
        }
        let (costs, horizon) = component
            .check()
            .map_err(|(key, problem)| illegal(&format!("component {}.{key}", component.name), problem))?;
        let ComponentFile { name, title, skills, parts, repair, self_test, .. } = component.clone();
        components.push(Component { name, title, skills, parts, repair, costs, horizon, self_test });
    }
    let has_component = |key: &str, fault_key: &FaultKey| {
        if file.components.iter().any(|component| component.name == fault_key.component()) {
            return Ok(());
        }
        Err(illegal(&format!("{key}.fault_key"), format!("{fault_key}: no [[component]] has that name")))
    };
    let mut seen = BTreeSet::new();
    for fault in &file.faults {
        let key = format!("fault {}", fault.code);
        has_component(&key, &fault.fault_key)?;
        if fault.code.is_empty() || fault.code.len() > 64 || !seen.insert(&fault.code) {
            return Err(illegal(&key, "the code has 1 to 64 bytes and stands once".into()));
        }
    }
    let numeric = |metric: &&MetricFile| matches!(metric.r#type, MetricType::Float | MetricType::Integer);
    let parts = Parts {
        cadence: file.cadence,
        numeric: file.metrics.iter().filter(numeric).map(|metric| metric.name.as_str()).collect(),
        components: file.components.iter().map(|component| component.name.as_str()).collect(),
        faults: file.faults.iter().map(|fault| fault.code.as_str()).collect(),
    };
    let checked = file.rules.into_iter().map(|rule| ("rule", rule.check(&parts)));
    let checked = checked.chain(file.anomalies.into_iter().map(|anomaly| ("anomaly", anomaly.check(&parts))));
    let mut rules: Vec<Rule> = Vec::new();
    for (table, rule) in checked {
        let rule = rule.map_err(|(key, problem)| illegal(&key, problem))?;
        // A fault code is a `specific_problem` too: of one name there is one alarm.
        let taken = rules.iter().any(|other| other.name == rule.name) || parts.faults.contains(&rule.name.as_str());
        if !snake(&rule.name) || taken {
            let problem = "the name is of a-z 0-9 _, first a letter, and stands once, fault codes included";
            return Err(illegal(&format!("{table} {}", rule.name), problem.into()));
        }
        rules.push(rule);
    }
    let mut seen = BTreeSet::new();
    for command in &file.commands {
        if !snake(&command.name) || !seen.insert(&command.name) {
            return Err(illegal(
                &format!("command {}", command.name),
                "the name is of a-z 0-9 _, first a letter, and stands once".into(),
            ));
        }
    }
    for component in &components {
        if let Some(name) = &component.self_test
            && !seen.contains(name)
        {
            let known: Vec<&str> = file.commands.iter().map(|command| command.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let problem = format!("{name:?}: no [[command]] has that name; legal: {known}");
            return Err(illegal(&format!("component {}.self_test", component.name), problem));
        }
    }
    for rule in rules.iter().filter(|rule| rule.self_test_first) {
        let name = rule.fault_key.component();
        if components.iter().any(|component| component.name == name && component.self_test.is_none()) {
            let problem = format!("component {name} has no self_test to come first");
            return Err(illegal(&format!("rule {}.self_test_first", rule.name), problem));
        }
    }
    let mut indicators: Vec<indicator::Indicator> = Vec::new();
    for entry in file.indicators {
        let key = format!("indicator {}", entry.metric);
        for metric in [Some(&entry.metric), entry.when.as_ref().map(|when| &when.metric)].into_iter().flatten() {
            let numeric = |metric: &MetricFile| matches!(metric.r#type, MetricType::Float | MetricType::Integer);
            if !file.metrics.iter().any(|known| &known.name == metric && numeric(known)) {
                return Err(illegal(&format!("{key}.metric"), format!("{metric:?} is no numeric [[metric]]")));
            }
        }
        let entry = entry.check().map_err(|(key, problem)| illegal(&key, problem))?;
        if indicators.iter().any(|other| other.name == entry.name) {
            return Err(illegal(&key, format!("{} stands twice", entry.name)));
        }
        indicators.push(entry);
    }
    let metrics: Vec<Metric> = file.metrics.into_iter().map(Metric::from).collect();
    if indicators.is_empty() {
        indicators = indicator::default_set(&metrics, &rules);
    }
    Ok(Profile {
        name: file.name,
        title: file.title,
        version: file.version,
        cadence: file.cadence,
        late_after: file.late_after,
        metrics,
        components,
        faults: file
            .faults
            .into_iter()
            .map(|f| Fault {
                code: f.code,
                severity: f.severity,
                fault_key: f.fault_key,
                title: f.title,
                customer_text: f.customer_text,
            })
            .collect(),
        rules,
        commands: file.commands,
        indicators,
    })
}

impl From<MetricFile> for Metric {
    fn from(m: MetricFile) -> Self {
        Self { name: m.name, unit: m.unit, r#type: m.r#type, min: m.min, max: m.max, description: m.description }
    }
}

fn snake(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
