//! What the service side does by itself: delivers outcomes, orders self-tests and acts upon them, settles resolved tickets,
//! forgets what is too old, follows credentials that another process changed.
//!
//! In: the database. Out: outcomes in the lake, commands in the devices' lines, tickets. Promise: a failure is logged,
//! counted and tried again; nothing here holds up a request. Never: gives up an outcome.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    advisory, alarm, app::App, command, event, idempotency, outcome, problem, prognosis, self_test, service_problem,
    ticket,
};

/// Outcomes delivered before it is noted that they were.
const BATCH: u32 = 100;
/// Settling and credentials.
const TICK: Duration = Duration::from_secs(1);
/// Forgetting.
const PRUNE: Duration = Duration::from_secs(60);
/// So long it can be seen what became of a command.
const COMMANDS_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// After a failed delivery; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
/// An outcome is at most so late once the lake is back.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut turn = app.events.listen();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut pruned, mut pause, mut not_before) = (Instant::now(), PAUSE, Instant::now());
    loop {
        let ticked = tokio::select! {
            () = stop.cancelled() => return,
            changed = turn.changed() => match changed { Ok(()) => false, Err(_) => return },
            _ = tick.tick() => true,
        };
        if Instant::now() >= not_before {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = deliver(&app) => done,
            };
            match done {
                Ok(()) => pause = PAUSE,
                Err(error) => {
                    tracing::warn!(cause = problem::chain(error.as_ref()), "deliver an outcome; it is tried again");
                    app.metrics.outcomes_failed.inc();
                    not_before = Instant::now() + pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        note("act upon alarms that waited for prognosis", prognosis::verdict::all(&app).await);
        note("act upon self-tests", self_test::verdict::all(&app).await);
        note("order self-tests", self_test::order::all(&app).await);
        if ticked {
            note("settle resolved tickets", settle(&app).await);
            note("give back tickets of service problems that have ended", release(&app).await);
            note("give alarms that outlast their planned outage a ticket", outlasted(&app).await);
            match command::store::expire_all(&app.db, app.clock.arrival()).await {
                Ok(expired) => app.commands.came_to("expired", expired),
                Err(error) => note("expire commands", Err(error)),
            }
            note("follow device credentials", app.credentials.refresh(&app.db).await);
            // Where ingest runs in another process, so does the desk: its events are looked for.
            if app.outcomes.is_none() {
                app.events.wake();
            }
        }
        if pruned.elapsed() >= PRUNE {
            pruned = Instant::now();
            note("forget old events", event::store::prune(&app.db).await.map(|_| ()));
            let now = app.clock.arrival();
            note("forget advisories without a ticket", advisory::store::prune(&app.db).await.map(|_| ()));
            let done = command::store::forget(&app.db, now.minus(COMMANDS_KEPT)).await;
            note("forget old commands", done.map(|_| ()));
            note("forget old answers", idempotency::store::prune(&app.db, now).await.map(|_| ()));
        }
    }
}

fn note(attempt: &str, result: Result<(), sqlx::Error>) {
    if let Err(error) = result {
        tracing::error!(cause = problem::chain(&error), "{attempt}");
    }
}

async fn settle(app: &App) -> Result<(), sqlx::Error> {
    let settled = ticket::store::settle(&app.db, app.clock.now(), app.settings.verify_after).await?;
    if settled > 0 {
        tracing::info!(tickets = settled, "closed resolved tickets");
        app.events.wake();
    }
    Ok(())
}

async fn release(app: &App) -> Result<(), sqlx::Error> {
    let released = service_problem::store::release(&app.db, app.clock.now()).await?;
    if released > 0 {
        tracing::info!(tickets = released, "gave back tickets of service problems that have ended");
        app.events.wake();
    }
    Ok(())
}

async fn outlasted(app: &App) -> Result<(), sqlx::Error> {
    let taken = alarm::store::outlasted(&app.db, &app.profiles, &app.settings.storm, app.clock.now()).await?;
    if !taken.is_empty() {
        taken.iter().for_each(|taken| app.metrics.taken(taken));
        tracing::info!(alarms = taken.len(), "gave alarms that outlast their planned outage a ticket");
        app.events.wake();
    }
    Ok(())
}

async fn deliver(app: &App) -> Result<(), schemas::door::DoorError> {
    let Some(sink) = &app.outcomes else {
        return Ok(());
    };
    loop {
        let batch = outcome::store::waiting(&app.db, BATCH).await?;
        let mut done = Vec::with_capacity(batch.len());
        let mut failed = None;
        for (number, outcome) in &batch {
            match sink.outcome(outcome).await {
                Ok(()) => done.push(*number),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !done.is_empty() {
            outcome::store::delivered(&app.db, &done, app.clock.arrival()).await?;
            app.metrics.outcomes.inc_by(done.len() as u64);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if batch.len() < BATCH as usize {
            return Ok(());
        }
    }
}
