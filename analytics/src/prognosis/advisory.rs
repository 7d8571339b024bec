//! A finding in words: the advisory for the desk, the log and the table (pure).
//!
//! In: a finding, a decision, the profile. Out: an [`Advisory`] with evidence in the profile's words and units. Promise: the
//! same finding gives the same advisory with the same id. Never: a number without its unit.

use foresight::daily;
use schemas::{
    advisory::{Advisory, Contribution, Decision, Method, ModelVersion, RemainingUsefulLife},
    id::{DeviceId, IdError, TenantId},
    profile::{Component, Indicator, Profile, indicator::Statistic},
    time::Instant,
};

use super::{
    in_force::InForce,
    prior::Way,
    score::{self, Finding},
};

/// The version that speaks where no model does.
pub const TREND: &str = "trend";

/// What all advisories of one run share.
#[derive(Debug, Clone)]
pub struct Occasion<'a> {
    /// Whose devices.
    pub tenant: &'a TenantId,
    /// Their kind.
    pub profile: &'a Profile,
    /// Which midnight.
    pub landmark: i32,
    /// When it is said.
    pub now: Instant,
}

/// Puts a finding into words.
pub fn word(
    occasion: &Occasion<'_>,
    in_force: &InForce,
    component: &Component,
    finding: &Finding,
    decision: Decision,
) -> Result<Advisory, IdError> {
    let Occasion { tenant, profile, landmark, now } = *occasion;
    let target = &in_force.target;
    let device_id: DeviceId = finding.device.parse()?;
    // A trend speaks of what its rule speaks of, so that rule and advisory meet on one ticket; a model of the component.
    let fault_key = match (finding.method, &finding.way) {
        (Method::Trend, Some((rule, _))) => profile.rules.get(*rule).map_or(&target.fault_key, |rule| &rule.fault_key),
        _ => &target.fault_key,
    };
    let spoke = if finding.shadow { &in_force.challenger } else { &in_force.champion };
    let version = spoke.as_ref().map_or(TREND, |model| model.1.version.as_str());
    let model = ModelVersion { name: format!("{}.{}", profile.name, target.fault_key), version: version.into() };
    let event_time = Instant::from_micros(daily::landmark_micros(landmark));
    let life = finding.way.as_ref().and_then(|(_, way)| score::hours(way.life));
    let mut evidence = contributions(profile, finding);
    if evidence.is_empty() {
        evidence.extend(finding.way.as_ref().and_then(|(rule, way)| trend(profile, *rule, way)));
    }
    let (threshold, days) = (component.costs.threshold(), target.horizon.as_secs_f64() / 86_400.0);
    let what = match decision {
        Decision::Auto => "a visit pays, even if a failure costs half of what is assumed",
        Decision::Assist => "a visit is likely to pay: an agent decides",
        Decision::Watch => "written down only",
    };
    let because = evidence.first().map_or(String::new(), |first| format!(": {}", first.words));
    let reason = format!(
        "{} fails within {days:.0} days with a probability of {:.0} %{because}; from {:.0} % on it is cheaper to go, so {what}.",
        component.title,
        finding.probability * 100.0,
        threshold * 100.0
    );
    Ok(Advisory {
        advisory_id: Advisory::id(tenant, &device_id, fault_key, event_time, &model),
        tenant: tenant.clone(),
        device_id,
        profile: profile.name.clone(),
        firmware: None,
        fault_key: fault_key.clone(),
        component: target.component.clone(),
        event_time,
        advisory_reporting_time: now,
        horizon_hours: target.horizon.as_secs_f64() / 3600.0,
        probability: finding.probability,
        remaining_useful_life: life.map(|[p10_hours, p50_hours, p90_hours]| RemainingUsefulLife {
            p10_hours,
            p50_hours,
            p90_hours,
        }),
        model,
        method: finding.method,
        decision,
        threshold,
        costs: component.costs,
        evidence,
        parts: component.parts.clone(),
        skills: component.skills.clone(),
        self_test: component.self_test.clone(),
        reason,
    })
}

fn contributions(profile: &Profile, finding: &Finding) -> Vec<Contribution> {
    let Some(explanation) = finding.explanation.as_ref().filter(|_| finding.method == Method::Model) else {
        return Vec::new();
    };
    let parts = explanation.parts.iter().map(|part| {
        let indicator = profile.indicators.iter().find(|indicator| indicator.name == part.feature);
        let metric = indicator.map(|indicator| indicator.metric.clone());
        let unit = indicator.map_or(String::new(), |indicator| unit(profile, indicator));
        let value = part.value.unwrap_or(f64::NAN);
        let said = indicator.map_or_else(|| part.feature.clone(), phrase);
        let words = match part.value {
            Some(value) => format!("{said} is {}", with_unit(value, &unit)),
            None => format!("{said} was not measured"),
        };
        Contribution { indicator: part.feature.clone(), metric, unit, value, contribution: part.log_odds, words }
    });
    // JSON has no NaN: what was not measured is no evidence.
    parts.filter(|part| part.value.is_finite()).collect()
}

fn trend(profile: &Profile, rule: usize, way: &Way) -> Option<Contribution> {
    let (metric, limit) = profile.rules.get(rule)?.threshold()?;
    let unit = profile.metric(metric).map_or(String::new(), |metric| metric.unit.clone());
    let arrival = match way.life.p50 {
        days if days.is_finite() => format!(", reached in about {days:.0} days"),
        _ => String::new(),
    };
    let words = format!(
        "{metric} is at {} and moves by {} a day towards {}{arrival}",
        with_unit(way.level, &unit),
        with_unit(way.rate, &unit),
        with_unit(limit.raise, &unit)
    );
    Some(Contribution {
        indicator: format!("{metric}_trend_10d"),
        metric: Some(metric.to_owned()),
        unit,
        value: way.level,
        contribution: way.rate,
        words,
    })
}

fn unit(profile: &Profile, indicator: &Indicator) -> String {
    let of_metric = profile.metric(&indicator.metric).map_or("", |metric| &metric.unit);
    match indicator.statistic {
        Statistic::Count => String::new(),
        Statistic::Departure => "standard deviations".into(),
        Statistic::Slope => format!("{of_metric}/h"),
        _ => of_metric.into(),
    }
}

fn phrase(indicator: &Indicator) -> String {
    let Indicator { metric, window_days: days, .. } = indicator;
    let window = if *days == 1 { "the last day".to_owned() } else { format!("the last {days} days") };
    let of = match indicator.statistic {
        Statistic::Count => "number of readings",
        Statistic::Last => "newest value",
        Statistic::Mean => "mean",
        Statistic::Std => "spread",
        Statistic::Min => "least value",
        Statistic::Max => "greatest value",
        Statistic::Change => "change",
        Statistic::Slope => "trend",
        Statistic::Departure => return format!("how far {metric} of {window} has left the device's own month"),
    };
    format!("{of} of {metric} over {window}")
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 1.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}
