//! The desk at which detection hands in what it found.
//!
//! In: devices, alarms, advisories and what models speak for, in batches, any number of times. Out: rows, tickets, events;
//! where alarms wait for a model's word. Promise: one transaction per
//! batch; when it returns all of the batch is on disk, otherwise nothing. Never: a second open ticket for one fault.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{
    advisory::{Advisory, Decision},
    alarm::{Alarm, AlarmState},
    door::{AWAITED_MAX, Awaited, DeviceSeen, DoorError, ServiceDesk, SpokenFor},
    id::TenantId,
    profile::Profiles,
};
use sqlx::SqlitePool;

use crate::{
    advisory,
    alarm::{self, store::Taken},
    app::App,
    device, event,
    metrics::Metrics,
    prognosis::{self, rules::Word},
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
            let taken = advisory::store::take(&mut tx, &self.profiles, &self.storm, advisory).await?;
            all.push((advisory.decision, taken));
        }
        tx.commit().await?;
        for (decision, taken) in all {
            if taken.new {
                self.metrics.advisory(decision);
            } else {
                self.metrics.advisories_repeated.inc();
            }
            self.metrics.tickets_opened.inc_by(u64::from(taken.opened));
            self.metrics.advisories_stale.inc_by(u64::from(taken.stale));
            let word = if decision == Decision::Watch { Word::Unlikely } else { Word::Likely };
            self.metrics.prognosis_first(word, taken.awaited);
            taken.alarms.iter().for_each(|taken| self.metrics.taken(taken));
        }
        self.events.wake();
        Ok(())
    }

    async fn spoken_for(&self, spoken_for: &SpokenFor) -> Result<(), DoorError> {
        Ok(prognosis::store::note(&self.db, spoken_for).await?)
    }

    async fn awaited(&self, tenant: &TenantId) -> Result<Vec<Awaited>, DoorError> {
        Ok(alarm::store::awaited(&self.db, tenant, AWAITED_MAX).await?)
    }
}
