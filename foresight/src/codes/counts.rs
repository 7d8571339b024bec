//! What was seen of codes and their followers: counts that grow window by window.
//!
//! In: windows whose next one is known. Out: shares, pulled towards the code's overall share where little was seen.
//! Promise: bounded by [`MAX_CODES`] and [`MAX_DEVICES`]; what exceeds them is counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Code, Window};

/// Most codes that are told apart: two square tables of 8 MiB. Profiles and the recorded set have below 200.
pub const MAX_CODES: usize = 1024;
/// Most devices that have shares of their own; the others are served by what all share.
const MAX_DEVICES: usize = 10_000;
/// Windows that the overall share counts for beside those in which a code was seen.
const PRIOR_WINDOWS: f64 = 10.0;
/// Windows that the overall share counts for beside those of one device: a device is no longer new after some fifty.
const PRIOR_DEVICE_WINDOWS: f64 = 50.0;

/// Counts of codes and their followers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    codes: usize,
    windows: f64,
    /// Per code: windows before it.
    next: Vec<f64>,
    /// Per code: windows that hold it, and per follower how many of them were before it.
    held: Vec<(f64, Vec<f64>)>,
    /// The same for windows that end with the code.
    last: Vec<(f64, Vec<f64>)>,
    devices: BTreeMap<String, (f64, Vec<f64>)>,
    /// Codes and devices that found no room.
    pub refused: u64,
}

impl Counts {
    /// Counts for this many codes (at most [`MAX_CODES`]).
    pub fn new(codes: usize) -> Self {
        let codes = codes.min(MAX_CODES);
        let table = vec![(0.0, vec![0.0; codes]); codes];
        Self { codes, next: vec![0.0; codes], held: table.clone(), last: table, ..Self::default() }
    }

    /// How many codes are told apart.
    pub fn codes(&self) -> usize {
        self.codes
    }

    /// Takes in a window whose next one is known.
    pub fn add(&mut self, window: &Window) {
        let next: Vec<Code> = window.next.iter().copied().filter(|code| *code < self.codes).collect();
        self.refused += (window.next.len() - next.len()) as u64;
        self.windows += 1.0;
        next.iter().for_each(|code| self.next[*code] += 1.0);
        for code in self.distinct(&window.codes) {
            self.held[code].0 += 1.0;
            next.iter().for_each(|follower| self.held[code].1[*follower] += 1.0);
        }
        if let Some(last) = window.codes.last().copied().filter(|code| *code < self.codes) {
            self.last[last].0 += 1.0;
            next.iter().for_each(|follower| self.last[last].1[*follower] += 1.0);
        }
        if !self.devices.contains_key(&window.device) {
            if self.devices.len() >= MAX_DEVICES {
                self.refused += 1;
                return;
            }
            self.devices.insert(window.device.clone(), (0.0, vec![0.0; self.codes]));
        }
        if let Some((windows, shares)) = self.devices.get_mut(&window.device) {
            *windows += 1.0;
            next.iter().for_each(|code| shares[*code] += 1.0);
        }
    }

    /// The known codes of a window, each once, in order of place.
    pub(super) fn distinct(&self, codes: &[Code]) -> Vec<Code> {
        let mut distinct: Vec<Code> = codes.iter().copied().filter(|code| *code < self.codes).collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }

    /// Share of windows before which a code comes.
    pub fn share(&self, code: Code) -> f64 {
        if self.windows > 0.0 { self.next[code] / self.windows } else { 0.0 }
    }

    /// Share of windows holding `code` that are before `follower`.
    pub fn after(&self, code: Code, follower: Code) -> f64 {
        self.pulled(&self.held[code], follower, PRIOR_WINDOWS)
    }

    /// Share of windows ending with `code` that are before `follower`.
    pub fn after_last(&self, code: Code, follower: Code) -> f64 {
        self.pulled(&self.last[code], follower, PRIOR_WINDOWS)
    }

    /// Share of a device's windows before which a code comes; `None` for a device that was never seen.
    pub fn device(&self, device: &str) -> Option<impl Fn(Code) -> f64 + '_> {
        let seen = self.devices.get(device)?;
        Some(move |code| self.pulled(seen, code, PRIOR_DEVICE_WINDOWS))
    }

    fn pulled(&self, (windows, before): &(f64, Vec<f64>), follower: Code, prior: f64) -> f64 {
        (before[follower] + prior * self.share(follower)) / (windows + prior)
    }
}
