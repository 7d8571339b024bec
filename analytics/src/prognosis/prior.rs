//! Cold start: what can be said without a model. A device's own trend towards the threshold of the rule that watches the
//! component, times how far such warnings could be trusted in the fleet so far (pure).
//!
//! In: a device's days, a rule's limit, what visits found. Out: P(the threshold is reached within the horizon), and when. Promise:
//! a device that does not move towards the threshold gets 0; nobody gets more than the fleet's trust. Never: a day that
//! was not known at the landmark.
//!
//! The trend is a straight line through the daily means of the last `TREND_DAYS` days (Theil-Sen, by
//! [`foresight::degrade`]). Straight, because wear that bends upwards arrives earlier than a line says: the answer errs
//! to the late side. Trust is the mean of a Beta distribution: `PRIOR` before anybody looked, then what visits found.

use foresight::{
    daily::{self, Days},
    degrade::{self, Shape, Trend},
};
use schemas::profile::{Limit, Profile, Rule, Side};

use super::feature::{Channel, Features};

/// Days behind a trend. Theil and Sen's line bears 29 % of odd points: of ten days two, a weekend away or a blanket in the
/// drum, and no trend comes of it. With more days those before wear began flatten it.
const TREND_DAYS: i32 = 10;
/// Days with readings without which there is no trend.
const LEAST_DAYS: usize = 6;
/// A trend must be steeper than so many times its own spread: chance alone gives twice the spread once in twenty.
const SURE: f64 = 2.0;
/// Warnings that were right and wrong before anybody looked: eight of ten, and soon outvoted.
const PRIOR: (f64, f64) = (8.0, 2.0);
/// Seed of the bootstrap, with the landmark: the same days give the same answer.
const CHANCE: u64 = 5;

/// A device on its way to a rule's threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// P(the threshold is reached within the horizon), from the trend alone.
    pub probability: f64,
    /// When it is reached, in days: 10, 50 and 90 percent; infinite where it never is.
    pub life: degrade::Life,
    /// The trend's value now.
    pub level: f64,
    /// Its change per day.
    pub rate: f64,
}

/// What visits found of warnings of one fault key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The fault was there.
    pub right: u64,
    /// No fault was found.
    pub wrong: u64,
}

impl Found {
    /// Of what was found by `until`.
    pub fn by(found: &[(i64, bool)], until: i64) -> Self {
        let of = |wanted| found.iter().filter(|(at, right)| *at <= until && *right == wanted).count() as u64;
        Self { right: of(true), wrong: of(false) }
    }

    /// How far a warning can be trusted.
    pub fn trust(self) -> f64 {
        let (right, wrong) = (self.right as f64 + PRIOR.0, self.wrong as f64 + PRIOR.1);
        right / (right + wrong)
    }
}

/// The rules that hold a metric of a component against a threshold, with their channels.
pub fn rules<'a>(
    profile: &'a Profile,
    features: &'a Features,
    component: &'a str,
) -> impl Iterator<Item = (&'a Rule, &'a Limit, usize)> {
    let channel = |rule: &Rule| {
        let (metric, limit) = rule.threshold()?;
        let own = Channel { metric: metric.to_owned(), when: limit.when.clone() };
        features.channels().iter().position(|channel| *channel == own)
    };
    let rules = profile.rules.iter().filter(move |rule| rule.fault_key.component() == component);
    rules.filter_map(move |rule| Some((rule, rule.limit()?, channel(rule)?)))
}

/// A device's way to the threshold of a rule; none where it does not move there, or too little is known.
pub fn way(limit: &Limit, channel: usize, days: &Days, landmark: i32, since: i32, horizon_days: f64) -> Option<Way> {
    let (mut times, mut levels): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for day in days.known(landmark, since.max(landmark - TREND_DAYS)) {
        let sum = &day.sums[channel];
        if sum.count == 0 {
            continue;
        }
        let time = f64::from(day.day - landmark) + 0.5;
        // What of a day was known only later is a point of its own at the same place; the fuller one counts.
        if times.last() == Some(&time) {
            continue;
        }
        times.push(time);
        levels.push(sum.mean());
    }
    if times.len() < LEAST_DAYS {
        return None;
    }
    let (side, sign) = match limit.side {
        Side::Above => (degrade::Side::Rising, 1.0),
        Side::Below => (degrade::Side::Falling, -1.0),
    };
    // Half of the fleet moves the other way: no draws for them.
    let (oldest, newest) =
        (levels[..2].iter().sum::<f64>() / 2.0, levels[levels.len() - 2..].iter().sum::<f64>() / 2.0);
    if sign * (newest - oldest) <= 0.0 && sign * (newest - limit.raise) < 0.0 {
        return None;
    }
    let seed = CHANCE ^ daily::landmark_micros(landmark).unsigned_abs();
    let trend = Trend::fit_shape(Shape::Linear, &times, &levels, seed).ok().flatten()?;
    // A rate that chance gives as well is no way: who already stands at the threshold is the rule's.
    if trend.rate().abs() < SURE * trend.rate_spread() {
        return None;
    }
    let probability = trend.probability_within(limit.raise, side, horizon_days);
    let life = trend.reaches(limit.raise, side);
    Some(Way { probability, life, level: trend.at(-0.5), rate: trend.rate() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::profile::Profiles;

    fn washer(level: impl Fn(i64) -> f64) -> Option<Way> {
        let profiles = Profiles::builtin();
        let profile = profiles.get("washing_machine").unwrap();
        let features = Features::of(profile);
        let (_, limit, channel) = rules(profile, &features, "drum_bearing").next().unwrap();
        let mut days = Days::default();
        let width = features.channels().len();
        for hour in 1..=20 * 24 {
            let mut values = vec![f64::NAN; width];
            values[channel] = level(hour) + if hour % 2 == 0 { 0.2 } else { -0.2 };
            days.push(hour * 3_600_000_000, hour * 3_600_000_000, &values);
        }
        way(limit, channel, &days, 20, i32::MIN, 14.0)
    }

    #[test]
    fn a_bearing_on_its_way_is_seen_and_a_quiet_one_is_not() {
        let worn = washer(|hour| 2.5 + 0.3 * (hour as f64 / 24.0 - 10.0).max(0.0)).unwrap();
        assert!(worn.probability > 0.9 && worn.life.p50 > 2.0 && worn.life.p50 < 10.0, "{worn:?}");
        assert!((worn.rate - 0.3).abs() < 0.05, "{worn:?}");
        let quiet = washer(|hour| 2.5 + 0.002 * hour as f64 / 24.0);
        assert!(quiet.is_none_or(|way| way.probability < 0.05));
        assert_eq!(washer(|hour| 5.0 - 0.1 * hour as f64 / 24.0), None, "it moves away");
    }

    #[test]
    fn trust_begins_with_eight_of_ten_and_follows_what_was_found() {
        assert_eq!(Found::default().trust(), 0.8);
        assert_eq!(Found { right: 0, wrong: 10 }.trust(), 0.4);
        assert!(Found { right: 90, wrong: 0 }.trust() > 0.97);
    }
}
