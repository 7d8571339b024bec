//! The desk at which detection hands in what it found.
//!
//! In: devices, alarms and advisories, in batches, any number of times. Out: rows, tickets, events. Promise: one transaction per
//! batch; when it returns all of the batch is on disk, otherwise nothing. Never: a second open ticket for one fault.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{
    advisory::Advisory,
    alarm::{Alarm, AlarmState},
    door::{DeviceSeen, DoorError, ServiceDesk},
    profile::Profiles,
};
use sqlx::SqlitePool;

use crate::{
    advisory,
    alarm::{self, store::Taken},
    app::App,
    device, event,
    metrics::Metrics,
    service_problem, store,
};

/// The service desk of this process.
#[derive(Debug, Clone)]
pub struct Desk {
    db: SqlitePool,
    profiles: Arc<Profiles>,
    events: event::Hub,
    metrics: Metrics,
    storm: service_problem::Settings,
}

impl Desk {
    /// From its parts.
    pub fn new(db: SqlitePool, profiles: Arc<Profiles>, events: event::Hub, metrics: Metrics) -> Self {
        Self { db, profiles, events, metrics, storm: service_problem::Settings::default() }
    }

    /// Takes alarms for a storm from `storm` on.
    pub fn with_storm(self, storm: service_problem::Settings) -> Self {
        Self { storm, ..self }
    }

    /// With the parts of the service side.
    pub fn of(app: &App) -> Self {
        Self::new(app.db.clone(), app.profiles.clone(), app.events.clone(), app.metrics.clone())
            .with_storm(app.settings.storm)
    }

    async fn take(&self, alarms: &[Alarm]) -> Result<Vec<Taken>, sqlx::Error> {
        let mut tx = store::write(&self.db).await?;
        let mut taken = Vec::with_capacity(alarms.len());
        for alarm in alarms {
            taken.push(alarm::store::take(&mut tx, &self.profiles, &self.storm, alarm).await?);
        }
        tx.commit().await?;
        Ok(taken)
    }
}

#[async_trait]
impl ServiceDesk for Desk {
    async fn devices(&self, seen: &[DeviceSeen]) -> Result<(), DoorError> {
        if !seen.is_empty() {
            device::store::seen(&self.db, seen).await?;
        }
        Ok(())
    }

    async fn alarms(&self, alarms: &[Alarm]) -> Result<(), DoorError> {
        if alarms.is_empty() {
            return Ok(());
        }
        let all = self.take(alarms).await?;
        for taken in all {
            if taken.raised {
                self.metrics.alarm(AlarmState::Raised);
            }
            if taken.cleared {
                self.metrics.alarm(AlarmState::Cleared);
            }
            if !taken.raised && !taken.cleared {
                self.metrics.alarms_repeated.inc();
            }
            self.metrics.taken(&taken);
        }
        self.events.wake();
        Ok(())
    }

    async fn advisories(&self, advisories: &[Advisory]) -> Result<(), DoorError> {
        if advisories.is_empty() {
            return Ok(());
        }
        let mut tx = store::write(&self.db).await?;
        let mut all = Vec::with_capacity(advisories.len());
        for advisory in advisories {
            all.push((advisory.decision, advisory::store::take(&mut tx, &self.profiles, advisory).await?));
        }
        tx.commit().await?;
        for (decision, taken) in all {
            if taken.new {
                self.metrics.advisory(decision);
            } else {
                self.metrics.advisories_repeated.inc();
            }
            self.metrics.tickets_opened.inc_by(u64::from(taken.opened));
        }
        self.events.wake();
        Ok(())
    }
}
