//! What was said already of a device's fault: persistence and hysteresis, so that one developing fault gives one advisory per
//! escalation and not one per day, and one odd day none that has to be asked about (pure).
//!
//! In: each landmark's probability. Out: the decision to speak of now, if any. Promise: between two repairs a fault is
//! spoken of at most twice: when it comes to an agent, and when it comes to a visit by itself; an agent is asked about what was so
//! at two landmarks in a row. Never: an episode ended by one good day.
//!
//! **Why two landmarks.** A visit that pays today mostly pays tomorrow too, and what only looked like wear may be gone by then.
//! Waiting for a day at probability `p` costs about `p / horizon in days * (failure - visit)`; with `p` 0.35, two weeks, a
//! failure of 4 and a visit of 1 that is 0.08 visits. A visit that finds nothing costs 1.5. So waiting pays where more than one in twenty of
//! such words is not repeated and false: `docs/foresight.md` has how many are. Where a visit pays for sure nobody waits.
//!
//! The running example: a bearing's probability at the thresholds 0.31 (assist) and 0.56 (auto).
//!
//! | landmark | probability | said |
//! |---|---|---|
//! | 1 | 0.05 | |
//! | 2 | 0.40 | a first sight |
//! | 3 | 0.12 | it is gone |
//! | 4 | 0.36 | a first sight |
//! | 5 | 0.38 | assist |
//! | 6 | 0.25 | |
//! | 7 | 0.58 | auto |
//! | 8 to 12 | 0.60 | |
//! | 13 | replaced | the episode ends |

use std::collections::BTreeMap;

use schemas::{
    advisory::{Costs, Decision},
    id::FaultKey,
};
use serde::{Deserialize, Serialize};

/// Landmarks in a row below half of the lower threshold after which an episode is over.
const QUIET_LANDMARKS: u32 = 3;
/// Landmarks from one sight to the next that are in a row: one may be missed.
const IN_A_ROW: i32 = 2;
/// An episode that nobody scored for so many days is forgotten: the device is gone.
const FORGET_DAYS: i32 = 60;

/// What to say of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// What was decided.
    pub decision: Decision,
    /// Whether nothing was said of it before.
    pub first: bool,
}

/// A fault that was spoken of, or seen once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Episode {
    /// The most that was said; `watch` where it was seen once.
    said: Decision,
    /// When it was first seen.
    since: i32,
    /// The last landmark it was scored at.
    scored: i32,
    /// Landmarks in a row that gave no reason to speak.
    quiet: u32,
}

/// What was said of all devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// By device, then by fault key; only faults that were spoken of, or seen at the last landmark.
    episodes: BTreeMap<String, BTreeMap<String, Episode>>,
}

fn rank(decision: Decision) -> u8 {
    match decision {
        Decision::Watch => 0,
        Decision::Assist => 1,
        Decision::Auto => 2,
    }
}

impl Memory {
    /// Takes a probability in; `renewed` is the first day after the device's last repair. Tells what to say, if anything.
    pub fn hear(
        &mut self,
        device: &str,
        fault_key: &FaultKey,
        probability: f64,
        costs: &Costs,
        landmark: i32,
        renewed: i32,
    ) -> Option<Word> {
        let decision = costs.decide(probability);
        let Some(episode) = self.known(device, fault_key, renewed) else {
            self.end(device, fault_key);
            if decision == Decision::Watch {
                return None;
            }
            let said = if decision == Decision::Auto { decision } else { Decision::Watch };
            self.begin(device, fault_key, said, landmark);
            return (said == decision).then_some(Word { decision, first: true });
        };
        let in_a_row = (1..=IN_A_ROW).contains(&(landmark - episode.scored));
        episode.scored = landmark;
        if episode.said == Decision::Watch {
            match decision {
                Decision::Watch => self.end(device, fault_key),
                Decision::Assist if !in_a_row => {}
                Decision::Assist | Decision::Auto => {
                    episode.said = decision;
                    return Some(Word { decision, first: true });
                }
            }
            return None;
        }
        if rank(decision) > rank(episode.said) {
            (episode.said, episode.quiet) = (decision, 0);
            return Some(Word { decision, first: false });
        }
        let quiet = costs.decide(probability * 2.0) == Decision::Watch;
        episode.quiet = if quiet { episode.quiet + 1 } else { 0 };
        if episode.quiet >= QUIET_LANDMARKS {
            self.end(device, fault_key);
        }
        None
    }

    /// Takes note of a probability at a landmark that is over: nobody is told, but what is so at the next one too is in a row.
    pub fn see(
        &mut self,
        device: &str,
        fault_key: &FaultKey,
        probability: f64,
        costs: &Costs,
        landmark: i32,
        renewed: i32,
    ) {
        let decision = costs.decide(probability);
        match self.known(device, fault_key, renewed) {
            Some(episode) if episode.said != Decision::Watch => {}
            Some(episode) if decision != Decision::Watch => episode.scored = landmark,
            _ => {
                self.end(device, fault_key);
                if decision != Decision::Watch {
                    self.begin(device, fault_key, Decision::Watch, landmark);
                }
            }
        }
    }

    /// Forgets devices that are gone.
    pub fn forget(&mut self, landmark: i32) {
        for faults in self.episodes.values_mut() {
            faults.retain(|_, episode| landmark - episode.scored < FORGET_DAYS);
        }
        self.episodes.retain(|_, faults| !faults.is_empty());
    }

    /// Faults that were spoken of and are not over.
    pub fn len(&self) -> usize {
        let spoken_of = self.episodes.values().flat_map(BTreeMap::values);
        spoken_of.filter(|episode| episode.said != Decision::Watch).count()
    }

    /// Whether nothing is developing.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// The episode, unless a repair has ended it.
    fn known(&mut self, device: &str, fault_key: &FaultKey, renewed: i32) -> Option<&mut Episode> {
        let faults = self.episodes.get_mut(device)?;
        faults.get_mut(fault_key.as_str()).filter(|episode| episode.since >= renewed)
    }

    fn begin(&mut self, device: &str, fault_key: &FaultKey, said: Decision, landmark: i32) {
        let episode = Episode { said, since: landmark, scored: landmark, quiet: 0 };
        self.episodes.entry(device.to_owned()).or_default().insert(fault_key.to_string(), episode);
    }

    fn end(&mut self, device: &str, fault_key: &FaultKey) {
        if let Some(faults) = self.episodes.get_mut(device) {
            faults.remove(fault_key.as_str());
            if faults.is_empty() {
                self.episodes.remove(device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { visit: 1.0, failure: 4.34, false_alarm: 0.5 };

    fn said(probabilities: &[f64], renewed: impl Fn(usize) -> i32) -> Vec<Option<Word>> {
        let mut memory = Memory::default();
        let key = "drum_bearing/wear".parse().unwrap();
        let hear = |(day, probability): (usize, &f64)| {
            memory.hear("wm-1", &key, *probability, &COSTS, day as i32, renewed(day))
        };
        probabilities.iter().enumerate().map(hear).collect()
    }

    #[test]
    fn the_bearing_of_the_page() {
        let days = said(&[0.05, 0.40, 0.12, 0.36, 0.38, 0.25, 0.58, 0.60, 0.60, 0.60], |_| -1);
        let assist = Some(Word { decision: Decision::Assist, first: true });
        let auto = Some(Word { decision: Decision::Auto, first: false });
        assert_eq!(days, [None, None, None, None, assist, None, auto, None, None, None]);
    }

    #[test]
    fn a_first_sight_is_repeated_or_forgotten() {
        let at = |days: &[(i32, f64)]| {
            let mut memory = Memory::default();
            let key = "drum_bearing/wear".parse().unwrap();
            let hear = |(day, probability): &(i32, f64)| memory.hear("wm-1", &key, *probability, &COSTS, *day, -1);
            let said = days.iter().map(hear).map(|word| word.map(|word| word.decision)).collect::<Vec<_>>();
            (said, memory.len())
        };
        let (assist, auto) = (Some(Decision::Assist), Some(Decision::Auto));
        for (days, said, developing) in [
            (vec![(1, 0.36), (2, 0.36)], vec![None, assist], 1),
            (vec![(1, 0.36), (3, 0.36)], vec![None, assist], 1),
            (vec![(1, 0.36), (1, 0.36)], vec![None, None], 0),
            (vec![(1, 0.36), (4, 0.36), (5, 0.36)], vec![None, None, assist], 1),
            (vec![(1, 0.36), (2, 0.30), (3, 0.36)], vec![None, None, None], 0),
            (vec![(1, 0.36), (2, 0.60)], vec![None, auto], 1),
            (vec![(1, 0.60)], vec![auto], 1),
        ] {
            assert_eq!(at(&days), (said, developing), "{days:?}");
        }
    }

    #[test]
    fn what_nobody_was_told_of_is_a_first_sight_and_no_word() {
        let key = "drum_bearing/wear".parse().unwrap();
        let (assist, auto) = (Some(Decision::Assist), Some(Decision::Auto));
        // Landmarks heard before, the probability seen at landmark 5, the one heard at landmark 6.
        for (before, seen, then, said) in [
            (&[][..], 0.36, 0.36, assist),
            (&[], 0.60, 0.36, assist),
            (&[], 0.36, 0.60, auto),
            (&[], 0.30, 0.36, None),
            (&[(3, 0.36)], 0.36, 0.36, assist),
            (&[(2, 0.36)], 0.30, 0.36, None),
            (&[(2, 0.36), (3, 0.36)], 0.60, 0.60, auto),
            (&[(2, 0.60)], 0.01, 0.60, None),
        ] {
            let mut memory = Memory::default();
            for (landmark, probability) in before {
                memory.hear("wm-1", &key, *probability, &COSTS, *landmark, -1);
            }
            let spoken_of = memory.len();
            memory.see("wm-1", &key, seen, &COSTS, 5, -1);
            assert_eq!(memory.len(), spoken_of, "seeing is not speaking");
            let word = memory.hear("wm-1", &key, then, &COSTS, 6, -1);
            assert_eq!(word.map(|word| word.decision), said, "{before:?} {seen} {then}");
        }
        let mut memory = Memory::default();
        memory.see("wm-1", &key, 0.36, &COSTS, 5, -1);
        assert_eq!(memory.hear("wm-1", &key, 0.36, &COSTS, 6, 6), None, "it was repaired in between");
    }

    #[test]
    fn a_repair_ends_the_episode_and_the_next_fault_is_spoken_of() {
        let days = said(&[0.6, 0.6, 0.01, 0.6], |day| if day >= 2 { 2 } else { -1 });
        let auto = Some(Word { decision: Decision::Auto, first: true });
        assert_eq!(days, [auto, None, None, auto]);
    }

    #[test]
    fn three_quiet_landmarks_in_a_row_end_it_and_two_do_not() {
        let two = said(&[0.6, 0.01, 0.01, 0.6, 0.6], |_| -1);
        assert_eq!(two.iter().flatten().count(), 1);
        let three = said(&[0.6, 0.01, 0.01, 0.01, 0.6], |_| -1);
        assert_eq!(three.iter().flatten().count(), 2);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut memory = Memory::default();
        memory.hear("wm-1", &"drum_bearing/wear".parse().unwrap(), 0.9, &COSTS, 0, -1);
        memory.forget(FORGET_DAYS - 1);
        assert_eq!(memory.len(), 1);
        memory.forget(FORGET_DAYS);
        assert!(memory.is_empty());
    }
}
