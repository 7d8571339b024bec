//! The letters' SQL: rows of the lake through the engine, what was sent in the service database.

use std::collections::HashSet;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use bytes::Bytes;
use futures::StreamExt;
use schemas::{
    door::{SqlEngine, SqlError},
    id::TenantId,
    reject::RejectReason,
    time::Instant,
};
use sqlx::SqlitePool;

use super::{Filter, LetterId, Stored, rules};
use crate::store::write;

/// Letters of the filter, oldest first, at most `limit` rows.
pub(crate) async fn page(
    engine: &dyn SqlEngine,
    tenant: &TenantId,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Stored>, SqlError> {
    let select = format!(
        "select topic, content_type, payload, arrival_time from dead_letter where {} order by arrival_time limit {limit}",
        within(&filter.reasons, filter.since, filter.until)
    );
    let mut letters = Vec::new();
    let mut answer = engine.query(tenant, &select).await?;
    while let Some(batch) = answer.batches.next().await {
        read(&batch?, &mut letters).map_err(|error| SqlError::Internal(error.into()))?;
    }
    Ok(letters)
}

/// How many letters there are that are never sent.
pub(crate) async fn refused(engine: &dyn SqlEngine, tenant: &TenantId, filter: &Filter) -> Result<u64, SqlError> {
    let within = within(&rules::NEVER, filter.since, filter.until);
    let select = format!("select count(*) as n from dead_letter where {within}");
    let mut answer = engine.query(tenant, &select).await?;
    let mut count = 0;
    while let Some(batch) = answer.batches.next().await {
        let batch = batch?;
        let numbers = cast(batch.column(0), &DataType::Int64).map_err(|error| SqlError::Internal(error.into()))?;
        count += numbers.as_primitive::<Int64Type>().values().iter().sum::<i64>();
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Reasons are words of ours and instants are numbers: nothing of it is a caller's text.
fn within(reasons: &[RejectReason], since: Option<Instant>, until: Instant) -> String {
    let reasons: Vec<String> = reasons.iter().map(|reason| format!("'{reason}'")).collect();
    let instant =
        |at: Instant| format!("arrow_cast(cast({} as bigint), 'Timestamp(Microsecond, Some(\"UTC\"))')", at.micros());
    let mut within = format!("reason in ({}) and arrival_time < {}", reasons.join(", "), instant(until));
    if let Some(since) = since {
        within += &format!(" and arrival_time >= {}", instant(since));
    }
    within
}

fn read(batch: &RecordBatch, letters: &mut Vec<Stored>) -> Result<(), arrow::error::ArrowError> {
    let column = |at: usize, to: DataType| cast(batch.column(at), &to);
    let (topics, types) = (column(0, DataType::Utf8)?, column(1, DataType::Utf8)?);
    let (payloads, arrivals) = (column(2, DataType::Binary)?, column(3, DataType::Int64)?);
    let (topics, types) = (topics.as_string::<i32>(), types.as_string::<i32>());
    let (payloads, arrivals) = (payloads.as_binary::<i32>(), arrivals.as_primitive::<Int64Type>());
    letters.extend((0..batch.num_rows()).map(|row| Stored {
        topic: topics.value(row).to_owned(),
        content_type: types.is_valid(row).then(|| types.value(row).to_owned()),
        payload: Bytes::copy_from_slice(payloads.value(row)),
        arrival: Instant::from_micros(arrivals.value(row)),
    }));
    Ok(())
}

/// Those of the letters that were sent before.
pub(crate) async fn known(
    pool: &SqlitePool,
    tenant: &TenantId,
    letters: &[LetterId],
) -> Result<HashSet<LetterId>, sqlx::Error> {
    let select = "select exists (select 1 from dead_letter_replay where tenant = ? and letter_id = ?)";
    let mut known = HashSet::new();
    let mut connection = pool.acquire().await?;
    for letter in letters {
        let query = sqlx::query_scalar(select).bind(tenant.as_str()).bind(letter.as_slice());
        if query.fetch_one(&mut *connection).await? {
            known.insert(*letter);
        }
    }
    Ok(known)
}

/// Notes that letters were sent.
pub(crate) async fn sent(
    pool: &SqlitePool,
    tenant: &TenantId,
    letters: &[LetterId],
    now: Instant,
) -> Result<(), sqlx::Error> {
    let insert = "insert into dead_letter_replay (tenant, letter_id, replayed) values (?, ?, ?) \
                  on conflict (tenant, letter_id) do nothing";
    let mut tx = write(pool).await?;
    for letter in letters {
        let query = sqlx::query(insert).bind(tenant.as_str()).bind(letter.as_slice()).bind(now.micros());
        query.execute(&mut *tx).await?;
    }
    tx.commit().await
}
