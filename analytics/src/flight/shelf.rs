//! Answers that wait for whoever holds their ticket, and prepared statements.
//!
//! In: answers, statements, the time. Out: handles, and for a handle what was put under it. Promise: a handle opens for
//! its tenant only and cannot be guessed; what nobody fetches is dropped, and with it its query; the number of both
//! kinds is bounded. Never: an answer given twice.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::array::RecordBatch;
use bytes::Bytes;
use schemas::{
    door::{SqlAnswer, Statement},
    id::TenantId,
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A ticket not used within this time is void: its query holds one of the engine's places.
pub(super) const TICKET_TIME: Duration = Duration::from_secs(20);

/// A prepared statement not used within this time is void: clients that crash close nothing.
pub(super) const PREPARED_TIME: Duration = Duration::from_secs(3600);

/// Tickets of all tenants together, those being read included; the engine admits fewer queries than this at once.
const MAX_TICKETS: usize = 1024;

/// Prepared statements of one tenant.
const MAX_PREPARED: usize = 256;

/// What a statement was prepared with.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// Its text.
    pub(super) sql: String,
    /// What it takes and gives.
    pub(super) statement: Statement,
    /// The values bound last: one row.
    pub(super) parameters: Option<RecordBatch>,
}

/// No more room; says for what.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("{MAX_TICKETS} tickets are open; read or cancel some")]
    Tickets,
    #[error("{MAX_PREPARED} statements are prepared; close some")]
    Prepared,
}

struct Ticket {
    tenant: TenantId,
    cancel: CancellationToken,
    /// None while it is read.
    waiting: Option<(SqlAnswer, Instant)>,
}

struct Kept {
    tenant: TenantId,
    prepared: Prepared,
    used: Instant,
}

/// Both kinds.
pub(super) struct Shelf {
    key: [u8; 32],
    count: AtomicU64,
    tickets: Mutex<HashMap<Bytes, Ticket>>,
    prepared: Mutex<HashMap<Bytes, Kept>>,
}

/// An answer that is being read: dropping it frees its place.
pub(super) struct Reading {
    /// The answer.
    pub(super) answer: SqlAnswer,
    /// The place on the shelf.
    pub(super) place: Place,
}

/// A place on the shelf, until it is dropped.
pub(super) struct Place {
    /// Turned when the query is to end.
    pub(super) cancel: CancellationToken,
    shelf: Arc<Shelf>,
    handle: Bytes,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.shelf.tickets).remove(&self.handle);
    }
}

impl Shelf {
    /// An empty one; handles are made with `key`.
    pub(super) fn new(key: [u8; 32]) -> Arc<Self> {
        Arc::new(Self { key, count: AtomicU64::new(0), tickets: Mutex::default(), prepared: Mutex::default() })
    }

    fn handle(&self, tenant: &TenantId) -> Bytes {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::new().chain_update(self.key).chain_update(count.to_be_bytes());
        let digest = digest.chain_update(tenant.as_str()).finalize();
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }

    /// Puts an answer aside; `cancel` ends it from then on.
    pub(super) fn put(
        &self,
        tenant: &TenantId,
        answer: SqlAnswer,
        cancel: CancellationToken,
        now: Instant,
    ) -> Result<Bytes, Full> {
        let handle = self.handle(tenant);
        let mut tickets = lock(&self.tickets);
        if tickets.len() >= MAX_TICKETS {
            return Err(Full::Tickets);
        }
        let waiting = Some((answer, now + TICKET_TIME));
        tickets.insert(handle.clone(), Ticket { tenant: tenant.clone(), cancel, waiting });
        Ok(handle)
    }

    /// The answer of a ticket, once.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId, handle: &Bytes, now: Instant) -> Option<Reading> {
        let mut tickets = lock(&self.tickets);
        let ticket = tickets.get_mut(handle).filter(|ticket| ticket.tenant == *tenant)?;
        let (answer, _) = ticket.waiting.take_if(|(_, until)| now < *until)?;
        let place = Place { cancel: ticket.cancel.clone(), shelf: Arc::clone(self), handle: handle.clone() };
        Some(Reading { answer, place })
    }

    /// Ends the query of a ticket; false if there is none.
    pub(super) fn cancel(&self, tenant: &TenantId, handle: &Bytes) -> bool {
        let mut tickets = lock(&self.tickets);
        let Some(ticket) = tickets.get(handle).filter(|ticket| ticket.tenant == *tenant) else { return false };
        ticket.cancel.cancel();
        // One that is read leaves by itself.
        let gone = ticket.waiting.is_some().then(|| tickets.remove(handle));
        drop(tickets);
        drop(gone);
        true
    }

    /// Keeps a statement.
    pub(super) fn prepare(&self, tenant: &TenantId, prepared: Prepared, now: Instant) -> Result<Bytes, Full> {
        let handle = self.handle(tenant);
        let mut kept = lock(&self.prepared);
        if kept.values().filter(|kept| kept.tenant == *tenant).count() >= MAX_PREPARED {
            return Err(Full::Prepared);
        }
        kept.insert(handle.clone(), Kept { tenant: tenant.clone(), prepared, used: now });
        Ok(handle)
    }

    /// A prepared statement.
    pub(super) fn prepared(&self, tenant: &TenantId, handle: &Bytes, now: Instant) -> Option<Prepared> {
        let mut kept = lock(&self.prepared);
        let kept = kept.get_mut(handle).filter(|kept| kept.tenant == *tenant)?;
        kept.used = now;
        Some(kept.prepared.clone())
    }

    /// Binds values to a prepared statement; false if there is none.
    pub(super) fn bind(&self, tenant: &TenantId, handle: &Bytes, row: RecordBatch, now: Instant) -> bool {
        let mut kept = lock(&self.prepared);
        let Some(kept) = kept.get_mut(handle).filter(|kept| kept.tenant == *tenant) else { return false };
        kept.used = now;
        kept.prepared.parameters = Some(row);
        true
    }

    /// Forgets a prepared statement; to close twice is the same as once.
    pub(super) fn close(&self, tenant: &TenantId, handle: &Bytes) {
        let mut kept = lock(&self.prepared);
        if kept.get(handle).is_some_and(|kept| kept.tenant == *tenant) {
            kept.remove(handle);
        }
    }

    /// Drops what nobody fetched; gives how many tickets that were.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        lock(&self.prepared).retain(|_, kept| now < kept.used + PREPARED_TIME);
        let expired = |ticket: &Ticket| ticket.waiting.as_ref().is_some_and(|(_, until)| now >= *until);
        let gone: Vec<_> = lock(&self.tickets).extract_if(|_, ticket| expired(ticket)).collect();
        gone.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    fn answer() -> SqlAnswer {
        SqlAnswer { schema: Arc::new(Schema::empty()), batches: Box::pin(futures::stream::empty()) }
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn prepared() -> Prepared {
        let none = Arc::new(Schema::empty());
        let statement = Statement { schema: none.clone(), parameters: none };
        Prepared { sql: "select 1".into(), statement, parameters: None }
    }

    #[tokio::test]
    async fn a_ticket_opens_once_and_for_its_tenant_only() {
        let (shelf, now) = (Shelf::new([7; 32]), Instant::now());
        let handle = shelf.put(&tenant("acme"), answer(), CancellationToken::new(), now).unwrap();
        assert!(shelf.take(&tenant("globex"), &handle, now).is_none());
        assert!(!shelf.cancel(&tenant("globex"), &handle));
        let reading = shelf.take(&tenant("acme"), &handle, now).unwrap();
        assert!(shelf.take(&tenant("acme"), &handle, now).is_none());
        assert!(shelf.cancel(&tenant("acme"), &handle) && reading.place.cancel.is_cancelled());
        drop(reading);
        assert!(!shelf.cancel(&tenant("acme"), &handle));
    }

    #[tokio::test]
    async fn what_nobody_fetches_is_dropped_in_time() {
        let (shelf, now) = (Shelf::new([7; 32]), Instant::now());
        let acme = tenant("acme");
        let handle = shelf.put(&acme, answer(), CancellationToken::new(), now).unwrap();
        let read = shelf.put(&acme, answer(), CancellationToken::new(), now).unwrap();
        let _reading = shelf.take(&acme, &read, now).unwrap();
        assert_eq!(shelf.sweep(now), 0);
        assert!(shelf.take(&acme, &handle, now + TICKET_TIME).is_none());
        assert_eq!(shelf.sweep(now + TICKET_TIME), 1, "one that is read stays");
        let kept = shelf.prepare(&acme, prepared(), now).unwrap();
        let later = now + PREPARED_TIME / 2;
        assert!(
            shelf.prepared(&acme, &kept, later).is_some() && shelf.prepared(&tenant("globex"), &kept, later).is_none()
        );
        shelf.sweep(now + PREPARED_TIME);
        assert!(shelf.prepared(&acme, &kept, now + PREPARED_TIME).is_some(), "it was used meanwhile");
        shelf.close(&tenant("globex"), &kept);
        assert!(shelf.prepared(&acme, &kept, later).is_some());
        shelf.close(&acme, &kept);
        assert!(shelf.prepared(&acme, &kept, later).is_none());
    }

    #[tokio::test]
    async fn both_kinds_are_bounded() {
        let (shelf, now) = (Shelf::new([7; 32]), Instant::now());
        for _ in 0..MAX_TICKETS {
            shelf.put(&tenant("acme"), answer(), CancellationToken::new(), now).unwrap();
        }
        assert_eq!(shelf.put(&tenant("acme"), answer(), CancellationToken::new(), now), Err(Full::Tickets));
        for _ in 0..MAX_PREPARED {
            shelf.prepare(&tenant("acme"), prepared(), now).unwrap();
        }
        assert_eq!(shelf.prepare(&tenant("acme"), prepared(), now), Err(Full::Prepared));
        assert!(shelf.prepare(&tenant("globex"), prepared(), now).is_ok(), "another tenant has its own");
    }
}
