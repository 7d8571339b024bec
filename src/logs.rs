//! Log lines on standard error: readable, or JSON. Standard output belongs to answers.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{LogFormat, Logs};

/// Begins logging; `RUST_LOG` wins over the filter of the settings. Fails on a filter that cannot be read.
pub fn start(logs: &Logs) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => logs.filter.clone(),
    };
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("logs.filter = {filter:?} is no log filter"))?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match logs.format {
        LogFormat::Human => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("begin logging")
}
