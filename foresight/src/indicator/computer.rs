//! Indicators of one device, row by row.

use std::collections::VecDeque;

use schemas::time::Instant;
use serde::{Deserialize, Serialize};

use super::{Definition, IndicatorError, MAX_POINTS, Statistic, Window, moments::Moments};

/// The indicators of one device. It can be written down between two rows, and read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Computer {
    /// Values in a row.
    width: usize,
    parts: Vec<Part>,
    /// Each (metric, window) once: many statistics share one.
    spans: Vec<Span>,
    /// Newest rows: what the longest window needs.
    rows: VecDeque<Row>,
    /// Length of the longest window, in rows and in microseconds.
    longest: (usize, i64),
    pushed: u64,
    first: Option<Instant>,
    cut: u64,
    late: u64,
}

/// One definition at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    metric: usize,
    span: usize,
    statistic: Statistic,
    memory: Memory,
}

/// What a definition remembers of rows that have left its window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Memory {
    None,
    Baseline { count: u32, mean: f64 },
    Ewma { weight: Weight, value: Option<(f64, Instant)> },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Weight {
    Fixed(f64),
    HalfLife { micros: i64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Span {
    metric: usize,
    window: Window,
    /// Of all points, for [`Window::Life`].
    life: Moments,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    ordinal: u64,
    at: Instant,
    /// Missing is `None`: JSON has no NaN.
    values: Box<[Option<f64>]>,
}

impl Computer {
    /// For rows whose values stand in the order of `metrics`.
    pub fn new(metrics: &[String], definitions: &[Definition]) -> Result<Self, IndicatorError> {
        let mut computer = Self {
            width: metrics.len(),
            parts: Vec::with_capacity(definitions.len()),
            spans: Vec::new(),
            rows: VecDeque::new(),
            longest: (1, 0),
            pushed: 0,
            first: None,
            cut: 0,
            late: 0,
        };
        for (ordinal, definition) in definitions.iter().enumerate() {
            definition.check()?;
            if definitions[..ordinal].iter().any(|other| other.name == definition.name) {
                return Err(IndicatorError::Twice { name: definition.name.clone() });
            }
            let place = metrics.iter().position(|metric| *metric == definition.metric);
            let metric = place.ok_or_else(|| IndicatorError::Metric {
                name: definition.name.clone(),
                metric: definition.metric.clone(),
            })?;
            computer.add(metric, definition);
        }
        Ok(computer)
    }

    fn add(&mut self, metric: usize, definition: &Definition) {
        let Definition { statistic, window, .. } = *definition;
        let place = self.spans.iter().position(|span| span.metric == metric && span.window == window);
        let span = place.unwrap_or_else(|| {
            self.spans.push(Span { metric, window, life: Moments::default() });
            self.spans.len() - 1
        });
        let memory = match (statistic, window) {
            (Statistic::Drift { .. }, _) => Memory::Baseline { count: 0, mean: 0.0 },
            (Statistic::Ewma, Window::Rows { rows }) => {
                Memory::Ewma { weight: Weight::Fixed(2.0 / (f64::from(rows) + 1.0)), value: None }
            }
            (Statistic::Ewma, Window::Time { seconds }) => {
                Memory::Ewma { weight: Weight::HalfLife { micros: micros(seconds) }, value: None }
            }
            _ => Memory::None,
        };
        match window {
            Window::Rows { rows } => self.longest.0 = self.longest.0.max(rows as usize),
            Window::Time { seconds } => self.longest.1 = self.longest.1.max(micros(seconds)),
            Window::Life => {}
        }
        self.parts.push(Part { metric, span, statistic, memory });
    }

    /// Takes the next row. False, and nothing changes but [`Computer::late`], if it is older than the newest: late data
    /// corrects tables, not what was said at the time.
    ///
    /// # Panics
    /// If the row has another number of values than there are metrics.
    pub fn push(&mut self, at: Instant, values: &[Option<f64>]) -> bool {
        assert_eq!(values.len(), self.width, "values in a row");
        if self.rows.back().is_some_and(|newest| at < newest.at) {
            self.late += 1;
            return false;
        }
        let values: Box<[Option<f64>]> = values.iter().map(|value| value.filter(|value| value.is_finite())).collect();
        let first = *self.first.get_or_insert(at);
        for span in &mut self.spans {
            if let (Window::Life, Some(value)) = (span.window, values[span.metric]) {
                span.life.push(at.hours_since(first), value);
            }
        }
        for part in &mut self.parts {
            if let Some(value) = values[part.metric] {
                part.memory.push(part.statistic, at, value);
            }
        }
        self.rows.push_back(Row { ordinal: self.pushed, at, values });
        self.pushed += 1;
        self.leave(at);
        true
    }

    /// Lets rows go that no window holds any more, and those beyond [`MAX_POINTS`].
    fn leave(&mut self, now: Instant) {
        while let Some(oldest) = self.rows.front() {
            let in_rows = self.rows.len() <= self.longest.0;
            let in_time = now.micros() - oldest.at.micros() < self.longest.1;
            let held = in_rows || in_time;
            if held && self.rows.len() <= MAX_POINTS {
                return;
            }
            self.cut += u64::from(held);
            self.rows.pop_front();
        }
    }

    /// The indicators as of the newest row, in the order of their definitions; NaN where there is nothing to say.
    pub fn values(&self) -> Vec<f64> {
        let spans: Vec<Moments> = self.spans.iter().map(|span| self.moments(span)).collect();
        self.parts.iter().map(|part| part.value(&spans[part.span])).collect()
    }

    fn moments(&self, span: &Span) -> Moments {
        let Some(newest) = self.rows.back() else { return Moments::default() };
        let mut moments = Moments::default();
        match span.window {
            Window::Life => return span.life.clone(),
            Window::Rows { rows } => {
                let rows = self.rows.iter().skip(self.rows.len().saturating_sub(rows as usize));
                for row in rows {
                    if let Some(value) = row.values[span.metric] {
                        moments.push(row.ordinal as f64, value);
                    }
                }
            }
            Window::Time { seconds } => {
                let from = newest.at.micros() - micros(seconds);
                let rows = self.rows.partition_point(|row| row.at.micros() <= from);
                for row in self.rows.range(rows..) {
                    if let Some(value) = row.values[span.metric] {
                        moments.push(row.at.hours_since(newest.at), value);
                    }
                }
            }
        }
        moments
    }

    /// Instant of the newest row.
    pub fn newest(&self) -> Option<Instant> {
        self.rows.back().map(|row| row.at)
    }

    /// Rows taken so far.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Rows that left a window early because it held [`MAX_POINTS`].
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Rows that came too late and were not used.
    pub fn late(&self) -> u64 {
        self.late
    }
}

impl Memory {
    fn push(&mut self, statistic: Statistic, at: Instant, value: f64) {
        match (self, statistic) {
            (Self::Baseline { count, mean }, Statistic::Drift { baseline }) if *count < baseline => {
                *count += 1;
                *mean += (value - *mean) / f64::from(*count);
            }
            (Self::Ewma { weight, value: known }, _) => {
                let next = known.map_or(value, |(before, then)| {
                    let share = match *weight {
                        Weight::Fixed(share) => share,
                        Weight::HalfLife { micros } => {
                            1.0 - (-((at.micros() - then.micros()) as f64) / micros as f64).exp2()
                        }
                    };
                    before + share * (value - before)
                });
                *known = Some((next, at));
            }
            _ => {}
        }
    }
}

impl Part {
    fn value(&self, window: &Moments) -> f64 {
        match (self.statistic, &self.memory) {
            (Statistic::Count, _) => window.count as f64,
            (Statistic::Last, _) => window.known(window.last),
            (Statistic::Mean, _) => window.known(window.mean),
            (Statistic::Std, _) => window.std(),
            (Statistic::Min, _) => window.known(window.min),
            (Statistic::Max, _) => window.known(window.max),
            (Statistic::Change, _) => window.known(window.last - window.first),
            (Statistic::Slope, _) => window.slope(),
            (Statistic::Drift { .. }, Memory::Baseline { mean, .. }) => window.known(window.mean - mean),
            (Statistic::Ewma, Memory::Ewma { value, .. }) => value.map_or(f64::NAN, |(value, _)| value),
            // An exponentially weighted mean over all of life weighs all alike.
            (Statistic::Ewma | Statistic::Drift { .. }, _) => window.known(window.mean),
        }
    }
}

fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
