//! A law fitted to lifetimes by exact maximum likelihood.
//!
//! In: lifetimes and a [`Law`]. Out: a [`Fit`] with its log-likelihood, and 95 % intervals. Promise: at the returned
//! parameters a Newton step would gain less than [`CONVERGED`]; otherwise an error says what is missing. Never: an
//! answer from a boundary.
//!
//! Way: a scan over the log scale `tau` with the best location for each finds the basin whatever the censoring, damped
//! Newton finishes it. Intervals are those of the profile likelihood (twice its drop is the 95 % point of chi-square
//! with one degree): with the few failures that warranty data have they keep their coverage better than normal ones,
//! and they follow every change of scale (Meeker and Escobar 1998, section 8.3 and 8.4).

use serde::{Deserialize, Serialize};

use super::{
    Law, Lifetime, Seen, SurvivalError,
    likelihood::{Slope, slope},
};

/// A Newton step that promises less than this part of the log-likelihood is the end; 1e-12 leaves about six digits in
/// the parameters, since the maximum is flat to second order.
const CONVERGED: f64 = 1e-13;
/// Newton steps before giving up; a dozen is usual.
const STEPS: usize = 200;
/// Log scales that are looked at: shapes of 3,000 down to 0.001.
const SCAN: std::ops::RangeInclusive<i32> = -16..=14;
/// Distance of two looks.
const SCAN_STEP: f64 = 0.5;
/// Half of the 95 % point of chi-square with one degree of freedom.
const HALF_CHI_SQUARE: f64 = 1.920_729_410_347_062;
/// The 97.5 % point of the standard normal.
pub(crate) const NORMAL_95: f64 = 1.959_963_984_540_054;
/// Doublings of the search for an end of an interval before it is said to be open.
const DOUBLINGS: usize = 12;
/// A location this many scales from every lifetime is a likelihood that runs away.
const RUNAWAY: f64 = 60.0;

/// Between which values a parameter lies with 95 % confidence; an end that the data do not bound is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
}

/// A fitted law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Which law.
    pub law: Law,
    /// Location of `ln t`: `ln eta`, or the mean of `ln t`.
    pub location: f64,
    /// Scale of `ln t`: `1 / beta`, or the standard deviation of `ln t`.
    pub scale: f64,
    /// 95 % interval of the location.
    pub location_interval: Interval,
    /// 95 % interval of the scale.
    pub scale_interval: Interval,
    /// Standard errors of location and of ln scale, from the observed information.
    pub standard_error: [f64; 2],
    /// At its maximum; densities are per unit of the ages.
    pub log_likelihood: f64,
    /// Newton steps taken.
    pub steps: usize,
}

impl Fit {
    /// Age by which 63.2 % fail (Weibull), or half (log-normal): `e^location`.
    pub fn eta(&self) -> f64 {
        self.location.exp()
    }

    /// Shape: below 1 failures grow rarer with age, above 1 more frequent; `1 / scale`.
    pub fn beta(&self) -> f64 {
        1.0 / self.scale
    }

    /// 95 % interval of [`Self::eta`].
    pub fn eta_interval(&self) -> Interval {
        let Interval { lower, upper } = self.location_interval;
        Interval { lower: lower.map(f64::exp), upper: upper.map(f64::exp) }
    }

    /// 95 % interval of [`Self::beta`].
    pub fn beta_interval(&self) -> Interval {
        let Interval { lower, upper } = self.scale_interval;
        Interval { lower: upper.map(f64::recip), upper: lower.map(f64::recip) }
    }

    /// Share that outlives an age.
    pub fn survival(&self, age: f64) -> f64 {
        self.ln_survival(age).exp()
    }

    fn ln_survival(&self, age: f64) -> f64 {
        if age <= 0.0 {
            return 0.0;
        }
        self.law.ln_survival((age.ln() - self.location) / self.scale)
    }

    /// `P(T <= age + horizon | T > age)`: the chance that a unit of this age fails within the horizon.
    ///
    /// ```
    /// # use foresight::survival::*;
    /// let fit = weibayes(&[Lifetime::new(Seen::Failed(1000.0), 1.0).unwrap()], 1.0).unwrap();
    /// // With beta = 1 nothing ages: only the horizon counts.
    /// assert!((fit.fails_within(0.0, 10.0) - fit.fails_within(5000.0, 10.0)).abs() < 1e-12);
    /// ```
    pub fn fails_within(&self, age: f64, horizon: f64) -> f64 {
        let age = age.max(0.0);
        let (now, then) = (self.ln_survival(age), self.ln_survival(age + horizon.max(0.0)));
        if now == f64::NEG_INFINITY {
            return 1.0;
        }
        -(then - now).exp_m1()
    }

    /// Age by which a share fails.
    pub fn quantile(&self, share: f64) -> f64 {
        (self.location + self.scale * self.law.standard_quantile(share.clamp(0.0, 1.0))).exp()
    }

    /// What is left of a unit of this age by the time a share of its like has failed.
    pub fn remaining_quantile(&self, age: f64, share: f64) -> f64 {
        let outlived = self.survival(age);
        (self.quantile(1.0 - outlived * (1.0 - share)) - age.max(0.0)).max(0.0)
    }

    /// Akaike's criterion: the smaller of two laws' is the better one for these data.
    pub fn aic(&self) -> f64 {
        4.0 - 2.0 * self.log_likelihood
    }
}

/// Fits a law to lifetimes.
pub fn fit(law: Law, lifetimes: &[Lifetime]) -> Result<Fit, SurvivalError> {
    judge(lifetimes)?;
    let problem = Problem { law, lifetimes };
    let [mu, tau] = problem.scan().ok_or(SurvivalError::NoMaximum { why: "no start gives it a finite value" })?;
    let (at, steps) = problem.climb([mu, tau], [true, true]);
    let top = slope(law, lifetimes, at[0], at[1]);
    let [mm, mt, tt] = top.hessian;
    let determinant = mm * tt - mt * mt;
    let least = f64::from(*SCAN.start()) * SCAN_STEP;
    if at[1] <= least {
        return Err(SurvivalError::NoSpread { failures: failures(lifetimes), why: "no unit contradicts one age" });
    }
    let far = |age: f64| age > 0.0 && age.is_finite() && ((age.ln() - at[0]) / at[1].exp()).abs() < RUNAWAY;
    let near = lifetimes.iter().any(|lifetime| far(lifetime.bounds().0) || far(lifetime.bounds().1));
    if at[1] >= -least || !near {
        return Err(SurvivalError::NoMaximum { why: "it still grows where eta leaves every age behind" });
    }
    if !(mm < 0.0 && determinant > 0.0) || decrement(&top) > 1e-6 * (1.0 + top.value.abs()) {
        return Err(SurvivalError::NoMaximum { why: "it is flat: the lifetimes do not tell both parameters" });
    }
    let standard_error = [(-tt / determinant).sqrt(), (-mm / determinant).sqrt()];
    let location_interval = problem.interval(0, at, standard_error[0], top.value);
    let scale = problem.interval(1, at, standard_error[1], top.value);
    Ok(Fit {
        law,
        location: at[0],
        scale: at[1].exp(),
        location_interval,
        scale_interval: Interval { lower: scale.lower.map(f64::exp), upper: scale.upper.map(f64::exp) },
        standard_error,
        log_likelihood: top.value,
        steps,
    })
}

/// A Weibull law whose shape is known from elsewhere (engineering, the fleet): `eta^beta = sum t^beta / failures`. With
/// no failure, one is assumed to be about to happen: eta is then its lower limit at 63 % confidence (Abernethy, *The New
/// Weibull Handbook*, chapter 6). Takes exact failures and survivals.
pub fn weibayes(lifetimes: &[Lifetime], shape: f64) -> Result<Fit, SurvivalError> {
    let mut ln_total = f64::NEG_INFINITY;
    let mut ln_failed = 0.0;
    for lifetime in lifetimes {
        let age = match lifetime.seen {
            Seen::Failed(at) => {
                ln_failed += lifetime.count * at.ln();
                at
            }
            Seen::Survived(until) => until,
            seen => return Err(SurvivalError::Inexact { method: "weibayes", seen }),
        };
        let term = lifetime.count.ln() + shape * age.ln();
        let (low, high) = if term < ln_total { (term, ln_total) } else { (ln_total, term) };
        if high > f64::NEG_INFINITY {
            ln_total = high + (low - high).exp().ln_1p();
        }
    }
    if ln_total == f64::NEG_INFINITY || !(shape.is_finite() && shape > 0.0) {
        return Err(SurvivalError::NoMaximum { why: "no unit has an age, or the shape is not above zero" });
    }
    let failed = failures(lifetimes);
    let location = (ln_total - failed.max(1.0).ln()) / shape;
    let error = 1.0 / (shape * failed.max(1.0).sqrt());
    let log_likelihood = failed * (shape.ln() - shape * location) + (shape - 1.0) * ln_failed - failed.max(1.0);
    Ok(Fit {
        law: Law::Weibull,
        location,
        scale: 1.0 / shape,
        location_interval: Interval {
            lower: (failed > 0.0).then_some(location - NORMAL_95 * error),
            upper: (failed > 0.0).then_some(location + NORMAL_95 * error),
        },
        scale_interval: Interval { lower: Some(1.0 / shape), upper: Some(1.0 / shape) },
        standard_error: [error, 0.0],
        log_likelihood,
        steps: 0,
    })
}

fn failures(lifetimes: &[Lifetime]) -> f64 {
    lifetimes.iter().filter(|lifetime| lifetime.failed()).map(|lifetime| lifetime.count).sum()
}

/// Refuses what can have no maximum: no failures, or failures that one single age explains together with all survivals.
fn judge(lifetimes: &[Lifetime]) -> Result<(), SurvivalError> {
    let failures = failures(lifetimes);
    if failures <= 0.0 {
        return Err(SurvivalError::NoFailures { units: lifetimes.iter().map(|lifetime| lifetime.count).sum() });
    }
    if lifetimes.iter().all(|lifetime| matches!(lifetime.seen, Seen::FailedBefore(_))) {
        return Err(SurvivalError::NoMaximum { why: "every unit was found failed: none tells what it outlived" });
    }
    // With every unit's failure possible at one age, a law without spread at that age explains all.
    let from = lifetimes.iter().map(|lifetime| lifetime.bounds().0).fold(0.0, f64::max);
    let to = lifetimes.iter().map(|lifetime| lifetime.bounds().1).fold(f64::INFINITY, f64::min);
    if from <= to {
        let why = if from == to { "all failed at once and nothing outlived them" } else { "all intervals overlap" };
        return Err(SurvivalError::NoSpread { failures, why });
    }
    Ok(())
}

/// Twice what a Newton step promises, of a step along its own direction of ascent.
fn decrement(at: &Slope) -> f64 {
    let [mm, mt, tt] = at.hessian;
    let determinant = mm * tt - mt * mt;
    let [m, t] = at.gradient;
    if determinant > 0.0 && mm < 0.0 {
        return (-(tt * m * m - 2.0 * mt * m * t + mm * t * t) / determinant).abs();
    }
    f64::INFINITY
}

struct Problem<'a> {
    law: Law,
    lifetimes: &'a [Lifetime],
}

impl Problem<'_> {
    /// The best of the looks: for each log scale the best location.
    fn scan(&self) -> Option<[f64; 2]> {
        let ages: Vec<f64> = (self.lifetimes.iter())
            .map(|lifetime| match lifetime.seen {
                Seen::Failed(age) | Seen::Survived(age) | Seen::FailedBefore(age) => age.ln(),
                Seen::FailedBetween(after, before) => 0.5 * (after.ln() + before.ln()),
            })
            .filter(|age| age.is_finite())
            .collect();
        let middle = ages.iter().sum::<f64>() / ages.len().max(1) as f64;
        let mut best: Option<([f64; 2], f64)> = None;
        for look in SCAN {
            let (at, _) = self.climb([middle, f64::from(look) * SCAN_STEP], [true, false]);
            let value = slope(self.law, self.lifetimes, at[0], at[1]).value;
            if value.is_finite() && best.is_none_or(|(_, least)| value > least) {
                best = Some((at, value));
            }
        }
        best.map(|(at, _)| at)
    }

    /// Damped Newton (Levenberg and Marquardt) along the free parameters; where the surface is not concave, uphill.
    fn climb(&self, start: [f64; 2], free: [bool; 2]) -> ([f64; 2], usize) {
        let mut at = start;
        let mut here = slope(self.law, self.lifetimes, at[0], at[1]);
        let mut damping = 1e-6;
        for step in 0..STEPS {
            let [mm, mt, tt] = here.hessian;
            let (g, h) = match free {
                [true, true] => (here.gradient, [mm, mt, tt]),
                [true, false] => ([here.gradient[0], 0.0], [mm, 0.0, -1.0]),
                _ => ([0.0, here.gradient[1]], [-1.0, 0.0, tt]),
            };
            let mut moved = false;
            // Forty tenfold dampings make the step smaller than any number tells.
            for _ in 0..40 {
                let (a, c) = (-h[0].abs() * (1.0 + damping) - f64::MIN_POSITIVE, -h[2].abs() * (1.0 + damping));
                let concave = h[0] < 0.0 && h[2] < 0.0 && a * c - h[1] * h[1] > 0.0;
                let b = if concave { h[1] } else { 0.0 };
                let determinant = a * c - b * b;
                let change = [-(c * g[0] - b * g[1]) / determinant, -(a * g[1] - b * g[0]) / determinant];
                // A step of two is e^2 in scale: far enough, and it keeps the exponentials in range.
                let change = change.map(|change| if change.is_finite() { change.clamp(-2.0, 2.0) } else { 0.0 });
                let next = [at[0] + change[0], at[1] + change[1]];
                let there = slope(self.law, self.lifetimes, next[0], next[1]);
                if there.value.is_finite() && (there.value > here.value || !here.value.is_finite()) {
                    let gain = there.value - here.value;
                    (at, here, moved) = (next, there, gain > CONVERGED * (1.0 + here.value.abs()));
                    damping = (damping * 0.1).max(1e-12);
                    break;
                }
                damping = (damping * 10.0).max(1e-6);
            }
            if !moved {
                return (at, step + 1);
            }
        }
        (at, STEPS)
    }

    /// Where the profile of one parameter (0 location, 1 log scale) has dropped by [`HALF_CHI_SQUARE`].
    fn interval(&self, which: usize, top: [f64; 2], error: f64, value: f64) -> Interval {
        let target = value - HALF_CHI_SQUARE;
        let free = if which == 0 { [false, true] } else { [true, false] };
        let end = |sign: f64| {
            let profile = |distance: f64, start: [f64; 2]| {
                let mut from = start;
                from[which] = top[which] + sign * distance;
                let (at, _) = self.climb(from, free);
                (at, slope(self.law, self.lifetimes, at[0], at[1]).value)
            };
            let (mut inside, mut start) = (0.0, top);
            let mut outside = error.max(1e-9);
            let mut doublings = 0;
            loop {
                let (at, height) = profile(outside, start);
                if !height.is_finite() || height < target {
                    break;
                }
                (inside, start) = (outside, at);
                outside *= 1.5;
                doublings += 1;
                if doublings > DOUBLINGS {
                    return None;
                }
            }
            for _ in 0..50 {
                let middle = 0.5 * (inside + outside);
                let (at, height) = profile(middle, start);
                if height >= target {
                    (inside, start) = (middle, at);
                } else {
                    outside = middle;
                }
            }
            Some(top[which] + sign * 0.5 * (inside + outside))
        };
        Interval { lower: end(-1.0), upper: end(1.0) }
    }
}
