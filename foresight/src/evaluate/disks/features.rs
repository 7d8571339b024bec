//! What is known of a drive on a day: from that day's snapshot and those before it.

use std::collections::HashMap;

/// Counters of trouble: they start at 0 and grow. 5 reallocated, 10 spin retries, 184 end-to-end errors, 187 reported
/// uncorrectable, 188 command time-outs, 196 reallocation events, 197 pending, 198 offline uncorrectable, 199 CRC errors.
const COUNTERS: [u16; 9] = [5, 10, 184, 187, 188, 196, 197, 198, 199];

/// Vendors scale these to a value that falls with trouble.
const NORMALIZED: [u16; 5] = [1, 5, 7, 197, 198];

/// SMART numbers whose raw value is read.
pub(super) const RAW: [u16; 12] = [1, 5, 9, 10, 184, 187, 188, 194, 196, 197, 198, 199];

/// SMART numbers whose normalized value is read.
pub(super) const SCALED: [u16; 5] = NORMALIZED;

/// Failures of a model that are assumed beside those seen, at the fleet's rate: the weight of the prior.
const PRIOR_FAILURES: f64 = 2.0;

/// One drive on one day, as told.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) drive: String,
    pub(super) model: String,
    pub(super) day: i64,
    pub(super) capacity: f64,
    pub(super) failed: bool,
    /// In the order of [`RAW`].
    pub(super) raw: [f64; RAW.len()],
    /// In the order of [`SCALED`].
    pub(super) scaled: [f64; SCALED.len()],
}

/// One drive on one day, as features.
#[derive(Debug, Clone)]
pub(super) struct Landmark {
    pub(super) drive: u32,
    pub(super) day: i64,
    pub(super) failed: bool,
    pub(super) features: Vec<f64>,
    /// Raw SMART 5 plus raw SMART 197.
    pub(super) rule: f64,
}

/// Names, in the order of [`Landmark::features`].
pub(super) fn names() -> Vec<String> {
    let mut names = Vec::new();
    for counter in COUNTERS {
        names.extend([format!("smart_{counter}_log"), format!("smart_{counter}_rise_log")]);
    }
    names.extend(NORMALIZED.map(|number| format!("smart_{number}_normalized")));
    let others =
        ["smart_1_log", "smart_1_change_log", "power_on_hours", "temperature_c", "capacity_log", "model_hazard_log"];
    names.extend(others.map(String::from));
    names
}

/// What was seen of drives and models on the days before. One entry per drive and per model.
#[derive(Debug, Default)]
pub(super) struct Past {
    drives: HashMap<String, Drive>,
    models: HashMap<String, Exposure>,
    fleet: Exposure,
    /// Of the day that is going on; it counts from the next day on.
    today: Vec<(String, bool)>,
}

#[derive(Debug)]
struct Drive {
    number: u32,
    first: [f64; RAW.len()],
    last: [f64; RAW.len()],
}

/// Days drives were seen, and failures.
#[derive(Debug, Default, Clone, Copy)]
struct Exposure {
    days: f64,
    failures: f64,
}

impl Past {
    /// Features of a day, then the day becomes part of the past.
    pub(super) fn landmark(&mut self, snapshot: &Snapshot, learn: bool) -> Landmark {
        let hazard = self.model_hazard(&snapshot.model);
        let number = self.drives.len() as u32;
        let drive = self.drives.entry(snapshot.drive.clone()).or_insert_with(|| Drive {
            number,
            first: snapshot.raw,
            last: snapshot.raw,
        });
        let raw = |number: u16| of(&snapshot.raw, number);
        let mut features = Vec::with_capacity(2 * COUNTERS.len() + NORMALIZED.len() + 6);
        for counter in COUNTERS {
            features.extend([log(raw(counter)), log(raw(counter) - of(&drive.first, counter))]);
        }
        features.extend(snapshot.scaled);
        let change = (raw(1) - of(&drive.last, 1)).abs();
        // The low byte is the temperature now; some vendors put the least and greatest into the others.
        let temperature = raw(194).rem_euclid(256.0);
        features.extend([log(raw(1)), log(change), raw(9), temperature, log(snapshot.capacity), hazard]);
        // A counter that is first filled in later starts then.
        for (first, now) in drive.first.iter_mut().zip(&snapshot.raw) {
            if first.is_nan() {
                *first = *now;
            }
        }
        drive.last = snapshot.raw;
        if learn {
            self.today.push((snapshot.model.clone(), snapshot.failed));
        }
        let rule = [raw(5), raw(197)].into_iter().filter(|value| !value.is_nan()).sum();
        Landmark { drive: drive.number, day: snapshot.day, failed: snapshot.failed, features, rule }
    }

    /// The day is over: its failures are known.
    pub(super) fn close(&mut self) {
        for (model, failed) in self.today.drain(..) {
            for exposure in [self.models.entry(model).or_default(), &mut self.fleet] {
                exposure.days += 1.0;
                exposure.failures += f64::from(failed);
            }
        }
    }

    /// How much more often drives of this model failed than the fleet: the log of the ratio, drawn to 0 where few were
    /// seen (gamma prior around the fleet's rate, empirical Bayes).
    fn model_hazard(&self, model: &str) -> f64 {
        if self.fleet.failures == 0.0 {
            return 0.0;
        }
        let seen = self.models.get(model).copied().unwrap_or_default();
        let expected = seen.days * self.fleet.failures / self.fleet.days;
        ((seen.failures + PRIOR_FAILURES) / (expected + PRIOR_FAILURES)).ln()
    }
}

fn of(raw: &[f64; RAW.len()], number: u16) -> f64 {
    RAW.iter().position(|one| *one == number).map_or(f64::NAN, |place| raw[place])
}

/// Counters span many powers of ten; below 0 is 0.
fn log(count: f64) -> f64 {
    if count.is_nan() { count } else { count.max(0.0).ln_1p() }
}
