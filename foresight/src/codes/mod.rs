//! Which fault codes come next: from the codes of one window to a probability for each code of the following one.
//!
//! In: per device the sequence of codes it reported in a window. Out: [`NextCodes`]: per code the probability that the
//! next window holds it, and the set that is said. Promise: codes are only names, a new device and a rare code are
//! served by what all devices share; the threshold comes from windows that no tree has seen. Never: a code that was
//! not in the training, an order of the next window.
//!
//! One pooled model over (window, candidate code) pairs instead of one model per code: what makes a code come back
//! (seen lately, seen often, follows what was seen) is the same for all codes, so that one seen ten times gains from
//! one seen ten thousand times.

mod counts;
mod features;
mod model;
mod score;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    counts::{Counts, MAX_CODES},
    features::NAMES,
    model::{NextCodes, Settings},
    score::{SetScore, best_threshold},
};

/// A code's place in a [`Vocabulary`].
pub type Code = usize;

/// What a device reported in a window, in order, and which codes it reported in the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Whose.
    pub device: String,
    /// Codes of the window, the oldest first.
    pub codes: Vec<Code>,
    /// Codes of the next window, as a set in order of place; what is not known yet is empty.
    pub next: Vec<Code>,
}

/// The names of codes; places are given in order of first sight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    names: Vec<String>,
    places: BTreeMap<String, Code>,
}

impl Vocabulary {
    /// The place of a name, a new one if need be.
    pub fn place(&mut self, name: &str) -> Code {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The name at a place.
    pub fn name(&self, place: Code) -> Option<&str> {
        self.names.get(place).map(String::as_str)
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
