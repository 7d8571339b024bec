//! What follows where prognosis was waited for long enough.
//!
//! In: alarms that waited for [`super::rules::PATIENCE`] without a word, or for a week whatever was said. Out: a ticket, or a
//! self-test where the rule wants one first. Promise: each once, in one transaction with what follows.

use crate::{alarm, app::App, store::write};

/// Acted upon in one transaction.
const BATCH: usize = 100;

/// Acts upon what is due, the longest first.
pub(crate) async fn all(app: &App) -> Result<(), sqlx::Error> {
    let now = app.clock.now();
    // Most of the time there is nothing: no write lock then.
    while alarm::store::overdue(&app.db, now).await?.is_some() {
        let mut tx = write(&app.db).await?;
        let mut all = Vec::new();
        // One by one: a ticket takes in whatever else waits on its fault.
        while let Some((kept, word)) = alarm::store::overdue(&mut *tx, now).await?.filter(|_| all.len() < BATCH) {
            let taken = alarm::store::unspoken(&mut tx, &app.profiles, &app.settings.storm, &kept, word, now).await?;
            all.push((kept, word, taken));
        }
        tx.commit().await?;
        for (kept, word, taken) in &all {
            app.metrics.prognosis_first(*word, 1);
            app.metrics.taken(taken);
            let (device_id, rule) = (&kept.alarm.device_id, &kept.alarm.specific_problem);
            tracing::info!(%device_id, rule, word = word.as_str(), "an alarm waits for prognosis no longer");
        }
        app.events.wake();
    }
    Ok(())
}
