//! Whether a rate has grown.
//!
//! In: events and exposure of two periods. Out: how probable so many events, or more, are in the first if both have one
//! rate. Promise: exact and one-sided; the rate itself need not be known, since given the sum of both counts the first is
//! binomial (Przyborowski and Wilenski, Biometrika 31, 1940). Never: a value where one of the periods has no exposure.
//!
//! The binomial tail is the incomplete beta function: Press et al., *Numerical Recipes*, section 6.4.

use super::interval::ln_gamma;

/// Terms of the fraction at most; about the root of the larger count is usual.
const TERMS: usize = 10_000;

/// The chance of at least `events` in `exposure`, given `events + before` in both periods together and one rate in
/// both. `None` unless both exposures are finite and above zero.
///
/// ```
/// # use foresight::measure::growth::poisson_test;
/// let p = poisson_test(10, 1.0, 3, 1.0).unwrap();
/// assert!((p - 378.0 / 8192.0).abs() < 1e-12, "10 or more heads in 13 throws");
/// ```
pub fn poisson_test(events: u64, exposure: f64, before: u64, exposure_before: f64) -> Option<f64> {
    let known = |exposure: f64| exposure.is_finite() && exposure > 0.0;
    if !(known(exposure) && known(exposure_before)) {
        return None;
    }
    if events == 0 {
        return Some(1.0);
    }
    let share = exposure / (exposure + exposure_before);
    Some(beta_share(events as f64, before as f64 + 1.0, share).clamp(0.0, 1.0))
}

/// The share of the beta distribution of `a` and `b`, each at least 1, below `x`.
fn beta_share(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction is quick on this side of the middle only.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

/// Lentz's way through the continued fraction.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let away = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for place in 1..TERMS {
        let m = place as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        value *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests;
