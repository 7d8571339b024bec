//! Between which values a rate or a share lies.
//!
//! In: counts and a confidence level. Out: both limits, or nothing where the input is none. Promise: the limits of a
//! rate are exact (Garwood 1936), those of a share Wilson's (1927), which keep their coverage at few cases and never
//! leave 0 to 1. Never: an interval of no width from no events.
//!
//! Sources: F. Garwood, Biometrika 28 (1936); E. B. Wilson, JASA 22 (1927); Press et al., *Numerical Recipes*, section
//! 6.2 for the incomplete gamma function; Wilson and Hilferty, PNAS 17 (1931).

use crate::survival::normal_quantile;

/// From as many events on the limits are taken from Wilson and Hilferty's cube: its error there is below 1e-6 of the
/// limit, and the exact sum would take thousands of terms a row.
const MANY_EVENTS: u64 = 100_000;
/// Relative width at which a bisection ends.
const CLOSE: f64 = 1e-13;
/// Halvings and doublings at most; about fifty are usual.
const HALVINGS: usize = 200;
/// Terms of a series or fraction at most; about twenty roots of [`MANY_EVENTS`].
const TERMS: usize = 10_000;
/// Lanczos' coefficients for g = 7.
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// Limits of the mean of a Poisson count; divide by the exposure for those of the rate. `None` unless `0 < level < 1`.
///
/// ```
/// # use foresight::measure::interval::garwood;
/// let (lower, upper) = garwood(0, 0.95).unwrap();
/// assert!(lower == 0.0 && (upper - 3.6889).abs() < 1e-4, "nothing seen is not nothing there");
/// ```
pub fn garwood(events: u64, level: f64) -> Option<(f64, f64)> {
    let tail = tail(level)?;
    let count = events as f64;
    if events >= MANY_EVENTS {
        let z = -normal_quantile(tail);
        return Some((cube(count, -z), cube(count + 1.0, z)));
    }
    let lower = if events == 0 { 0.0 } else { root(|mean| gamma_shares(count, mean).0 >= tail) };
    Some((lower, root(|mean| gamma_shares(count + 1.0, mean).1 <= tail)))
}

/// Limits of a share of which `hits` of `cases` were seen. `None` unless `0 <= hits <= cases`, `cases > 0` and
/// `0 < level < 1`.
pub fn wilson(hits: f64, cases: f64, level: f64) -> Option<(f64, f64)> {
    let z = -normal_quantile(tail(level)?);
    if !(hits >= 0.0 && hits <= cases && cases > 0.0 && cases.is_finite()) {
        return None;
    }
    let whole = cases + z * z;
    let middle = (hits + z * z / 2.0) / whole;
    let half = z / whole * (hits * (cases - hits) / cases + z * z / 4.0).sqrt();
    let lower = if hits == 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let upper = if hits == cases { 1.0 } else { (middle + half).min(1.0) };
    Some((lower, upper))
}

/// What lies on each side outside.
fn tail(level: f64) -> Option<f64> {
    (level > 0.0 && level < 1.0).then_some((1.0 - level) / 2.0)
}

/// The gamma quantile of a large shape at a normal quantile.
fn cube(shape: f64, z: f64) -> f64 {
    let part = 1.0 / (9.0 * shape);
    shape * (1.0 - part + z * part.sqrt()).powi(3)
}

/// Where `beyond` begins to hold.
fn root(beyond: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        if beyond(high) {
            break;
        }
        low = high;
        high *= 2.0;
    }
    for _ in 0..HALVINGS {
        if high - low <= CLOSE * high {
            break;
        }
        let middle = low + (high - low) / 2.0;
        if beyond(middle) { high = middle } else { low = middle }
    }
    low + (high - low) / 2.0
}

/// Shares of the gamma distribution of this shape below and above `x`.
fn gamma_shares(shape: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    let front = (shape * x.ln() - x - ln_gamma(shape)).exp();
    if x < shape + 1.0 {
        let (mut term, mut sum) = (1.0 / shape, 1.0 / shape);
        for place in 1..TERMS {
            term *= x / (shape + place as f64);
            sum += term;
            if term < sum * f64::EPSILON {
                break;
            }
        }
        let below = front * sum;
        return (below, 1.0 - below);
    }
    // Lentz's way through the continued fraction.
    let mut b = x + 1.0 - shape;
    let (mut c, mut d) = (1.0 / f64::MIN_POSITIVE, 1.0 / b);
    let mut fraction = d;
    for place in 1..TERMS {
        let place = place as f64;
        let a = -place * (place - shape);
        b += 2.0;
        let away = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
        d = 1.0 / away(a * d + b);
        c = away(b + a / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    let above = front * fraction;
    (1.0 - above, above)
}

/// Log of the gamma function for `x >= 1`.
pub(super) fn ln_gamma(x: f64) -> f64 {
    let x = x - 1.0;
    let tail: f64 = LANCZOS.iter().enumerate().skip(1).map(|(place, part)| part / (x + place as f64)).sum();
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + (LANCZOS[0] + tail).ln()
}

#[cfg(test)]
mod tests;
