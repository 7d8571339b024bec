//! What models speak for, in SQL.

use schemas::{alarm::Alarm, door::SpokenFor, time::Instant};
use sqlx::{SqliteConnection, SqlitePool};

use crate::store::write;

/// Notes what models speak for, in place of what was noted of the tenant. What waits where nobody speaks any more is due.
pub(crate) async fn note(pool: &SqlitePool, spoken_for: &SpokenFor) -> Result<(), sqlx::Error> {
    let tenant = spoken_for.tenant.as_str();
    let mut tx = write(pool).await?;
    sqlx::query("delete from spoken_for where tenant = ?").bind(tenant).execute(&mut *tx).await?;
    for (profile, component) in &spoken_for.components {
        let insert = "insert into spoken_for (tenant, profile, component, until) values (?, ?, ?, ?) \
                      on conflict do nothing";
        let query = sqlx::query(insert).bind(tenant).bind(profile.as_str()).bind(component);
        query.bind(spoken_for.until.micros()).execute(&mut *tx).await?;
    }
    let update = "update alarm set prognosis_due = min(prognosis_due, ?1) where tenant = ?2 and prognosis_due is not null \
                  and not exists (select 1 from spoken_for s where s.tenant = ?2 and s.profile = alarm.profile \
                  and s.component = alarm.component)";
    sqlx::query(update).bind(spoken_for.at.micros()).bind(tenant).execute(&mut *tx).await?;
    tx.commit().await
}

/// Whether a model speaks for the component of an alarm.
pub(crate) async fn speaks_for(tx: &mut SqliteConnection, alarm: &Alarm, at: Instant) -> Result<bool, sqlx::Error> {
    let select = "select 1 from spoken_for where tenant = ? and profile = ? and component = ? and until > ?";
    let query = sqlx::query(select).bind(alarm.tenant.as_str()).bind(alarm.profile.as_str());
    let query = query.bind(alarm.fault_key.component()).bind(at.micros());
    query.fetch_optional(tx).await.map(|row| row.is_some())
}
