//! The TOML of a rule, and the checks that make a [`Rule`] of it. Which kind of rule it is follows from its keys.

use std::time::Duration;

use serde::Deserialize;

use super::{COUNT_MAX, Counted, Flapping, Limit, Quantity, Regime, Rule, Side, Source, Watch};
use crate::{alarm::PerceivedSeverity, id::FaultKey, time::span};

/// Silence, in cadences, that starts a rule's condition anew unless the rule says `max_gap`.
const GAP_CADENCES: u32 = 50;
/// How far back a rate looks unless the rule says `over`: a day of a device that reports every hour.
const OVER_CADENCES: u32 = 24;
/// A rate over fewer readings is a difference of noise.
const OVER_CADENCES_MIN: u32 = 5;
/// A device is not absent because its next report is due.
const ABSENT_CADENCES_MIN: u32 = 2;
/// The longest span a rule looks back: what is kept of a device stays bounded.
const SPAN_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Longest expression, in bytes: a longer one is generated.
const EXPRESSION_MAX: usize = 2000;
/// Chattering after ISA-18.2: three alarms in a minute of a control room that looks every second …
const FLAPPING_COUNT: u32 = 3;
/// … so, for a device that reports once in a cadence, within sixty of them.
const FLAPPING_CADENCES: u32 = 60;
/// Most alarms that a rule may call not yet flapping: each is 8 bytes a device.
const FLAPPING_MAX: u32 = 100;
/// Greatest score. Which score as many readings reach as `false_alarms_per_year` allows, the detector knows: it sets
/// both limits when the profile is loaded (`analytics/src/detect/rulebook.rs`).
const SCORE_RAISE: f64 = 1.0;
/// As [`SCORE_RAISE`].
const SCORE_CLEAR: f64 = 0.9;
/// More than one false alarm a day is no rule.
const FALSE_ALARMS_MAX: f64 = 366.0;
/// What an anomaly without a fault key speaks of: all of a device share one ticket.
const ANOMALY_KEY: &str = "device/anomaly";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlappingFile {
    count: u32,
    within: String,
}

/// `[[rule]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RuleFile {
    name: String,
    metric: Option<String>,
    expression: Option<String>,
    unit: Option<String>,
    fault: Option<String>,
    raise_above: Option<f64>,
    raise_below: Option<f64>,
    rate_above: Option<f64>,
    rate_below: Option<f64>,
    per: Option<String>,
    over: Option<String>,
    count: Option<u32>,
    clear_count: Option<u32>,
    within: Option<String>,
    absent_for: Option<String>,
    clear_below: Option<f64>,
    clear_above: Option<f64>,
    r#for: Option<String>,
    max_gap: Option<String>,
    when: Option<Regime>,
    flapping: Option<FlappingFile>,
    severity: PerceivedSeverity,
    fault_key: FaultKey,
    probable_cause: String,
    customer_text: String,
    #[serde(default)]
    self_test_first: bool,
}

/// `[[anomaly]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct AnomalyFile {
    name: Option<String>,
    metric: String,
    when: Option<Regime>,
    false_alarms_per_year: f64,
    r#for: Option<String>,
    max_gap: Option<String>,
    flapping: Option<FlappingFile>,
    severity: PerceivedSeverity,
    fault_key: Option<FaultKey>,
    probable_cause: Option<String>,
    customer_text: Option<String>,
}

/// What a rule refers to.
pub(in crate::profile) struct Parts<'a> {
    pub(in crate::profile) cadence: Duration,
    /// Names of numeric metrics.
    pub(in crate::profile) numeric: Vec<&'a str>,
    pub(in crate::profile) components: Vec<&'a str>,
    pub(in crate::profile) faults: Vec<&'a str>,
}

/// Key and problem.
type Illegal = (String, String);

impl Parts<'_> {
    fn metric(&self, key: &str, name: &str) -> Result<(), Illegal> {
        if self.numeric.contains(&name) {
            return Ok(());
        }
        Err((format!("{key}.metric"), format!("{name:?} is no numeric [[metric]]")))
    }

    fn component(&self, key: &str, fault_key: &FaultKey) -> Result<(), Illegal> {
        if self.components.contains(&fault_key.component()) {
            return Ok(());
        }
        Err((format!("{key}.fault_key"), format!("{fault_key}: no [[component]] has that name")))
    }
}

/// Reads spans and says in which field of which rule one is wrong.
struct Spans<'a> {
    key: &'a str,
    cadence: Duration,
}

impl Spans<'_> {
    fn any(&self, field: &str, text: Option<&String>, default: Duration) -> Result<Duration, Illegal> {
        text.map_or(Ok(default), |text| span::parse(text).map_err(|p| (format!("{}.{field}", self.key), p)))
    }

    fn between(&self, field: &str, text: &str, least: Duration) -> Result<Duration, Illegal> {
        let span = span::parse(text).map_err(|problem| (format!("{}.{field}", self.key), problem))?;
        self.checked(field, span, least)
    }

    fn checked(&self, field: &str, span: Duration, least: Duration) -> Result<Duration, Illegal> {
        if span < least || span.is_zero() || span > SPAN_MAX {
            let (is, least, most) = (span::text(span), span::text(least.max(Duration::from_secs(1))), "366d");
            return Err((format!("{}.{field}", self.key), format!("is {is}: \"{least}\" to \"{most}\"")));
        }
        Ok(span)
    }

    fn flapping(&self, given: Option<FlappingFile>) -> Result<Flapping, Illegal> {
        let default = Flapping { count: FLAPPING_COUNT, within: (self.cadence * FLAPPING_CADENCES).min(SPAN_MAX) };
        let Some(FlappingFile { count, within }) = given else { return Ok(default) };
        if !(2..=FLAPPING_MAX).contains(&count) {
            return Err((format!("{}.flapping.count", self.key), format!("is {count}: 2 to {FLAPPING_MAX}")));
        }
        Ok(Flapping { count, within: self.between("flapping.within", &within, Duration::ZERO)? })
    }
}

/// The four kinds of `[[rule]]`, told apart by their keys.
const KINDS: &str = "is one of: raise_above or raise_below (a threshold); rate_above or rate_below with per (a rate of \
                     change); count with within (a count in a window); absent_for (no report)";

impl RuleFile {
    pub(in crate::profile) fn check(self, parts: &Parts<'_>) -> Result<Rule, Illegal> {
        let key = format!("rule {}", self.name);
        parts.component(&key, &self.fault_key)?;
        for metric in [self.metric.as_ref(), self.when.as_ref().map(|when| &when.metric)].into_iter().flatten() {
            parts.metric(&key, metric)?;
        }
        let spans = Spans { key: &key, cadence: parts.cadence };
        let watch = self.watch(&spans, parts)?;
        Ok(Rule {
            watch,
            flapping: spans.flapping(self.flapping)?,
            name: self.name,
            severity: self.severity,
            fault_key: self.fault_key,
            probable_cause: self.probable_cause,
            customer_text: self.customer_text,
            self_test_first: self.self_test_first,
        })
    }

    fn watch(&self, spans: &Spans<'_>, parts: &Parts<'_>) -> Result<Watch, Illegal> {
        let illegal = |field: &str, problem: String| (format!("{}{field}", spans.key), problem);
        let rate = self.rate_above.is_some() || self.rate_below.is_some();
        if let Some(after) = &self.absent_for {
            self.only(spans.key, "an absence", &[])?;
            let after = spans.between("absent_for", after, parts.cadence * ABSENT_CADENCES_MIN)?;
            return Ok(Watch::Absence { after });
        }
        if let Some(count) = self.count {
            self.only(spans.key, "a count", &["when", "max_gap", "value", "fault", "count", "raise"])?;
            return self.count(count, spans, parts);
        }
        let allowed: &[&str] = match rate {
            true => &["when", "max_gap", "value", "for", "rate", "clear"],
            false => &["when", "max_gap", "value", "for", "raise", "clear"],
        };
        self.only(spans.key, if rate { "a rate" } else { "a threshold" }, allowed)?;
        let (above, below) =
            if rate { (self.rate_above, self.rate_below) } else { (self.raise_above, self.raise_below) };
        let (side, raise, clear) = match (above, self.clear_below, below, self.clear_above) {
            (None, _, None, _) => return Err(illegal("", KINDS.into())),
            (Some(raise), clear, None, None) => (Side::Above, raise, clear.unwrap_or(raise)),
            (None, None, Some(raise), clear) => (Side::Below, raise, clear.unwrap_or(raise)),
            _ => {
                let word = if rate { "rate" } else { "raise" };
                let problem = format!("has {word}_above with clear_below, or {word}_below with clear_above");
                return Err(illegal("", problem));
            }
        };
        if !raise.is_finite() || !clear.is_finite() || !side.reached(raise, clear) {
            return Err(illegal("", format!("clears at {clear}, beyond where it raises, {raise}")));
        }
        let of = self.source(spans)?;
        let quantity = if rate {
            let Some(per) = &self.per else {
                return Err(illegal(".per", "is missing: a rate is change per span, such as \"1d\"".into()));
            };
            let per = spans.between("per", per, Duration::ZERO)?;
            let over = spans.any("over", self.over.as_ref(), per.max(parts.cadence * OVER_CADENCES).min(SPAN_MAX))?;
            Quantity::Rate { of, per, over: spans.checked("over", over, parts.cadence * OVER_CADENCES_MIN)? }
        } else {
            Quantity::Value(of)
        };
        Ok(Watch::Limit(Limit {
            quantity,
            side,
            raise,
            clear,
            hold: spans.any("for", self.r#for.as_ref(), Duration::ZERO)?,
            max_gap: spans.any("max_gap", self.max_gap.as_ref(), parts.cadence * GAP_CADENCES)?,
            when: self.when.clone(),
        }))
    }

    fn count(&self, count: u32, spans: &Spans<'_>, parts: &Parts<'_>) -> Result<Watch, Illegal> {
        let illegal = |field: &str, problem: String| (format!("{}{field}", spans.key), problem);
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(illegal(".count", format!("is {count}: 1 to {COUNT_MAX}")));
        }
        let clear = self.clear_count.unwrap_or(0);
        if clear >= count {
            return Err(illegal(".clear_count", format!("is {clear}: 0 to {}, below count", count - 1)));
        }
        let Some(within) = &self.within else {
            return Err(illegal(".within", "is missing: the span in which is counted, such as \"1d\"".into()));
        };
        let within = spans.between("within", within, Duration::ZERO)?;
        let of = match (&self.fault, self.raise_above, self.raise_below) {
            (Some(code), None, None) if self.metric.is_none() && self.expression.is_none() && self.when.is_none() => {
                if !parts.faults.contains(&code.as_str()) {
                    return Err(illegal(".fault", format!("{code:?}: no [[fault]] has that code")));
                }
                Counted::Fault(code.clone())
            }
            (None, Some(beyond), None) => Counted::Readings { of: self.source(spans)?, side: Side::Above, beyond },
            (None, None, Some(beyond)) => Counted::Readings { of: self.source(spans)?, side: Side::Below, beyond },
            _ => {
                let problem = "counts a fault code (fault), or readings (metric or expression, with raise_above or \
                               raise_below)";
                return Err(illegal("", problem.into()));
            }
        };
        Ok(Watch::Limit(Limit {
            quantity: Quantity::Count { of, within },
            side: Side::Above,
            raise: f64::from(count),
            clear: f64::from(clear),
            hold: Duration::ZERO,
            max_gap: spans.any("max_gap", self.max_gap.as_ref(), parts.cadence * GAP_CADENCES)?,
            when: self.when.clone(),
        }))
    }

    fn source(&self, spans: &Spans<'_>) -> Result<Source, Illegal> {
        let illegal = |field: &str, problem: String| (format!("{}{field}", spans.key), problem);
        match (&self.metric, &self.expression) {
            (Some(metric), None) if self.unit.is_none() => Ok(Source::Metric(metric.clone())),
            (Some(_), None) => Err(illegal(".unit", "goes with expression; a metric has its own".into())),
            (None, Some(sql)) if sql.trim().is_empty() || sql.len() > EXPRESSION_MAX => {
                Err(illegal(".expression", format!("has {} bytes: 1 to {EXPRESSION_MAX}", sql.len())))
            }
            (None, Some(sql)) => {
                Ok(Source::Expression { sql: sql.clone(), unit: self.unit.clone().unwrap_or_default() })
            }
            _ => Err(illegal("", "looks at one value: metric, or expression".into())),
        }
    }

    /// Refuses a key that this kind of rule has no use for.
    fn only(&self, key: &str, what: &str, allowed: &[&str]) -> Result<(), Illegal> {
        for (field, given, group) in [
            ("metric", self.metric.is_some(), "value"),
            ("expression", self.expression.is_some(), "value"),
            ("unit", self.unit.is_some(), "value"),
            ("fault", self.fault.is_some(), "fault"),
            ("raise_above", self.raise_above.is_some(), "raise"),
            ("raise_below", self.raise_below.is_some(), "raise"),
            ("rate_above", self.rate_above.is_some(), "rate"),
            ("rate_below", self.rate_below.is_some(), "rate"),
            ("per", self.per.is_some(), "rate"),
            ("over", self.over.is_some(), "rate"),
            ("count", self.count.is_some(), "count"),
            ("clear_count", self.clear_count.is_some(), "count"),
            ("within", self.within.is_some(), "count"),
            ("clear_below", self.clear_below.is_some(), "clear"),
            ("clear_above", self.clear_above.is_some(), "clear"),
            ("for", self.r#for.is_some(), "for"),
            ("max_gap", self.max_gap.is_some(), "max_gap"),
            ("when", self.when.is_some(), "when"),
        ] {
            if given && !allowed.contains(&group) {
                return Err((format!("{key}.{field}"), format!("has no place in {what}; a rule {KINDS}")));
            }
        }
        Ok(())
    }
}

impl AnomalyFile {
    pub(in crate::profile) fn check(self, parts: &Parts<'_>) -> Result<Rule, Illegal> {
        let name = self.name.unwrap_or_else(|| format!("{}_anomaly", self.metric));
        let key = format!("anomaly {name}");
        for metric in [Some(&self.metric), self.when.as_ref().map(|when| &when.metric)].into_iter().flatten() {
            parts.metric(&key, metric)?;
        }
        let fault_key = match self.fault_key {
            Some(fault_key) => {
                parts.component(&key, &fault_key)?;
                fault_key
            }
            None => ANOMALY_KEY.parse().map_err(|error| (format!("{key}.fault_key"), format!("{error}")))?,
        };
        let rate = self.false_alarms_per_year;
        if !(rate > 0.0 && rate <= FALSE_ALARMS_MAX) {
            return Err((
                format!("{key}.false_alarms_per_year"),
                format!("is {rate}: above 0, at most {FALSE_ALARMS_MAX}"),
            ));
        }
        let spans = Spans { key: &key, cadence: parts.cadence };
        Ok(Rule {
            watch: Watch::Limit(Limit {
                quantity: Quantity::Anomaly { metric: self.metric.clone(), false_alarms_per_year: rate },
                side: Side::Above,
                raise: SCORE_RAISE,
                clear: SCORE_CLEAR,
                hold: spans.any("for", self.r#for.as_ref(), Duration::ZERO)?,
                max_gap: spans.any("max_gap", self.max_gap.as_ref(), parts.cadence * GAP_CADENCES)?,
                when: self.when,
            }),
            flapping: spans.flapping(self.flapping)?,
            name,
            severity: self.severity,
            fault_key,
            probable_cause: self
                .probable_cause
                .unwrap_or_else(|| format!("{} is unlike what this device showed before.", self.metric)),
            customer_text: self
                .customer_text
                .unwrap_or_else(|| "Your appliance behaves differently than before. We would like to check it.".into()),
            self_test_first: false,
        })
    }
}
