//! How good is it: measures of what was said against what happened.
//!
//! In: what was said per case or row and what came. Out: one number per measure, or nothing where it is not defined (no
//! positives, no negatives). Promise: the published formula, exactly; the order of cases does not matter, equal scores
//! positives, no negatives). Promise: the published formula, exactly; order of the input does not matter, equal scores
//! are treated as equal. Never: a file, a threshold that was chosen elsewhere.
//!
//! | module | asks |
//! |---|---|
//! | [`growth`] | is a rate greater than it was? |
//! | [`interval`] | between which values does a rate or a share lie? |
//! | [`nab`] | does a stream's alarm come early in the window of the anomaly, and seldom outside? |
//! | [`ranking`] | do cases with the event stand above those without it? |
//! | [`mod@reliability`] | of all cases told 20 %, does the event come to a fifth? |

pub mod growth;
pub mod interval;
pub mod nab;
pub mod ranking;
pub mod reliability;

pub use self::{
    ranking::{Alarms, auroc, average_precision, recall_at},
    reliability::{Bin, brier, calibration_error, chance_error, reliability},
};
