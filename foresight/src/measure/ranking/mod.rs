//! Rankings: a greater score should mean the event.
//!
//! A score that is not a number says nothing and ranks below all others. Formulas: Fawcett, "An introduction to ROC
//! analysis", 2006; average precision as in scikit-learn, without interpolation.

#[cfg(test)]
mod tests;

use serde::Serialize;

/// What alarms at one threshold catch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Alarms {
    /// A case whose score is at least this raises an alarm; infinite where even the topmost score has too many.
    pub threshold: f64,
    /// Share of events that are alarmed.
    pub recall: f64,
    /// Share of cases without the event that are alarmed all the same.
    pub false_alarm_rate: f64,
    /// Share of alarms that are followed by the event; 0 where there is no alarm.
    pub precision: f64,
}

/// Cases at and above one threshold.
#[derive(Debug, Clone, Copy)]
struct Step {
    threshold: f64,
    events: f64,
    others: f64,
}

/// Thresholds from the greatest score down, one per distinct score, with the cumulated counts.
fn steps(scores: &[f64], events: &[bool]) -> Vec<Step> {
    assert_eq!(scores.len(), events.len(), "one event per score");
    let mut cases: Vec<(f64, bool)> = scores
        .iter()
        .map(|score| if score.is_nan() { f64::NEG_INFINITY } else { *score + 0.0 })
        .zip(events.iter().copied())
        .collect();
    cases.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut steps: Vec<Step> = Vec::new();
    let (mut hits, mut others) = (0.0, 0.0);
    for (score, event) in cases {
        if event {
            hits += 1.0;
        } else {
            others += 1.0;
        }
        match steps.last_mut() {
            Some(step) if step.threshold == score => (step.events, step.others) = (hits, others),
            _ => steps.push(Step { threshold: score, events: hits, others }),
        }
    }
    steps
}

/// How many cases there are with and without the event; nothing where one of the two is missing.
fn both(steps: &[Step]) -> Option<(f64, f64)> {
    steps.last().map(|last| (last.events, last.others)).filter(|(events, others)| *events > 0.0 && *others > 0.0)
}

/// The chance that a case with the event has a greater score than one without; equal scores count half.
///
/// ```
/// use foresight::measure::auroc;
/// assert_eq!(auroc(&[0.9, 0.5, 0.5, 0.1], &[true, true, false, false]), Some(0.875));
/// ```
///
/// # Panics
/// If the two differ in length.
pub fn auroc(scores: &[f64], events: &[bool]) -> Option<f64> {
    let steps = steps(scores, events);
    let (positives, negatives) = both(&steps)?;
    let (mut area, mut last) = (0.0, (0.0, 0.0));
    for step in &steps {
        area += (step.others - last.1) * (step.events + last.0) / 2.0;
        last = (step.events, step.others);
    }
    Some(area / (positives * negatives))
}

/// Precision at each distinct threshold, weighted by the recall it adds.
///
/// # Panics
/// If the two differ in length.
pub fn average_precision(scores: &[f64], events: &[bool]) -> Option<f64> {
    let steps = steps(scores, events);
    let positives = steps.last().map(|last| last.events).filter(|positives| *positives > 0.0)?;
    let (mut sum, mut last) = (0.0, 0.0);
    for step in &steps {
        sum += (step.events - last) / positives * step.events / (step.events + step.others);
        last = step.events;
    }
    Some(sum)
}

/// The lowest threshold that alarms at most a share of `rate` of the cases without the event. Equal scores are alarmed
/// together or not at all.
///
/// # Panics
/// If the two differ in length.
pub fn recall_at(rate: f64, scores: &[f64], events: &[bool]) -> Option<Alarms> {
    let steps = steps(scores, events);
    let (positives, negatives) = both(&steps)?;
    let none = Alarms { threshold: f64::INFINITY, recall: 0.0, false_alarm_rate: 0.0, precision: 0.0 };
    let best = steps.iter().take_while(|step| step.others <= rate * negatives).last();
    Some(best.map_or(none, |step| Alarms {
        threshold: step.threshold,
        recall: step.events / positives,
        false_alarm_rate: step.others / negatives,
        precision: step.events / (step.events + step.others),
    }))
}
