//! TLS: what the gateway shows, whom it believes, and the handshake.
//!
//! In: PEM files, sockets. Out: encrypted connections, with the device that a client certificate names. Promise: files
//! that cannot be used are an error at the start that names the file; files that change later are taken for new
//! connections within [`LOOK`], and bad ones are left out and told; every handshake that fails is counted under its
//! reason. Never: a connection in clear on this port, a certificate that is believed without the operator's CA.

mod certificate;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use ntex::{
    io::{Io, IoRef, Layer},
    time::Millis,
};
use ntex_tls::rustls::{PeerCert, TlsServerFilter};
use rustls::{
    AlertDescription, CertificateError, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use schemas::{door::Principal, id::TenantId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// How often the files are looked at: a renewed certificate is in force soon, and a look costs a few stats.
const LOOK: Duration = Duration::from_secs(10);

/// The TLS listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// PEM: the server's certificate, and what leads from it to a CA that devices know.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
    /// PEM: the CAs whose client certificates are believed; none: devices log in with a password.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// PEM: what those CAs have revoked; every one of them must have its list here.
    #[serde(default)]
    pub client_crl: Option<PathBuf>,
    /// Without a certificate nobody comes in on this port; otherwise a password will do.
    #[serde(default)]
    pub require_client_certificate: bool,
    /// Whose the devices are whose certificates name no tenant.
    #[serde(default)]
    pub client_tenant: Option<TenantId>,
    /// Within this time a handshake must be done.
    #[serde(default = "handshake_timeout", with = "schemas::time::span")]
    pub handshake_timeout: Duration,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8883))
}

fn handshake_timeout() -> Duration {
    // Under the ten seconds in which a login must be done, so that it is known what was slow.
    Duration::from_secs(8)
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of the kind that is needed.
    #[error("gateway.tls.{field}: read {} from {}", .what, .path.display())]
    Pem {
        /// The setting.
        field: &'static str,
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file holds nothing of the kind that is needed.
    #[error("gateway.tls.{field}: there is no {} in {}", .what, .path.display())]
    Empty {
        /// The setting.
        field: &'static str,
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not fit together, or a CA is none.
    #[error("gateway.tls.{field}: use {}", .path.display())]
    Use {
        /// The setting.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Settings that do not fit together.
    #[error("gateway.tls.{field} needs gateway.tls.client_ca")]
    NoCa {
        /// The setting.
        field: &'static str,
    },
}

/// When the files were changed last, and how long they are.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The TLS side of the gateway.
pub(super) struct Tls {
    settings: Settings,
    config: RwLock<(Arc<ServerConfig>, Stamp)>,
    metrics: Metrics,
}

/// A connection that is encrypted from here on.
pub(super) type Encrypted = Io<Layer<TlsServerFilter>>;

impl Tls {
    /// Reads and checks every file.
    pub(super) fn open(settings: &Settings, metrics: Metrics) -> Result<Self, TlsError> {
        let stamp = stamp(settings);
        let config = RwLock::new((config(settings)?, stamp));
        Ok(Self { settings: settings.clone(), config, metrics })
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Takes the files again where they have changed; what is no use is told, and the old stays in force.
    pub(super) fn look(&self) {
        let now = stamp(&self.settings);
        if self.config.read().unwrap_or_else(PoisonError::into_inner).1 == now {
            return;
        }
        let read = config(&self.settings);
        let mut kept = self.config.write().unwrap_or_else(PoisonError::into_inner);
        kept.1 = now;
        match read {
            Ok(new) => {
                kept.0 = new;
                self.metrics.tls_reloads.inc();
                tracing::info!("took the changed TLS files; connections that stand keep theirs");
            }
            Err(error) => {
                self.metrics.tls_reload_failures.inc();
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "take the changed TLS files; those of before stay in force");
            }
        }
    }

    /// Looks at the files until told to stop.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let tls = self.clone();
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
    }

    /// Shakes hands; tells whom the certificate names, if there is one. A failure has been counted.
    pub(super) async fn shake(&self, io: Io) -> Result<(Encrypted, Option<Principal>), String> {
        let fail = |reason: Failure, why: String| {
            self.metrics.tls_failed(reason.as_str());
            format!("{}: {why}", reason.as_str())
        };
        let millis = u32::try_from(self.settings.handshake_timeout.as_millis()).unwrap_or(u32::MAX);
        let at = io.get_ref();
        let shaken = TlsServerFilter::create(io, self.current(), Millis(millis)).await;
        let io = shaken.map_err(|error| {
            // ntex-tls 4.0.0 says "disconnected" of a connection that it ended itself; the socket knows why.
            let error = match error.kind() {
                io::ErrorKind::NotConnected => at.with_write_buf(|_| ()).err().unwrap_or(error),
                _ => error,
            };
            fail(Failure::of(&error), error.to_string())
        })?;
        let named = match peer(&io) {
            None => None,
            Some(der) => {
                let named = certificate::principal(&der, self.settings.client_tenant.as_ref());
                Some(named.map_err(|why| fail(Failure::NamesNoDevice, why))?)
            }
        };
        self.metrics.tls_handshakes.inc();
        Ok((io, named))
    }
}

fn peer(io: &IoRef) -> Option<CertificateDer<'static>> {
    io.query::<PeerCert<'static>>().as_ref().map(|peer| peer.0.clone())
}

/// Why a handshake failed: label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Timeout,
    NotTls,
    NoCertificate,
    Expired,
    UnknownIssuer,
    Revoked,
    BadCertificate,
    NamesNoDevice,
    Distrusted,
    NothingInCommon,
    Gone,
    Other,
}

impl Failure {
    pub(super) const ALL: [Self; 12] = [
        Self::Timeout,
        Self::NotTls,
        Self::NoCertificate,
        Self::Expired,
        Self::UnknownIssuer,
        Self::Revoked,
        Self::BadCertificate,
        Self::NamesNoDevice,
        Self::Distrusted,
        Self::NothingInCommon,
        Self::Gone,
        Self::Other,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Revoked => "revoked_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::NamesNoDevice => "certificate_names_no_device",
            Self::Distrusted => "client_distrusts_us",
            Self::NothingInCommon => "nothing_in_common",
            Self::Gone => "gone",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        use rustls::Error;
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::TimedOut => Self::Timeout,
                io::ErrorKind::InvalidData => Self::NotTls,
                _ => Self::Gone,
            };
        };
        match tls {
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::Revoked => Self::Revoked,
                _ => Self::BadCertificate,
            },
            Error::AlertReceived(AlertDescription::NoCertificate) => Self::NoCertificate,
            Error::AlertReceived(_) => Self::Distrusted,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => Self::Other,
        }
    }
}

fn stamp(settings: &Settings) -> Stamp {
    let files =
        [Some(&settings.certificate), Some(&settings.key), settings.client_ca.as_ref(), settings.client_crl.as_ref()];
    let stat = |path: &PathBuf| fs::metadata(path).and_then(|stat| Ok((stat.modified()?, stat.len()))).ok();
    files.into_iter().flatten().map(stat).collect()
}

fn config(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = all::<CertificateDer<'static>>("certificate", "certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|source| TlsError::Pem {
        field: "key",
        what: "a private key",
        path: settings.key.clone(),
        source,
    })?;
    let used = |field, path: &Path, source: Box<dyn std::error::Error + Send + Sync>| TlsError::Use {
        field,
        path: path.to_owned(),
        source,
    };
    // A certificate that cannot be read would otherwise be found by the first device.
    for der in &chain {
        ParsedCertificate::try_from(der).map_err(|error| used("certificate", &settings.certificate, error.into()))?;
    }
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| used("certificate", &settings.certificate, error.into()))?;
    let builder = match verifier(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| used("key", &settings.key, error.into()))?;
    Ok(Arc::new(config))
}

fn verifier(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = &settings.client_ca else {
        let lonely = [
            (settings.require_client_certificate, "require_client_certificate"),
            (settings.client_crl.is_some(), "client_crl"),
        ];
        return match lonely.into_iter().find(|(set, _)| *set) {
            Some((_, field)) => Err(TlsError::NoCa { field }),
            None => Ok(None),
        };
    };
    let used = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Use {
        field: "client_ca",
        path: path.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for der in all::<CertificateDer<'static>>("client_ca", "certificate", path)? {
        roots.add(der).map_err(|error| used(error.into()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &settings.client_crl {
        let lists = all::<CertificateRevocationListDer<'static>>("client_crl", "revocation list", path)?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if !settings.require_client_certificate {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| used(error.into()))
}

/// Everything of one kind in a PEM file; at least one.
fn all<T: PemObject>(field: &'static str, what: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    let found = T::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<T>, _>>);
    let found = found.map_err(|source| TlsError::Pem { field, what, path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsError::Empty { field, what, path: path.to_owned() });
    }
    Ok(found)
}
