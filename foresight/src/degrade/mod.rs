//! Degradation: a trend through one indicator, and when it will reach its threshold.
//!
//! In: points `(time, value)` of one device in order of time, a threshold and the side from which it is reached. Out: a
//! [`Life`]: when the threshold is reached, as a distribution, and `P(reached within a horizon)`. Promise: only points given
//! are used; the same points and seed give the same answer. Never: more than [`MAX_POINTS`] points, more than [`DRAWS`]
//! draws, an infinite time said as a number: what never arrives is [`f64::INFINITY`].
//!
//! The trend is a straight line in one of three scales ([`Shape`]), fitted by Theil and Sen: the slope is the median of
//! slopes between all pairs of points, the level the median of what is left (Sen 1968). Up to 29 % of the points may be
//! wrong without moving it far: a reading after a rest, a sensor that stuck. The shape is the one whose fitted values miss
//! the points least in the scale of the points (least absolute residuals).
//!
//! Uncertainty: level and slope are drawn about the fitted ones with the standard errors of a line, from the median
//! absolute residual (times 1.4826, the deviation of a normal) and from as many points as the residuals are worth: those
//! of a slow process hang together, and n points with lag-one correlation r are worth n (1 - r) / (1 + r). Draws follow
//! Student's t. The crossing of each drawn line is one draw of the life. That is the uncertainty of the trend; it holds as
//! long as the mechanism stays the same.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StudentT};
use serde::{Deserialize, Serialize};

/// Points a trend is fitted to: the newest. All pairs of 64 are 2,016 slopes, some microseconds a fit.
pub const MAX_POINTS: usize = 64;
/// Draws: the 10 % quantile then stands on 20 of them.
pub const DRAWS: usize = 200;
/// Points without which there is no trend.
pub const LEAST_POINTS: usize = 4;

/// Which scale the trend is straight in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `a + b t`.
    Linear,
    /// `a exp(b t)`, of one sign.
    Exponential,
    /// `a t^b`, t counted from the first point of the trend plus one mean step; of one sign.
    Power,
}

/// From which side the threshold is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The indicator rises to it: vibration.
    Rising,
    /// The indicator falls to it: capacity.
    Falling,
}

/// When a threshold is reached, in units of time after the newest point; infinite where it never is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// One in ten fails before.
    pub p10: f64,
    /// As likely before as after.
    pub p50: f64,
    /// One in ten fails after.
    pub p90: f64,
}

/// Why there is no trend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrendError {
    /// Too little to fit to.
    #[error("{points} points: a trend needs at least {LEAST_POINTS} at different times")]
    Few {
        /// Usable points.
        points: usize,
    },
    /// Times go back.
    #[error("point {point} is older than the one before it")]
    Order {
        /// Which, from 0.
        point: usize,
    },
}

/// The newest points of one indicator, for use while they come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Points(VecDeque<(f64, f64)>);

impl Points {
    /// Takes the next point; one that is missing, or older than the newest, is left out and false is returned.
    pub fn push(&mut self, time: f64, value: f64) -> bool {
        let late = self.0.back().is_some_and(|(newest, _)| time < *newest);
        if late || !time.is_finite() || !value.is_finite() {
            return false;
        }
        if self.0.len() == MAX_POINTS {
            self.0.pop_front();
        }
        self.0.push_back((time, value));
        true
    }

    /// The trend of what is held.
    pub fn trend(&self, seed: u64) -> Result<Trend, TrendError> {
        let (times, values): (Vec<f64>, Vec<f64>) = self.0.iter().copied().unzip();
        Trend::fit(&times, &values, seed)
    }
}

/// A fitted trend and its draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    shape: Shape,
    /// 1, or -1 for logarithms of what is negative.
    sign: f64,
    /// Origin of time for [`Shape::Power`].
    origin: f64,
    newest: f64,
    line: Line,
    draws: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Line {
    level: f64,
    slope: f64,
}

impl Trend {
    /// Fits the best shape to the newest [`MAX_POINTS`] points; NaN is missing.
    pub fn fit(times: &[f64], values: &[f64], seed: u64) -> Result<Self, TrendError> {
        let shapes = [Shape::Linear, Shape::Exponential, Shape::Power];
        let fits: Vec<(f64, Self)> = shapes
            .into_iter()
            .filter_map(|shape| Self::miss(shape, times, values).transpose())
            .collect::<Result<_, _>>()?;
        let mut best: Option<(f64, Self)> = None;
        for (miss, trend) in fits {
            // A curve has to be better, not just as good: straight is the simpler guess.
            if best.as_ref().is_none_or(|(least, _)| miss < 0.98 * least) {
                best = Some((miss, trend));
            }
        }
        let (_, mut trend) = best.ok_or(TrendError::Few { points: 0 })?;
        trend.draw(&usable(times, values)?, seed);
        Ok(trend)
    }

    /// Fits one shape; `None` where the values have both signs and the shape allows one.
    pub fn fit_shape(shape: Shape, times: &[f64], values: &[f64], seed: u64) -> Result<Option<Self>, TrendError> {
        let Some((_, mut trend)) = Self::miss(shape, times, values)? else { return Ok(None) };
        trend.draw(&usable(times, values)?, seed);
        Ok(Some(trend))
    }

    /// One shape without draws, and the mean of its absolute residuals.
    fn miss(shape: Shape, times: &[f64], values: &[f64]) -> Result<Option<(f64, Self)>, TrendError> {
        let points = usable(times, values)?;
        let (first, newest) = (points[0].0, points[points.len() - 1].0);
        let step = (newest - first) / (points.len() - 1) as f64;
        let sign = points[0].1.signum();
        if shape != Shape::Linear && !points.iter().all(|(_, value)| value * sign > 0.0) {
            return Ok(None);
        }
        let mut trend = Self {
            shape,
            sign: if shape == Shape::Linear { 1.0 } else { sign },
            origin: first - step,
            newest,
            line: Line { level: 0.0, slope: 0.0 },
            draws: Vec::new(),
        };
        let straight: Vec<(f64, f64)> = points.iter().map(|(t, x)| (trend.along(*t), trend.up(*x))).collect();
        trend.line = theil_sen(&straight);
        let miss = points.iter().map(|(time, value)| (trend.at(*time) - value).abs()).sum::<f64>();
        Ok(Some((miss / points.len() as f64, trend)))
    }

    /// Lines as far from the fitted one as its errors say.
    fn draw(&mut self, points: &[(f64, f64)], seed: u64) {
        let straight: Vec<(f64, f64)> = points.iter().map(|(t, x)| (self.along(*t), self.up(*x))).collect();
        let line = self.line;
        let residuals: Vec<f64> = straight.iter().map(|(t, x)| x - line.at(*t)).collect();
        let count = residuals.len() as f64;
        let deviation = 1.4826 * median(&mut residuals.iter().map(|residual| residual.abs()).collect::<Vec<_>>());
        let hang = together(&residuals, deviation);
        let worth = (count * (1.0 - hang) / (1.0 + hang)).max(LEAST_POINTS as f64);
        // Two parameters were fitted, and the median slope has 0.91 of the precision of least squares on normal errors.
        let deviation = deviation * (worth / (worth - 2.0) / 0.91).sqrt();
        let middle = straight.iter().map(|(time, _)| time).sum::<f64>() / count;
        let width = straight.iter().map(|(time, _)| (time - middle).powi(2)).sum::<f64>() / count;
        let of_level = deviation / worth.sqrt();
        let of_slope = of_level / width.sqrt();
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        // At least 2 degrees of freedom: the distribution exists.
        let Ok(student) = StudentT::new(worth - 2.0) else { return };
        self.draws = (0..DRAWS)
            .map(|_| {
                let slope = line.slope + of_slope * student.sample(&mut chance);
                let level = line.at(middle) + of_level * student.sample(&mut chance);
                Line { level: level - slope * middle, slope }
            })
            .collect();
    }

    /// Which scale fitted best.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The trend's value at a time.
    pub fn at(&self, time: f64) -> f64 {
        self.down(self.line.at(self.along(time)))
    }

    /// Change of the trend's value per unit of time, at the newest point.
    pub fn rate(&self) -> f64 {
        self.rate_of(self.line)
    }

    /// Standard deviation of [`Trend::rate`] over the draws.
    pub fn rate_spread(&self) -> f64 {
        let rates: Vec<f64> = self.draws.iter().map(|line| self.rate_of(*line)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        (rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (rates.len() - 1) as f64).sqrt()
    }

    fn rate_of(&self, line: Line) -> f64 {
        let value = self.down(line.at(self.along(self.newest)));
        match self.shape {
            Shape::Linear => line.slope,
            Shape::Exponential => line.slope * value,
            Shape::Power => line.slope * value / (self.newest - self.origin),
        }
    }

    /// When the threshold is reached; zero where the trend is there already.
    pub fn reaches(&self, threshold: f64, side: Side) -> Life {
        let draws = self.crossings(threshold, side);
        let quantile = |share: f64| draws[((draws.len() - 1) as f64 * share).round() as usize];
        Life { p10: quantile(0.1), p50: quantile(0.5), p90: quantile(0.9) }
    }

    /// P(the threshold is reached within `horizon` of the newest point).
    pub fn probability_within(&self, threshold: f64, side: Side, horizon: f64) -> f64 {
        let draws = self.crossings(threshold, side);
        draws.iter().filter(|life| **life <= horizon).count() as f64 / draws.len() as f64
    }

    /// Lives of all draws, ascending.
    fn crossings(&self, threshold: f64, side: Side) -> Vec<f64> {
        let mut lives: Vec<f64> = self.draws.iter().map(|line| self.crossing(*line, threshold, side)).collect();
        lives.sort_by(f64::total_cmp);
        lives
    }

    fn crossing(&self, line: Line, threshold: f64, side: Side) -> f64 {
        let now = self.down(line.at(self.along(self.newest)));
        let there = match side {
            Side::Rising => now >= threshold,
            Side::Falling => now <= threshold,
        };
        if there {
            return 0.0;
        }
        if self.shape != Shape::Linear && threshold * self.sign <= 0.0 {
            return f64::INFINITY;
        }
        let along = (self.up(threshold) - line.level) / line.slope;
        let time = match self.shape {
            Shape::Linear | Shape::Exponential => along,
            Shape::Power => self.origin + along.exp(),
        };
        let life = time - self.newest;
        if life.is_finite() && life >= 0.0 { life } else { f64::INFINITY }
    }

    fn along(&self, time: f64) -> f64 {
        match self.shape {
            Shape::Linear | Shape::Exponential => time,
            Shape::Power => (time - self.origin).ln(),
        }
    }

    fn up(&self, value: f64) -> f64 {
        match self.shape {
            Shape::Linear => value,
            Shape::Exponential | Shape::Power => (value * self.sign).ln(),
        }
    }

    fn down(&self, value: f64) -> f64 {
        match self.shape {
            Shape::Linear => value,
            Shape::Exponential | Shape::Power => value.exp() * self.sign,
        }
    }
}

impl Line {
    fn at(self, time: f64) -> f64 {
        self.level + self.slope * time
    }
}

/// The newest points without what is missing.
fn usable(times: &[f64], values: &[f64]) -> Result<Vec<(f64, f64)>, TrendError> {
    if let Some(place) = times.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(TrendError::Order { point: place + 1 });
    }
    let known = |(time, value): &(f64, f64)| time.is_finite() && value.is_finite();
    let points: Vec<(f64, f64)> = times.iter().copied().zip(values.iter().copied()).filter(known).collect();
    let points = points[points.len().saturating_sub(MAX_POINTS)..].to_vec();
    let moves = points.first().zip(points.last()).is_some_and(|(first, last)| last.0 > first.0);
    if points.len() < LEAST_POINTS || !moves {
        return Err(TrendError::Few { points: points.len() });
    }
    Ok(points)
}

/// How much neighbouring residuals hang together: their lag-one correlation, wild ones cut to three deviations.
fn together(residuals: &[f64], deviation: f64) -> f64 {
    let cut: Vec<f64> = residuals.iter().map(|residual| residual.clamp(-3.0 * deviation, 3.0 * deviation)).collect();
    let squares = cut.iter().map(|residual| residual * residual).sum::<f64>();
    let products = cut.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    if squares > 0.0 { (products / squares).clamp(0.0, 0.9) } else { 0.0 }
}

fn theil_sen(points: &[(f64, f64)]) -> Line {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (place, (time, value)) in points.iter().enumerate() {
        for (later, next) in &points[place + 1..] {
            if later > time {
                slopes.push((next - value) / (later - time));
            }
        }
    }
    let slope = median(&mut slopes);
    let mut levels: Vec<f64> = points.iter().map(|(time, value)| value - slope * time).collect();
    Line { level: median(&mut levels), slope }
}

/// The middle value, or the mean of the two in the middle.
fn median(values: &mut [f64]) -> f64 {
    let half = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if odd {
        return *middle;
    }
    f64::midpoint(below.iter().copied().fold(f64::NEG_INFINITY, f64::max), *middle)
}
