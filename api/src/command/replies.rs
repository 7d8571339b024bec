//! Devices' replies, from the decoded log to the commands they answer.
//!
//! In: chunks. Out: commands that are answered, whoever waits for events woken, the cursor moved. Promise: a reply and the
//! place up to which the log was read are in one transaction, so each reply is noted once; a database that fails is asked
//! again, and the log keeps the rest. Never: a reply that counts for another device's command.

use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use schemas::{
    door::{Chunk, DoorError, Feed, Principal},
    id::LogOffset,
    table::TableName,
    time::Instant,
};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use super::{metrics::Metrics, store};
use crate::{event, problem};

/// How often the place is noted where nobody replies: so far the log is kept for it.
const NOTE: Duration = Duration::from_secs(5);
/// After the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A reply's rows are not as their table says.
#[derive(Debug, thiserror::Error)]
#[error("read the replies of frames {start} to {end}")]
pub struct RowsError {
    start: LogOffset,
    end: LogOffset,
    source: DoorError,
}

/// Frames whose replies have been noted.
pub async fn offset(db: &SqlitePool) -> Result<LogOffset, sqlx::Error> {
    store::reply_offset(db).await
}

/// Runs until told to stop or the feed's end.
pub async fn run(
    db: SqlitePool,
    mut feed: Feed,
    metrics: Metrics,
    events: event::Hub,
    stop: CancellationToken,
) -> Result<(), RowsError> {
    let (mut noted, mut seen) = (LogOffset::default(), LogOffset::default());
    let mut due = tokio::time::Instant::now() + NOTE;
    loop {
        let replies = tokio::select! {
            biased;
            () = tokio::time::sleep_until(due), if seen > noted => Vec::new(),
            chunk = feed.chunks.recv() => {
                let Some(chunk) = chunk else { break };
                let failed = |source| RowsError { start: chunk.start, end: chunk.end, source };
                let replies = replies(&chunk).map_err(failed)?;
                seen = seen.max(chunk.end);
                if replies.is_empty() {
                    continue;
                }
                replies
            }
            // Last, so that what is there by then is noted: the log need not be read again for it.
            () = stop.cancelled() => break,
        };
        while let Err(error) = note(&db, &replies, seen, &metrics, &events).await {
            tracing::error!(cause = problem::chain(&error), replies = replies.len(), "note replies; it is tried again");
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        noted = seen;
        feed.cursor.advance(noted);
        due = tokio::time::Instant::now() + NOTE;
    }
    if seen > noted {
        match note(&db, &[], seen, &metrics, &events).await {
            Ok(()) => feed.cursor.advance(seen),
            Err(error) => tracing::warn!(cause = problem::chain(&error), "note how far replies were read"),
        }
    }
    Ok(())
}

async fn note(
    db: &SqlitePool,
    replies: &[store::Reply],
    seen: LogOffset,
    metrics: &Metrics,
    events: &event::Hub,
) -> Result<(), sqlx::Error> {
    let answered = store::answered(db, replies, seen).await?;
    metrics.came_to("answered", answered.commands);
    answered.self_tests.iter().for_each(|found| metrics.self_test(*found));
    if !answered.self_tests.is_empty() {
        // What a self-test found may be acted upon.
        events.wake();
    }
    Ok(())
}

fn replies(chunk: &Chunk) -> Result<Vec<store::Reply>, DoorError> {
    let mut found = Vec::new();
    for rows in chunk.rows.iter().filter(|rows| rows.table == TableName::Reply) {
        let tenant: &StringArray = column(&rows.batch, "tenant")?;
        let device_id: &StringArray = column(&rows.batch, "device_id")?;
        let arrival: &TimestampMicrosecondArray = column(&rows.batch, "arrival_time")?;
        let command_id: &StringArray = column(&rows.batch, "id")?;
        let ok: &BooleanArray = column(&rows.batch, "ok")?;
        let result: &StringArray = column(&rows.batch, "result")?;
        for row in 0..rows.batch.num_rows() {
            let from = Principal { tenant: tenant.value(row).parse()?, device_id: device_id.value(row).parse()? };
            found.push(store::Reply {
                from,
                command_id: command_id.value(row).to_owned(),
                ok: ok.value(row),
                result: arrow::array::Array::is_valid(result, row).then(|| result.value(row).to_owned()),
                at: Instant::from_micros(arrival.value(row)),
            });
        }
    }
    Ok(found)
}

fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, DoorError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| format!("column {name} of table reply is missing or of another type").into())
}
