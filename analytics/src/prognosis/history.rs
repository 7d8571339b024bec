//! A profile's past as models learn from it: one row of features per device and landmark, and what was told of each
//! component.
//!
//! In: the tables up to an instant. Out: [`History`]. Promise: point in time: a row holds only readings that had happened
//! and arrived at its landmark, after the device's last repair before it; so any cut of the history is what would have
//! been seen then. Never: more than [`super::Settings::max_rows`] rows; the oldest landmarks are left out beyond it, and
//! counted.
//!
//! Memory: readings are read in blocks of whole devices of at most `BLOCK_ROWS` readings; what stays is a row of
//! features, eight bytes a number.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use foresight::{boost::Matrix, daily, hazard::Followed};
use schemas::{
    id::FaultKey,
    profile::{Component, Profile, indicator::LONGEST_DAYS},
    time::Instant,
};
use tracing::debug;

use super::{
    PrognosisError, Settings,
    feature::Features,
    frame::{self, Known},
    label::{Label, Past, Told},
    prior::{self, Found},
    store::{FoundByComponent, KeyCounts, Range, Tables},
};

/// Readings in one block: about 200 MB with twelve columns, twice while Polars sums them up.
const BLOCK_ROWS: u64 = 1_000_000;
/// A device that was silent this many days is not looked at.
const SILENT_DAYS: i32 = 3;
/// A device of which fewer days are known, since its last repair or at all, is not looked at: its windows hold the same day or
/// two, and whatever disturbs it for a day looks as if it had been so for a week.
const LEAST_DAYS: usize = 3;

/// One device at one landmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Place in [`History::devices`].
    pub device: u32,
    /// Which midnight.
    pub landmark: i32,
}

/// What may fail: a component, and the fault key under which it is spoken of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Of the profile.
    pub component: String,
    /// What its advisories say: the key of the rule that watches it, so that both speak of one fault; else the key that
    /// was told most often.
    pub fault_key: FaultKey,
    /// How far ahead.
    pub horizon: Duration,
}

/// A profile's past.
#[derive(Debug)]
pub struct History {
    /// Whose past.
    pub profile: Arc<Profile>,
    /// What the numbers of a row are.
    pub features: Features,
    /// Device ids.
    pub devices: Vec<String>,
    /// Device and landmark of each row.
    pub places: Vec<Place>,
    /// `places.len()` rows of numbers, row by row.
    values: Vec<f64>,
    /// Per device and component.
    pasts: Vec<BTreeMap<String, Past>>,
    /// What visits found, by component.
    found: FoundByComponent,
    /// Per row and component of the profile, the trend's P(threshold within the horizon); 0 where it goes elsewhere.
    ways: Vec<f32>,
    keys: KeyCounts,
    /// The data ends here.
    pub end: Instant,
    /// The data begins here.
    pub begin: Instant,
    /// Readings that were read.
    pub readings: u64,
    /// Rows left out because there were too many.
    pub left_out: u64,
}

impl History {
    /// Reads everything of a profile up to `until`; none where there is nothing.
    pub async fn gather(
        tables: &Tables,
        profile: &Arc<Profile>,
        known: Known,
        until: Option<Instant>,
        settings: &Settings,
    ) -> Result<Option<Self>, PrognosisError> {
        let Some(extent) = tables.extent(profile).await? else { return Ok(None) };
        let end = until.map_or(extent.last, |until| until.min(extent.last));
        if end < extent.first {
            return Ok(None);
        }
        let features = Features::of(profile);
        let (first, last) = (daily::day_of(extent.first.micros()), daily::day_of(end.micros()) + 1);
        let whole = Range::days(first, last);
        let devices = tables.devices(profile, &whole, None).await?;
        let (mut told, keys, found) = tables.reports(Some(profile), end).await?.told(profile)?;
        let pasts: Vec<BTreeMap<String, Past>> = devices
            .iter()
            .map(|device| {
                let told: BTreeMap<String, Vec<Told>> = told.remove(device).unwrap_or_default();
                told.into_iter().map(|(component, told)| (component, Past::new(told))).collect()
            })
            .collect();
        let mut history = Self {
            profile: profile.clone(),
            features,
            devices,
            places: Vec::new(),
            values: Vec::new(),
            pasts,
            found,
            ways: Vec::new(),
            keys,
            end,
            begin: extent.first,
            readings: 0,
            left_out: 0,
        };
        // A day is over when somebody saw its end: the clock that asks, or else a later reading.
        let seen = until.unwrap_or(extent.last);
        let landmarks = history.landmarks(first + 1, last, seen, settings.max_rows);
        let per_device = extent.rows / history.devices.len().max(1) as u64 + 1;
        let block = usize::try_from((BLOCK_ROWS / per_device).max(1)).unwrap_or(usize::MAX);
        for start in (0..history.devices.len()).step_by(block) {
            let names = &history.devices[start..];
            let (first_name, after) = (names[0].clone(), names.get(block).cloned());
            let range = Range { devices: Some((first_name, after)), ..whole.clone() };
            let readings = tables.readings(profile, history.features.channels(), &range).await?;
            history.readings += readings.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
            let channels = history.features.channels().to_vec();
            let summed = tokio::task::spawn_blocking(move || frame::days(&readings, &channels, known));
            let days = summed.await.map_err(PrognosisError::Interrupted)??;
            for place in start..history.devices.len().min(start + block) {
                if let Some(days) = days.get(&history.devices[place]) {
                    history.look(place, days, landmarks.clone());
                }
            }
        }
        debug!(
            profile = %profile.name,
            readings = history.readings,
            rows = history.places.len(),
            devices = history.devices.len(),
            "gathered a history"
        );
        Ok(Some(history))
    }

    /// Landmarks of days that were over when `seen`, as many of the newest as fit.
    fn landmarks(&mut self, first: i32, last: i32, seen: Instant, max_rows: usize) -> std::ops::RangeInclusive<i32> {
        let last = last.min(daily::landmark_after(seen.micros().saturating_add(1)) - 1);
        let most = i32::try_from(max_rows / self.devices.len().max(1)).unwrap_or(i32::MAX).max(1);
        let begin = first.max(last.saturating_sub(most - 1));
        self.left_out = u64::try_from(begin - first).unwrap_or(0) * self.devices.len() as u64;
        begin..=last
    }

    fn look(&mut self, device: usize, days: &daily::Days, landmarks: std::ops::RangeInclusive<i32>) {
        let Some((first, last)) = days.extent() else { return };
        for landmark in landmarks {
            if landmark <= first || landmark - last > SILENT_DAYS {
                continue;
            }
            let since = self.since(device, landmark);
            let heard = days.known(landmark, since.max(landmark - SILENT_DAYS)).next().is_some();
            if heard && settled(days, landmark, since) {
                self.places.push(Place { device: device as u32, landmark });
                self.values.extend(self.features.row(days, landmark, since));
                let way = |component: &Component| {
                    let horizon_days = component.horizon.as_secs_f64() / 86_400.0;
                    let rules = prior::rules(&self.profile, &self.features, &component.name);
                    let ways = rules.filter_map(|(_, limit, channel)| {
                        prior::way(limit, channel, days, landmark, since, horizon_days)
                    });
                    ways.map(|way| way.probability as f32).fold(0.0, f32::max)
                };
                let ways: Vec<f32> = self.profile.components.iter().map(way).collect();
                self.ways.extend(ways);
            }
        }
    }

    /// The first day after the last repair of any component: whoever opens a device changes its readings.
    pub fn since(&self, device: usize, landmark: i32) -> i32 {
        since(&self.pasts[device], landmark)
    }

    /// What was told of a device's component.
    pub fn past(&self, device: usize, component: &str) -> Option<&Past> {
        self.pasts[device].get(component)
    }

    /// Components of which a failure was told, and how many failures of theirs came by `until`.
    pub fn targets(&self, until: i64) -> Vec<(Target, u64)> {
        let failures = |component: &str| -> u64 {
            let pasts = self.pasts.iter().filter_map(|pasts| pasts.get(component));
            pasts.map(|past| past.failures().filter(|at| *at <= until).count() as u64).sum()
        };
        let target = |component: &Component| {
            let fault_key = fault_key(&self.profile, &component.name, &self.keys)?;
            let target = Target { component: component.name.clone(), fault_key, horizon: component.horizon };
            let failures = failures(&component.name);
            Some((target, failures))
        };
        self.profile.components.iter().filter_map(target).collect()
    }

    /// What the trend says of a row: P(threshold within the horizon) times how far the fleet could trust it by then.
    pub fn prior(&self, row: usize, component: &str) -> f64 {
        let Some(place) = self.profile.components.iter().position(|it| it.name == component) else { return 0.0 };
        let midnight = daily::landmark_micros(self.places[row].landmark);
        let found = self.found.get(component).map_or(Found::default(), |found| Found::by(found, midnight));
        f64::from(self.ways[row * self.profile.components.len() + place]) * found.trust()
    }

    /// Failures that were told: device, component, when.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str, Instant)> {
        self.devices.iter().zip(&self.pasts).flat_map(|(device, pasts)| {
            pasts.iter().flat_map(move |(component, past)| {
                past.failures().map(move |at| (device.as_str(), component.as_str(), Instant::from_micros(at)))
            })
        })
    }

    /// Rows of landmarks in a range, by place.
    pub fn rows(&self, landmarks: std::ops::Range<i32>) -> Vec<usize> {
        (0..self.places.len()).filter(|row| landmarks.contains(&self.places[*row].landmark)).collect()
    }

    /// The features of some rows.
    pub fn matrix(&self, rows: &[usize]) -> Matrix {
        let names = self.features.names();
        let width = names.len();
        Matrix::from_rows(names, rows.iter().map(|row| &self.values[row * width..(row + 1) * width]))
    }

    /// What followed on some rows, with data that ends at `end`; rows at which the component stood broken are left out.
    pub fn followed(&self, rows: &[usize], target: &Target, end: i64) -> (Vec<usize>, Vec<Followed>) {
        let untold = Past::default();
        let follow = |row: &usize| {
            let Place { device, landmark } = self.places[*row];
            let past = self.past(device as usize, &target.component).unwrap_or(&untold);
            let (time, failed) = past.followed(landmark, target.horizon, end)?;
            Some((*row, Followed { group: u64::from(device), time, failed }))
        };
        rows.iter().filter_map(follow).unzip()
    }

    /// The labels of some rows whose whole horizon is known by `end`.
    pub fn labels(&self, rows: &[usize], target: &Target, end: i64) -> (Vec<usize>, Vec<bool>) {
        let untold = Past::default();
        let label = |row: &usize| {
            let Place { device, landmark } = self.places[*row];
            let past = self.past(device as usize, &target.component).unwrap_or(&untold);
            match past.label(landmark, target.horizon, end) {
                Label::Failing => Some((*row, true)),
                Label::Healthy => Some((*row, false)),
                Label::Broken | Label::Censored => None,
            }
        };
        rows.iter().filter_map(label).unzip()
    }
}

/// The first day after the last repair of any component.
pub fn since(pasts: &BTreeMap<String, Past>, landmark: i32) -> i32 {
    let oldest = landmark.saturating_sub(LONGEST_DAYS as i32);
    pasts.values().map(|past| past.since(landmark)).max().unwrap_or(oldest).max(oldest)
}

/// Whether enough days are known from `since` on.
pub fn settled(days: &daily::Days, landmark: i32, since: i32) -> bool {
    let mut known: Vec<i32> = days.known(landmark, since).map(|day| day.day).collect();
    known.dedup();
    known.len() >= LEAST_DAYS
}

/// The fault key under which a component is spoken of: of the rule that watches it, else the one told most often, else of
/// its first fault code.
pub fn fault_key(profile: &Profile, component: &str, keys: &KeyCounts) -> Option<FaultKey> {
    let of = |key: &FaultKey| key.component() == component;
    let rule = profile.rules.iter().map(|rule| &rule.fault_key).find(|key| of(key)).cloned();
    let told = || keys.get(component)?.iter().max_by_key(|(_, count)| **count)?.0.parse().ok();
    let code = || profile.faults.iter().map(|fault| &fault.fault_key).find(|key| of(key)).cloned();
    rule.or_else(told).or_else(code)
}
