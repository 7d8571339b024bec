//! Who may log in at the gateway.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use schemas::{
    door::{DeviceAuth, Login, Principal},
    id::{DeviceId, TenantId},
    reject::{Reject, RejectReason},
};
use sqlx::SqlitePool;
use subtle::ConstantTimeEq;

use super::store;
use crate::token::sha256;

type Known = HashMap<DeviceId, (TenantId, [u8; 32])>;

/// Every credential of the database, in memory; clones share it. [`Credentials::refresh`] follows changes.
#[derive(Clone, Default)]
pub struct Credentials {
    known: Arc<RwLock<Known>>,
    revision: Arc<AtomicI64>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads all of them.
    pub async fn load(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        let credentials = Self { revision: Arc::new(AtomicI64::new(-1)), ..Self::default() };
        credentials.refresh(pool).await?;
        Ok(credentials)
    }

    /// Reads them again if they have changed, in this process or in another.
    pub async fn refresh(&self, pool: &SqlitePool) -> Result<(), sqlx::Error> {
        // The revision is read first: a change between the two reads is read again next time.
        let revision = store::credential_revision(pool).await?;
        if self.revision.load(Ordering::Acquire) == revision {
            return Ok(());
        }
        let known = store::credentials(pool).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        self.revision.store(revision, Ordering::Release);
        Ok(())
    }
}

impl DeviceAuth for Credentials {
    fn login(&self, login: &Login<'_>) -> Result<Principal, Reject> {
        if let Some(decided) = login.by_certificate() {
            return decided;
        }
        let (device_id, password) = name_and_password(login)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (tenant, kept) = known.get(&device_id).ok_or_else(wrong)?;
        if !bool::from(sha256(password).as_slice().ct_eq(kept)) {
            return Err(wrong());
        }
        Ok(Principal { tenant: tenant.clone(), device_id })
    }
}

/// `serve --dev` and `demo`: any legal device id, one password, one tenant.
#[derive(Clone)]
pub struct DevCredentials {
    tenant: TenantId,
    password_sha256: [u8; 32],
}

impl fmt::Debug for DevCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevCredentials").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl DevCredentials {
    /// Takes every device of this tenant that knows the password.
    pub fn new(tenant: TenantId, password: &str) -> Self {
        Self { tenant, password_sha256: sha256(password) }
    }
}

impl DeviceAuth for DevCredentials {
    fn login(&self, login: &Login<'_>) -> Result<Principal, Reject> {
        if let Some(decided) = login.by_certificate() {
            return decided;
        }
        let (device_id, password) = name_and_password(login)?;
        if !bool::from(sha256(password).as_slice().ct_eq(&self.password_sha256)) {
            return Err(wrong());
        }
        Ok(Principal { tenant: self.tenant.clone(), device_id })
    }
}

fn name_and_password<'a>(login: &Login<'a>) -> Result<(DeviceId, &'a [u8]), Reject> {
    let bad = |detail: String| Reject::new(RejectReason::BadCredentials, detail);
    let user_name = login.user_name.ok_or_else(|| bad("user name is missing: it is the device id".to_owned()))?;
    let password = login.password.ok_or_else(|| bad("password is missing".to_owned()))?;
    if login.client_id != user_name {
        return Err(bad("client id differs from user name: both are the device id".to_owned()));
    }
    let device_id = DeviceId::parse(user_name).map_err(|error| bad(error.to_string()))?;
    Ok((device_id, password))
}

fn wrong() -> Reject {
    Reject::new(RejectReason::BadCredentials, "user name or password is wrong")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login<'a>(client_id: &'a str, user: Option<&'a str>, password: Option<&'a str>) -> Login<'a> {
        Login { client_id, user_name: user, password: password.map(str::as_bytes), certified: None }
    }

    #[test]
    fn in_development_any_device_with_the_password_comes_in() {
        let auth = DevCredentials::new("dev".parse().unwrap(), "secret");
        let principal = auth.login(&login("wm-1", Some("wm-1"), Some("secret"))).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.device_id.as_str()), ("dev", "wm-1"));
        for (client, user, password) in [
            ("wm-1", Some("wm-1"), Some("other")),
            ("wm-1", Some("wm-1"), None),
            ("wm-1", None, Some("secret")),
            ("wm-2", Some("wm-1"), Some("secret")),
            ("a/b", Some("a/b"), Some("secret")),
            ("", Some(""), Some("secret")),
        ] {
            let reject = auth.login(&login(client, user, password)).unwrap_err();
            assert_eq!(reject.reason, RejectReason::BadCredentials, "{client} {user:?}");
        }
    }

    #[test]
    fn a_certificate_is_the_credential_and_nobody_calls_himself_otherwise() {
        let auth = DevCredentials::new("dev".parse().unwrap(), "secret");
        let named = Principal { tenant: "acme".parse().unwrap(), device_id: "wm-1".parse().unwrap() };
        for (client, user, comes_in) in [
            ("wm-1", None, true),
            ("", None, true),
            ("wm-1", Some("wm-1"), true),
            ("wm-2", None, false),
            ("wm-1", Some("wm-2"), false),
        ] {
            let login = Login { certified: Some(&named), ..login(client, user, Some("any")) };
            assert_eq!(auth.login(&login).ok(), comes_in.then(|| named.clone()), "{client} {user:?}");
        }
    }

    #[tokio::test]
    async fn a_credential_made_elsewhere_is_seen_after_a_refresh_and_gone_after_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let pool = crate::store::open(&folder.path().join("service.db")).await.unwrap();
        let auth = Credentials::load(&pool).await.unwrap();
        let (tenant, device): (TenantId, DeviceId) = ("dev".parse().unwrap(), "wm-1".parse().unwrap());
        let secret =
            store::make_credential(&pool, &tenant, &device, schemas::time::Instant::EPOCH).await.unwrap().unwrap();
        assert!(auth.login(&login("wm-1", Some("wm-1"), Some(&secret))).is_err());
        auth.refresh(&pool).await.unwrap();
        assert_eq!(auth.login(&login("wm-1", Some("wm-1"), Some(&secret))).unwrap().tenant, tenant);
        assert!(auth.login(&login("wm-1", Some("wm-1"), Some("no"))).is_err());
        let other = "other".parse().unwrap();
        let taken = store::make_credential(&pool, &other, &device, schemas::time::Instant::EPOCH).await.unwrap();
        assert_eq!(taken, None, "a device id belongs to one tenant");
        assert!(store::drop_credential(&pool, &tenant, &device).await.unwrap());
        auth.refresh(&pool).await.unwrap();
        assert!(auth.login(&login("wm-1", Some("wm-1"), Some(&secret))).is_err());
    }
}
