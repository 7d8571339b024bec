//! `weibull_fit(time, failed [, weight])`, `lognormal_fit` and `kaplan_meier` of the same arguments.
//!
//! In: one row per unit (or per `weight` units): its age, and whether it failed then or was still running. Out: a struct
//! of the fitted law with 95 % limits, or the steps of the curve. Promise: the numbers of `forewarn evaluate weibull`
//! ([`foresight::survival`]); a group that has no fit says why in `problem` and leaves its neighbours theirs; equal
//! lifetimes are kept once. Never: more than [`MAX_LIFETIMES`] different ones in a group.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Float64Array, StringArray, StructArray},
    datatypes::{DataType, Field, FieldRef, Fields, Float64Type},
};
use datafusion::{
    common::{exec_err, internal_err, plan_err, utils::SingleRowListArrayBuilder},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    scalar::ScalarValue,
};
use foresight::survival::{Fit, Interval, KaplanMeier, Law, Lifetime, Seen, Step, fit};

/// Different lifetimes in a group. A fit looks at all of them some hundred times: at this many
/// that is some ten million terms. Up to twice as many rows are held before equal ones are put together, 4.8 MB. Ages in
/// whole days of a fleet are a few thousand.
const MAX_LIFETIMES: usize = 100_000;

/// What is made of the lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Weibull,
    LogNormal,
    KaplanMeier,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Weibull => "weibull_fit",
            Self::LogNormal => "lognormal_fit",
            Self::KaplanMeier => "kaplan_meier",
        }
    }

    /// The numbers of its struct.
    fn numbers(self) -> &'static [&'static str] {
        match self {
            Self::Weibull => &[
                "eta",
                "eta_lower",
                "eta_upper",
                "beta",
                "beta_lower",
                "beta_upper",
                "log_likelihood",
                "n",
                "failures",
            ],
            Self::LogNormal => &[
                "mu",
                "mu_lower",
                "mu_upper",
                "sigma",
                "sigma_lower",
                "sigma_upper",
                "log_likelihood",
                "n",
                "failures",
            ],
            Self::KaplanMeier => &["time", "at_risk", "events", "survival", "lower", "upper"],
        }
    }

    fn fields(self) -> Fields {
        let numbers = self.numbers().iter().map(|name| Field::new(*name, DataType::Float64, true));
        let problem = (self != Self::KaplanMeier).then(|| Field::new("problem", DataType::Utf8, true));
        numbers.chain(problem).collect()
    }

    fn gives(self) -> DataType {
        let one = DataType::Struct(self.fields());
        if self == Self::KaplanMeier { DataType::new_list(one, true) } else { one }
    }
}

/// One of the aggregates.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OfLifetimes {
    kind: Kind,
    signature: Signature,
}

/// All three.
pub(super) fn all() -> [OfLifetimes; 3] {
    let signature = Signature::user_defined(Volatility::Immutable);
    [Kind::Weibull, Kind::LogNormal, Kind::KaplanMeier].map(|kind| OfLifetimes { kind, signature: signature.clone() })
}

impl AggregateUDFImpl for OfLifetimes {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (time, failed, weight) = match types {
            [time, failed] => (time, failed, None),
            [time, failed, weight] => (time, failed, Some(weight)),
            _ => return plan_err!("{name} takes 2 or 3 arguments: time, failed and weight"),
        };
        for (argument, given) in [("time", Some(time)), ("weight", weight)] {
            if let Some(given) = given.filter(|given| !given.is_numeric() && !given.is_null()) {
                return plan_err!("{name}: {argument} is {given}; legal is a number");
            }
        }
        if !matches!(failed, DataType::Boolean | DataType::Null) && !failed.is_integer() {
            return plan_err!("{name}: failed is {failed}; legal is true (failed) or false (still running), or 1 or 0");
        }
        let coerced = [DataType::Float64, DataType::Boolean, DataType::Float64];
        Ok(coerced.into_iter().take(types.len()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.gives())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{} takes no DISTINCT: two units with one age are two units", self.name());
        }
        Ok(Box::new(Group { kind: self.kind, seen: Vec::new(), sorted: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[lifetimes]", args.name);
        Ok(vec![Arc::new(Field::new_list(name, Field::new_list_field(DataType::Float64, true), true))])
    }
}

/// Age, whether it failed, how many of them.
type Row = (f64, bool, f64);

/// The lifetimes of a group.
#[derive(Debug)]
struct Group {
    kind: Kind,
    seen: Vec<Row>,
    /// How many of them were different when they were last put together.
    sorted: usize,
}

impl Group {
    fn add(&mut self, row: Row) -> Result<()> {
        let name = self.kind.name();
        let (time, failed, weight) = row;
        if !(time.is_finite() && time >= 0.0) || (failed && time == 0.0) {
            let least = if failed { "above 0 for a failure" } else { "at least 0" };
            return exec_err!("{name}: time is {time}; legal is a finite number {least}");
        }
        if !(weight.is_finite() && weight > 0.0) {
            return exec_err!("{name}: weight is {weight}; legal is a finite number above 0");
        }
        self.seen.push(row);
        // Put together only once half are new, so that the work grows with the rows and not with their square.
        if self.seen.len() > MAX_LIFETIMES && self.seen.len() >= 2 * self.sorted {
            self.merge()?;
        }
        Ok(())
    }

    /// Keeps equal lifetimes once.
    fn merge(&mut self) -> Result<()> {
        self.seen.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        self.seen.dedup_by(|next, kept| {
            let equal = next.0 == kept.0 && next.1 == kept.1;
            if equal {
                kept.2 += next.2;
            }
            equal
        });
        self.sorted = self.seen.len();
        if self.sorted > MAX_LIFETIMES {
            let name = self.kind.name();
            return exec_err!(
                "{name}: a group has more than {MAX_LIFETIMES} different lifetimes; round time, such as floor(age_days)"
            );
        }
        Ok(())
    }

    fn lifetimes(&self) -> std::result::Result<Vec<Lifetime>, String> {
        let lifetime = |&(time, failed, weight): &Row| {
            let seen = if failed { Seen::Failed(time) } else { Seen::Survived(time) };
            Lifetime::new(seen, weight).map_err(|error| error.to_string())
        };
        self.seen.iter().map(lifetime).collect()
    }

    /// The law, or why there is none.
    fn law(&self, law: Law) -> Result<ScalarValue> {
        // From plain zero: the sum of nothing would be -0.
        let units = self.seen.iter().fold(0.0, |units, row| units + row.2);
        let failures = self.seen.iter().filter(|row| row.1).fold(0.0, |failures, row| failures + row.2);
        let fitted = self.lifetimes().and_then(|seen| fit(law, &seen).map_err(|error| error.to_string()));
        let mut numbers = match &fitted {
            Ok(fit) => parameters(fit),
            Err(_) => vec![None; 7],
        };
        numbers.extend([Some(units), Some(failures)]);
        let mut columns: Vec<ArrayRef> =
            numbers.into_iter().map(|n| Arc::new(Float64Array::from(vec![n])) as _).collect();
        columns.push(Arc::new(StringArray::from(vec![fitted.err()])));
        let row = StructArray::try_new(self.kind.fields(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn curve(&self) -> Result<ScalarValue> {
        let curve = self.lifetimes().and_then(|seen| KaplanMeier::new(&seen).map_err(|error| error.to_string()));
        let steps = match curve {
            Ok(curve) => curve.steps,
            Err(error) => return exec_err!("kaplan_meier: {error}"),
        };
        let column = |number: fn(&Step) -> f64| Arc::new(Float64Array::from_iter_values(steps.iter().map(number))) as _;
        let columns: Vec<ArrayRef> = vec![
            column(|step| step.age),
            column(|step| step.at_risk),
            column(|step| step.failures),
            column(|step| step.survival),
            column(|step| step.lower),
            column(|step| step.upper),
        ];
        let steps = StructArray::try_new(self.kind.fields(), columns, None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(steps)).build_list_scalar())
    }
}

/// Both parameters with their limits, and the log-likelihood, in the order of the struct.
fn parameters(fit: &Fit) -> Vec<Option<f64>> {
    let (one, one_in, two, two_in): (f64, Interval, f64, Interval) = match fit.law {
        Law::Weibull => (fit.eta(), fit.eta_interval(), fit.beta(), fit.beta_interval()),
        Law::LogNormal => (fit.location, fit.location_interval, fit.scale, fit.scale_interval),
    };
    vec![Some(one), one_in.lower, one_in.upper, Some(two), two_in.lower, two_in.upper, Some(fit.log_likelihood)]
}

impl Accumulator for Group {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let [times, failed, weights @ ..] = columns else {
            return internal_err!("{} was given {} columns", self.kind.name(), columns.len());
        };
        let (times, failed) = (times.as_primitive::<Float64Type>(), failed.as_boolean());
        let weights = weights.first().map(|weights| weights.as_primitive::<Float64Type>());
        for row in 0..times.len() {
            if times.is_null(row) || failed.is_null(row) || weights.is_some_and(|weights| weights.is_null(row)) {
                continue;
            }
            let weight = weights.map_or(1.0, |weights| weights.value(row));
            self.add((times.value(row), failed.value(row), weight))?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.seen.is_empty() {
            return ScalarValue::try_from(&self.kind.gives());
        }
        self.merge()?;
        match self.kind {
            Kind::Weibull => self.law(Law::Weibull),
            Kind::LogNormal => self.law(Law::LogNormal),
            Kind::KaplanMeier => self.curve(),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.seen.capacity() * size_of::<Row>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.merge()?;
        let flat = self.seen.iter().flat_map(|&(time, failed, weight)| [time, f64::from(u8::from(failed)), weight]);
        let flat = Arc::new(Float64Array::from_iter_values(flat));
        Ok(vec![SingleRowListArrayBuilder::new(flat).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [state] = states else { return internal_err!("{} has one state", self.kind.name()) };
        for numbers in state.as_list::<i32>().iter().flatten() {
            for row in numbers.as_primitive::<Float64Type>().values().chunks_exact(3) {
                self.add((row[0], row[1] != 0.0, row[2]))?;
            }
        }
        Ok(())
    }
}
