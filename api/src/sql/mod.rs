//! SQL over HTTP: an analyst's question, answered as JSON, CSV, an Arrow stream or a Parquet file.
//!
//! In: text for [`schemas::door::SqlEngine`]. Out: rows, batch by batch. Promise: what is wrong with a query is a
//! problem document, because the first batch is there before the answer begins; an answer that breaks later ends
//! without its end, so nobody takes half for all. Never: a result held in memory as a whole.

mod encode;
pub mod routes;
