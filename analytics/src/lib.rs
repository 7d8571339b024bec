//! What the tables and the decoded log say: state detection, evaluation, SQL.
//!
//! In: the decoded log ([`schemas::door::Feed`]) and the tables ([`schemas::door::TableSource`]). Out: alarms for the
//! service desk and the log, answers to queries, figures that tell how good the alarms are. Promise: replaying the log
//! from any checkpoint gives the same alarms with the same ids. Never: a device's connection, a table written to, a
//! ticket.
//!
//! | module | noun |
//! |---|---|
//! | [`detect`] | ISO 13374 state detection: rules of the profile and the device's own fault codes, on the decoded log |
//! | [`evaluate`] | tickets against recorded failures: precision, recall, lead time |
//! | [`flight`] | Arrow Flight SQL clients, on top of `query` |
//! | [`plot`] | pictures of answers |
//! | [`postgres`] | PostgreSQL clients, on top of `query` |
//! | [`prognosis`] | features, models, advisories: what is about to fail |
//! | [`query`] | SQL over hot and cold rows |

pub mod detect;
pub mod evaluate;
pub mod flight;
pub mod plot;
pub mod postgres;
pub mod prognosis;
pub mod query;
