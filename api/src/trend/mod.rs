//! Failure trends over HTTP: named questions, their answers and pictures.
//!
//! In: a trend's name and its bounds. Out: the list with its documentation, rows as `/v1/sql` answers, SVG. Promise: a
//! bound that is not legal, or that the trend has not, is named with what is. Never: SQL; the questions are
//! [`schemas::door::TrendSource`]'s.

pub mod routes;
