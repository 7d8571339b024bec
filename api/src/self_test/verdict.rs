//! What follows from a self-test that came before a ticket.
//!
//! In: self-tests that are over: answered, refused, expired, or a day old. Out: a ticket, another test, or nothing more.
//! Promise: each is acted upon once, in one transaction with what follows; where the alarm has ended meanwhile nothing does.

use schemas::time::ClockKind;

use crate::{
    alarm::{self, store::Taken},
    app::App,
    store::write,
};

use super::{
    Wanted,
    rules::{self, Found, PATIENCE},
    store::{self, Over},
};

/// Acted upon in one transaction.
const BATCH: u32 = 100;

/// Acts upon what is over, oldest first.
pub(crate) async fn all(app: &App) -> Result<(), sqlx::Error> {
    let given_up = || match app.clock.kind() {
        // What is replayed has no devices that could answer.
        ClockKind::Event => app.clock.arrival(),
        ClockKind::System | ClockKind::Scaled | ClockKind::Manual => app.clock.arrival().minus(PATIENCE),
    };
    // Most of the time there is nothing: no write lock then.
    while !store::over(&app.db, given_up(), 1).await?.is_empty() {
        let mut tx = write(&app.db).await?;
        let batch = store::over(&mut *tx, given_up(), BATCH).await?;
        let mut all = Vec::new();
        for over in &batch {
            all.extend(one(app, &mut tx, over).await?);
        }
        tx.commit().await?;
        all.iter().for_each(|taken| app.metrics.taken(taken));
        for Over { test: Wanted { command_id, device_id, fault_key, .. }, found, .. } in &batch {
            app.commands.self_test_first(*found);
            tracing::info!(command_id, %device_id, %fault_key, found = found.as_str(), "a self-test before a ticket");
        }
        app.events.wake();
    }
    Ok(())
}

/// What it did to tickets.
async fn one(app: &App, tx: &mut sqlx::SqliteConnection, over: &Over) -> Result<Option<Taken>, sqlx::Error> {
    let (now, test) = (app.clock.now(), &over.test);
    let fault = test.fault();
    let waits = !alarm::store::awaiting(tx, &fault).await?.is_empty();
    let again = match (over.found, over.replied) {
        (Found::Passed, Some(passed)) if waits => rules::again(passed, over.until),
        _ => None,
    };
    store::decided(tx, over, again, now).await?;
    if !waits || again.is_some() {
        return Ok(None);
    }
    let text = match (over.replied, &over.result) {
        (None, None) => format!("{} was not answered", test.name),
        (_, result) => store::words(&test.name, over.found, result.as_deref()),
    };
    let doubted = over.found == Found::Passed;
    alarm::store::tested(tx, &app.profiles, &app.settings.storm, &fault, doubted, &text, now).await.map(Some)
}
