//! The features of a model: a profile's indicators, computed from a device's days (pure).
//!
//! In: [`Days`] and a landmark. Out: one number per indicator, NaN where there is nothing to say. Promise: the same
//! definitions serve training and scoring; only what was known at the landmark counts. Never: a reading from before the
//! last repair, which `since` leaves out.

use foresight::daily::{Days, Sum};
use schemas::profile::{
    Indicator, Profile, Regime, Rule,
    indicator::{LONGEST_DAYS, Statistic},
};
use serde::{Deserialize, Serialize};

/// A metric, in one regime: what is summed up by day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// A numeric metric of the profile.
    pub metric: String,
    /// Which readings count.
    pub when: Option<Regime>,
}

impl Channel {
    /// The columns it reads.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        [Some(self.metric.as_str()), self.when.as_ref().map(|when| when.metric.as_str())].into_iter().flatten()
    }
}

/// What is computed for a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    indicators: Vec<Indicator>,
    /// Distinct metric and regime.
    channels: Vec<Channel>,
    /// Distinct windows in days, ascending; the last is the baseline of departures.
    spans: Vec<u32>,
    /// Per indicator: its channel, its span.
    places: Vec<(usize, usize)>,
}

impl Features {
    /// Those of a profile.
    pub fn of(profile: &Profile) -> Self {
        let (mut channels, mut spans): (Vec<Channel>, Vec<u32>) = (Vec::new(), vec![LONGEST_DAYS]);
        // The metrics that rules watch too: their levels are the fleet's prior.
        let watched = profile.rules.iter().filter_map(Rule::threshold);
        let watched = watched.map(|(metric, limit)| Channel { metric: metric.to_owned(), when: limit.when.clone() });
        let looked_at = profile.indicators.iter();
        let looked_at = looked_at.map(|it| Channel { metric: it.metric.clone(), when: it.when.clone() });
        for channel in looked_at.chain(watched) {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        spans.extend(profile.indicators.iter().map(|indicator| indicator.window_days));
        spans.sort_unstable();
        spans.dedup();
        let place = |indicator: &Indicator| {
            let channel = channels.iter().position(|it| it.metric == indicator.metric && it.when == indicator.when);
            let span = spans.iter().position(|span| *span == indicator.window_days);
            (channel.unwrap_or(0), span.unwrap_or(0))
        };
        let places = profile.indicators.iter().map(place).collect();
        Self { indicators: profile.indicators.clone(), places, channels, spans }
    }

    /// Feature names, in order.
    pub fn names(&self) -> Vec<String> {
        self.indicators.iter().map(|indicator| indicator.name.clone()).collect()
    }

    /// The indicators, in the order of [`Self::names`].
    pub fn indicators(&self) -> &[Indicator] {
        &self.indicators
    }

    /// What is summed up.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The features of a device at a landmark; days before `since` left out.
    pub fn row(&self, days: &Days, landmark: i32, since: i32) -> Vec<f64> {
        let windows = days.windows(landmark, since, &self.spans, self.channels.len());
        let window = |channel: usize, span: usize| &windows[channel * self.spans.len() + span];
        let longest = self.spans.len() - 1;
        let of = |(indicator, (channel, span)): (&Indicator, &(usize, usize))| {
            statistic(indicator.statistic, window(*channel, *span), window(*channel, longest))
        };
        self.indicators.iter().zip(&self.places).map(of).collect()
    }
}

/// One number of a window.
pub fn statistic(statistic: Statistic, window: &Sum, baseline: &Sum) -> f64 {
    let known = |value: f64| if window.count == 0 { f64::NAN } else { value };
    match statistic {
        Statistic::Count => window.count as f64,
        Statistic::Last => known(window.last.1),
        Statistic::Mean => window.mean(),
        Statistic::Std => window.std(),
        Statistic::Min => known(window.min),
        Statistic::Max => known(window.max),
        Statistic::Change => known(window.last.1 - window.first.1),
        Statistic::Slope => window.slope(),
        Statistic::Departure => match baseline.std() {
            spread if spread > 0.0 => (window.mean() - baseline.mean()) / spread,
            _ => f64::NAN,
        },
    }
}
