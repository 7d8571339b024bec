//! Which files of a table are due.
//!
//! In: live files, the time, settings. Out: files of one partition to replace, or none. Promise: a plan carried out is
//! not due again; what is read at once is bounded. Never: I/O.
//!
//! Retention goes first. Then files are merged by size class, each class eight times the one before: a row is rewritten
//! about once per class, and the live files of a day are bounded by classes times `files`. A day that is over and
//! settled is merged across classes, whatever it has of small files.

use std::{collections::BTreeMap, time::Duration};

use schemas::{rollup::Span, table::TableName, time::Instant};

use super::{
    File, Settings,
    retention::{Expired, Retention, Wanted},
};

/// Files to replace.
pub(super) struct Due {
    /// All of one partition.
    pub(super) files: Vec<File>,
    /// Whether rows of them may stay.
    pub(super) merge: bool,
    /// Whose rows go.
    pub(super) expired: Expired,
}

/// The most urgent work; `now` is the tables' time, `written_ms` the machine's.
pub(super) fn due(
    files: &[File],
    table: &TableName,
    now: Instant,
    written_ms: i64,
    settings: &Settings,
    retention: &Retention,
) -> Option<Due> {
    // What every question about the present reads stays in few files: it is one row a device.
    let most = match table {
        TableName::Rollup(Span::All, _) => settings.files.min(ALL_FILES),
        _ => settings.files,
    };
    let mut days = BTreeMap::<&str, Vec<&File>>::new();
    for file in files {
        days.entry(&file.date).or_default().push(file);
    }
    for (date, files) in days {
        // A partition that is no date is nobody's of ours.
        let Some(end) = day_end(date) else { continue };
        let age = Duration::from_micros(u64::try_from(now.micros() - end.micros()).unwrap_or(0));
        let over = now >= end;
        let expired = retention.expired(table, if over { age } else { Duration::ZERO });
        if over && expired.any() {
            let wanted = |file: &File| match &file.tenants {
                Some((first, last)) => expired.file(first, last),
                // Nobody knows whose rows: all others' time must be over, too, and is looked at row by row.
                None => Wanted::Rewrite,
            };
            let gone = files.iter().filter(|file| wanted(file) == Wanted::Go);
            let gone = Vec::from_iter(gone.map(|file| (*file).clone()));
            if !gone.is_empty() {
                return Some(Due { files: gone, merge: false, expired });
            }
            // Files of single tenants are not merged again: soon they go, too.
            if let Some(file) = files.iter().find(|file| wanted(file) == Wanted::Rewrite) {
                return Some(Due { files: vec![(*file).clone()], merge: true, expired });
            }
            continue;
        }
        let mut small = Vec::from_iter(files.iter().filter(|file| file.bytes < settings.file_bytes / 2).copied());
        small.sort_by_key(|file| file.bytes);
        let newest = files.iter().map(|file| file.written_ms).max().unwrap_or(0);
        let settle = i64::try_from(settings.settle.as_millis()).unwrap_or(i64::MAX);
        let settled = over && newest.saturating_add(settle) <= written_ms;
        let classes = small.chunk_by(|a, b| class(a.bytes) == class(b.bytes));
        let full = classes.into_iter().find(|class| class.len() >= most.max(2));
        let chosen = if settled && small.len() > 1 { Some(small.as_slice()) } else { full };
        let mut bytes = 0;
        let within = |file: &&&File| {
            bytes += file.bytes;
            bytes <= settings.merge_bytes
        };
        let taken = Vec::from_iter(chosen.into_iter().flatten().take_while(within).take(MERGE_FILES));
        if taken.len() > 1 {
            let files = taken.into_iter().map(|file| (*file).clone()).collect();
            return Some(Due { files, merge: true, expired });
        }
    }
    None
}

/// Files of one class that the rollup over all time has at most.
const ALL_FILES: usize = 6;

/// Files that one merge reads: it holds a batch of decoded rows of each.
const MERGE_FILES: usize = 64;

/// Files of a class differ by less than eight times.
fn class(bytes: u64) -> u32 {
    bytes.max(1).ilog2() / 3
}

/// The instant at which a date is over.
fn day_end(date: &str) -> Option<Instant> {
    let start: Instant = format!("{date}T00:00:00Z").parse().ok()?;
    Some(start.plus(Duration::from_secs(86_400)))
}
