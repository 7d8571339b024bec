//! Rows of one profile's telemetry table: checked against the profile, then appended column by column.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch,
        StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
};
use schemas::{
    id::ProfileName,
    payload::{MAX_TEXT, Reading, Value},
    profile::{Metric, MetricType, Profile},
    reject::{Reject, RejectReason},
    table,
    time::Instant,
};

use super::rows::{Origin, instants};

/// Longest start of a refused value that a dead letter's detail repeats, in characters.
const SHOWN: usize = 40;

enum Column {
    Float(Float64Builder),
    Integer(Int64Builder),
    Boolean(BooleanBuilder),
    Text(StringBuilder),
}

impl Column {
    fn new(r#type: MetricType) -> Self {
        match r#type {
            MetricType::Float => Self::Float(Float64Builder::new()),
            MetricType::Integer => Self::Integer(Int64Builder::new()),
            MetricType::Boolean => Self::Boolean(BooleanBuilder::new()),
            MetricType::Text => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends a value that was checked; null for none.
    fn append(&mut self, value: Option<&Value<'_>>) {
        match self {
            Self::Float(column) => column.append_option(match value {
                Some(Value::Number(number)) => Some(*number),
                Some(Value::Integer(number)) => Some(*number as f64),
                _ => None,
            }),
            Self::Integer(column) => column.append_option(match value {
                Some(Value::Integer(number)) => Some(*number),
                Some(Value::Number(number)) => whole(*number),
                _ => None,
            }),
            Self::Boolean(column) => column.append_option(match value {
                Some(Value::Bool(flag)) => Some(*flag),
                _ => None,
            }),
            Self::Text(column) => match value {
                Some(Value::Text(text)) => column.append_value(text),
                _ => column.append_null(),
            },
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Float(column) => Arc::new(column.finish()),
            Self::Integer(column) => Arc::new(column.finish()),
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::Text(column) => Arc::new(column.finish()),
        }
    }
}

/// A number without a fraction, within 64 bits.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && (-9.223_372_036_854_776e18..9.223_372_036_854_776e18).contains(&number))
        .then_some(number as i64)
}

/// The rows of one profile that wait for the end of the chunk.
pub(super) struct TelemetryRows {
    pub(super) profile: Arc<Profile>,
    schema: SchemaRef,
    by_name: HashMap<String, usize>,
    /// Which metric stood at each place of the last reading: most devices keep their order.
    order: Vec<usize>,
    /// Of the reading that was checked last: where each metric's value stands in it.
    found: Vec<Option<usize>>,
    /// Of the same: where the metrics stand that the profile does not know.
    unknown: Vec<usize>,
    len: usize,

    tenant: StringBuilder,
    device_id: StringBuilder,
    boot: Int64Builder,
    seq: Int64Builder,
    event_time: TimestampMicrosecondBuilder,
    arrival_time: TimestampMicrosecondBuilder,
    late: BooleanBuilder,
    firmware: StringBuilder,
    metrics: Vec<Column>,
    extra: MapBuilder<StringBuilder, StringBuilder>,
    date: Date32Builder,
}

impl TelemetryRows {
    pub(super) fn new(profile: Arc<Profile>) -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            schema: table::telemetry(&profile),
            by_name: profile.metrics.iter().enumerate().map(|(at, metric)| (metric.name.clone(), at)).collect(),
            order: Vec::new(),
            found: vec![None; profile.metrics.len()],
            unknown: Vec::new(),
            len: 0,
            tenant: StringBuilder::new(),
            device_id: StringBuilder::new(),
            boot: Int64Builder::new(),
            seq: Int64Builder::new(),
            event_time: instants(),
            arrival_time: instants(),
            late: BooleanBuilder::new(),
            firmware: StringBuilder::new(),
            metrics: profile.metrics.iter().map(|metric| Column::new(metric.r#type)).collect(),
            extra: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            date: Date32Builder::new(),
            profile,
        }
    }

    pub(super) fn name(&self) -> &ProfileName {
        &self.profile.name
    }

    /// Checks a reading against the profile, and remembers where its values stand for [`Self::append`].
    pub(super) fn check(&mut self, reading: &Reading<'_>) -> Result<(), Reject> {
        self.found.fill(None);
        self.unknown.clear();
        for (place, (name, value)) in reading.metrics.iter().enumerate() {
            let expected = self.order.get(place).copied();
            let at = match expected {
                Some(at) if self.profile.metrics.get(at).is_some_and(|metric| metric.name == *name) => Some(at),
                _ => self.by_name.get(name.as_ref()).copied(),
            };
            let Some(at) = at else {
                if *value == Value::Nested {
                    return Err(wrong_type(name, value, "a scalar"));
                }
                self.unknown.push(place);
                continue;
            };
            if self.order.len() <= place {
                self.order.resize(place + 1, usize::MAX);
            }
            self.order[place] = at;
            check_value(&self.profile.metrics[at], value)?;
            // A name given twice: the last one counts, as in most JSON readers.
            self.found[at] = Some(place);
        }
        if self.unknown.len() > 1 {
            let name = |place: &usize| &reading.metrics[*place].0;
            self.unknown.sort_by(|a, b| name(a).cmp(name(b)).then(b.cmp(a)));
            self.unknown.dedup_by(|a, b| name(a) == name(b));
        }
        Ok(())
    }

    /// Appends the reading that [`Self::check`] saw last.
    pub(super) fn append(&mut self, origin: &Origin<'_>, reading: &Reading<'_>, late: bool) {
        self.len += 1;
        self.tenant.append_value(origin.tenant);
        self.device_id.append_value(origin.device);
        self.boot.append_value(reading.boot);
        self.seq.append_option(reading.seq);
        self.event_time.append_value(reading.event_time.micros());
        self.arrival_time.append_value(origin.arrival.micros());
        self.late.append_value(late);
        self.firmware.append_option(reading.firmware.as_deref());
        for (column, place) in self.metrics.iter_mut().zip(&self.found) {
            column.append(place.map(|place| &reading.metrics[place].1));
        }
        for place in &self.unknown {
            let (name, value) = &reading.metrics[*place];
            self.extra.keys().append_value(name);
            append_text(self.extra.values(), value);
        }
        let any = !self.unknown.is_empty();
        self.extra.append(any).expect("a key and a value were appended together");
        self.date.append_value(reading.event_time.days());
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The rows so far, and begins anew.
    pub(super) fn finish(&mut self) -> RecordBatch {
        self.len = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.tenant.finish()),
            Arc::new(self.device_id.finish()),
            Arc::new(self.boot.finish()),
            Arc::new(self.seq.finish()),
            Arc::new(self.event_time.finish()),
            Arc::new(self.arrival_time.finish()),
            Arc::new(self.late.finish()),
            Arc::new(self.firmware.finish()),
        ];
        columns.extend(self.metrics.iter_mut().map(Column::finish));
        columns.push(Arc::new(self.extra.finish()));
        columns.push(Arc::new(self.date.finish()));
        RecordBatch::try_new(self.schema.clone(), columns).expect("the builders follow the profile's schema")
    }
}

fn wrong_type(name: &str, value: &Value<'_>, legal: &str) -> Reject {
    Reject::new(RejectReason::WrongType, format!("metric {name:?} is {}: the profile says {legal}", value.kind()))
}

fn check_value(metric: &Metric, value: &Value<'_>) -> Result<(), Reject> {
    let legal = match metric.r#type {
        MetricType::Float => "a number",
        MetricType::Integer => "a whole number",
        MetricType::Boolean => "true or false",
        MetricType::Text => "text",
    };
    let number = match (metric.r#type, value) {
        (_, Value::Null) | (MetricType::Boolean, Value::Bool(_)) => return Ok(()),
        (MetricType::Text, Value::Text(text)) if text.len() <= MAX_TEXT => return Ok(()),
        (MetricType::Text, Value::Text(text)) => {
            let start: String = text.chars().take(SHOWN).collect();
            let detail = format!("metric {:?} has {} bytes, {start:?}…: at most {MAX_TEXT}", metric.name, text.len());
            return Err(Reject::new(RejectReason::OutOfRange, detail));
        }
        (MetricType::Float | MetricType::Integer, Value::Integer(number)) => *number as f64,
        (MetricType::Float, Value::Number(number)) => *number,
        (MetricType::Integer, Value::Number(number)) if whole(*number).is_some() => *number,
        (MetricType::Integer, Value::Number(number)) => {
            let detail = format!("metric {:?} is {number}: the profile says {legal}", metric.name);
            return Err(Reject::new(RejectReason::WrongType, detail));
        }
        _ => return Err(wrong_type(&metric.name, value, legal)),
    };
    let (min, max) = (metric.min.unwrap_or(f64::NEG_INFINITY), metric.max.unwrap_or(f64::INFINITY));
    if number.is_finite() && (min..=max).contains(&number) {
        return Ok(());
    }
    let unit = if metric.unit.is_empty() { String::new() } else { format!(" {}", metric.unit) };
    let detail = format!("metric {:?} is {number}{unit}: legal is {}", metric.name, range(metric));
    Err(Reject::new(RejectReason::OutOfRange, detail))
}

fn range(metric: &Metric) -> String {
    match (metric.min, metric.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "any finite number".into(),
    }
}

fn append_text(column: &mut StringBuilder, value: &Value<'_>) {
    let written = match value {
        Value::Null | Value::Nested => return column.append_null(),
        Value::Text(text) => return column.append_value(text),
        Value::Bool(flag) => write!(column, "{flag}"),
        Value::Integer(number) => write!(column, "{number}"),
        Value::Number(number) => write!(column, "{number}"),
    };
    written.expect("a builder takes any text");
    // The empty value ends what was written.
    column.append_value("");
}

/// What makes two readings without a sequence number the same: everything that the device told.
pub(super) fn content(scratch: &mut Vec<u8>, reading: &Reading<'_>, profile: &ProfileName) -> u128 {
    fn text(scratch: &mut Vec<u8>, text: &str) {
        scratch.extend_from_slice(&(text.len() as u32).to_le_bytes());
        scratch.extend_from_slice(text.as_bytes());
    }
    scratch.clear();
    text(scratch, profile.as_str());
    scratch.extend_from_slice(&reading.boot.to_le_bytes());
    scratch.extend_from_slice(&reading.event_time.micros().to_le_bytes());
    text(scratch, reading.firmware.as_deref().unwrap_or_default());
    for (name, value) in &reading.metrics {
        text(scratch, name);
        match value {
            Value::Null => scratch.push(0),
            Value::Bool(flag) => scratch.extend_from_slice(&[1, u8::from(*flag)]),
            Value::Integer(number) => {
                scratch.push(2);
                scratch.extend_from_slice(&number.to_le_bytes());
            }
            Value::Number(number) => {
                scratch.push(3);
                scratch.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Value::Text(value) => {
                scratch.push(4);
                text(scratch, value);
            }
            Value::Nested => scratch.push(5),
        }
    }
    xxhash_rust::xxh3::xxh3_128(scratch)
}

/// Event time further ahead of its arrival than clocks may differ.
pub(super) fn future(event_time: Instant, arrival: Instant, tolerance: std::time::Duration) -> Result<(), Reject> {
    if event_time <= arrival.plus(tolerance) {
        return Ok(());
    }
    let detail = format!(
        "ts is {event_time} and arrived at {arrival}: legal is up to {} ahead",
        schemas::time::span::text(tolerance)
    );
    Err(Reject::new(RejectReason::FutureTimestamp, detail))
}
