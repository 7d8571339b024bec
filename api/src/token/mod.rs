//! What a person or a program shows to the API.
//!
//! In: a name and a role. Out: `fw_{id}_{secret}`, shown once. Promise: 256 random bits; the database keeps their
//! SHA-256, which is enough for a secret that cannot be guessed; comparison takes the same time for every secret.

pub mod routes;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{
    door::{DoorError, Holder, TokenAuth},
    id::TenantId,
    time::{Clock, Instant},
};
use sha2::{Digest, Sha256};
use sqlx::SqlitePool;
use subtle::ConstantTimeEq;

use crate::{
    auth::{Caller, Role, roles},
    id,
};

pub use store::{Token, list, revoke, tenants};

/// How precisely the last use is known: a token in use writes once in this time.
const USE_PRECISION: std::time::Duration = std::time::Duration::from_secs(60);
/// The longest name of a token.
pub const NAME_MAX: usize = 60;

/// Makes a token and returns its only copy in clear.
pub async fn create(
    pool: &SqlitePool,
    tenant: &TenantId,
    role: Role,
    name: &str,
    at: Instant,
) -> Result<(Token, String), sqlx::Error> {
    let (mut public, mut secret) = ([0; 8], [0; 32]);
    id::fill(&mut public);
    id::fill(&mut secret);
    let secret = id::hex(&secret);
    let (tenant, name) = (tenant.clone(), name.to_owned());
    let token = Token { token_id: id::hex(&public), tenant, name, role, created: at, revoked: None, last_used: None };
    store::insert(pool, &token, &sha256(&secret)).await?;
    let clear = format!("fw_{}_{secret}", token.token_id);
    Ok((token, clear))
}

/// Who holds this token, if it is in force. Notes the use.
pub async fn verify(pool: &SqlitePool, clear: &str, now: Instant) -> Result<Option<Caller>, sqlx::Error> {
    let Some((token_id, secret)) = clear.strip_prefix("fw_").and_then(|rest| rest.split_once('_')) else {
        return Ok(None);
    };
    let Some((token, kept)) = store::get(pool, token_id).await? else {
        return Ok(None);
    };
    if !bool::from(sha256(secret).as_slice().ct_eq(&kept)) || token.revoked.is_some() {
        return Ok(None);
    }
    if token.last_used.is_none_or(|last| now.since(last) >= USE_PRECISION) {
        // A use that cannot be noted is no reason to refuse it.
        if let Err(error) = store::used(pool, token_id, now).await {
            tracing::warn!(cause = %error, token_id, "note the use of a token");
        }
    }
    Ok(Some(Caller { tenant: token.tenant, name: token.name, role: token.role, token_id: token.token_id }))
}

/// Checks tokens for doors beside HTTP: PostgreSQL and Flight SQL.
pub struct Tokens {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Over the service database; uses are noted in the time of `clock`.
    pub fn new(pool: SqlitePool, clock: Arc<dyn Clock>) -> Self {
        Self { pool, clock }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenAuth for Tokens {
    async fn token(&self, secret: &str) -> Result<Option<Holder>, DoorError> {
        let caller = verify(&self.pool, secret, self.clock.arrival()).await?;
        // The same table as over HTTP: whoever may ask there may ask here.
        let may_query = |role| roles::allowed("POST", "/v1/sql").is_some_and(|allowed| allowed.contains(&role));
        Ok(caller.map(|caller| Holder { may_query: may_query(caller.role), tenant: caller.tenant, name: caller.name }))
    }
}

pub(crate) fn sha256(secret: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_works_until_revoked_and_only_in_full() {
        let folder = tempfile::tempdir().unwrap();
        let pool = crate::store::open(&folder.path().join("service.db")).await.unwrap();
        let tenant: TenantId = "dev".parse().unwrap();
        let at = Instant::from_millis(1_000_000);
        let (token, clear) = create(&pool, &tenant, Role::Analyst, "ann", at).await.unwrap();
        assert_eq!(clear.len(), 3 + 16 + 1 + 64);
        let caller = verify(&pool, &clear, at).await.unwrap().unwrap();
        assert_eq!((caller.role, caller.name.as_str()), (Role::Analyst, "ann"));
        let short = &clear[..clear.len() - 1];
        for wrong in ["", "fw_", "fw__", short, &clear[3..], &format!("{clear}0"), "fw_0000000000000000_00"] {
            assert_eq!(verify(&pool, wrong, at).await.unwrap(), None, "{wrong}");
        }
        assert_eq!(list(&pool, &tenant).await.unwrap()[0].last_used, Some(at));
        assert!(revoke(&pool, &tenant, &token.token_id, at).await.unwrap());
        assert_eq!(verify(&pool, &clear, at).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_database_keeps_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.db");
        let pool = crate::store::open(&path).await.unwrap();
        let (_, clear) = create(&pool, &"dev".parse().unwrap(), Role::Admin, "a", Instant::EPOCH).await.unwrap();
        pool.close().await;
        let secret = clear.rsplit('_').next().unwrap().as_bytes();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}
