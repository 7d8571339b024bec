//! How good is it: measures of what was said against what happened.
//!
//! In: what was said per case or row and what came. Out: one number per measure, or nothing where it is not defined.
//! Promise: the published formula, exactly. Never: a file, a threshold that was chosen elsewhere.
//!
//! | module | asks |
//! |---|---|
//! | [`nab`] | does a stream's alarm come early in the window of the anomaly, and seldom outside? |

pub mod nab;
