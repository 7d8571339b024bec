//! The log-likelihood of censored lifetimes under a law of `ln t`, with first and second derivatives.
//!
//! In: lifetimes, a [`Law`], location `mu` and log scale `tau` of `ln t`. Out: value, gradient, Hessian. Weibull is the
//! smallest extreme value law of `ln t` with `mu = ln eta`, `e^tau = 1 / beta`; log-normal the normal one. A unit adds
//! `ln f` where its failure was seen, `ln (F(u) - F(l))` where it lies between `l` and `u` (survived: `u` is infinite;
//! found failed: `l` is none), less the log of the chance to lie in its window. Promise: no overflow within
//! [`FARTHEST`] scales of the centre.

use serde::{Deserialize, Serialize};

use super::{Lifetime, Seen, normal};

/// A law of lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// `S(t) = exp(-(t / eta)^beta)`.
    Weibull,
    /// `ln t` is normal.
    LogNormal,
}

/// Standardised values are cut here: `e^300` squared still is a number, and no data lie there.
const FARTHEST: f64 = 300.0;

impl Law {
    /// Log density of the standardised law, its slope and its curvature.
    fn ln_density(self, z: f64) -> (f64, f64, f64) {
        match self {
            Self::Weibull => (z - z.exp(), 1.0 - z.exp(), -z.exp()),
            Self::LogNormal => (normal::ln_density(z), -z, -1.0),
        }
    }

    /// `ln (F(upper) - F(lower))`; infinities are the open ends.
    fn ln_between(self, lower: f64, upper: f64) -> f64 {
        match self {
            Self::Weibull => {
                let (from, to) = (lower.exp(), upper.exp());
                if to.is_infinite() { -from } else { -from + (-(-(to - from)).exp_m1()).ln() }
            }
            Self::LogNormal => {
                if lower > -upper {
                    // Both ends mirrored: the difference is taken in the thinner tail.
                    return self.ln_between(-upper, -lower);
                }
                let (less, more) = (normal::ln_above(-lower), normal::ln_above(-upper));
                more + (-(less - more).exp()).ln_1p()
            }
        }
    }

    /// Log of the share that outlives the standardised age.
    pub(crate) fn ln_survival(self, z: f64) -> f64 {
        self.ln_between(z, f64::INFINITY)
    }

    /// The standardised age below which a share `p` fails.
    pub(crate) fn standard_quantile(self, p: f64) -> f64 {
        match self {
            Self::Weibull => (-(-p).ln_1p()).ln(),
            Self::LogNormal => normal::quantile(p),
        }
    }
}

/// A log-likelihood and its derivatives by `(mu, tau)`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slope {
    pub(crate) value: f64,
    pub(crate) gradient: [f64; 2],
    /// By mu twice, by both, by tau twice.
    pub(crate) hessian: [f64; 3],
}

impl Slope {
    /// Adds `weight` times a term that depends on standardised ages: `first` by each, `second` by lower twice, by both,
    /// by upper twice.
    fn add(&mut self, weight: f64, value: f64, z: [f64; 2], first: [f64; 2], second: [f64; 3], scale: f64) {
        let by_mu = -1.0 / scale;
        self.value += weight * value;
        self.gradient[0] += weight * (first[0] + first[1]) * by_mu;
        self.gradient[1] -= weight * (first[0] * z[0] + first[1] * z[1]);
        let [ll, lu, uu] = second;
        self.hessian[0] += weight * (ll + 2.0 * lu + uu) * by_mu * by_mu;
        let mixed = ll * z[0] + lu * (z[0] + z[1]) + uu * z[1] + first[0] + first[1];
        self.hessian[1] += weight * mixed / scale;
        self.hessian[2] +=
            weight * (ll * z[0] * z[0] + 2.0 * lu * z[0] * z[1] + uu * z[1] * z[1] + first[0] * z[0] + first[1] * z[1]);
    }
}

/// The log-likelihood of all lifetimes.
pub(crate) fn slope(law: Law, lifetimes: &[Lifetime], mu: f64, tau: f64) -> Slope {
    let scale = tau.exp();
    let standard = |age: f64| ((age.ln() - mu) / scale).clamp(-FARTHEST, FARTHEST);
    let mut sum = Slope::default();
    for lifetime in lifetimes {
        match lifetime.seen {
            Seen::Failed(at) => {
                let z = standard(at);
                let (value, first, second) = law.ln_density(z);
                sum.add(lifetime.count, value - tau - at.ln(), [z, 0.0], [first, 0.0], [second, 0.0, 0.0], scale);
                sum.gradient[1] -= lifetime.count;
            }
            Seen::Survived(_) | Seen::FailedBefore(_) | Seen::FailedBetween(..) => {
                let (lower, upper) = lifetime.bounds();
                add_between(&mut sum, law, lifetime.count, (lower, upper.min(lifetime.window.1)), &standard, scale);
            }
        }
        if lifetime.window != (0.0, f64::INFINITY) {
            add_between(&mut sum, law, -lifetime.count, lifetime.window, &standard, scale);
        }
    }
    sum
}

fn add_between(
    sum: &mut Slope,
    law: Law,
    weight: f64,
    (lower, upper): (f64, f64),
    standard: &impl Fn(f64) -> f64,
    scale: f64,
) {
    let (open_below, open_above) = (lower <= 0.0, upper.is_infinite());
    if open_below && open_above {
        return;
    }
    let l = if open_below { f64::NEG_INFINITY } else { standard(lower) };
    let u = if open_above { f64::INFINITY } else { standard(upper) };
    let value = law.ln_between(l, u);
    let mut z = [0.0; 2];
    let mut first = [0.0; 2];
    let mut second = [0.0; 3];
    if !open_below {
        let (ln, slope, _) = law.ln_density(l);
        z[0] = l;
        first[0] = -(ln - value).exp();
        second[0] = first[0] * slope - first[0] * first[0];
    }
    if !open_above {
        let (ln, slope, _) = law.ln_density(u);
        z[1] = u;
        first[1] = (ln - value).exp();
        second[2] = first[1] * slope - first[1] * first[1];
    }
    second[1] = -first[0] * first[1];
    sum.add(weight, value, z, first, second, scale);
}
