//! The tables' SQL.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field},
};
use schemas::{id::TenantId, service::ServiceTable};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::TableError;

/// Where nobody told a model, the profile is the best there is.
const DEVICES: &str = "select tenant, device_id, profile, coalesce(model, profile) as model, firmware, batch, region, \
                       installed_at, first_seen, last_seen from device where tenant = ? limit ?";

/// What was found stands in the resolution's document.
const TICKETS: &str = "select tenant, ticket_id, device_id, profile, fault_key, ticket_type, channel, status, \
                       sub_status, severity, priority, creation_date, last_update, resolution_date, \
                       resolution ->> 'disposition' as disposition, resolution ->> 'failure_mode' as failure_mode, \
                       resolution ->> 'part_replaced' as part_replaced, repeat_of, service_problem_id, reopen_count, \
                       alarm_count, advisory_count from ticket where tenant = ? limit ?";

/// A tenant's rows; none where there are more than `most`.
pub(super) async fn rows(
    pool: &SqlitePool,
    tenant: &TenantId,
    table: ServiceTable,
    most: u32,
) -> Result<Option<RecordBatch>, TableError> {
    let query = match table {
        ServiceTable::Device => sqlx::query(DEVICES),
        ServiceTable::Ticket => sqlx::query(TICKETS),
    };
    let rows = query.bind(tenant.as_str()).bind(i64::from(most) + 1).fetch_all(pool).await?;
    if rows.len() > most as usize {
        return Ok(None);
    }
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| column(&rows, field)).collect::<Result<_, _>>()?;
    Ok(Some(RecordBatch::try_new(schema, columns)?))
}

fn column(rows: &[SqliteRow], field: &Field) -> Result<ArrayRef, sqlx::Error> {
    let name = field.name().as_str();
    let integers = || rows.iter().map(|row| row.try_get::<Option<i64>, _>(name)).collect::<Result<Vec<_>, _>>();
    Ok(match field.data_type() {
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(integers()?).with_timezone("UTC")),
        DataType::Int64 => Arc::new(Int64Array::from(integers()?)),
        _ => {
            let texts = rows.iter().map(|row| row.try_get::<Option<String>, _>(name));
            Arc::new(texts.collect::<Result<StringArray, _>>()?)
        }
    })
}
